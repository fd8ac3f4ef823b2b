"""What a node knows of the chain: the committees, the phase of the epoch, the blob objects.

`load` goes on from what the node has saved, or reads the state at a settled block; `refresh` then follows the events of
the blocks behind it (`committee.ledger.follower`). What a step changes is saved together with its checkpoint before the
view takes it in and its listeners are told. A chain that does not answer leaves the view as it was: the node serves on
and says that it is degraded, and by how many blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable

from committee.errors import LedgerError, LedgerUnavailable, ProvidersDisagree
from committee.ledger import (
    BlobRecord,
    BlockMark,
    EpochState,
    Event,
    Ledger,
    Parameters,
)
from committee.ledger.follower import MARKS_KEPT, Follower, Snapshot, Step
from committee.logs import Log
from committee.membership import Committee
from storage.node.chain.changes import Change, Draft, differences, everything, live
from storage.node.chain.finality import Finality
from storage.node.chain.store import ChainStore
from storage.node.chain.waiting import once_settled
from storage.node.sqlite import StoreError

log = Log()

STEPS_AT_ONCE = 100
"""Stretches of blocks that one refresh takes in; the next goes on."""
LONGEST_PAUSE_S = 60.0
"""Pause between two tries to read the whole state, while what the chain tells cannot be taken in."""


class ChainView:
    """The chain through the eyes of the node `node_id`.

    `parameters`, `state` and `live_at_start` are set by `load`; reading them earlier raises `AttributeError`.
    Listeners registered with `subscribe` are called once per event, after the view has taken the event in.
    """

    parameters: Parameters
    """The parameters when the epoch's state last changed, or the view was loaded."""
    state: EpochState
    live_at_start: list[bytes]
    """The blobs live when the current epoch started, in byte order: what its gaining members attest to. The same for
    all of them, however far each has followed the chain."""

    def __init__(self, ledger: Ledger, node_id: int, store: ChainStore | None = None) -> None:
        """Nothing is read yet. Without a store the view begins anew with every start."""
        self.ledger = ledger
        self.node_id = node_id
        self.poll_interval_s = 0.0
        """How often `follow` asks the chain for news."""
        self.is_confirmed = False
        """Whether nothing in the view hangs on the word of one of several endpoints, so that what it says is not needed
        may be deleted (`Ledger.is_confirmed`). Not before the first refresh."""
        self._store = store
        self._is_saved = True
        self._follower = Follower(ledger)
        self._objects: dict[int, BlobRecord] = {}
        self._objects_of: dict[bytes, list[int]] = defaultdict(list)
        self._ejected: dict[int, int] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._refreshing = asyncio.Lock()
        self._marks: tuple[BlockMark, ...] = ()
        self._answered_at = 0.0
        self._trouble: LedgerError | None = None
        """Why the last refresh failed; None when it did not."""
        self._is_confused = False
        """Whether the state must be read anew: a refresh failed unexpectedly, could not take a snapshot in, or what was
        saved had not been confirmed."""
        self._finality = Finality()
        self._first_seen: tuple[int, float] | None = None
        """(number, time) of the first settled block that was seen, for the chain's pace."""

    # reading

    @property
    def behind_s(self) -> float:
        """Seconds since the chain last answered."""
        return time.monotonic() - self._answered_at

    @property
    def block(self) -> BlockMark:
        """The block the view stands at."""
        return self._marks[-1] if self._marks else BlockMark(-1, b"")

    @property
    def unsettled_s(self) -> float:
        """Seconds since a new settled block was seen."""
        return self._finality.unsettled_s(time.monotonic())

    @property
    def blocks_behind(self) -> int:
        """How many settled blocks are not taken in; while the chain is silent, estimated by its pace before."""
        newest = self._follower.newest
        if newest is None:
            return 0
        behind = max(newest.number - self.block.number, 0)
        if self._trouble is not None and self._first_seen is not None:
            number, since = self._first_seen
            watched_s = self._answered_at - since
            if watched_s > 0:
                behind += round(self.behind_s * (newest.number - number) / watched_s)
        return behind

    @property
    def standing(self) -> str:
        """In words: "following", "degraded, N blocks behind", or "degraded: providers disagree, N blocks behind".

        "degraded: the chain settles nothing" while it has new blocks and its settled one has stayed the same for long.
        """
        if self._trouble is None:
            return "degraded: the chain settles nothing" if self._finality.has_stopped else "following"
        why = ": providers disagree" if isinstance(self._trouble, ProvidersDisagree) else ""
        return f"degraded{why}, {self.blocks_behind} blocks behind"

    def committee(self, epoch: int) -> Committee | None:
        """The committee of an epoch, if it is the previous, current or next one."""
        for committee in (self.state.previous, self.state.current, self.state.next):
            if committee is not None and committee.epoch == epoch:
                return committee
        return None

    def my_shards(self) -> tuple[int, ...]:
        """The node's own shards in the current epoch; empty when it is no member."""
        return self.state.current.shards_of(self.node_id) if self.state.current else ()

    def objects(self, blob_id: bytes) -> tuple[BlobRecord, ...]:
        """All objects that name a blob, by object id."""
        return tuple(self._objects[number] for number in self._objects_of.get(blob_id, ()))

    def is_registered(self, blob_id: bytes) -> bool:
        """Whether some object of the blob has neither been deleted nor expired."""
        return any(one.is_registered(self.state.period) for one in self.objects(blob_id))

    def is_live(self, blob_id: bytes) -> bool:
        """Whether the blob is certified, not invalid and must be kept in the current period."""
        return any(one.is_live(self.state.period) for one in self.objects(blob_id))

    def is_invalid(self, blob_id: bytes) -> bool:
        """Whether the blob's writer was proven to have encoded it inconsistently."""
        return any(one.invalid for one in self.objects(blob_id))

    def live_blobs(self) -> list[bytes]:
        """Ids of the blobs to be kept in the current period, in byte order."""
        return live(self._objects.values(), self.state.period)

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
        saved = None
        if self._store is not None:
            loop = asyncio.get_running_loop()
            saved = await loop.run_in_executor(self._store.thread, self._store.open, self.ledger.domain)
        if saved is None or saved.parameters is None:
            self.parameters = await self.ledger.parameters()
        if saved is None:
            async with self._refreshing:
                await self._take(await once_settled(self._follower.snapshot))
                self._answered()
            return
        self._apply(saved)
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
            except Exception as error:
                # Nothing that a provider makes up may end what follows the chain.
                unforeseen = LedgerUnavailable(
                    f"what the chain told cannot be taken in: {type(error).__name__}"
                )
                self._failed(unforeseen, is_confused=True)
                raise unforeseen from None
            self._answered()
            await self._look_at_finality()

    async def _catch_up(self) -> None:
        for _ in range(STEPS_AT_ONCE):
            following = await self._follower.next(() if self._is_confused else self._marks)
            if following is not None:
                await self._take(following)
            newest = self._follower.newest
            if following is None or newest is None or self.block.number >= newest.number:
                break

    async def _look_at_finality(self) -> None:
        """Log it when blocks come and none is settled any more: the view then stands still without a failure."""
        newest, now_s = self._follower.newest, time.monotonic()
        if newest is None:
            return
        if self._finality.settled(newest.number, now_s):
            log.info("the chain settles blocks again", block=newest.number)
        if not self._finality.is_doubtful(now_s):
            return
        with contextlib.suppress(LedgerError):
            tip = await self.ledger.newest()
            if self._finality.looked(tip.number, now_s):
                log.warning(
                    "the chain settles nothing, though blocks come: what happens in them is not taken in",
                    settled=newest.number,
                    newest=tip.number,
                    for_s=round(self.unsettled_s),
                )

    async def follow(self, interval_s: float) -> None:
        """Refresh for ever, every `interval_s`; an outage is waited out, and so is anything else.

        A chain that settles blocks more rarely is asked more rarely, but for one on this machine.
        """
        self.poll_interval_s = pause_s = interval_s
        while True:
            with contextlib.suppress(LedgerError):  # `refresh` has logged it
                await self.refresh()
            if self._is_confused:
                # Reading everything anew again and again takes more and more time in between.
                pause_s = min(2 * pause_s, max(interval_s, LONGEST_PAUSE_S))
            elif self.ledger.is_development_chain:
                pause_s = interval_s
            else:
                pause_s = self._finality.pause_s(interval_s, time.monotonic())
            await asyncio.sleep(pause_s)

    def _failed(self, error: LedgerError, *, is_confused: bool = False) -> None:
        """Note why a refresh failed; called while the exception is handled. Logged where it is news."""
        before, self._trouble = self._trouble, error
        is_news = type(before) is not type(error) or is_confused > self._is_confused
        self._is_confused = self._is_confused or is_confused
        if not is_news:
            return
        if is_confused:
            log.exception("what the chain told cannot be taken in; reading the state anew")
        elif isinstance(error, ProvidersDisagree):
            log.error("following neither provider; serving on from what is known", error=str(error))
        else:
            log.warning("chain does not answer; serving on from what is known", error=str(error))

    def _note_confirmation(self) -> None:
        before, self.is_confirmed = self.is_confirmed, self.ledger.is_confirmed
        if before and not self.is_confirmed:
            log.warning(
                "no second endpoint confirms what the first one tells; nothing is deleted until one does"
            )
        if self.is_confirmed and not before:
            log.info("what the chain tells is confirmed; what is not needed may be deleted")

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        self._note_confirmation()
        if self._trouble is not None:
            log.info("chain answers again", block=self.block.number)
        self._trouble = None
        if self._first_seen is None and self._follower.newest is not None:
            self._first_seen = self._follower.newest.number, self._answered_at

    async def _take(self, following: Step | Snapshot) -> None:
        """Save what follows, take it in, tell it: in this order, so that nothing is told that a kill could undo."""
        if isinstance(following, Step):
            try:
                change = Draft(self._objects, self._objects_of).follow(following)
            except KeyError as error:
                log.warning(
                    "an event names an object that is not known; reading the state anew", object=str(error)
                )
                following = await self._follower.snapshot()
        if isinstance(following, Snapshot):
            self._is_confused = True  # until it is taken in: what it was to replace may be wrong
            change = everything(following, self._ejected)
            events = differences(self.state, self._objects, self._ejected, following) if self._marks else []
            if self._marks:
                log.warning("state read anew", was=self.block.number, block=following.state.block.number)
        else:
            events = list(following.events)
        if change.state is not None:
            change = dataclasses.replace(change, parameters=await self.ledger.parameters())
        await self._save(dataclasses.replace(change, is_confirmed=self.ledger.is_confirmed))
        self._apply(change)
        self._is_confused = False
        self._note_confirmation()
        for event in events:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed; the others are told", event_kind=type(event).__name__)

    async def _save(self, change: Change) -> None:
        """A disk that fails must not keep the node from following: it saves everything once the disk is well."""
        if self._store is None:
            return
        if not self._is_saved and not change.is_all:
            change = self._merged(change)
        saving = asyncio.get_running_loop().run_in_executor(self._store.thread, self._store.save, change)
        try:
            await asyncio.shield(saving)
            self._is_saved = True
        except StoreError as error:
            if self._is_saved:
                log.warning("what the chain told cannot be saved; following on", error=str(error))
            self._is_saved = False
        except asyncio.CancelledError:
            await asyncio.wait((saving,))  # the thread goes on; the next save must not overtake it
            raise

    def _merged(self, change: Change) -> Change:
        """The whole view as it will be after a change."""
        objects = {**self._objects, **{record.object_id: record for record in change.records}}
        return Change(
            (*self._marks, *change.marks)[-MARKS_KEPT:],
            tuple(objects.values()),
            {**self._ejected, **change.ejected},
            change.state or self.state,
            tuple(self.live_at_start) if change.live_at_start is None else change.live_at_start,
            change.parameters or self.parameters,
            is_all=True,
            is_confirmed=change.is_confirmed,
        )

    def _apply(self, change: Change) -> None:
        """Take a change in, at once: nobody sees half of it."""
        if change.is_all:
            self._marks, self._ejected = (), {}
            self._objects, self._objects_of = {}, defaultdict(list)
        for record in change.records:
            if record.object_id not in self._objects:
                self._objects_of[record.blob_id].append(record.object_id)
            self._objects[record.object_id] = record
        self._ejected.update(change.ejected)
        self._marks = (*self._marks, *change.marks)[-MARKS_KEPT:]
        if change.state is not None:
            self.state = change.state
        if change.parameters is not None:
            self.parameters = change.parameters
        if change.live_at_start is not None:
            self.live_at_start = list(change.live_at_start)
