"""Deploying, and the manifest that names what was deployed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from committee.errors import InvalidKey, LedgerError, LedgerRefused
from committee.ledger.evm import (
    AccountKey,
    Deployment,
    DeploymentParameters,
    DeploymentUnfinished,
    DryRun,
    EvmLedger,
    Roles,
    deploy,
)
from committee.ledger.evm.abi import load_contract
from committee.ledger.evm.deploy import ANY_ACCOUNT
from committee.ledger.evm.deployment import domain_of
from committee.ledger.evm.reader import Contract

if TYPE_CHECKING:
    from localnet.chain import LocalChain
    from tests.committee.ledger.conftest import Launch, SpoiltConnection

DAY_S = 24 * 3600
PARAMETERS = DeploymentParameters(
    n_shards=31,
    period_duration_s=18,
    handover_deadline_s=5,
    patience_s=3,
    band_millis=250,
    price_per_mib_period=1,
    write_price_per_mib=1,
)


async def test_contracts_know_what_they_were_deployed_with(launch: Launch, chain: LocalChain) -> None:
    await chain.mine()  # so that they are deployed on this chain
    network = await launch((), PARAMETERS)
    parameters = await network.operator.parameters()
    assert (parameters.n_shards, parameters.period_duration_s) == (31, 18)
    assert (parameters.handover_deadline_s, parameters.patience_s, parameters.band_millis) == (5, 3, 250)
    assert parameters.domain == network.deployment.domain
    head = await network.operator.head()
    assert network.deployment.block == head.number


async def test_the_proofs_contract_is_the_deployments(launch: Launch, chain: LocalChain) -> None:
    network = await launch((), dataclasses.replace(PARAMETERS, demand_window_s=3, demand_bond=9))
    reader = network.operator._reader
    proofs = Contract(load_contract("Proofs"), network.deployment.proofs)
    assert await reader.call(reader.staking, "proofs") == network.deployment.proofs
    assert await reader.call(proofs, "committee") == network.deployment.committee
    assert await reader.call(proofs, "blobs") == network.deployment.blobs
    assert await reader.call(proofs, "windows") == (2, 0, 1, 3)
    assert await reader.call(proofs, "bond") == 9


async def test_windows_of_proofs_above_a_sixth_of_a_period_are_refused(launch: Launch) -> None:
    with pytest.raises(LedgerError, match="windows"):
        await launch((), dataclasses.replace(PARAMETERS, commit_window_s=2, answer_window_s=2))


@pytest.mark.parametrize("period_s", [12, 13, 36, 60, 3600, 14 * DAY_S])
def test_windows_of_proofs_fit_into_a_sixth_of_a_period(period_s: int) -> None:
    windows_s = dataclasses.replace(PARAMETERS, period_duration_s=period_s).proof_windows_s
    commit_s, prove_s, answer_s, demand_s = windows_s
    assert min(commit_s, answer_s, demand_s) >= 1
    assert 0 <= 6 * (commit_s + prove_s + answer_s) <= period_s
    assert 6 * demand_s <= period_s


def test_windows_of_a_usual_period() -> None:
    usual = dataclasses.replace(PARAMETERS, period_duration_s=14 * DAY_S)
    assert usual.proof_windows_s == (14 * DAY_S // 9, 14 * DAY_S // 36, 14 * DAY_S // 36, DAY_S)


async def test_account_that_sent_before_can_deploy_again(launch: Launch, chain: LocalChain) -> None:
    network = await launch()
    key = AccountKey.generate()
    await chain.fund(key.address)
    first = await deploy(chain.rpc_url, key, PARAMETERS)
    second = await deploy(chain.rpc_url, key, PARAMETERS)
    assert len({network.deployment.committee, first.committee, second.committee}) == 3
    async with await EvmLedger.connect(chain.rpc_url, second) as ledger:
        assert (await ledger.epoch_state()).epoch == 0


async def test_what_elects_and_what_governs_is_the_timelocks(chain: LocalChain) -> None:
    key, stranger = AccountKey.generate(), AccountKey.generate()
    await chain.fund(key.address)
    deployment = await deploy(chain.rpc_url, key, dataclasses.replace(PARAMETERS, supply=77))
    async with await EvmLedger.connect(chain.rpc_url, deployment, key) as ledger:
        reader = ledger._reader
        assert await reader.call(reader.token, "owner") == deployment.timelock
        for contract in (reader.staking, reader.registry, reader.committee, reader.blobs):
            assert await reader.call(contract, "governor") == deployment.timelock
            assert await reader.call(contract, "guardian") == key.address
        assert await ledger.balance(key.address) == 77
        with pytest.raises(LedgerRefused, match="OwnableUnauthorizedAccount"):
            await ledger.mint(stranger.address, 1)


async def test_roles_are_named_at_the_deployment(chain: LocalChain) -> None:
    key = AccountKey.generate()
    minter, guardian, proposer, executor = (AccountKey.generate().address for _ in range(4))
    await chain.fund(key.address)
    deployment = await deploy(chain.rpc_url, key, PARAMETERS, Roles(minter, guardian, proposer, executor))
    async with await EvmLedger.connect(chain.rpc_url, deployment) as ledger:
        reader = ledger._reader
        assert await reader.call(reader.token, "owner") == minter
        assert await reader.call(reader.blobs, "guardian") == guardian
    held = {
        role: {
            account
            for account in (key.address, ANY_ACCOUNT, minter, guardian, proposer, executor)
            if await has_role(chain, deployment.timelock, role, account)
        }
        for role in ("PROPOSER_ROLE", "CANCELLER_ROLE", "EXECUTOR_ROLE")
    }
    assert held == {"PROPOSER_ROLE": {proposer}, "CANCELLER_ROLE": {proposer}, "EXECUTOR_ROLE": {executor}}


async def test_the_deployer_proposes_and_anybody_executes_where_no_role_is_named(chain: LocalChain) -> None:
    key = AccountKey.generate()
    await chain.fund(key.address)
    timelock = (await deploy(chain.rpc_url, key, PARAMETERS)).timelock
    assert await has_role(chain, timelock, "PROPOSER_ROLE", key.address)
    assert await has_role(chain, timelock, "EXECUTOR_ROLE", ANY_ACCOUNT)


async def has_role(chain: LocalChain, timelock: str, role: str, account: str) -> bool:
    """Whether OpenZeppelin's timelock lets an account do what the role is for; `ANY_ACCOUNT` stands for every one."""
    arguments = keccak(text=role) + bytes(12) + bytes.fromhex(account[2:])
    data = "0x" + (keccak(text="hasRole(bytes32,address)")[:4] + arguments).hex()
    return int(await chain.request("eth_call", {"to": timelock, "data": data}, "latest"), 16) == 1


@pytest.mark.parametrize(
    ("stakes", "parameters"),
    [((3, 3), dataclasses.replace(PARAMETERS, opening_members=3, opening_s=60)), ((3, 3, 3), PARAMETERS)],
)
async def test_the_first_epoch_waits_for_what_the_deployment_names_or_for_four_members(
    launch: Launch, stakes: tuple[int, ...], parameters: DeploymentParameters
) -> None:
    network = await launch(stakes, parameters)
    with pytest.raises(LedgerRefused, match="NotEnoughMembers"):
        await network.operator.select()
    await network.chain.increase_time(parameters.opening_s)
    await network.operator.select()
    selected = (await network.operator.epoch_state()).next
    assert selected is not None and len(selected.members) == len(stakes)


async def test_parameters_that_the_contract_refuses_are_named(chain: LocalChain) -> None:
    key = AccountKey.generate()
    await chain.fund(key.address)
    with pytest.raises(DeploymentUnfinished, match=r"InvalidParameter \(name=nShards\)") as unfinished:
        await deploy(chain.rpc_url, key, dataclasses.replace(PARAMETERS, n_shards=3))
    # With a right one what was created before serves.
    first_nonce = unfinished.value.first_nonce
    deployment = await deploy(chain.rpc_url, key, PARAMETERS, first_nonce=first_nonce)
    assert deployment.block == int(await chain.request("eth_blockNumber"), 16)
    assert int(await chain.request("eth_getTransactionCount", key.address, "latest"), 16) == first_nonce + 8


async def test_parameter_too_large_for_its_type_is_refused(chain: LocalChain) -> None:
    key = AccountKey.generate()
    await chain.fund(key.address)
    with pytest.raises(LedgerError, match="creation of Committee"):
        await deploy(chain.rpc_url, key, dataclasses.replace(PARAMETERS, n_shards=1 << 16))


async def test_a_public_chain_wants_an_opening_stake_to_be_named(
    chain: LocalChain, spoilt: SpoiltConnection
) -> None:
    spoilt.changes.append(lambda method, result: "0x1" if method == "eth_chainId" else result)
    key = AccountKey.generate()
    await chain.fund(key.address)
    named = dataclasses.replace(PARAMETERS, finality="latest")
    with pytest.raises(LedgerError, match=r"chain 1 is not for development: .*--opening-stake"):
        await deploy(spoilt.url, key, named)
    with pytest.raises(DryRun):  # named, it goes on
        await deploy(spoilt.url, key, dataclasses.replace(named, opening_stake=0), dry_run=True)


@pytest.mark.parametrize(("address", "name"), [(0x09, "Blake2b"), (0x0B, "EIP-2537"), (0x0F, "pairing")])
async def test_chain_without_a_precompile_is_refused(
    chain: LocalChain, spoilt: SpoiltConnection, address: int, name: str
) -> None:
    async def has_none(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_call" and int(parameters[0]["to"], 16) == address:
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": "0x"})
        return None

    spoilt.rules.append(has_none)
    with pytest.raises(LedgerError, match=rf"lacks precompiles .*{name}.*Prague"):
        await deploy(spoilt.url, AccountKey.generate(), PARAMETERS)
    assert "eth_sendRawTransaction" not in spoilt.asked


def a_deployment() -> Deployment:
    token, timelock, staking, registry, committee, blobs, ballot, proofs = (
        to_checksum_address(bytes(18) + b"\xab" + bytes([n])) for n in range(8)
    )
    return Deployment(
        chain_id=17,
        token=token,
        timelock=timelock,
        staking=staking,
        registry=registry,
        committee=committee,
        blobs=blobs,
        ballot=ballot,
        proofs=proofs,
        block=4,
        domain=domain_of(17, committee),
        finality="finalized",
    )


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    a_deployment().save(path)
    assert Deployment.load(path) == a_deployment()
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("\ufeff" + path.read_text())  # as an editor may leave it
    assert Deployment.load(path) == a_deployment()


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.pop("blobs"), "exactly the fields"),
        (lambda manifest: manifest.update(extra=1), "exactly the fields"),
        (lambda manifest: manifest.update(staking="0x12"), "staking is not an address"),
        (
            lambda manifest: manifest.update(token=manifest["token"].swapcase().replace("X", "x")),
            "token is not",
        ),
        (lambda manifest: manifest.update(chain_id="17"), "chain_id is not a number"),
        (lambda manifest: manifest.update(chain_id=18), "domain does not belong"),
        (lambda manifest: manifest.update(block=-1), "block is not a number"),
        (lambda manifest: manifest.update(block=True), "block is not a number"),
        (lambda manifest: manifest.update(committee=manifest["blobs"]), "domain does not belong"),
        (lambda manifest: manifest.update(domain="0x" + "00" * 32), "domain does not belong"),
        (lambda manifest: manifest.update(finality="soon"), "finality is none of"),
        (lambda manifest: manifest.update(finality=["latest"]), "finality is none of"),
    ],
)
def test_manifest_refuses_a_wrong_field(tmp_path: Path, change: Change, message: str) -> None:
    manifest = json.loads(a_deployment().to_json())
    change(manifest)
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(LedgerError, match=message) as error:
        Deployment.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"deployment"', "[" * 10**6, '{"a":' * 10**6, "NaN"])
def test_manifest_refuses_what_is_none(text: str) -> None:
    with pytest.raises(LedgerError, match="deployment manifest"):
        Deployment.from_json(text)


def test_manifest_that_is_longer_than_any_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(a_deployment().to_json() + " " * 10**6)
    with pytest.raises(LedgerError, match="more than the 65536 bytes"):
        Deployment.load(path)


def test_manifest_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"cannot read the deployment manifest .*nowhere\.json"):
        Deployment.load(tmp_path / "nowhere.json")


def test_account_key_is_shown_by_its_address_alone() -> None:
    key = AccountKey(bytes(31) + b"\x01")
    assert key.address == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    assert key.to_bytes() == bytes(31) + b"\x01"
    for shown in (repr(key), str(key), f"{key}"):
        assert shown == f"AccountKey({key.address})"


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), b"\x01" * 31, b"\x01" * 33, ORDER.to_bytes(32, "big"), b"\xff" * 32]
)
def test_account_key_refuses_a_secret_that_is_none(secret: bytes) -> None:
    with pytest.raises(InvalidKey) as error:
        AccountKey(secret)
    assert not secret or secret.hex() not in str(error.value)
