"""What a ledger tells of its state: records of it at a block.

All amounts are integers in the token's smallest unit, blob ids are the 32 bytes of PROTOCOL section 1, times are
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from committee.membership import Committee, Member


@dataclass(frozen=True, slots=True)
class BlockMark:
    """One block of the chain; two marks with one number and different hashes tell a reorganisation."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a deployment.

    Shards and domain are fixed for life. Its governor may change the others; a change counts from the next period's
    start on.
    """

    n_shards: int
    period_duration_s: int
    handover_deadline_s: int
    patience_s: int
    """A member may be ejected once it has been silent for this time."""
    band_millis: int
    """Tolerance band of the shard assignment, in thousandths of a shard."""
    domain: bytes
    """32 bytes in every signed message: keccak256(abi.encode(chain id, committee contract))."""
    certificate_grace_s: int = 0
    """Time after a start in which certificates of the epoch before count even if the handover is done, and in which no
    other epoch starts."""
    notice_s: int = 0
    """Least time from a selection to its start."""
    shrink_s: int = 1 << 31
    """The part of the elected stake that a selection needs falls from two thirds to nothing within this time."""


@dataclass(frozen=True, slots=True)
class EpochState:
    """The committees and the phase of the epoch, all read at one block."""

    block: BlockMark
    epoch: int
    """Number of the committee in office; 0 before the first start."""
    period: int
    """What users pay for, and stake is elected for; 0 before the first start."""
    first_epoch: int
    """The epoch with which the period began; each later one of the period began with a replacement."""
    started_at_s: int
    started_block: BlockMark | None
    """The block that started the epoch; None in epoch 0."""
    handover_done: bool
    last_handover_done_s: int
    regular_handover_done_s: int
    """When the newest handover into a period's first epoch was done: the next period's times are counted from it."""
    previous: Committee | None
    current: Committee | None
    next: Committee | None
    """Selected but not started."""
    unattested: Mapping[int, Member] = field(default_factory=dict)
    """Shard → the node that kept or attested it last, for the shards that their owners in `previous` had neither kept
    nor attested by that epoch's end. That node must serve the shard still, member or not. If the shard's owner stays
    the same, it has the shard to attest in this epoch."""
    selected_at_s: int = 0
    """When `next` was selected; 0 when there is none."""
    salt_seed: bytes | None = field(kw_only=True)
    """The 32 bytes, known to nobody before the epoch started, that all members' salts are made of
    (`storage.proofs.salt_of`): on an EVM chain the hash of `started_block`, on Sui what the start drew. None in epoch
    0."""
    next_is_replacement: bool = False
    """Whether `next` is the committee in office without its ejected members, to start within the period."""
    replaceable_at_s: int | None = None
    """Since when ejected members can be replaced; None when there are none, too few members are left, the period has
    had its replacements, the handover is not done or a committee is selected. See `replacements_resume_s` too."""

    @property
    def next_period(self) -> int:
        """The period of the epoch that starts next: the current one for a replacement, else the period after it."""
        return self.period if self.next_is_replacement else self.period + 1

    def committee(self, epoch: int) -> Committee | None:
        """Return the committee of an epoch, if it is the previous, current or selected one."""
        for committee in (self.previous, self.current, self.next):
            if committee is not None and committee.epoch == epoch:
                return committee
        return None

    def concerns(self, node_id: int, shard: int) -> bool:
        """Return whether a shard is the node's in the previous, the current or the selected committee."""
        committees = filter(None, (self.previous, self.current, self.next))
        return any(shard in one.shards_of(node_id) for one in committees)

    def holders(self, shard: int) -> tuple[Member, ...]:
        """Return the members that may have slivers of a shard: its owners, now and before, and that in `unattested`."""
        holders: dict[int, Member] = {}
        for owners in (
            self.current.owner_of if self.current else {},
            self.previous.owner_of if self.previous else {},
            self.unattested,
        ):
            if shard in owners:
                holders.setdefault(owners[shard].node_id, owners[shard])
        return tuple(holders.values())

    def members(self) -> dict[int, Member]:
        """Return the members that may have slivers of any shard, by node id, as the newest committee names them."""
        known = {member.node_id: member for member in self.unattested.values()}
        for committee in (self.previous, self.current):
            known.update(committee.by_id if committee else {})
        return known


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A node in the registry, member or not."""

    node_id: int
    owner: str
    """The account that registered the node, or accepted it since, and decides about it; a new key's proof of possession
    names it. On Sui the account that has the node's `OwnerCap`, the zero address when none has."""
    next_owner: str | None
    """The account that the node is offered to, which may accept it; None for none."""
    operator: str
    """The account that the node's process sends from; the zero address for none."""
    receiver: str
    """The account that gets the commission."""
    name: str
    address: str
    tls_key: bytes
    """SHA-256 of the TLS key's SubjectPublicKeyInfo; 32 zero bytes for a node without TLS."""
    public_key: bytes
    """BLS, compressed, 48 bytes; in the current period."""
    commission: int
    """The receiver's part of the rewards, in hundredths of a percent; in the current period."""
    stake: int
    is_candidate: bool
    barred_until_period: int
    """The node may not become a candidate again before this period has begun."""
    pending_public_key: bytes
    public_key_from: int
    """The period from which on `pending_public_key` counts; the same key as `public_key` when it does already."""
    pending_commission: int
    commission_from: int
    """The period from which on `pending_commission` counts; the same rate as `commission` when it does already."""


class Absence(StrEnum):
    """Why a registered node does not stand for election."""

    LEFT = "it was withdrawn"
    """The node's owner or operator withdrew it."""
    REMOVED = "it was ejected"
    EVICTED = "a candidate with more stake took its place"
    NEVER_STOOD = "all places were taken when it registered"


@dataclass(frozen=True, slots=True)
class Joining:
    """Stake that earns from `period` on, once the node is settled up to it."""

    period: int
    amount: int


@dataclass(frozen=True, slots=True)
class Unbonding:
    """Stake that is unstaked and not yet withdrawn."""

    unlock_period: int
    """The first period for which the stake does not stand."""
    shares: int
    amount: int
    """What the shares are worth now; they earn until the period before `unlock_period` is over, and may be slashed."""
    unlocks_at_s: int
    """Chain time at which the evidence window ends; 0 while `unlock_period` has not begun.

    The shares are withdrawn later while certificates of their last period still count, and sooner at a standstill.
    """


@dataclass(frozen=True, slots=True)
class StakePosition:
    """What one account has on one node."""

    node_id: int
    shares: int
    amount: int
    """What the shares are worth now, rewards included, and what is to join."""
    joining: tuple[Joining, ...]
    unbonding: tuple[Unbonding, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """What a blob takes and costs."""

    encoded_bytes: int
    """All slivers and metadata on all shards."""
    cost: int


MEBIBYTE = 1 << 20
"""Bytes; space is booked and paid in whole ones."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Space that no blob uses yet."""

    resource_id: int
    owner: str
    size_bytes: int
    """Whole mebibytes, as they are booked and paid."""
    start_period: int
    """The first period; it may be over."""
    end_period: int
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that stands for the next selection, in candidate order."""

    node_id: int
    stake: int


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """One blob object: a lifetime for a blob id. Several objects may name the same blob."""

    object_id: int
    blob_id: bytes
    length: int
    """Bytes of the blob as the user gave it."""
    owner: str
    registered_epoch: int
    certified_epoch: int | None
    end_period: int
    """The first period in which the object does not live any more."""
    deletable: bool
    deleted: bool = False
    invalid: bool = False
    """The writer was proven to have encoded it inconsistently."""

    def is_registered(self, period: int) -> bool:
        """Return whether the object is neither deleted nor, in `period`, expired."""
        return not self.deleted and period < self.end_period

    def is_live(self, period: int) -> bool:
        """Return whether nodes must keep the blob in `period` for this object's sake."""
        return self.certified_epoch is not None and not self.invalid and self.is_registered(period)


@dataclass(frozen=True, slots=True)
class BlobObjects:
    """What a search for a blob's objects has found, in one block."""

    objects: tuple[BlobRecord, ...]
    """The objects that are neither deleted nor expired, newest first."""
    known_up_to: int
    """The number of objects of all blobs: an object that was registered later has a greater id."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """A gaining member's word on chain that it has all pairs of one shard (PROTOCOL sections 5 and 8)."""

    shard: int
    digest: bytes
    """The shard's root: that of the salted tree over the symbols of all its pairs (the contract's name for it)."""
    count: int
    """Number of these pairs: one for each blob of the epoch's inventory."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that succeeded."""

    hash: bytes
    block: BlockMark
    gas_used: int


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A transaction that was handed to the chain, whatever became of it."""

    action: str
    """The contract and its function."""
    hash: bytes
    is_mined: bool
    """False when its end is not known: it may still be mined."""


@dataclass(frozen=True, slots=True)
class PlannedTransaction:
    """A transaction that was not sent, and what it would cost at most."""

    action: str
    sender: str
    to: str | None
    data: bytes
    gas: int | None
    """None when it can only be estimated after the ones planned before it."""
    fee_wei: int | None
    """Gas at the highest price it would bid; None as `gas`."""
