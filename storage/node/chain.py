"""What a node knows of the chain: the committees, the phase of the epoch, the blob objects.

State first, events after: `load` reads the contract's state at one block, `refresh` then follows the events of the
blocks behind it. A chain that does not answer leaves the view as it was; `behind_s` says for how long.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog

from committee.errors import LedgerUnavailable
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRecord,
    BlobRegistered,
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    HandoverDone,
    Ledger,
    MemberEjected,
    Parameters,
)
from committee.membership import Committee, Member

log = structlog.get_logger()

EPOCH_EVENTS = CommitteeSelected | EpochStarted | HandoverDone | MemberEjected
BLOCKS_PER_REFRESH = 10_000
"""A view further behind than this loads the state anew instead of replaying events."""


class ChainView:
    """The chain through the eyes of the node `node_id`.

    `parameters`, `state` and `live_at_start` are set by `load`; reading them earlier raises `AttributeError`.
    Listeners registered with `subscribe` are called once per event, after the view has taken the event in.
    """

    parameters: Parameters
    state: EpochState
    live_at_start: list[bytes]
    """The blobs live when the current epoch started, in byte order: what its gaining members attest to. The same for
    all of them, however far each has followed the chain."""

    def __init__(self, ledger: Ledger, node_id: int) -> None:
        self.ledger = ledger
        self.node_id = node_id
        self._objects: dict[int, BlobRecord] = {}
        self._objects_of: dict[bytes, list[int]] = defaultdict(list)
        self._ejected: dict[int, int] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._refreshing = asyncio.Lock()
        self._block = BlockMark(-1, b"")
        self._answered_at = 0.0

    # reading

    @property
    def behind_s(self) -> float:
        """Seconds since the chain last answered."""
        return time.monotonic() - self._answered_at

    @property
    def block(self) -> BlockMark:
        """The block the view stands at."""
        return self._block

    def committee(self, epoch: int) -> Committee | None:
        """The committee of an epoch, if it is the previous, current or next one."""
        for committee in (self.state.previous, self.state.current, self.state.next):
            if committee is not None and committee.epoch == epoch:
                return committee
        return None

    def my_shards(self, epoch: int | None = None) -> tuple[int, ...]:
        """The node's own shards in the current epoch's committee, or in that of `epoch`; empty when not a member."""
        committee = self.state.current if epoch is None else self.committee(epoch)
        return committee.shards_of(self.node_id) if committee else ()

    def object(self, object_id: int) -> BlobRecord | None:
        """One blob object."""
        return self._objects.get(object_id)

    def objects(self, blob_id: bytes) -> tuple[BlobRecord, ...]:
        """All objects that name a blob, by object id."""
        return tuple(self._objects[number] for number in self._objects_of.get(blob_id, ()))

    def is_registered(self, blob_id: bytes) -> bool:
        """Whether some object of the blob has neither been deleted nor expired."""
        return any(not one.deleted and self.state.epoch < one.end_epoch for one in self.objects(blob_id))

    def is_live(self, blob_id: bytes) -> bool:
        """Whether the blob is certified, not invalid and must be kept in the current epoch."""
        return any(one.is_live(self.state.epoch) for one in self.objects(blob_id))

    def is_invalid(self, blob_id: bytes) -> bool:
        """Whether the blob's writer was proven to have encoded it inconsistently."""
        return any(one.invalid for one in self.objects(blob_id))

    def live_blobs(self) -> list[bytes]:
        """Ids of the blobs to be kept in the current epoch, in byte order."""
        return _live(self._objects.values(), self.state.epoch)

    def was_ejected(self, node_id: int, since_epoch: int) -> bool:
        """Whether an ejection of this node in `since_epoch` or later has been seen since the view was loaded."""
        return self._ejected.get(node_id, -1) >= since_epoch

    def members_by_id(self) -> dict[int, Member]:
        """Everyone in the previous or the current committee; where both name a node, as the current one does."""
        known: dict[int, Member] = {}
        for committee in (self.state.previous, self.state.current):
            known.update(committee.by_id if committee else {})
        return known

    # following

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called for every event from now on; it must not block."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read parameters, epoch and blobs at the chain's head. Raises `LedgerUnavailable`."""
        self.parameters = await self.ledger.parameters()
        head = await self.ledger.head()
        state = await self.ledger.epoch_state(head)
        records = await self.ledger.blobs(head)
        at_start = await self.ledger.blobs(state.started_block) if state.started_block else []
        self._objects = {record.object_id: record for record in records}
        self._objects_of = defaultdict(list)
        for record in records:
            self._objects_of[record.blob_id].append(record.object_id)
        self.live_at_start = _live(at_start, state.epoch)
        self.state = state
        self._block = head
        self._answered_at = time.monotonic()

    async def refresh(self) -> None:
        """Catch up with the chain's head. Raises `LedgerUnavailable`; the view then stays at its block."""
        async with self._refreshing:
            head = await self.ledger.head()
            if head.number < self._block.number or head.number - self._block.number > BLOCKS_PER_REFRESH:
                await self.load()
                return
            if head == self._block:
                self._answered_at = time.monotonic()
                return
            events = await self.ledger.events(self._block.number + 1, head.number)
            state = self.state
            if any(isinstance(event, EPOCH_EVENTS) for event in events):
                state = await self.ledger.epoch_state(head)
            self.state = state
            for event in events:
                self._take_in(event)
            self._block = head
            self._answered_at = time.monotonic()
        for event in events:
            for listener in self._listeners:
                listener(event)

    async def follow(self, interval_s: float) -> None:
        """Refresh for ever, every `interval_s`; an outage is logged once and waited out."""
        outage = False
        while True:
            try:
                await self.refresh()
                if outage:
                    log.info("chain answers again", block=self._block.number)
                outage = False
            except LedgerUnavailable as error:
                if not outage:
                    log.warning("chain does not answer; serving on from what is known", error=str(error))
                outage = True
            await asyncio.sleep(interval_s)

    def _take_in(self, event: Event) -> None:
        match event:
            case BlobRegistered():
                self._objects[event.object_id] = BlobRecord(
                    object_id=event.object_id,
                    blob_id=event.blob_id,
                    length=event.length,
                    owner=event.owner,
                    registered_epoch=event.epoch,
                    certified_epoch=None,
                    end_epoch=event.end_epoch,
                    deletable=event.deletable,
                    deleted=False,
                )
                numbers = self._objects_of[event.blob_id]
                if event.object_id not in numbers:
                    numbers.append(event.object_id)
            case BlobCertified():
                first = self._objects[event.object_id].certified_epoch
                self._change(
                    event.object_id,
                    certified_epoch=event.epoch if first is None else first,
                    end_epoch=event.end_epoch,
                )
            case BlobDeleted():
                self._change(event.object_id, deleted=True)
            case BlobInvalidated():
                for object_id in self._objects_of.get(event.blob_id, ()):
                    self._change(object_id, invalid=True)
            case EpochStarted():
                self.live_at_start = _live(self._objects.values(), event.epoch)
            case MemberEjected():
                self._ejected[event.node_id] = event.epoch
            case _:
                pass

    def _change(self, object_id: int, **fields: int | bool) -> None:
        self._objects[object_id] = dataclasses.replace(self._objects[object_id], **fields)  # type: ignore[arg-type]


def _live(records: Iterable[BlobRecord], epoch: int) -> list[bytes]:
    return sorted({record.blob_id for record in records if record.is_live(epoch)})
