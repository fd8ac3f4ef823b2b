"""What events, or a state read anew, make of a node's view of the chain. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
from committee.ledger.follower import Snapshot, Step


@dataclass(frozen=True, slots=True)
class Change:
    """What a view becomes: only what changed or, with `is_all`, everything there is."""

    marks: tuple[BlockMark, ...]
    """The marks of the newest blocks, ascending; the last one is the checkpoint."""
    records: tuple[BlobRecord, ...] = ()
    ejected: Mapping[int, int] = field(default_factory=dict)
    """Node id → epoch of its newest ejection."""
    state: EpochState | None = None
    live_at_start: tuple[bytes, ...] | None = None
    parameters: Parameters | None = None
    is_all: bool = False
    is_confirmed: bool = True
    """Whether nothing in the view that it makes hangs on the word of one of several endpoints."""


class Draft:
    """What the events of a step make of a view, which they leave as it is."""

    def __init__(self, objects: Mapping[int, BlobRecord], objects_of: Mapping[bytes, list[int]]) -> None:
        self._objects = objects
        self._objects_of = objects_of
        self._changed: dict[int, BlobRecord] = {}
        self._ejected: dict[int, int] = {}
        self._live_at_start: tuple[bytes, ...] | None = None
        self._started: EpochStarted | None = None
        """The start whose block is not over."""

    def follow(self, step: Step) -> Change:
        """Raises `KeyError` when an event names an object that nobody registered."""
        for event in step.events:
            if self._started is not None and event.block != self._started.block:
                self._end_start()
            self._take_in(event)
        self._end_start()
        return Change(
            step.marks, tuple(self._changed.values()), self._ejected, step.state, self._live_at_start
        )

    def _take_in(self, event: Event) -> None:
        match event:
            case BlobRegistered():
                self._changed[event.object_id] = BlobRecord(
                    object_id=event.object_id,
                    blob_id=event.blob_id,
                    length=event.length,
                    owner=event.owner,
                    registered_epoch=event.epoch,
                    certified_epoch=None,
                    end_period=event.end_period,
                    deletable=event.deletable,
                    deleted=False,
                )
            case BlobCertified():
                first = self._object(event.object_id).certified_epoch
                self._change(
                    event.object_id,
                    certified_epoch=event.epoch if first is None else first,
                    end_period=event.end_period,
                )
            case BlobTransferred():
                self._change(event.object_id, owner=event.owner)
            case BlobDeleted():
                self._change(event.object_id, deleted=True)
            case BlobInvalidated():
                new = [number for number, one in self._changed.items() if one.blob_id == event.blob_id]
                for object_id in {*self._objects_of.get(event.blob_id, ()), *new}:
                    self._change(object_id, invalid=True)
            case EpochStarted():
                self._started = event
            case MemberEjected():
                self._ejected[event.node_id] = event.epoch
            case _:
                pass

    def _end_start(self) -> None:
        """Note what is live at the end of the block that started an epoch, which is what a snapshot reads too."""
        if self._started is not None:
            objects = {**self._objects, **self._changed}
            self._live_at_start = tuple(live(objects.values(), self._started.period))
            self._started = None

    def _object(self, object_id: int) -> BlobRecord:
        changed = self._changed.get(object_id)
        return self._objects[object_id] if changed is None else changed

    def _change(self, object_id: int, **fields: int | bool | str) -> None:
        self._changed[object_id] = dataclasses.replace(self._object(object_id), **fields)  # type: ignore[arg-type]


def everything(snapshot: Snapshot, ejected: Mapping[int, int]) -> Change:
    """A view that a snapshot replaces. Of ejections in earlier epochs the chain tells no more: they are kept.

    Nor does it of objects that are deleted by now; those that lived when the epoch started are taken from then, since
    what was live at the start is to be had, and attested to, until the epoch ends.
    """
    epoch = snapshot.state.epoch
    alive = {record.object_id for record in snapshot.records}
    gone = [_deleted(one, snapshot) for one in snapshot.records_at_start if one.object_id not in alive]
    earlier = {node_id: one for node_id, one in ejected.items() if one < epoch}
    return Change(
        snapshot.marks,
        (*snapshot.records, *gone),
        earlier | {one.node_id: one.epoch for one in snapshot.ejections},
        snapshot.state,
        tuple(live(snapshot.records_at_start, snapshot.state.period)),
        is_all=True,
    )


def _deleted(record: BlobRecord, snapshot: Snapshot) -> BlobRecord:
    """An object that lived at the start and does not any more: within an epoch none expires."""
    invalid = record.invalid or record.blob_id in snapshot.invalidated
    return dataclasses.replace(record, deleted=True, invalid=invalid)


def differences(
    before: EpochState, objects: Mapping[int, BlobRecord], ejected: Mapping[int, int], snapshot: Snapshot
) -> list[Event]:
    """What happened between a view and a snapshot, as events of the snapshot's block.

    Of objects that are gone nothing is told: what a reorganisation took away, it mostly brings again; and what was
    deleted is dropped when the next epoch begins.
    """
    events: list[Event] = []
    after = snapshot.state
    for record in snapshot.records:
        events += _became(objects.get(record.object_id), record, after)
    # Also the same epoch that another block started: another committee may hold it, over other blobs.
    is_another_start = (after.epoch, after.started_block) != (before.epoch, before.started_block)
    if is_another_start:
        events.append(EpochStarted(after.block, after.epoch, after.period))
    if after.next is not None and after.next != before.next:
        events.append(CommitteeSelected(after.block, after.next.epoch))
    if after.handover_done and (is_another_start or not before.handover_done):
        events.append(HandoverDone(after.block, after.epoch))
    events += [one for one in snapshot.ejections if ejected.get(one.node_id, -1) < one.epoch]
    known = before.members()
    for node_id, member in after.members().items():
        if node_id in known and known[node_id].address != member.address:
            events.append(NetworkAddressChanged(after.block, node_id))
    return events


def _became(before: BlobRecord | None, after: BlobRecord, state: EpochState) -> list[Event]:
    """The events that make one record of another; of none, too."""
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


def live(records: Iterable[BlobRecord], period: int) -> list[bytes]:
    """Ids of the blobs that must be kept in a period, in byte order."""
    return sorted({record.blob_id for record in records if record.is_live(period)})
