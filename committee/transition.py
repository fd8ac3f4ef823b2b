"""The plan of a handover: what becomes of each shard when one committee follows another (PROTOCOL section 5).

These are the decisions. What carries a plan out adds two: a source that fails is left, and what it did not give is
rebuilt (`storage.node.handover.copying`); and a shard goes when the chain's time and word allow it
(`storage.node.handover.jobs`). `plan_filling` is the first part:

    the shard's owner before           its owner now
    there was no committee             keeps it: there are no bytes yet
    the same node, which attested it   keeps it: no byte moves
    the same node, which did not       rebuilds what it lacks of it
    another, still a member            has it transferred from the old owner
    another, departed                  rebuilds it; the plan says why the old owner departed

`droppable` is the second:

    a shard in the node's store that is      may go
    its own now, or in the selected epoch    never
    lost in this change                      in the next epoch, once the certificate grace since its start is over:
                                             older blobs are read from it until then
    missing: not attested since              never, until a member has attested it
    another's                                in this epoch, once the certificate grace since its start is over: what
                                             readers know may be an epoch old, however short that epoch was

A member departs by not being in the current committee, or by being named as ejected or silent: then nothing
is asked of it, whatever committee it is in. What a member gained it attests.

The plan is the same before the start, when the committee has been selected, as after it: what it says to fetch may be
fetched ahead. What a leaving member has is rebuilt then too: that moves no more bytes than a copy, and does not lean on
one node that is on its way out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from committee.errors import CommitteeError
from committee.membership import Committee, Member


class Departure(Enum):
    """Why an old owner hands nothing over."""

    LEFT = "left"
    """The owner is no longer a member, by its own choice or for want of stake."""
    EJECTED = "ejected"
    """A quorum ejected the owner."""
    SILENT = "silent"
    """The owner does not answer within the contract's patience."""
    UNATTESTED = "unattested"
    """The owner never attested the shard, and is the node that owns it still."""


@dataclass(frozen=True)
class Change:
    """A change of committee, of which each node has its plan.

    Raises `CommitteeError` unless `current` follows `previous`, one epoch later with the same shards.
    """

    previous: Committee | None
    """The committee before; None when `current` is the first."""
    current: Committee
    departed: Mapping[int, Departure] = field(default_factory=dict)
    """Old owners that hand nothing over, and why. A node in `previous` and not in `current` has departed in any case:
    `LEFT` unless this says otherwise. What a departed node keeps, it keeps."""
    unattested: Collection[int] = ()
    """Shards whose owner in `previous` did not attest them, the handover having been closed: an owner that has one
    still fills it again, as it would a gained one. (What is in its store by now is not fetched twice.)"""

    def __post_init__(self) -> None:
        before, now = self.previous, self.current
        if before is not None and (now.epoch != before.epoch + 1 or now.n_shards != before.n_shards):
            raise CommitteeError(
                f"the committee of epoch {now.epoch} with {now.n_shards} shards does not follow "
                f"that of epoch {before.epoch} with {before.n_shards}"
            )


@dataclass(frozen=True)
class StoredShards:
    """The shards in one node's store, and what decides which of them the node needs."""

    node_id: int
    stored: Collection[int]
    """Shards of which the store has anything."""
    previous: Committee | None
    current: Committee
    selected: Committee | None = None
    """The committee of the epoch after, when there is one."""
    missing: Collection[int] = ()
    """Shards, of any owner, that no member has attested since they were given up."""


@dataclass(frozen=True)
class Plan:
    """What one node does in the handover into `epoch`. Shards ascend everywhere."""

    epoch: int
    node_id: int
    kept: tuple[int, ...]
    """Its shards of before: no byte moves for them."""
    transferred: Mapping[int, Member]
    """Gained shard → the old owner, as a member of the current committee, from which it is copied."""
    rebuilt: Mapping[int, Departure]
    """Gained shard → why its old owner cannot give it; rebuilt from one symbol of each helper."""

    @property
    def attest(self) -> tuple[int, ...]:
        """Shards to attest: every gained one."""
        return tuple(sorted((*self.transferred, *self.rebuilt)))

    def only(self, gained: Collection[int]) -> Plan:
        """Return the plan for these of the gained shards alone."""
        return replace(
            self,
            transferred={shard: source for shard, source in self.transferred.items() if shard in gained},
            rebuilt={shard: why for shard, why in self.rebuilt.items() if shard in gained},
        )


@dataclass(frozen=True)
class Transition:
    """The plans of all nodes of both committees, by node id, for reports and their checks."""

    plans: Mapping[int, Plan]

    @property
    def kept(self) -> frozenset[int]:
        """Shards that stay where they are."""
        return frozenset(shard for plan in self.plans.values() for shard in plan.kept)

    @property
    def transferred(self) -> dict[int, Member]:
        """Shard → the old owner it is copied from."""
        return {shard: source for plan in self.plans.values() for shard, source in plan.transferred.items()}

    @property
    def rebuilt(self) -> dict[int, Departure]:
        """Shard → why it is rebuilt."""
        return {shard: reason for plan in self.plans.values() for shard, reason in plan.rebuilt.items()}


def plan_filling(change: Change, node_id: int) -> Plan:
    """Return how `node_id` comes by each of its shards in the change; it need be a member of neither committee."""
    previous, current = change.previous, change.current
    kept: list[int] = []
    transferred: dict[int, Member] = {}
    rebuilt: dict[int, Departure] = {}
    for shard in sorted(current.shards_of(node_id)):
        owner_id = previous.owner_of[shard].node_id if previous else node_id
        if owner_id == node_id and previous and shard in change.unattested:
            rebuilt[shard] = Departure.UNATTESTED
        elif owner_id == node_id:
            kept.append(shard)
        elif owner_id in change.departed:
            rebuilt[shard] = change.departed[owner_id]
        elif owner_id not in current.by_id:
            rebuilt[shard] = Departure.LEFT
        else:
            transferred[shard] = current.by_id[owner_id]
    return Plan(current.epoch, node_id, tuple(kept), transferred, rebuilt)


def plan_all(change: Change) -> Transition:
    """Return the plans of all members of either committee."""
    node_ids = set(change.current.by_id) | set(change.previous.by_id if change.previous else ())
    return Transition({node_id: plan_filling(change, node_id) for node_id in sorted(node_ids)})


def droppable(shards: StoredShards) -> tuple[int, ...]:
    """Return the stored shards that may go in the current epoch, ascending, once the certificate grace is over."""
    needed = set(shards.missing)
    for committee in (shards.previous, shards.current, shards.selected):
        needed.update(committee.shards_of(shards.node_id) if committee else ())
    return tuple(sorted(set(shards.stored) - needed))
