"""What a node knows of the chain: the committees, the phase of the epoch, the blob objects.

`load` goes on from what the node has saved, or reads the state at a settled block; `refresh` then follows the events of
the blocks behind it (`committee.ledger.follower`). What a step changes is saved together with its checkpoint before the
view takes it in and its listeners are told. A chain that does not answer leaves the view as it was: the node serves on
and says that it is degraded, and by how many blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence

from committee.backoff import next_pause_s
from committee.errors import LedgerError, LedgerReorganised, LedgerUnavailable
from committee.ledger import BlockMark, EpochState, Event, NodeLedger, Parameters, ShardsAttested
from committee.ledger.follower import EPOCH_EVENTS, MARKS_KEPT, Anew, Follower, Step
from committee.logs import Log
from committee.membership import Committee
from storage.node.chain.anew import ReadingAnew
from storage.node.chain.blob_view import BlobView
from storage.node.chain.changes import Change, epoch_events
from storage.node.chain.conditions import over_in
from storage.node.chain.health import ChainHealth
from storage.node.chain.store import ChainStore
from storage.node.chain.waiting import once_settled
from storage.node.sqlite import StoreDamaged, StoreError

log = Log()

EVENTS_IN_A_TURN = 64
"""Events told to the listeners before the event loop gets to other tasks."""
TIDY_RETRY_S = 60.0
"""Pause after the record of the chain could not be tidied."""
STEPS_AT_ONCE = 100
"""Stretches of blocks that one refresh takes in; the next goes on."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pause between two tries to read the whole state, while what the chain tells cannot be taken in."""


class ChainView(BlobView):
    """What the node `node_id` knows of the chain.

    `parameters` and `state` are set by `load`; reading them earlier raises `AttributeError`. What is asked of blobs is
    read from the store, as of the newest step that is saved; it raises `StoreError` when the disk fails.
    Listeners registered with `subscribe` are called once per event, after the view has taken the event in.
    """

    parameters: Parameters
    """The parameters when the epoch's state last changed, or the view was loaded."""
    state: EpochState

    def __init__(self, ledger: NodeLedger, node_id: int, store: ChainStore | None = None) -> None:
        """Read nothing yet. Without a store the view begins anew with every start."""
        self.ledger = ledger
        self.node_id = node_id
        self.poll_interval_s = 0.0
        """How often `follow` asks the chain for news."""
        self.is_confirmed = False
        """Whether no part of the view rests on one of several endpoints alone (`Ledger.is_confirmed`). Only then is
        anything deleted because of it. False before the first refresh."""
        super().__init__(store or ChainStore(None))
        self.missing: frozenset[int] = frozenset()
        """Shards of the current epoch that are neither kept nor attested, at the view's block: their owners before it
        still have to serve them. (What a transaction that is not settled has attested is among them.)"""
        self._follower = Follower(ledger)
        self._ejected: dict[int, int] = {}
        self._told_ejected: dict[int, int] = {}
        """The part of `_ejected` that was known when the state was read."""
        self._owes_state = False
        """Whether the state is older than the newest mark, and has changed since (`Step.owes_state`)."""
        self._is_damaged = False
        """Whether the store's file is to be made anew."""
        self._is_untidy = asyncio.Event()
        self._listeners: list[Callable[[Event], None]] = []
        self._refreshing = asyncio.Lock()
        self._marks: tuple[BlockMark, ...] = ()
        self._health = ChainHealth()
        self._is_confused = False
        """Whether the state must be read anew: a refresh failed unexpectedly, could not read all of it, or what was
        saved had not been confirmed."""

    # reading

    @property
    def behind_s(self) -> float:
        """Seconds since the chain last answered."""
        return self._health.behind_s

    @property
    def block(self) -> BlockMark:
        """The block the view stands at."""
        return self._marks[-1] if self._marks else BlockMark(-1, b"")

    @property
    def unsettled_s(self) -> float:
        """Seconds since a new settled block was seen."""
        return self._health.unsettled_s

    @property
    def blocks_behind(self) -> int:
        """How many settled blocks are not taken in; while the chain is silent, estimated by its pace before."""
        return self._health.blocks_behind(self._follower.newest, self.block)

    @property
    def chain_status(self) -> str:
        """In words: "following", "degraded, N blocks behind", or "degraded: providers disagree, N blocks behind".

        "degraded: the chain settles nothing" while it has new blocks and its settled one has stayed the same for long.
        """
        return self._health.status(self.blocks_behind)

    def committee(self, epoch: int) -> Committee | None:
        """Return the previous, current or selected committee by its epoch, as followed so far; else None."""
        return self.state.committee(epoch)

    def my_shards(self) -> tuple[int, ...]:
        """The node's own shards in the current epoch; empty when it is no member."""
        return self.state.current.shards_of(self.node_id) if self.state.current else ()

    @property
    def is_checked(self) -> bool:
        """Whether what an earlier run saved was found unchanged. Nothing is signed or deleted because of it before."""
        return self._store.is_whole and not self._is_damaged

    def was_ejected(self, node_id: int, since_epoch: int) -> bool:
        """Whether an ejection of this node in `since_epoch` or later has been seen."""
        return self._ejected.get(node_id, -1) >= since_epoch

    # following

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called for every event from now on; it must not block.

        When the state is read anew, the difference is told as the events that could have made it.
        """
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read what was saved, then what the chain says since, or all of it.

        With something saved, a chain that does not answer is no error: the view is degraded. Else raises
        `LedgerError`.
        """
        saved = await self._store.in_thread(self._store.open, self.ledger.domain)
        if saved is None or saved.parameters is None:
            self.parameters = await self.ledger.parameters()
        if saved is None:
            async with self._refreshing:
                await once_settled(self._read_first)
                self._answered()
            return
        self._owes_state = saved.owes_state
        self.missing = saved.missing
        self._apply(Change(saved.marks, {}, saved.ejected, saved.state, saved.parameters))
        # What was told before is known no more, and so not to be compared; the state it led to is.
        self._is_confused = not saved.is_confirmed
        log.info(
            "going on from the saved checkpoint", block=self.block.number, is_confirmed=saved.is_confirmed
        )
        with contextlib.suppress(LedgerError):  # `refresh` has logged it
            await self.refresh()
            self.parameters = await self.ledger.parameters()

    async def refresh(self) -> None:
        """Catch up with the chain's head. Raises `LedgerError`; the view then stays at its block.

        The first failure is logged, whichever request or duty met it, and so is its end.
        """
        async with self._refreshing:
            try:
                await self._catch_up()
            except LedgerError as error:
                self._failed(error)
                raise
            except StoreError as error:
                if isinstance(error, StoreDamaged):
                    self._damaged(error)
                unsaved = LedgerUnavailable(f"what the chain told cannot be kept: {error}")
                self._failed(unsaved)
                raise unsaved from None
            except Exception as error:
                # Nothing that a provider makes up may end what follows the chain.
                unforeseen = LedgerUnavailable(
                    f"what the chain told cannot be taken in: {type(error).__name__}"
                )
                self._failed(unforeseen, is_confused=True)
                raise unforeseen from None
            self._answered()
            await self._health.look_at_finality(self.ledger, self._follower.newest)

    async def _catch_up(self) -> None:
        if self._is_damaged:
            await self._store.in_thread(self._store.make_anew, self.ledger.domain)
            self._is_damaged = False
        for _ in range(STEPS_AT_ONCE):
            marks = () if self._is_confused else self._marks
            following = await self._follower.next(marks, owes_state=self._owes_state)
            if isinstance(following, Anew):
                await self._read_anew(following.head)
            elif following is not None:
                await self._take(following)
            newest = self._follower.newest
            if following is None or newest is None or self.block.number >= newest.number:
                break
        is_at_newest = self.block == self._follower.newest and not self._owes_state
        if is_at_newest and await self._follower.is_misled(self.state, self.block):
            log.warning("the contracts tell another state than was followed", block=self.block.number)
            await self._read_anew(self.block)

    async def follow(self, interval_s: float) -> None:
        """Refresh for ever, every `interval_s`; an outage is waited out, and so is anything else.

        A chain that settles blocks more rarely is asked more rarely, but for one on this machine.
        """
        async with asyncio.TaskGroup() as running:
            running.create_task(self._tidy())
            await self._follow(interval_s)

    async def _follow(self, interval_s: float) -> None:
        self.poll_interval_s = pause_s = interval_s
        while True:
            with contextlib.suppress(LedgerError):  # `refresh` has logged it
                await self.refresh()
            if self._is_confused:
                # Reading everything anew again and again takes more and more time in between.
                pause_s = next_pause_s(pause_s, interval_s, max(interval_s, LONGEST_PAUSE_S))
            elif self.ledger.is_development_chain:
                pause_s = interval_s
            else:
                pause_s = self._health.finality.pause_s(interval_s, time.monotonic())
            await asyncio.sleep(pause_s)

    def _failed(self, error: LedgerError, *, is_confused: bool = False) -> None:
        """Note why a refresh failed; called while the exception is handled. Logged where it is news."""
        was_confused, self._is_confused = self._is_confused, self._is_confused or is_confused
        self._health.failed(error, is_confused=is_confused, was_confused=was_confused)

    def _note_confirmation(self) -> None:
        if not self.is_checked:
            self.is_confirmed = False
            return
        before, self.is_confirmed = self.is_confirmed, self.ledger.is_confirmed
        if before and not self.is_confirmed:
            log.warning(
                "no second endpoint confirms what the first one tells; nothing is deleted until one does"
            )
        if self.is_confirmed and not before:
            log.info("what the chain tells is confirmed; what is not needed may be deleted")

    def _answered(self) -> None:
        self._note_confirmation()
        self._health.answered(self._follower.newest, self.block)

    async def _take(self, step: Step) -> None:
        """Save what follows, take it in, tell it: in this order, so that nothing is told that a kill could undo."""
        parameters = None if step.state is None else await self.ledger.parameters()
        try:
            follow = functools.partial(
                self._store.follow,
                *(step, parameters),
                is_confirmed=self.ledger.is_confirmed,
                missing=await self._missing_after(step),
            )
            change = await self._store.in_thread(follow)
        except KeyError as error:
            log.warning(
                "an event names an object that is not known; reading the state anew", object=str(error)
            )
            await self._read_anew(await self._follower.head())
            return
        events = list(step.events)
        if self._owes_state or step.owes_state:
            # Listeners look at the committee of an epoch that they are told of: it has to be known first.
            events = [one for one in events if not isinstance(one, EPOCH_EVENTS)]
        if self._owes_state and step.state is not None:
            ejected = {**self._ejected, **change.ejected}
            events += epoch_events(self.state, self._told_ejected, step.state, ejected)
        self._owes_state = step.owes_state
        self._apply(change)
        await self._tell(events)

    async def _missing_after(self, step: Step) -> frozenset[int] | None:
        """Return what `missing` is after a step; None when it stays as it is."""
        if step.state is not None:
            return await self._read_missing(step.state)
        attested = {
            shard
            for event in step.events
            if isinstance(event, ShardsAttested) and event.epoch == self.state.epoch
            for shard in event.shards
        }
        return self.missing - attested if attested else None

    async def _read_missing(self, state: EpochState) -> frozenset[int]:
        if state.current is None:
            return frozenset()
        return await self.ledger.missing_shards(state.epoch, state.block, is_followed=True)

    async def _read_first(self) -> None:
        """Read the whole state; begin again, after a pause, where what was read of it does not hold any more."""
        pause_s = 0.0
        while True:
            try:
                await self._read_anew(await self._follower.head())
            except LedgerReorganised as error:
                pause_s = next_pause_s(pause_s, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                log.warning("the chain's state is read once more", pause_s=pause_s, error=str(error))
                await asyncio.sleep(pause_s)
            else:
                return

    async def _read_anew(self, head: BlockMark) -> None:
        """Read the whole state, take it in, and tell what it changed."""
        was = self._marks
        self._is_confused = True  # until it is taken in: what it is to replace may be wrong
        with self.ledger.reading_anew():
            reading = ReadingAnew(self.ledger, self._store)
            whole = await reading.read(head)
            parameters = await self.ledger.parameters()
            missing = await self._read_missing(whole.state)
        state = whole.state
        # Of ejections in earlier epochs the chain tells no more: they are kept.
        ejected = {node_id: one for node_id, one in self._ejected.items() if one < state.epoch}
        ejected |= {node_id: one for node_id, one in whole.ejected.items() if one == state.epoch}
        events: list[Event] = []
        if was:
            log.warning("state read anew", was=self.block.number, block=state.block.number)
            events += await self._store.in_thread(reading.events, state)
            events += epoch_events(self.state, self._ejected, state, ejected)
        change = Change((state.block,), {}, ejected, state, parameters, self.ledger.is_confirmed, missing)
        await self._store.in_thread(reading.finish, change)
        self._marks, self._ejected, self._owes_state = (), {}, False
        self._apply(change)
        self._is_confused = False
        self._note_confirmation()
        await self._tell(events)

    def _apply(self, change: Change) -> None:
        """Take a change in, without an await: no task sees half of it."""
        self._ejected.update(change.ejected)
        self._marks = (*self._marks, *change.marks)[-MARKS_KEPT:]
        if change.state is not None:
            before, self.state = getattr(self, "state", None), change.state
            self._told_ejected = dict(self._ejected)
            if before is None or before.started_block != change.state.started_block:
                self._store.look_for_what_is_over()
                self._is_untidy.set()
        if change.parameters is not None:
            self.parameters = change.parameters
        if change.missing is not None:
            self.missing = change.missing

    async def _tell(self, events: Sequence[Event]) -> None:
        """Tell the listeners; let other tasks run after every EVENTS_IN_A_TURN events."""
        for place, event in enumerate(events, 1):
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed; the others are told", event_kind=type(event).__name__)
            if place % EVENTS_IN_A_TURN == 0:
                await asyncio.sleep(0)

    async def _tidy(self) -> None:
        """Check what was saved, and remove what is over, for ever and a little at a time."""
        while True:
            self._is_untidy.clear()
            began_s, more = time.monotonic(), True
            while more:
                state = self.state
                start = state.started_block.number if state.started_block else -1
                try:
                    more = await self._store.in_thread(self._store.tidy, over_in(state.period, start))
                except StoreDamaged as error:
                    self._damaged(error)
                    break
                except StoreError as error:
                    log.warning("the record of the chain cannot be tidied", error=str(error))
                    break
                except Exception:
                    log.exception("the record of the chain cannot be tidied")
                    break
                self._note_confirmation()
                await asyncio.sleep(time.monotonic() - began_s)
                began_s = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if not more else TIDY_RETRY_S):
                    await self._is_untidy.wait()

    def _damaged(self, error: StoreDamaged) -> None:
        """Have the state read anew into a new file; until then nothing in the view counts for what may be deleted."""
        if not self._is_damaged:
            log.error("what was followed of the chain is damaged; reading it anew", error=str(error))
        self._is_damaged = self._is_confused = True
        self.is_confirmed = False
