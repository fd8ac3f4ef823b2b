"""`haulout deploy | node | stake | epoch …` as an operator types them, against a real chain."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from committee import deploy_command
from committee.bls import SecretKey
from committee.errors import CommitteeError, LedgerRefused
from committee.ledger.evm import AccountKey, Deployment, DeploymentParameters, EvmLedger, Roles
from committee.ledger.evm.decode import NO_ACCOUNT
from committee.printing import PAID, CommandFailed
from localnet.chain import LocalChain
from storage.cli import app
from storage.node.config import ConfigError, account_key, load_config

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

TOKEN = 10**18
EVIDENCE_S = 300


def write_key(path: Path, secret: bytes) -> Path:
    path.touch(0o600)
    path.write_text(secret.hex())
    return path


class Shell:
    """Types commands for one account and reads what they print with `--json`."""

    def __init__(self, rpc_url: str, manifest: Path, key: AccountKey, folder: Path) -> None:
        key_file = write_key(folder / f"{key.address}.key", key.to_bytes())
        self.account = key.address
        self.options = [
            "--rpc",
            rpc_url,
            "--deployment",
            str(manifest),
            "--key-file",
            str(key_file),
            "--json",
        ]

    async def run(self, *words: str) -> dict[str, Any]:
        """A command's JSON; raises the project's error where the command line would print it."""
        answer = await asyncio.to_thread(CliRunner().invoke, app, [*words, *self.options])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        assert answer.exit_code == 0, answer.output
        result: dict[str, Any] = json.loads(answer.stdout)
        return result


PRICES = ("--price", "5", "--write-price", "0")


async def shell(network: Network, folder: Path, tokens: int = 0) -> Shell:
    """A shell for a fresh account with gas money and tokens."""
    key = AccountKey.generate()
    await network.chain.fund(key.address)
    if tokens:
        await network.operator.mint(key.address, tokens * TOKEN)
    manifest = folder / "deployment.json"
    network.deployment.save(manifest)
    return Shell(network.chain.rpc_url, manifest, key, folder)


async def test_deploy_writes_a_manifest_and_overwrites_none(chain: LocalChain, tmp_path: Path) -> None:
    key = AccountKey.generate()
    await chain.fund(key.address)
    manifest = tmp_path / "new.json"
    key_file = write_key(tmp_path / "key", key.to_bytes())
    words = [
        "deploy",
        str(manifest),
        "--rpc",
        chain.rpc_url,
        "--key-file",
        str(key_file),
        *PRICES,
        "--shards",
        "10",
        "--json",
    ]
    planned = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--dry-run"])
    first = json.loads(planned.stdout)["transactions"][0]
    assert first["action"] == "creation of HauloutToken"
    assert not manifest.exists()
    deployed = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert deployed.exit_code == 0, deployed.output
    async with await EvmLedger.connect(chain.rpc_url, Deployment.load(manifest)) as ledger:
        assert (await ledger.parameters()).n_shards == 10
    again = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(again.exception, CommitteeError) and "exists" in str(again.exception)


def test_deploys_options_have_the_defaults_of_a_deployment_from_python() -> None:
    fields = {field.name: field for field in dataclasses.fields(DeploymentParameters)}
    assert set(deploy_command.ROLES) == {field.name for field in dataclasses.fields(Roles)}
    for name, option in deploy_command.PARAMETERS.items():
        default = fields[name].default
        if default is dataclasses.MISSING:
            assert option.default in (inspect.Parameter.empty, 1000), name
        else:
            assert option.default in (None, default), name


@pytest.mark.parametrize("missing", [0, 2])
def test_deploy_without_a_price_is_refused(tmp_path: Path, missing: int) -> None:
    words = ["deploy", str(tmp_path / "m.json"), "--rpc", "http://127.0.0.1:1"]
    answer = CliRunner().invoke(app, [*words, *PRICES[:missing], *PRICES[missing + 2 :]])
    assert answer.exit_code == 2
    assert PRICES[missing] in answer.output and "Missing" in answer.output


def unsavable(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_deploy_sends_nothing_where_its_manifest_cannot_be_written(
    chain: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = AccountKey.generate()
    await chain.fund(key.address)
    key_file = str(write_key(tmp_path / "key", key.to_bytes()))
    options = ["--rpc", chain.rpc_url, "--key-file", key_file, *PRICES, "--shards", "10"]
    before = await chain.request("eth_blockNumber")
    for path in (tmp_path / "nowhere" / "m.json", tmp_path / "key" / "m.json"):
        answer = await asyncio.to_thread(CliRunner().invoke, app, ["deploy", str(path), *options])
        assert isinstance(answer.exception, CommitteeError) and "no folder" in str(answer.exception)
    assert await chain.request("eth_blockNumber") == before
    # A disk that is full only then: the manifest of what was paid for is printed.
    monkeypatch.setattr(Deployment, "save", unsavable)
    answer = await asyncio.to_thread(CliRunner().invoke, app, ["deploy", str(tmp_path / "m.json"), *options])
    assert isinstance(answer.exception, CommitteeError) and "No space left" in str(answer.exception)
    async with await EvmLedger.connect(chain.rpc_url, Deployment.from_json(answer.stdout)) as ledger:
        assert (await ledger.parameters()).n_shards == 10


async def test_a_deployment_that_ends_half_way_is_told_and_gone_on_with(
    chain: LocalChain, spoilt: SpoiltConnection, tmp_path: Path
) -> None:
    """beamer-bridge/beamer#767, hyperlane-xyz/hyperlane-monorepo#429."""
    key = AccountKey.generate()
    await chain.fund(key.address)
    await chain.request("anvil_setNonce", key.address, hex(7))
    manifest, key_file = tmp_path / "m.json", write_key(tmp_path / "key", key.to_bytes())
    words = ["deploy", str(manifest), "--rpc", spoilt.url, "--key-file", str(key_file)]
    words += [*PRICES, "--shards", "10"]

    async def fails(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        is_fourth = method == "eth_estimateGas" and spoilt.asked.count(method) > 3
        return web.Response(status=503) if is_fourth else None

    spoilt.rules.append(fails)
    answer = await asyncio.to_thread(CliRunner().invoke, app, words)
    failed = answer.exception
    assert isinstance(failed, CommandFailed) and failed.status == PAID
    assert "HTTP 503; to go on with it" in str(failed) and "--first-nonce 7" in str(failed)
    assert [one["action"] for one in failed.details["transactions"]] == [
        f"creation of {name}" for name in ("HauloutToken", "Timelock", "Staking")
    ]
    spoilt.rules.clear()
    for wrong in (("6",), ("8",), ("9",), ("11",), ("7", "--timelock-s", "5")):
        answer = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--first-nonce", *wrong])
        assert "no deployment " in str(answer.exception)
    answer = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--first-nonce", "7"])
    assert answer.exit_code == 0, answer.output
    assert await chain.request("eth_getTransactionCount", key.address, "latest") == hex(7 + 8)
    async with await EvmLedger.connect(chain.rpc_url, Deployment.load(manifest)) as ledger:
        assert (await ledger.parameters()).n_shards == 10
        assert not await ledger.nodes()
    # An answer that was lost with the last of them: nothing is sent, and the manifest made.
    manifest.unlink()
    answer = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--first-nonce", "7"])
    assert answer.exit_code == 0, answer.output
    assert await chain.request("eth_getTransactionCount", key.address, "latest") == hex(7 + 8)


async def test_a_stake_that_is_refused_leaves_no_allowance(launch: Launch, tmp_path: Path) -> None:
    network = await launch((4, 3, 2, 1))
    staker = await shell(network, tmp_path, tokens=10)
    before = await network.chain.request("eth_blockNumber")
    for node, amount, reason in (
        ("9", "1", "UnknownNode"),
        ("1", "11", "ERC20InsufficientBalance"),
        ("1", "0.000000000000000001", "StakeTooSmall"),
    ):
        with pytest.raises(LedgerRefused, match=reason) as refused:
            await staker.run("stake", "add", node, amount)
        assert refused.value.hint
    assert await network.chain.request("eth_blockNumber") == before, "nothing was sent, no approval either"
    planned = await staker.run("stake", "add", "1", "1", "--dry-run")
    assert [one["action"] for one in planned["transactions"]] == ["Staking.stake"]
    assert "not_estimated" not in planned


async def test_an_account_is_made_funded_and_given_tokens(launch: Launch, tmp_path: Path) -> None:
    network = await launch((4, 3, 2, 1))
    made = await asyncio.to_thread(
        CliRunner().invoke, app, ["account", "new", str(tmp_path / "a.key"), "--json"]
    )
    account = json.loads(made.stdout)["account"]
    assert (tmp_path / "a.key").read_text().strip() not in made.output
    funder = await shell(network, tmp_path)
    assert (await funder.run("account", "fund", account, "0.5", "--dry-run"))["most_fee_wei"] > 0
    await funder.run("account", "fund", account.lower(), "0.5")
    assert int(await network.chain.request("eth_getBalance", account, "latest"), 16) == TOKEN // 2
    with pytest.raises(LedgerRefused, match="InsufficientFunds"):
        await funder.run("account", "fund", account, "5000")
    for balance, outcome in ((TOKEN, None), (TOKEN, "has as much already; nothing was sent")):
        told = await funder.run("account", "fund", account, "1", "--up-to")
        assert told.get("outcome") == outcome
        assert int(await network.chain.request("eth_getBalance", account, "latest"), 16) == balance
    with pytest.raises(LedgerRefused, match="OwnableUnauthorizedAccount"):
        await funder.run("account", "mint", account, "3")
    owner = Shell(network.chain.rpc_url, tmp_path / "deployment.json", network.key, tmp_path)
    await owner.run("account", "mint", account, "3")
    assert await network.operator.balance(account) == 3 * TOKEN


async def test_a_node_is_made_by_a_command(launch: Launch, tmp_path: Path) -> None:
    network = await launch()
    network.deployment.save(tmp_path / "deployment.json")
    words = ["node", "init", str(tmp_path / "anna"), "--port", "1234", "--rpc", network.chain.rpc_url]
    words += ["--deployment", str(tmp_path / "deployment.json")]
    made = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
    config = load_config(tmp_path / "anna")
    assert (config.name, config.address) == ("anna", "http://127.0.0.1:1234")
    assert config.deployment == tmp_path / "deployment.json"
    assert json.loads(made.stdout)["account"] == account_key(tmp_path / "anna").address
    for key in (tmp_path / "anna" / "keys").iterdir():
        assert key.read_text().strip() not in made.output
    again = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(again.exception, ConfigError)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stake", "list", "0x123"], "no account"),
        (["blob-id", __file__, "--shards", "99999999"], "less than or equal to 1000"),
        (["blob-id", __file__, "--shards", "3"], "greater than or equal to 4"),
    ],
)
def test_wrong_words_are_told_as_such(words: list[str], told: str) -> None:
    answer = CliRunner().invoke(app, words, env={"HAULOUT_RPC": "http://x", "HAULOUT_DEPLOYMENT": "y"})
    assert answer.exit_code == 2
    assert told in answer.output.replace("\n", " ")


@pytest.mark.parametrize(
    "address", ["foo", "http://", "ftp://anna:1", "http://anna:1/path", "http://an na:1"]
)
def test_what_no_node_can_be_reached_by_is_no_address(address: str) -> None:
    words = ["node", "update", "1", "--address", address]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert "is no address of a node" in " ".join(answer.output.replace("│", " ").split())


async def test_a_node_is_registered_updated_and_leaves(launch: Launch, tmp_path: Path) -> None:
    network = await launch()
    owner = await shell(network, tmp_path)
    secret, following = SecretKey.generate(), SecretKey.generate()
    tls_key = ("--tls-key", "07" * 32)
    first = str(write_key(tmp_path / "first.key", secret.to_bytes()))
    second = str(write_key(tmp_path / "second.key", following.to_bytes()))
    register = (
        "node",
        "register",
        "anna",
        "http://anna:1",
        "--bls-key",
        first,
        "--commission",
        "2.5",
        *tls_key,
    )
    planned = await owner.run(*register, "--dry-run")
    assert planned["dry_run"] and planned["transactions"][0]["action"] == "Registry.registerNode"
    assert planned["most_fee_wei"] > 0
    assert (await owner.run("node", "status"))["nodes"] == []

    assert (await owner.run(*register))["node_id"] == 1
    await owner.run("node", "update", "1", "--address", "http://anna:2")
    await owner.run("node", "update", "1", "--bls-key", second)
    await owner.run("node", "update", "1", "--commission", "5")
    shown = await owner.run("node", "status", "1")
    assert (shown["address"], shown["commission"], shown["pending_commission"]) == ("http://anna:2", 250, 500)
    assert shown["tls_key"] == "0x" + "07" * 32
    assert shown["pending_public_key"] == "0x" + following.public_key.hex()
    await owner.run("node", "leave", "1")
    assert (await owner.run("node", "status"))["nodes"][0]["candidate"] is False
    await owner.run("node", "return", "1")
    with pytest.raises(CommitteeError, match="name one change"):
        await owner.run("node", "update", "1")

    operator = Shell(network.chain.rpc_url, tmp_path / "deployment.json", network.key, tmp_path)
    with pytest.raises(LedgerRefused, match="NotAnOperator"):
        await operator.run("node", "resign")
    await owner.run("node", "update", "1", "--operator", operator.account)
    assert (await operator.run("node", "resign"))["node_id"] == 1
    assert (await owner.run("node", "status", "1"))["operator"] == NO_ACCOUNT
    with pytest.raises(LedgerRefused, match="NotAnOperator"):
        await operator.run("node", "leave", "1")


async def test_stake_is_added_listed_unstaked_and_withdrawn(launch: Launch, tmp_path: Path) -> None:
    network = await launch((4, 3, 2, 1))
    staker = await shell(network, tmp_path, tokens=10)
    await staker.run("stake", "add", "2", "7.5")
    listed = await staker.run("stake", "list")
    assert listed["balance"] == 10 * TOKEN - 7 * TOKEN - TOKEN // 2
    assert [(one["node_id"], one["amount"]) for one in listed["stakes"]] == [(2, 7 * TOKEN + TOKEN // 2)]
    assert listed["stakes"][0]["joining"] == [{"period": 1, "amount": 7 * TOKEN + TOKEN // 2}]
    await network.begin_epoch()
    planned = await staker.run("stake", "unstake", "2", "--amount", "2.5", "--dry-run")
    assert planned["transactions"][0]["action"] == "Blobs.payOut", "the stake joins first"
    await staker.run("stake", "unstake", "2", "--amount", "2.5")
    await staker.run("stake", "unstake", "2", "--amount", "1", "--cancel", "2")
    (position,) = (await staker.run("stake", "list", staker.account))["stakes"]
    assert position["amount"] == 6 * TOKEN
    assert [(one["unlock_period"], one["amount"]) for one in position["unbonding"]] == [
        (2, TOKEN + TOKEN // 2)
    ]
    with pytest.raises(LedgerRefused, match="StillBonded"):
        await staker.run("stake", "withdraw", "2", "2")
    with pytest.raises(LedgerRefused, match="NothingEarned"):
        await staker.run("stake", "rewards")
    await network.hand_over(await network.begin_epoch())
    assert len((await staker.run("epoch", "pay"))["transactions"]) == 1
    assert (await staker.run("epoch", "pay", "1", "2", "--until", "2"))["transactions"] == []
    await network.chain.increase_time(EVIDENCE_S)
    await staker.run("stake", "withdraw", "2", "2")
    assert (await staker.run("stake", "list"))["balance"] == 4 * TOKEN


async def test_epochs_are_pushed_by_anyone(launch: Launch, tmp_path: Path) -> None:
    network = await launch((4, 3, 2, 1))
    someone = await shell(network, tmp_path)
    assert (await someone.run("epoch", "status"))["next_step"] == "select"
    await someone.run("epoch", "select")
    await someone.run("epoch", "start")
    status = await someone.run("epoch", "status")
    assert (status["epoch"], status["handover_done"], status["next_step"]) == (1, True, "select")
    assert 0 < status["due_in_s"] <= 300
    assert sum(one["shards"] for one in status["committees"]) == 10
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await someone.run("epoch", "select")
    with pytest.raises(LedgerRefused, match="HandoverIsDone"):
        await someone.run("epoch", "close")


async def test_a_key_comes_from_the_environment_and_never_shows(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    someone = await shell(network, tmp_path)
    words = ["epoch", "select", *someone.options[:4]]
    without = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(without.exception, CommitteeError) and "--key-file" in str(without.exception)
    secret = AccountKey.generate().to_bytes().hex()
    monkeypatch.setenv("HAULOUT_KEY", secret)
    refused = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(refused.exception, LedgerRefused)
    assert secret not in refused.output + repr(refused.exception)


@pytest.mark.parametrize("amount", ["0", "-1", "nan", "1e30", "0.0000000000000000001", "ten"])
def test_amounts_that_are_none_are_refused(amount: str) -> None:
    words = ["stake", "add", "1", "--rpc", "x", "--deployment", "y", "--", amount]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2 and "TOKENS" in answer.output


async def test_answers_are_also_for_people(launch: Launch, tmp_path: Path) -> None:
    network = await launch((4, 3))
    someone = await shell(network, tmp_path)
    answer = await asyncio.to_thread(CliRunner().invoke, app, ["node", "status", *someone.options[:4]])
    assert answer.exit_code == 0 and "node-1" in answer.stdout and "http://node-2:1" in answer.stdout
    assert "0.000000004 tokens" in answer.stdout
