"""What events make of a node's view of the chain. Pure."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRecord,
    BlobRegistered,
    BlobTransferred,
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    Parameters,
)
from committee.ledger.follower import MARKS_KEPT, Step


@dataclass(frozen=True, slots=True)
class BlobObject:
    """A blob object, and the blocks between which it is live: what was live at a block is told from them."""

    record: BlobRecord
    certified_block: int | None = None
    """Number of the block with its first certificate; of what the whole state was read with, that block or a later one
    that is not behind the epoch's start."""
    deleted_block: int | None = None
    invalid_block: int | None = None
    """Number of the block since which the blob is invalid, as its record says; of what the whole state was read with,
    of the block that started the epoch, or of a later one in which the blob became so."""


class Known(Protocol):
    """The objects before a step."""

    def by_id(self, object_id: int) -> BlobObject | None:
        """The object with this id, if it is known."""

    def of(self, blob_id: bytes) -> Sequence[BlobObject]:
        """The objects of a blob."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a view becomes: only what changed."""

    marks: tuple[BlockMark, ...]
    """The marks of the newest blocks, ascending; the last one is the checkpoint."""
    objects: Mapping[int, BlobObject] = field(default_factory=dict)
    """By object id."""
    ejected: Mapping[int, int] = field(default_factory=dict)
    """Node id → epoch of its newest ejection."""
    state: EpochState | None = None
    parameters: Parameters | None = None
    is_confirmed: bool = True
    """Whether nothing in the view that it makes hangs on the word of one of several endpoints."""
    missing: frozenset[int] | None = None
    """Shards of the epoch that are neither kept nor attested; None when that stays as it was."""

    def then(self, later: Change) -> Change:
        """Return this change and a later one as one."""
        return Change(
            (*self.marks, *later.marks)[-MARKS_KEPT:],
            {**self.objects, **later.objects},
            {**self.ejected, **later.ejected},
            later.state or self.state,
            later.parameters or self.parameters,
            later.is_confirmed,
            self.missing if later.missing is None else later.missing,
        )


class Draft:
    """What the events of a step make of objects that are known, and of a view.

    With `has_read`, the objects were read at the last of the blocks that are followed, or before: what an event says of
    an object may be known already, and events of objects that are not known are noted and left out. Else such an event
    is a `KeyError`, but for what may be of objects that are over: to expire is no event.
    """

    def __init__(self, known: Known, *, has_read: bool = False) -> None:
        self._known = known
        self._has_read = has_read
        self._changed: dict[int, BlobObject] = {}
        self._changed_of: dict[bytes, set[int]] = defaultdict(set)
        self._ejected: dict[int, int] = {}
        self.unknown: dict[int, int | None] = {}
        """Id of an object that an event names and the store lacks → the block with its first certificate, if an event
        told of it."""
        self.gone: dict[int, int] = {}
        """Object that is not known → the block in which it was deleted."""
        self.invalidated: dict[bytes, int] = {}
        """Blob of which no object is known → the block in which it became invalid."""

    def follow(self, step: Step) -> Change:
        """Return what changes. Raises `KeyError` when an event names an object that was not registered."""
        for event in step.events:
            self._take_in(event)
        return Change(step.marks, self._changed, self._ejected, step.state)

    def _take_in(self, event: Event) -> None:
        match event:
            case BlobRegistered():
                if not (self._has_read and self._object(event.object_id)):
                    self._put(BlobObject(event.record))
            case BlobCertified():
                self._certify(event)
            case BlobTransferred():
                self._give(event.object_id, event.owner)
            case BlobDeleted():
                self._delete(event)
            case BlobInvalidated():
                self._invalidate(event.blob_id, event.block.number)
            case MemberEjected():
                self._ejected[event.node_id] = event.epoch
            case _:
                pass

    def _certify(self, event: BlobCertified) -> None:
        found = self._object(event.object_id)
        if found is None:
            if not self._has_read:
                raise KeyError(event.object_id)
            self.unknown.setdefault(event.object_id, None if event.is_extension else event.block.number)
            return
        first = found.record.certified_epoch
        record = dataclasses.replace(
            found.record,
            certified_epoch=event.epoch if first is None else first,
            end_period=event.end_period,
        )
        is_first = found.certified_block is None or (self._has_read and not event.is_extension)
        block = event.block.number if is_first else found.certified_block
        self._put(dataclasses.replace(found, record=record, certified_block=block))

    def _delete(self, event: BlobDeleted) -> None:
        found = self._object(event.object_id)
        if found is None:
            self.gone[event.object_id] = event.block.number
            return
        record = dataclasses.replace(found.record, deleted=True)
        self._put(dataclasses.replace(found, record=record, deleted_block=event.block.number))

    def _object(self, object_id: int) -> BlobObject | None:
        changed = self._changed.get(object_id)
        return self._known.by_id(object_id) if changed is None else changed

    def _put(self, one: BlobObject) -> None:
        self._changed[one.record.object_id] = one
        self._changed_of[one.record.blob_id].add(one.record.object_id)

    def _give(self, object_id: int, owner: str) -> None:
        found = self._object(object_id)
        if found is not None:
            self._put(dataclasses.replace(found, record=dataclasses.replace(found.record, owner=owner)))

    def _invalidate(self, blob_id: bytes, block: int) -> None:
        known = {one.record.object_id for one in self._known.of(blob_id)} | self._changed_of.get(
            blob_id, set()
        )
        if not known:
            self.invalidated[blob_id] = block
        for object_id in known:
            found = self._object(object_id)
            if found is not None:
                record = dataclasses.replace(found.record, invalid=True)
                self._put(dataclasses.replace(found, record=record, invalid_block=block))


def epoch_events(
    before: EpochState, ejected: Mapping[int, int], after: EpochState, ejected_after: Mapping[int, int]
) -> list[Event]:
    """What happened between two states, as events of the later one's block; of blob objects see `object_events`."""
    events: list[Event] = []
    # Also the same epoch that another block started: another committee may hold it, over other blobs.
    is_another_start = (after.epoch, after.started_block) != (before.epoch, before.started_block)
    if is_another_start:
        events.append(EpochStarted(after.block, after.epoch, after.period))
    if after.next is not None and after.next != before.next:
        events.append(CommitteeSelected(after.block, after.next.epoch))
    if after.handover_done and (is_another_start or not before.handover_done):
        events.append(HandoverDone(after.block, after.epoch))
    events += [
        MemberEjected(after.block, epoch, node_id, 0)
        for node_id, epoch in ejected_after.items()
        if ejected.get(node_id, -1) < epoch
    ]
    known = before.members()
    for node_id, member in after.members().items():
        if node_id in known and known[node_id].address != member.address:
            events.append(NetworkAddressChanged(after.block, node_id))
    return events


def object_events(
    pairs: Iterable[tuple[BlobObject | None, BlobObject]], state: EpochState
) -> Iterable[Event]:
    """Yield events that tell listeners what has changed between objects before and after a state was read anew.

    Of objects that are gone nothing is told: what a reorganisation took away, it mostly brings again; and what was
    deleted is dropped when the next epoch begins.
    """
    for before, after in pairs:
        yield from _became(before.record if before else None, after.record, state)


def _became(before: BlobRecord | None, after: BlobRecord, state: EpochState) -> list[Event]:
    """Return the events that lead from an object's record to a later one; from None if the object is new."""
    block, number, blob_id = state.block, after.object_id, after.blob_id
    events: list[Event] = []
    if before is None:
        events.append(
            BlobRegistered(
                *(block, number, blob_id, after.owner),
                *(after.registered_epoch, after.length, after.end_period, after.deletable),
            )
        )
    first = before.certified_epoch if before else None
    end_period = before.end_period if before else after.end_period
    if after.certified_epoch is not None and (first is None or end_period != after.end_period):
        events.append(
            BlobCertified(
                *(block, number, blob_id, state.epoch, after.end_period, after.deletable),
                is_extension=first is not None,
            )
        )
    if after.invalid and not (before and before.invalid):
        events.append(BlobInvalidated(block, blob_id, state.epoch))
    return events
