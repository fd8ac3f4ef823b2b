"""Putting the contracts on a chain: their creations, and going on with a deployment that was interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from committee.errors import LedgerError
from committee.ledger.evm import answers
from committee.ledger.evm.abi import ErrorDecoder, load_contract
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.deployment import (
    DEVELOPMENT_CHAIN_ID,
    Deployment,
    DeploymentParameters,
    Finality,
    Roles,
    domain_of,
)
from committee.ledger.evm.newest import newest_block
from committee.ledger.evm.outbox import transactions_of
from committee.ledger.evm.refusals import Behind, EndpointError
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.sender import Sender
from committee.ledger.interface import DryRun
from committee.ledger.providers import Providers
from committee.ledger.records import SentTransaction

CONTRACTS = ("HauloutToken", "Timelock", "Staking", "Registry", "Committee", "Blobs", "Ballot", "Proofs")
"""The contracts, in the order of their creation."""
_PRECOMPILES = (
    ("Blake2b (EIP-152, Istanbul)", 0x09, "00000001" + "00" * 208 + "01", 64),
    ("BLS12-381 (EIP-2537, Prague)", 0x0B, "00" * 256, 128),
    ("BLS12-381 pairing (EIP-2537, Prague)", 0x0F, "00" * 384, 32),
    ("BLS12-381 map to curve (EIP-2537, Prague)", 0x11, "00" * 128, 256),
)
"""(name, address, an input it accepts, bytes of its answer)."""

LONGEST_DEFAULT_S = 3600
"""The longest grace for certificates, and the longest notice of a start, of a deployment that names none."""
DEFAULT_ROLES = Roles()
ANY_ACCOUNT = "0x" + 40 * "0"
"""The address that the timelock takes for its executor where any account may execute."""


async def deploy(
    providers: Providers,
    key: AccountKey,
    parameters: DeploymentParameters,
    roles: Roles = DEFAULT_ROLES,
    *,
    dry_run: bool = False,
    first_nonce: int | None = None,
) -> Deployment:
    """Create token, timelock, staking, registry, committee, blob, ballot and proofs contracts.

    The account must not send anything else meanwhile: staking is given the addresses of registry, committee, blob and
    proofs contract before they exist, the blob contract that of the ballot, and their constructors refuse any other.

    With `dry_run` nothing is sent and `DryRun` raised; what the committee's and the blobs' creation cost cannot be
    estimated before the others exist.

    With `first_nonce`, continue the deployment that the account began with that nonce and the same parameters: the
    contracts that exist are not created again.

    Raises `LedgerError` when the chain lacks a precompile, `LedgerRefused` for parameters that a contract
    refuses or an account that cannot pay, `LedgerUnavailable`; `DeploymentUnfinished` for whatever fails once something
    was sent. A cancellation carries the same text as a note.
    """
    async with _connection(providers) as rpc:
        await _probe(rpc)
        chain_id = await rpc.eth.chain_id
        _require_opening(chain_id, parameters)
        finality = parameters.finality or ("latest" if chain_id == DEVELOPMENT_CHAIN_ID else "finalized")
        await _probe_finality(rpc, finality)
        with closing(Sender(rpc, key, chain_id, ErrorDecoder(map(load_contract, CONTRACTS)))) as sender:
            next_nonce = await transactions_of(rpc, key.address, "pending")
            nonce = next_nonce if first_nonce is None else first_nonce
            addresses = {
                name: _created_address(key.address, nonce + place) for place, name in enumerate(CONTRACTS)
            }
            await _require_created(rpc, addresses, parameters, roles, next_nonce - nonce)
            creations = _creations(key.address, addresses, parameters, roles)
            lacking = {name: creations[name] for name in CONTRACTS[next_nonce - nonce :]}
            if dry_run:
                raise await _planned(sender, lacking)
            with _unfinished(sender, nonce):
                await _create(sender, lacking, addresses)
                newest = await newest_block(rpc)
            block = max(sender.mined_block, 0) or newest.mark.number
    return Deployment(
        chain_id,
        token=addresses["HauloutToken"],
        timelock=addresses["Timelock"],
        staking=addresses["Staking"],
        registry=addresses["Registry"],
        committee=addresses["Committee"],
        blobs=addresses["Blobs"],
        ballot=addresses["Ballot"],
        proofs=addresses["Proofs"],
        block=block,
        domain=domain_of(chain_id, addresses["Committee"]),
        finality=finality,
    )


def _require_opening(chain_id: int, parameters: DeploymentParameters) -> None:
    """Check that the first epoch waits for a stake that was named, on any chain but one for development."""
    if chain_id != DEVELOPMENT_CHAIN_ID and parameters.opening_stake is None:
        raise LedgerError(
            f"chain {chain_id} is not for development: say how much stake the first epoch waits for "
            "(--opening-stake TOKENS), for else the first account to stake elects all members"
        )


@asynccontextmanager
async def _connection(providers: Providers) -> AsyncIterator[Rpc]:
    """Open a connection to the chain; close it in the end."""
    rpc = Rpc(providers)
    try:
        yield rpc
    finally:
        await rpc.close()


class DeploymentUnfinished(LedgerError):
    """Some contracts of a deployment are created and paid for, or may be; `sent` are the transactions."""

    def __init__(self, cause: BaseException, sent: tuple[SentTransaction, ...], first_nonce: int) -> None:
        self.sent = sent
        self.first_nonce = first_nonce
        super().__init__(
            f"the deployment is not finished: {str(cause) or type(cause).__name__}; to go on with it and pay for none "
            f"of its contracts twice, type the same command with --first-nonce {first_nonce}"
        )


@contextmanager
def _unfinished(sender: Sender, first_nonce: int) -> Iterator[None]:
    """Add to an error or a cancellation which transactions were sent, and how to go on with the deployment."""
    try:
        yield
    except Exception as error:
        if not sender.sent:
            raise
        raise DeploymentUnfinished(error, sender.sent, first_nonce) from error
    except BaseException as stopped:
        if sender.sent:
            stopped.add_note(str(DeploymentUnfinished(stopped, sender.sent, first_nonce)))
        raise


async def _planned(sender: Sender, creations: Mapping[str, bytes]) -> DryRun:
    """Return the creations as transactions that were not sent."""
    return DryRun(
        [
            await sender.plan(f"creation of {name}", None, creation, after_others=True)
            for name, creation in creations.items()
        ]
    )


async def _create(sender: Sender, creations: Mapping[str, bytes], addresses: Mapping[str, str]) -> None:
    for name, creation in creations.items():
        receipt = await sender.send(f"creation of {name}", None, creation)
        if (receipt.contract or "").lower() != addresses[name].lower():
            raise LedgerError(f"{name} is not where it was predicted: {sender.account} sent something else")


async def _require_created(
    rpc: Rpc, addresses: Mapping[str, str], parameters: DeploymentParameters, roles: Roles, count: int
) -> None:
    """Require that the first `count` contracts exist and belong to this deployment. Raises `LedgerError`."""
    if not 0 <= count <= len(CONTRACTS):
        raise LedgerError(f"no deployment was begun with that nonce: the account has sent {count} since")
    views: dict[str, tuple[str, object]] = {
        "HauloutToken": ("owner", roles.minter or addresses["Timelock"]),
        "Timelock": ("getMinDelay", parameters.timelock_delay_s),
        "Staking": ("committee", addresses["Committee"]),
        "Registry": ("committee", addresses["Committee"]),
        "Committee": ("nShards", parameters.n_shards),
        "Blobs": ("committee", addresses["Committee"]),
        "Ballot": ("space", addresses["Blobs"]),
        "Proofs": ("committee", addresses["Committee"]),
    }
    for name in CONTRACTS[:count]:
        (function, expected), abi = views[name], load_contract(name)
        call = {"to": addresses[name], "data": "0x" + abi.encode_call(function).hex()}
        told: object = None
        try:
            answer = await rpc.request("eth_call", call, "latest", read=answers.data)
            told = abi.decode_result(function, answer) if answer else None
        except EndpointError as error:
            if not error.is_revert:
                raise
        if told != expected:
            raise LedgerError(
                f"no deployment with these parameters was begun with that nonce: there is no {name} at "
                f"{addresses[name]} whose {function} is {expected}"
            )


def _creations(
    deployer: str, addresses: Mapping[str, str], parameters: DeploymentParameters, roles: Roles
) -> dict[str, bytes]:
    """Return contract → its code with the constructor's arguments, which a transaction has to carry to create it."""
    arguments = _constructor_arguments(deployer, addresses, parameters, roles)
    return {name: load_contract(name).encode_deployment(**arguments[name]) for name in CONTRACTS}


def _constructor_arguments(
    deployer: str, addresses: Mapping[str, str], parameters: DeploymentParameters, roles: Roles
) -> dict[str, dict[str, Any]]:
    """Return contract → the arguments of its constructor by name."""
    governed = {"governor_": addresses["Timelock"], "guardian_": roles.guardian or deployer}
    return {
        "HauloutToken": {
            "owner": roles.minter or addresses["Timelock"],
            "holder": deployer,
            "supply": parameters.supply,
        },
        "Timelock": {
            "delay": parameters.timelock_delay_s,
            "proposers": [roles.proposer or deployer],
            "executors": [roles.executor or ANY_ACCOUNT],
        },
        "Staking": {
            "token_": addresses["HauloutToken"],
            "registry_": addresses["Registry"],
            "committee_": addresses["Committee"],
            "payer_": addresses["Blobs"],
            "proofs_": addresses["Proofs"],
            "evidenceWindow_": parameters.evidence_window_s,
            **governed,
        },
        "Registry": {"staking_": addresses["Staking"], **governed},
        "Committee": {
            "registry_": addresses["Registry"],
            "nShards_": parameters.n_shards,
            "parameters_": _committee_parameters(parameters),
            "opening_": (
                parameters.opening_members,
                _default(parameters.opening_stake, 0),
                parameters.opening_s,
            ),
            **governed,
        },
        "Blobs": {
            "committee_": addresses["Committee"],
            "token_": addresses["HauloutToken"],
            "terms_": (
                parameters.price_per_mib_period,
                parameters.write_price_per_mib,
                parameters.capacity_bytes,
            ),
            "ballot_": addresses["Ballot"],
            **governed,
        },
        "Ballot": {"space_": addresses["Blobs"]},
        "Proofs": {
            "committee_": addresses["Committee"],
            "blobs_": addresses["Blobs"],
            "windows_": parameters.proof_windows_s,
            "bond_": parameters.demand_bond,
        },
    }


def _committee_parameters(parameters: DeploymentParameters) -> tuple[int, ...]:
    """Return the fields of the contract's `Parameters`, in their order, with defaults for those that are not named."""
    period_s = parameters.period_duration_s
    return (
        period_s,
        parameters.handover_deadline_s,
        parameters.patience_s,
        _default(parameters.certificate_grace_s, min(LONGEST_DEFAULT_S, period_s // 2)),
        _default(parameters.notice_s, min(LONGEST_DEFAULT_S, period_s // 4)),
        _default(parameters.shrink_s, 26 * period_s),
        parameters.band_millis,
    )


def _default(given: int | None, default: int) -> int:
    return default if given is None else given


def _created_address(account: str, nonce: int) -> str:
    """Return the address of the contract that an account creates with this nonce."""
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(account), nonce]))[12:])


async def _probe(rpc: Rpc) -> None:
    """Refuse a chain without the precompiles. Where they are missing a call succeeds with an empty answer."""
    missing = [
        name
        for name, address, given, size in _PRECOMPILES
        if len(await _precompile(rpc, address, given)) != size
    ]
    if missing:
        raise LedgerError(
            f"this chain lacks precompiles the contracts need: {', '.join(missing)}; "
            "it must run the Prague hard fork or a later one"
        )


async def _probe_finality(rpc: Rpc, finality: Finality) -> None:
    """Refuse a chain that has no block with the deployment's tag: no node could ever follow it."""
    try:
        await rpc.request("eth_getBlockByNumber", finality, False, read=answers.block)
    except (Behind, EndpointError) as error:
        raise LedgerError(
            f"this chain tells no {finality} block ({error}): deploy with --finality latest, and give its nodes "
            "`confirmations` in node.toml; or wait, if the endpoint has just been started"
        ) from None


async def _precompile(rpc: Rpc, address: int, given: str) -> bytes:
    try:
        call = {"to": f"0x{address:040x}", "data": "0x" + given}
        return await rpc.request("eth_call", call, "latest", read=answers.data)
    except EndpointError:
        return b""
