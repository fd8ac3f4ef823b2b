"""Following a chain by its checkpoints: each is read once, in order, and links to the one before by its digest.

Whatever an endpoint leaves out shows: a checkpoint that was skipped by its number, one of another chain by its link, a
transaction by the checkpoint's contents, events by their digest in the effects. So no event is lost or told twice, as
long as an endpoint does not make up whole checkpoints; the validators' signatures are not verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

from committee.backoff import next_pause_s
from committee.errors import LedgerError, LedgerHistoryGone, LedgerReorganised, LedgerUnavailable
from committee.ledger.events import EpochStarted, Event, Stretch
from committee.ledger.records import BlockMark
from committee.ledger.sui.connections import ANSWER_LIMIT_BYTES, AnswerTooLarge, CallRefused
from committee.ledger.sui.digests import read_digest
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.happenings import Happenings
from committee.ledger.sui.methods import GET_CHECKPOINT, GET_SERVICE_INFO, SUBSCRIBE_CHECKPOINTS, mask
from committee.ledger.sui.objects import Objects, mark_of
from committee.ledger.sui.types import normal_text
from committee.ledger.sui.wire import v2

AT_ONCE = 8
"""Checkpoints that are asked for at once."""
STRETCH_CHECKPOINTS = 128
"""Checkpoints of one stretch."""
LARGE_LIMIT_BYTES = 128 << 20
"""Size limit of a checkpoint that exceeds an answer's usual one: a transaction's events alone may take 64 MiB."""
SILENCE_S = 60.0
"""A subscription that tells of no checkpoint for so long is begun anew; Sui makes several a second."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Pauses before a subscription is begun anew, and between looks for what one does not tell: twice as long each time,
until it tells something."""
_FIELDS = (
    "sequence_number",
    "digest",
    "summary.previous_digest",
    "contents.transactions.transaction",
    "transactions.digest",
    "transactions.effects.events_digest",
    "transactions.events",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint and the ledger's events in it, in the chain's order."""

    mark: BlockMark
    previous: bytes
    """The digest of the checkpoint before; empty for the first."""
    events: tuple[Event, ...]

    @property
    def before(self) -> BlockMark:
        """What names the checkpoint before."""
        return BlockMark(self.mark.number - 1, self.previous)


class Checkpoints:
    """Reads checkpoints, those that are there and those that come."""

    def __init__(self, rpc: SuiRpc, happenings: Happenings) -> None:
        self._rpc = rpc
        self._happenings = happenings
        self._objects = Objects(rpc)

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """Return the checkpoints behind `after`, up to `until` or, where that is far, some way towards it.

        Raises `LedgerReorganised` when they do not link to `after`, `LedgerHistoryGone` when no endpoint keeps them any
        more, `LedgerUnavailable` when none serves them now.
        """
        last = min(until.number, after.number + STRETCH_CHECKPOINTS)
        found: list[Checkpoint] = []
        for first in range(after.number + 1, last + 1, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                numbers = range(first, min(first + AT_ONCE, last + 1))
                tasks = [group.create_task(self._outcome(number)) for number in numbers]
            for task in tasks:
                outcome = task.result()
                if isinstance(outcome, LedgerError):
                    raise outcome
                found.append(outcome)
        _require_link(after, found)
        if last == until.number and found and found[-1].mark != until:
            raise LedgerUnavailable(
                f"endpoints of the chain tell different checkpoints of the number {last}: {self._rpc}"
            )
        return _stretch_of(found)

    async def follow(self, after: BlockMark) -> AsyncGenerator[Stretch, None]:
        """Yield what happens behind `after`, stretch after stretch, without end: each follows on the one before.

        Raises as `stretch`. A caller that follows again from the last mark has lost nothing.
        """
        pause_s = 0.0
        while True:
            head = await self._objects.head()
            while after.number < head.number:
                stretch = await self.stretch(after, head)
                after = stretch.marks[-1]
                yield stretch
            async with aclosing(self._subscribed(after)) as fresh:
                async for stretch in fresh:
                    after, pause_s = stretch.marks[-1], 0.0
                    yield stretch
            pause_s = next_pause_s(pause_s, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def start_of(self, epoch: int, at_s: int) -> BlockMark:
        """Return the checkpoint that started an epoch at a time in whole seconds, the chain's clock's.

        Checkpoints have the time of the clock that their transactions see, so it is among those of that second. Raises
        `LedgerHistoryGone` when no endpoint keeps it, `LedgerUnavailable` when none has it (yet).
        """
        newest = await self._objects.head()
        low, high = await self._oldest(), newest.number
        while low < high:
            middle = (low + high) // 2
            if await self._objects.time_s(middle) < at_s:
                low = middle + 1
            else:
                high = middle
        while low <= newest.number and await self._objects.time_s(low) == at_s:
            checkpoint = await self._one(low)
            if any(isinstance(event, EpochStarted) and event.epoch == epoch for event in checkpoint.events):
                return checkpoint.mark
            low += 1
        if low == await self._oldest():
            raise LedgerHistoryGone(
                f"no endpoint of the chain keeps the checkpoint that started epoch {epoch}"
            )
        raise LedgerUnavailable(f"the chain's endpoints tell of no checkpoint that started epoch {epoch}")

    async def _oldest(self) -> int:
        """Return the first checkpoint that any endpoint keeps which answers."""
        kept: list[int] = []
        trouble: LedgerUnavailable | None = None
        for single in self._rpc.each():
            try:
                kept.append(await single.ask(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), _first_kept))
            except LedgerUnavailable as error:
                trouble = error
        if trouble is not None and not kept:
            raise trouble
        return min(kept)

    async def _subscribed(self, after: BlockMark) -> AsyncGenerator[Stretch, None]:
        """Yield what a subscription tells, and what it leaves out, until it ends in whatever way.

        It tells of what comes after its beginning, which is not known exactly, and may go on without telling anything.
        So the newest checkpoint is looked at as well while it is silent, and it is left when that finds news twice.
        """
        request = v2.SubscribeCheckpointsRequest(read_mask=mask(*_FIELDS))
        subscription = self._rpc.subscribe(
            SUBSCRIBE_CHECKPOINTS, request, self._read_told, ANSWER_LIMIT_BYTES, SILENCE_S
        )
        silent_looks, pause_s = 0, 0.0
        async with aclosing(subscription), _awaited(subscription) as news:
            while silent_looks < 2:
                pause_s = next_pause_s(pause_s, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                try:
                    checkpoint = await news.get(pause_s)
                except LedgerUnavailable:
                    return
                until = await self._objects.head() if checkpoint is None else checkpoint.before
                if checkpoint is not None:
                    silent_looks, pause_s = 0, 0.0
                elif until.number > after.number:
                    silent_looks += 1
                while after.number < until.number:
                    stretch = await self.stretch(after, until)
                    after = stretch.marks[-1]
                    yield stretch
                if checkpoint is not None and checkpoint.mark.number > after.number:
                    _require_link(after, [checkpoint])
                    after = checkpoint.mark
                    yield _stretch_of([checkpoint])

    async def _outcome(self, number: int) -> Checkpoint | LedgerError:
        """Return a checkpoint, or why it cannot be had."""
        try:
            return await self._one(number)
        except LedgerError as error:
            return error

    async def _one(self, number: int) -> Checkpoint:
        request = v2.GetCheckpointRequest(sequence_number=number, read_mask=mask(*_FIELDS))

        def read(answer: v2.GetCheckpointResponse) -> Checkpoint:
            checkpoint = self._read(answer.checkpoint)
            if checkpoint.mark.number != number:
                raise ValueError(f"checkpoint {checkpoint.mark.number}, and {number} was asked for")
            return checkpoint

        try:
            try:
                return await self._rpc.ask(GET_CHECKPOINT, request, read)
            except AnswerTooLarge:
                return await self._rpc.ask(GET_CHECKPOINT, request, read, LARGE_LIMIT_BYTES)
        except CallRefused as refused:
            if refused.is_not_found and await self._is_gone(number):
                raise LedgerHistoryGone(
                    f"no endpoint of the chain keeps checkpoint {number} any more: {self._rpc}"
                ) from None
            raise

    async def _is_gone(self, number: int) -> bool:
        """Return whether every endpoint says that its first checkpoint is a later one."""
        for single in self._rpc.each():
            try:
                first = await single.ask(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), _first_kept)
            except LedgerUnavailable:
                return False
            if first <= number:
                return False
        return True

    def _read_told(self, answer: v2.SubscribeCheckpointsResponse) -> Checkpoint:
        return self._read(answer.checkpoint)

    def _read(self, message: v2.Checkpoint | None) -> Checkpoint:
        """Return a checkpoint that is whole. Raises `ValueError`."""
        mark = mark_of(message)
        assert message is not None  # noqa: S101 (`mark_of` has seen to it)
        if message.summary is None or message.contents is None:
            raise ValueError(f"checkpoint {mark.number} lacks its summary or contents")
        previous = read_digest(message.summary.previous_digest) if mark.number else b""
        listed = [entry.transaction for entry in message.contents.transactions]
        if listed != [transaction.digest for transaction in message.transactions]:
            raise ValueError(f"checkpoint {mark.number} lacks transactions that its contents list")
        events: list[Event] = []
        for transaction in message.transactions:
            events += self._events_of(mark, transaction)
        return Checkpoint(mark, previous, tuple(events))

    def _events_of(self, mark: BlockMark, transaction: v2.ExecutedTransaction) -> list[Event]:
        has_events = transaction.effects is not None and bool(transaction.effects.events_digest)
        told = transaction.events.events if transaction.events else []
        if transaction.effects is None or has_events != bool(told):
            raise ValueError(f"a transaction of checkpoint {mark.number} lacks its events, or their digest")
        events = []
        for message in told:
            contents = message.contents.value if message.contents else None
            event = self._happenings.decode(mark, normal_text(message.event_type or ""), contents or b"")
            if event is not None:
                events.append(event)
        return events


class _News:
    """What a subscription tells, one checkpoint after another, to a reader that does not wait for ever."""

    def __init__(self, subscription: AsyncGenerator[Checkpoint, None]) -> None:
        self._subscription = subscription
        self._next: asyncio.Task[Checkpoint] | None = None

    async def get(self, limit_s: float) -> Checkpoint | None:
        """Return the next checkpoint, None when there is none within the limit.

        Raises `LedgerUnavailable` when the subscription has ended.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._told())
        await asyncio.wait([self._next], timeout=limit_s)
        if not self._next.done():
            return None
        told, self._next = self._next, None
        return told.result()

    async def _told(self) -> Checkpoint:
        return await anext(self._subscription)

    async def stop(self) -> None:
        """Wait for nothing more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


@asynccontextmanager
async def _awaited(subscription: AsyncGenerator[Checkpoint, None]) -> AsyncGenerator[_News, None]:
    news = _News(subscription)
    try:
        yield news
    finally:
        await news.stop()


def _first_kept(answer: v2.GetServiceInfoResponse) -> int:
    return answer.lowest_available_checkpoint or 0


def _require_link(after: BlockMark, checkpoints: Sequence[Checkpoint]) -> None:
    """Raise `LedgerReorganised` unless the first checkpoint links to `after`, `LedgerUnavailable` unless each links."""
    if checkpoints and checkpoints[0].previous != after.hash:
        raise LedgerReorganised(
            f"checkpoint {checkpoints[0].mark.number} does not follow on {after.number} as it was told before"
        )
    for earlier, following in pairwise(checkpoints):
        if following.previous != earlier.mark.hash:
            raise LedgerUnavailable(
                f"checkpoint {following.mark.number} does not follow on {earlier.mark.number}: the chain's endpoints "
                "contradict each other"
            )


def _stretch_of(checkpoints: Sequence[Checkpoint]) -> Stretch:
    events = [event for checkpoint in checkpoints for event in checkpoint.events]
    return Stretch(tuple(checkpoint.mark for checkpoint in checkpoints), events)
