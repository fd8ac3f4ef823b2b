"""The committed artifacts are what the sources compile to, byte for byte."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from tests.contracts.node import node

EVM = Path(__file__).parents[2] / "contracts" / "evm"
ARTIFACTS = EVM / "artifacts"
CONTRACTS = {"HauloutToken", "Timelock", "Staking", "Registry", "Committee", "Blobs", "Ballot", "Proofs"}
LARGEST_CODE_BYTES = 24_576
"""EIP-170."""
BUILD_LIMIT_S = 300.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with freshly compiled artifacts."""
    folder = tmp_path_factory.mktemp("artifacts")
    result = subprocess.run(
        [node(), str(EVM / "build.mjs"), str(folder)], capture_output=True, text=True, timeout=BUILD_LIMIT_S
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_committed_artifacts_equal_a_fresh_build(built: Path) -> None:
    assert {path.stem for path in built.iterdir()} == CONTRACTS
    assert {path.stem for path in ARTIFACTS.iterdir()} == CONTRACTS
    stale = [name for name in sorted(CONTRACTS) if _bytes(built, name) != _bytes(ARTIFACTS, name)]
    assert not stale, f"{stale} differ from their sources: npm --prefix contracts/evm run build, and commit"


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_artifact_is_deployable(name: str) -> None:
    artifact = json.loads(_bytes(ARTIFACTS, name))
    assert list(artifact) == ["contractName", "abi", "bytecode", "deployedBytecode"]
    assert artifact["contractName"] == name
    assert 0 < len(bytes.fromhex(artifact["deployedBytecode"][2:])) <= LARGEST_CODE_BYTES
    assert bytes.fromhex(artifact["bytecode"][2:])


def test_an_error_means_one_thing_in_all_contracts() -> None:
    """A refusal tells four bytes of the error's name and types, and not whose it is."""
    meanings: dict[bytes, set[str]] = {}
    for name in CONTRACTS:
        for entry in json.loads(_bytes(ARTIFACTS, name))["abi"]:
            if entry["type"] == "error":
                types = ",".join(one["type"] for one in entry["inputs"])
                arguments = ", ".join(f"{one['type']} {one['name']}" for one in entry["inputs"])
                selector = keccak(text=f"{entry['name']}({types})")[:4]
                meanings.setdefault(selector, set()).add(f"{entry['name']}({arguments})")
    assert not [sorted(several) for several in meanings.values() if len(several) > 1]


def _bytes(folder: Path, name: str) -> bytes:
    return (folder / f"{name}.json").read_bytes()
