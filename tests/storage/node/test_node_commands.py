"""`haulout node init`: what is written, and that what is refused leaves nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address
from typer.testing import CliRunner

from committee.errors import CommitteeError
from committee.ledger.evm.deployment import DEVELOPMENT_CHAIN_ID, Deployment, domain_of
from storage.cli import app
from storage.node.config import ConfigError, account_key, bls_key, load_config

PUBLIC = ("--public-address", "http://node.example:9000")


def manifest(folder: Path, chain_id: int = 1) -> Path:
    token, timelock, staking, registry, committee, blobs, ballot, proofs = (
        to_checksum_address(f"0x{number:040x}") for number in range(1, 9)
    )
    domain = domain_of(chain_id, committee)
    path = folder / "deployment.json"
    Deployment(
        chain_id, token, timelock, staking, registry, committee, blobs, ballot, proofs, 1, domain, "latest"
    ).save(path)
    return path


def init(folder: Path, deployment: Path, *options: str) -> str:
    """What is printed; raises the error that the command line would tell."""
    words = [
        "node",
        "init",
        str(folder),
        "--rpc",
        "http://user:word@one.example",
        "--deployment",
        str(deployment),
    ]
    answer = CliRunner().invoke(app, [*words, *options])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.stdout


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (PUBLIC, "http://node.example:9000"),
        (("--host", "0.0.0.0", *PUBLIC), "http://node.example:9000"),
        (("--host", "::", *PUBLIC), "http://node.example:9000"),
        (("--host", "1.1.1.1", "--port", "80"), "http://1.1.1.1:80"),
        (("--host", "10.0.0.7", "--allow-private"), "http://10.0.0.7:9000"),
        (("--host", "::1", "--allow-private"), "http://[::1]:9000"),
    ],
)
def test_a_node_is_made(tmp_path: Path, options: tuple[str, ...], address: str) -> None:
    place = tmp_path / "\U0001f43b's folder" / "baffin"
    place.parent.mkdir()
    told = init(place, manifest(place.parent), *options)
    config = load_config(place)
    assert address in told
    assert config.address == address
    assert config.deployment == place.parent / "deployment.json"
    assert config.allow_private_addresses is (True if "--allow-private" in options else None)
    assert account_key(place).address in told
    assert bls_key(place)
    assert tomllib.loads((place / "node.toml").read_text(encoding="utf-8"))["name"] == "baffin"


def test_on_a_development_chain_nodes_are_on_this_machine(tmp_path: Path) -> None:
    assert "http://127.0.0.1:9000" in init(tmp_path / "baffin", manifest(tmp_path, DEVELOPMENT_CHAIN_ID))


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "this machine alone": (
        "baffin",
        (),
        "other nodes cannot reach http://127.0.0.1:9000: set public_address",
    ),
    "every interface": (
        "baffin",
        ("--host", "0.0.0.0"),
        "host 0.0.0.0 is every interface .* set public_address",
    ),
    "every interface, IPv6": ("baffin", ("--host", "::", "--allow-private"), "host :: is every interface"),
    "every interface, advertised": (
        "baffin",
        ("--public-address", "http://0.0.0.0:1", "--allow-private"),
        "other nodes cannot reach http://0.0.0.0:1",
    ),
    "a private address": ("baffin", ("--public-address", "http://10.0.0.7:1"), "other nodes cannot reach"),
    "an emoji": ("\U0001f43b", PUBLIC, "is no name of a node, .* give one with --name"),
}


@pytest.mark.parametrize(("name", "options", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_nothing_and_can_be_done_again(
    tmp_path: Path, name: str, options: tuple[str, ...], told: str
) -> None:
    deployment = manifest(tmp_path)
    with pytest.raises((ConfigError, CommitteeError), match=told) as error:
        init(tmp_path / name, deployment, *options)
    assert "word" not in str(error.value)
    assert list(tmp_path.iterdir()) == [deployment]
    init(tmp_path / name, deployment, "--name", "baffin", *PUBLIC)


def test_a_path_that_is_no_text_is_told_without_the_settings(tmp_path: Path) -> None:
    place = tmp_path / "\udcff"
    place.mkdir()
    with pytest.raises(ConfigError, match=r"^deployment: .* is not UTF-8 text") as error:
        init(tmp_path / "baffin", manifest(place), *PUBLIC)
    assert "word" not in str(error.value)
    assert not (tmp_path / "baffin").exists()
