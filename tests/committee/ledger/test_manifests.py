"""Manifests of both kinds of chain: read as they were written, and never one for the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from committee.errors import LedgerError
from committee.ledger.evm.deployment import Deployment, domain_of
from committee.ledger.sui.deployment import SuiDeployment

ON_SUI = SuiDeployment(*(bytes([number]) * 32 for number in range(1, 7)))
ADDRESS = "0x" + 40 * "0"
ON_EVM = Deployment(
    chain_id=17,
    token=ADDRESS,
    timelock=ADDRESS,
    staking=ADDRESS,
    registry=ADDRESS,
    committee=ADDRESS,
    blobs=ADDRESS,
    ballot=ADDRESS,
    proofs=ADDRESS,
    block=5,
    domain=domain_of(17, ADDRESS),
    finality="latest",
)


def test_manifest_of_sui_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "haulout.json"
    ON_SUI.save(path)
    assert SuiDeployment.load(path) == ON_SUI
    assert json.loads(path.read_text())["chain_kind"] == "sui"
    with pytest.raises(FileExistsError):
        ON_SUI.save(path)


def test_manifest_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "haulout.json"
    ON_SUI.save(path)
    expected = f"{path}: .* of kind sui, and evm is needed; no command serves a deployment on Sui yet"
    with pytest.raises(LedgerError, match=expected):
        Deployment.load(path)
    with pytest.raises(LedgerError, match=r"of kind evm, and sui is needed$"):
        SuiDeployment.from_json(ON_EVM.to_json())
    named = json.dumps({"chain_kind": "evm", **json.loads(ON_EVM.to_json())})
    assert Deployment.from_json(named) == ON_EVM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain_kind": "solana"}, "chain_kind is none of evm, sui"),
        ({"chain_kind": ["sui"]}, "chain_kind is none of evm, sui"),
        ({"extra": "0x" + 64 * "0"}, "exactly the fields blobs, chain, domain, package"),
        ({"registry": "0x12"}, "registry is not 0x and 64"),
        ({"staking": 7}, "staking is not 0x and 64"),
        ({"chain": "0x" + 64 * "0"}, "domain does not belong to this chain and package"),
    ],
)
def test_manifest_of_sui_refuses_a_wrong_field(change: dict[str, Any], message: str) -> None:
    values = json.loads(ON_SUI.to_json()) | change
    with pytest.raises(LedgerError, match=message):
        SuiDeployment.from_json(json.dumps(values))
