"""What a deployment begins with, and the manifest that says where its contracts are: all that a node needs to join."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from eth_abi.abi import encode
from eth_utils.address import is_checksum_address, to_canonical_address
from eth_utils.crypto import keccak

from committee.errors import LedgerError
from committee.files import write_whole
from committee.ledger.evm import answers
from committee.ledger.manifest import ChainKind, load_manifest, read_manifest, require_fields

DEVELOPMENT_CHAIN_ID = 31337
"""The id of development chains: one miner makes their blocks, and the newest block stays."""

_ADDRESSES = ("token", "timelock", "staking", "registry", "committee", "blobs", "ballot", "proofs")

Finality = Literal["latest", "safe", "finalized"]
"""The JSON-RPC tag of the newest block that a node takes for settled."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The accounts that have powers over a deployment, which its timelock governs."""

    minter: str | None = None
    """The account that may make tokens, and so decide which nodes are elected; None for the timelock."""
    guardian: str | None = None
    """The account that may pause functions, each once and for some days; None for the deployer."""
    proposer: str | None = None
    """The account that may announce a change to the timelock, and cancel it; None for the deployer."""
    executor: str | None = None
    """The account that may execute an announced change after the delay; None for any account."""


@dataclass(frozen=True, slots=True)
class DeploymentParameters:
    """What a deployment begins with. The number of shards is for life; its governor may halve or double the times."""

    n_shards: int
    price_per_mib_period: int = field(kw_only=True)
    """In the token's smallest unit, for a MiB (2^20 bytes) of encoded size and one period; above 0."""
    write_price_per_mib: int = field(kw_only=True)
    """In the token's smallest unit, for registering a MiB of encoded size."""
    period_duration_s: int = 14 * 24 * 3600
    handover_deadline_s: int = 24 * 3600
    """After this time a handover can be closed, attested or not."""
    patience_s: int = 600
    """A member may be ejected once it has been silent for this time."""
    band_millis: int = 500
    """Tolerance band of the shard assignment, in thousandths of a shard; 0 switches it off."""
    capacity_bytes: int = 1 << 50
    """Encoded bytes that may be reserved for any one period."""
    evidence_window_s: int = 7 * 24 * 3600
    """Time after a period's end in which the stake that stood for it can be slashed and not be withdrawn."""
    timelock_delay_s: int = 2 * 24 * 3600
    """Time from the announcement of a change by the governor to its execution."""
    certificate_grace_s: int | None = None
    """Time after a start in which certificates of the epoch before still count; None for an hour, or half a short
    period."""
    notice_s: int | None = None
    """Least time from a selection to its start; None for an hour, or a quarter of a short period."""
    shrink_s: int | None = None
    """Time in which the part of the elected stake that must stand for a selection falls from two thirds to nothing;
    None for 26 periods."""
    commit_window_s: int | None = None
    """Time for commitments to what members store, from an epoch's inventory on; None for what the other two windows
    leave of a sixth of a period: 37 hours of a usual one."""
    prove_window_s: int | None = None
    """Time from the draw in which fellows are asked for certificates of proofs; None for a 36th of a period."""
    answer_window_s: int | None = None
    """Time from then on for answers on chain; None for a 36th of a period. The three are a sixth of a period at most: a
    replacement ends a round, and a period should have time for more rounds than members can be made to end."""
    demand_window_s: int | None = None
    """Time for the answer to a demand, a sixth of a period at most; None for a 14th of a period."""
    demand_bond: int = 100 * 10**18
    """In the token's smallest unit, above 0: what a demand costs its asker if it is answered. It should be worth the
    dearest answer, of 2.6 million gas."""
    opening_members: int = 4
    """The first selection waits for this many members and for `opening_stake`: else the first account to stake would be
    the whole network. Of fewer than four equal members none may fail."""
    opening_stake: int | None = None
    """In the token's smallest unit; None for none on a development chain. On any other it must be named: with next to
    no stake an account that comes first would elect all members."""
    opening_s: int = 7 * 24 * 3600
    """After this time since the deployment the first selection waits no longer."""
    supply: int = 0
    """Tokens that the deployer has to begin with, in the smallest unit."""
    finality: Finality | None = None
    """None: "latest" on a development chain, "finalized" on any other."""

    @property
    def proof_windows_s(self) -> tuple[int, int, int, int]:
        """The windows of storage proofs: commit, prove, answer, demand. Defaults fit periods of 12 s or more."""
        period_s = self.period_duration_s
        prove_s = period_s // 36 if self.prove_window_s is None else self.prove_window_s
        answer_s = max(1, period_s // 36) if self.answer_window_s is None else self.answer_window_s
        rest_s = max(1, period_s // 6 - prove_s - answer_s)
        return (
            rest_s if self.commit_window_s is None else self.commit_window_s,
            prove_s,
            answer_s,
            max(1, period_s // 14) if self.demand_window_s is None else self.demand_window_s,
        )


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one network on one chain."""

    chain_id: int
    token: str
    timelock: str
    staking: str
    registry: str
    committee: str
    blobs: str
    ballot: str
    proofs: str
    block: int
    """The block in which the last of the contracts was created."""
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
        values = read_manifest(text, ChainKind.EVM)
        require_fields(values, {field.name for field in fields(cls)})
        for name in _ADDRESSES:
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
        """Return the manifest."""
        return json.dumps({**asdict(self), "domain": "0x" + self.domain.hex()}, indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read a manifest file. Raises `LedgerError` naming the file."""
        return load_manifest(path, cls.from_json)

    def save(self, path: Path) -> None:
        """Write a new manifest file, whole or not at all. Raises `OSError`, also when it exists."""
        write_whole(path, self.to_json().encode())


def domain_of(chain_id: int, committee: str) -> bytes:
    """Return the 32 bytes that bind a signature to one deployment (PROTOCOL section 2)."""
    return keccak(encode(["uint256", "address"], [chain_id, to_canonical_address(committee)]))
