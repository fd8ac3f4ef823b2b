"""Putting the contracts on a chain, and the manifest that is all a node needs to join them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import rlp  # type: ignore[import-untyped]
from eth_abi.abi import encode
from eth_utils.address import is_checksum_address, to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from committee.errors import LedgerError
from committee.files import read_settings, write_whole
from committee.ledger.evm import answers
from committee.ledger.evm.abi import ErrorDecoder, load_contract
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.outbox import transactions_of
from committee.ledger.evm.refusals import Behind, EndpointError
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.sender import Sender
from committee.ledger.interface import DryRun
from committee.ledger.records import SentTransaction
from committee.untrusted import InvalidJson, parse_json

CONTRACTS = ("HauloutToken", "Timelock", "Staking", "Committee", "Blobs")
"""In the order of their creation."""
DEVELOPMENT_CHAIN_ID = 31337
"""Of a chain with one miner, whose newest block stays."""

MAX_MANIFEST_BYTES = 1 << 16
MAX_MANIFEST_BRACKETS = 16

Finality = Literal["latest", "safe", "finalized"]
"""Which block a node takes for settled, by its JSON-RPC tag."""

_PRECOMPILES = (
    ("Blake2b (EIP-152, Istanbul)", 0x09, "00000001" + "00" * 208 + "01", 64),
    ("BLS12-381 (EIP-2537, Prague)", 0x0B, "00" * 256, 128),
    ("BLS12-381 pairing (EIP-2537, Prague)", 0x0F, "00" * 384, 32),
    ("BLS12-381 map to curve (EIP-2537, Prague)", 0x11, "00" * 128, 256),
)
"""(name, address, an input it accepts, bytes of its answer)."""


LONGEST_DEFAULT_S = 3600
"""Of the grace for certificates and of the notice of a start, where none is named."""
NOBODY = "0x" + 40 * "0"
"""As the timelock's executor: anyone."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The accounts that have powers over a deployment. What elects, the token, and what governs is the timelock's."""

    minter: str | None = None
    """May make tokens, and so decide who is elected; None for the timelock."""
    guardian: str | None = None
    """May pause functions, each once and for some days; None for the deployer."""
    proposer: str | None = None
    """May announce what the timelock is to do, and cancel it; None for the deployer."""
    executor: str | None = None
    """May have the timelock do what was announced, after its delay; None for anyone."""


@dataclass(frozen=True, slots=True)
class DeploymentParameters:
    """What a deployment begins with. Its number of shards is for life; times its governor may halve or double."""

    n_shards: int
    price_per_mib_epoch: int = field(kw_only=True)
    """In the token's smallest unit, for a MiB (2^20 bytes) of encoded size and one epoch; above 0."""
    write_price_per_mib: int = field(kw_only=True)
    """In the token's smallest unit, for registering a MiB of encoded size."""
    epoch_duration_s: int = 14 * 24 * 3600
    handover_deadline_s: int = 24 * 3600
    """After this time a handover can be closed, attested or not."""
    patience_s: int = 600
    """A member may be ejected once it has been silent for this time."""
    band_millis: int = 500
    """Tolerance band of the shard assignment, in thousandths of a shard; 0 switches it off."""
    capacity_bytes: int = 1 << 50
    """Encoded bytes that may be reserved for any one epoch."""
    evidence_window_s: int = 7 * 24 * 3600
    """After an epoch's end, in which the stake that stood for it can be slashed and not be withdrawn."""
    timelock_delay_s: int = 2 * 24 * 3600
    """From the announcement of a change by the governor to its execution."""
    certificate_grace_s: int | None = None
    """From a start, in which certificates of the epoch before still count; None for an hour, or half a short epoch."""
    notice_s: int | None = None
    """From a selection to its start at least; None for an hour, or a quarter of a short epoch."""
    shrink_s: int | None = None
    """In which the part of the elected stake that must stand for a selection falls from two thirds to nothing; None for
    26 epochs."""
    opening_members: int = 1
    """The first selection waits for this many members and this much stake, or for a time."""
    opening_stake: int = 0
    """In the token's smallest unit."""
    opening_s: int = 0
    """After this time since the deployment the first selection waits no longer."""
    supply: int = 0
    """What the deployer has of the token to begin with, in its smallest unit."""
    finality: Finality | None = None
    """None: "latest" on a development chain, "finalized" on any other."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one network on one chain."""

    chain_id: int
    token: str
    timelock: str
    staking: str
    committee: str
    blobs: str
    block: int
    """In which the last of the contracts was created."""
    domain: bytes
    """32 bytes: keccak256(abi.encode(chain id, committee contract))."""
    finality: Finality

    @property
    def is_development_chain(self) -> bool:
        """Whether the chain has the id of development chains, which run on one machine."""
        return self.chain_id == DEVELOPMENT_CHAIN_ID

    @classmethod
    def from_json(cls, text: str) -> Deployment:
        """Read a manifest. Raises `LedgerError` naming the field that is missing or wrong."""
        try:
            values: dict[str, Any] = parse_json(text, MAX_MANIFEST_BRACKETS)
        except InvalidJson as error:
            raise LedgerError(f"deployment manifest is not JSON: {error}") from None
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise LedgerError(f"deployment manifest must have exactly the fields {', '.join(sorted(names))}")
        for name in ("token", "timelock", "staking", "committee", "blobs"):
            if not (isinstance(values[name], str) and is_checksum_address(values[name])):
                raise LedgerError(f"deployment manifest: {name} is not an address with a right checksum")
        for name in ("chain_id", "block"):
            if type(values[name]) is not int or not 0 <= values[name] <= answers.MAX_NUMBER:
                raise LedgerError(f"deployment manifest: {name} is not a number")
        if values["finality"] not in get_args(Finality):
            raise LedgerError(f"deployment manifest: finality is none of {', '.join(get_args(Finality))}")
        domain = domain_of(values["chain_id"], values["committee"])
        if values["domain"] != "0x" + domain.hex():
            raise LedgerError("deployment manifest: domain does not belong to this chain id and committee")
        return cls(**{**values, "domain": domain})

    def to_json(self) -> str:
        """The manifest."""
        return json.dumps({**asdict(self), "domain": "0x" + self.domain.hex()}, indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read a manifest file. Raises `LedgerError` naming the file."""
        try:
            text = read_settings(path, MAX_MANIFEST_BYTES)
        except OSError as error:
            raise LedgerError(f"cannot read the deployment manifest {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise LedgerError(f"cannot read the deployment manifest {path}: {error}") from None
        try:
            return cls.from_json(text)
        except LedgerError as error:
            raise LedgerError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Write a new manifest file, whole or not at all. Raises `OSError`, also when it exists."""
        write_whole(path, self.to_json().encode())


def domain_of(chain_id: int, committee: str) -> bytes:
    """The 32 bytes that bind a signature to one deployment (PROTOCOL section 2)."""
    return keccak(encode(["uint256", "address"], [chain_id, to_canonical_address(committee)]))


async def deploy(
    rpc_url: str,
    key: AccountKey,
    parameters: DeploymentParameters,
    roles: Roles = Roles(),
    *,
    dry_run: bool = False,
    first_nonce: int | None = None,
) -> Deployment:
    """Create token, timelock, staking, committee and blob contracts.

    The account must not send anything else meanwhile: staking is given the committee's and the blob contract's
    addresses before they exist, and their constructors refuse any other.

    With `dry_run` nothing is sent and `DryRun` raised; what the committee's and the blobs' creation cost cannot be
    estimated before the others exist.

    With `first_nonce`, a deployment that was begun with that nonce of the account, and the same parameters, is gone on
    with: what exists of it is not created again.

    Raises `LedgerError` when the chain lacks a precompile, `LedgerRefused` for parameters that a contract
    refuses or an account that cannot pay, `LedgerUnavailable`; `DeploymentUnfinished` for whatever fails once something
    was sent. A cancellation carries the same text as a note.
    """
    rpc = Rpc(rpc_url)
    sender: Sender | None = None
    try:
        await _probe(rpc)
        chain_id = await rpc.eth.chain_id
        finality = parameters.finality or ("latest" if chain_id == DEVELOPMENT_CHAIN_ID else "finalized")
        await _probe_finality(rpc, finality)
        sender = Sender(rpc, key, chain_id, ErrorDecoder(load_contract(name) for name in CONTRACTS))
        next_nonce = await transactions_of(rpc, key.address, "pending")
        nonce = next_nonce if first_nonce is None else first_nonce
        addresses = {
            name: _created_address(key.address, nonce + place) for place, name in enumerate(CONTRACTS)
        }
        owner = roles.minter or addresses["Timelock"]
        await _require_created(rpc, owner, addresses, parameters, next_nonce - nonce)
        creations = {
            name: load_contract(name).encode_deployment(**arguments)
            for name, arguments in _constructor_arguments(key.address, addresses, parameters, roles).items()
        }
        lacking = {name: creations[name] for name in CONTRACTS[next_nonce - nonce :]}
        if dry_run:
            raise DryRun(
                [
                    await sender.plan(f"creation of {name}", None, creation, after_others=True)
                    for name, creation in lacking.items()
                ]
            )
        with _unfinished(sender, nonce):
            await _create(sender, lacking, addresses)
            newest = await rpc.request("eth_getBlockByNumber", "latest", False, read=answers.block)
        block = max(sender.mined_block, 0) or newest.mark.number
    finally:
        if sender is not None:
            sender.close()
        await rpc.close()
    return Deployment(
        chain_id=chain_id,
        token=addresses["HauloutToken"],
        timelock=addresses["Timelock"],
        staking=addresses["Staking"],
        committee=addresses["Committee"],
        blobs=addresses["Blobs"],
        block=block,
        domain=domain_of(chain_id, addresses["Committee"]),
        finality=finality,
    )


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
    """Say in whatever ends the work what was sent, and how to go on with it."""
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


async def _create(sender: Sender, creations: Mapping[str, bytes], addresses: Mapping[str, str]) -> None:
    for name, creation in creations.items():
        receipt = await sender.send(f"creation of {name}", None, creation)
        if (receipt.contract or "").lower() != addresses[name].lower():
            raise LedgerError(f"{name} is not where it was predicted: {sender.account} sent something else")


async def _require_created(
    rpc: Rpc, owner: str, addresses: Mapping[str, str], parameters: DeploymentParameters, count: int
) -> None:
    """Require that the first `count` contracts are there, and are of this deployment. Raises `LedgerError`."""
    if not 0 <= count <= len(CONTRACTS):
        raise LedgerError(f"no deployment was begun with that nonce: the account has sent {count} since")
    views: dict[str, tuple[str, object]] = {
        "HauloutToken": ("owner", owner),
        "Timelock": ("getMinDelay", parameters.timelock_delay_s),
        "Staking": ("committee", addresses["Committee"]),
        "Committee": ("nShards", parameters.n_shards),
        "Blobs": ("committee", addresses["Committee"]),
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


def _constructor_arguments(
    deployer: str, addresses: dict[str, str], parameters: DeploymentParameters, roles: Roles
) -> dict[str, dict[str, Any]]:
    """What each contract is created with, in the order of creation."""
    governed = {"governor_": addresses["Timelock"], "guardian_": roles.guardian or deployer}
    epoch_s = parameters.epoch_duration_s
    return {
        "HauloutToken": {
            "owner": roles.minter or addresses["Timelock"],
            "holder": deployer,
            "supply": parameters.supply,
        },
        "Timelock": {
            "delay": parameters.timelock_delay_s,
            "proposers": [roles.proposer or deployer],
            "executors": [roles.executor or NOBODY],
        },
        "Staking": {
            "token_": addresses["HauloutToken"],
            "committee_": addresses["Committee"],
            "payer_": addresses["Blobs"],
            "evidenceWindow_": parameters.evidence_window_s,
            **governed,
        },
        "Committee": {
            "staking_": addresses["Staking"],
            "nShards_": parameters.n_shards,
            "parameters_": (
                epoch_s,
                parameters.handover_deadline_s,
                parameters.patience_s,
                _default(parameters.certificate_grace_s, min(LONGEST_DEFAULT_S, epoch_s // 2)),
                _default(parameters.notice_s, min(LONGEST_DEFAULT_S, epoch_s // 4)),
                _default(parameters.shrink_s, 26 * epoch_s),
                parameters.band_millis,
            ),
            "opening_": (parameters.opening_members, parameters.opening_stake, parameters.opening_s),
            **governed,
        },
        "Blobs": {
            "committee_": addresses["Committee"],
            "token_": addresses["HauloutToken"],
            "terms_": (
                parameters.price_per_mib_epoch,
                parameters.write_price_per_mib,
                parameters.capacity_bytes,
            ),
            **governed,
        },
    }


def _default(given: int | None, default: int) -> int:
    return default if given is None else given


def _created_address(account: str, nonce: int) -> str:
    """Where the contract will be that an account creates with this nonce."""
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
    """Refuse a chain that tells no block with the deployment's tag: no node could ever follow it."""
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
