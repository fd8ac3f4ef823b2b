"""The plan of a handover: what becomes of each shard when one committee follows another (PROTOCOL section 5).

This is the whole decision table; the code that carries a plan out decides nothing.

    the shard's owner before           its owner now
    there was no committee             keeps it: there are no bytes yet
    the same node, which attested it   keeps it: no byte moves
    the same node, which did not       rebuilds what it lacks of it
    another, still a member            has it transferred from the old owner
    another, departed                  rebuilds it; the plan says why the old owner departed

    a shard in the node's store that is      may go
    its own now, or in the selected epoch    never
    lost in this change                      in the next epoch: older blobs are read from it until then
    owed: not attested since                 never, until a member has attested it
    another's                                once the certificate grace since the start is over: what readers
                                             know may be an epoch old, however short that epoch was

A member departs by not being in the current committee, or by being named as ejected or silent: then nothing
is asked of it, whatever committee it is in. What a member gained it attests.

The plan is the same before the start, when the committee has been selected, as after it: what it says to fetch may be
fetched ahead. What a leaving member has is rebuilt then too: that moves no more bytes than a copy, and does not lean on
one node that is on its way out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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
    to_drop: Mapping[int, int]
    """Stored shard that is not its own → the epoch in which it may go: `epoch`, or the one after, which cannot start
    before this handover is done; then a plan of that epoch decides anew."""

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

    @property
    def drop_now(self) -> tuple[int, ...]:
        """Stored shards that may go in this epoch."""
        return tuple(shard for shard, epoch in self.to_drop.items() if epoch <= self.epoch)


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


def plan(
    previous: Committee | None,
    current: Committee,
    node_id: int,
    departed: Mapping[int, Departure] | None = None,
    unattested: Collection[int] = (),
    *,
    stored: Collection[int] = (),
    selected: Committee | None = None,
    owed: Collection[int] = (),
) -> Plan:
    """Return what `node_id` does in the change from `previous` to `current`; it need be a member of neither.

    `departed` names old owners that hand nothing over, and why. A node in `previous` and not in `current`
    has departed in any case: `LEFT` unless `departed` says otherwise. What a departed node keeps, it keeps.
    `unattested` are shards whose owner in `previous` did not attest them, the handover having been closed: if it is
    the owner still, it fills them again, as it would gained ones, instead of keeping them. (What it has of them
    by now is in its store, and not fetched twice.)
    `stored` are the shards of which its store holds anything, `selected` is the committee of the epoch after, if there
    is one, and `owed` are shards, of any owner, that no member has attested since they were given up.

    Raises `CommitteeError` when `current` does not follow `previous`, one epoch later with the same shards.
    """
    _require_successor(previous, current)
    departed = departed or {}
    mine = sorted(current.shards_of(node_id))
    to_drop = _to_drop(previous, current, node_id, stored, selected, owed)
    if previous is None:
        return Plan(current.epoch, node_id, tuple(mine), {}, {}, to_drop)
    kept: list[int] = []
    transferred: dict[int, Member] = {}
    rebuilt: dict[int, Departure] = {}
    for shard in mine:
        owner_id = previous.owner_of[shard].node_id
        if owner_id == node_id and shard in unattested:
            rebuilt[shard] = Departure.UNATTESTED
        elif owner_id == node_id:
            kept.append(shard)
        elif owner_id in departed:
            rebuilt[shard] = departed[owner_id]
        elif owner_id not in current.by_id:
            rebuilt[shard] = Departure.LEFT
        else:
            transferred[shard] = current.by_id[owner_id]
    return Plan(current.epoch, node_id, tuple(kept), transferred, rebuilt, to_drop)


def _to_drop(
    previous: Committee | None,
    current: Committee,
    node_id: int,
    stored: Collection[int],
    selected: Committee | None,
    owed: Collection[int],
) -> dict[int, int]:
    own = {*current.shards_of(node_id), *(selected.shards_of(node_id) if selected else ())}
    lost = set(previous.shards_of(node_id) if previous else ())
    others = sorted(set(stored) - own)
    return {shard: current.epoch + (shard in lost) for shard in others if shard in lost or shard not in owed}


def plan_all(
    previous: Committee | None,
    current: Committee,
    departed: Mapping[int, Departure] | None = None,
    unattested: Collection[int] = (),
) -> Transition:
    """Return the plans of everyone in either committee. Arguments and errors as for `plan`."""
    node_ids = set(current.by_id) | set(previous.by_id if previous else ())
    plans = {node_id: plan(previous, current, node_id, departed, unattested) for node_id in sorted(node_ids)}
    return Transition(plans)


def _require_successor(previous: Committee | None, current: Committee) -> None:
    if previous is None:
        return
    if current.epoch != previous.epoch + 1 or current.n_shards != previous.n_shards:
        raise CommitteeError(
            f"the committee of epoch {current.epoch} with {current.n_shards} shards does not follow "
            f"that of epoch {previous.epoch} with {previous.n_shards}"
        )
