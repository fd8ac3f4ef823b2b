"""Limits the transfers of one process to as many as its link carries at once.

On a slow link, more requests at once add no bytes a second. They only make each slower, until none ends in time. So
`Link` measures the bytes a second of all its transfers together, and keeps about TARGET_S worth of bytes under way.
Transfers beyond that wait in line. While more requests bring more bytes a second, the measured rate grows, and the
window with it. (It is the rule of TCP's BBR, for requests in place of packets.)

Where all connections break at once, again and again, few transfers end between two breaks if many share the link. Then
no more are begun than half of those that broke, down to one; each that ends makes room for more.

A transfer that moves much less than its share of the link is *overdue*: its peer is slow or hangs, not the link. It
runs on and no longer counts, and no other transfer to the same peer begins before it ends.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

TARGET_S = 2.0
"""Transfers under way hold as many bytes as the link carries in this time."""
LEAST_AT_ONCE = 3
"""Transfers allowed even over the slowest link: while nodes check and store some slivers, others travel."""
MOST_AT_ONCE = 64
"""Most transfers under way, overdue ones not counted."""
START_BYTES_PER_S = 2**18
"""The rate assumed before the first measurement."""
SMALL_BYTES = 2**13
"""A transfer up to this size does not wait in line."""
GRACE_S = 4.0
TIMES_ITS_SHARE = 3.0
"""A transfer is overdue after GRACE_S if it has moved slower than its share of the rate divided by this."""
LOOK_S = 1.0
"""Time between two measurements: long enough to even out what sockets and routers buffer."""
GROWTH = 0.5
"""Weight of a measurement that is higher than the rate known so far."""
WELL_BEGUN = 0.25
"""On a link that has slowed down, a transfer is waited for once this share of its bytes has moved,"""
WAITED_FOR_S = 60.0
"""or if the rest of them takes no longer than this at its rate of late."""
NEARLY_DONE = 0.75
"""A transfer is not given up for another one once this share of its bytes has moved."""
ANSWERS_S = 10.0
"""Answers of the past count with a weight that falls to 1/e in this time."""
ANSWERS_SHARE = 2.0
"""The rate may be this many times that of the answers of late, as the link may have become faster."""
SLACKENING_S = 20.0
"""Time constant with which the known rate falls to lower measurements: a few slow peers do not make a slow link."""


@dataclass(eq=False)
class Transfer:
    """One request's bytes, in whichever direction most of them go."""

    size_bytes: int = 0
    """Bytes expected, or the most that there may be."""
    peer: Hashable = None
    moved: Callable[[], int] = int
    """Return the bytes moved so far."""
    on_begin: Callable[[], None] = lambda: None
    """Called when the transfer's turn comes."""
    began_s: float = math.inf
    """Loop time at which its turn came; infinite before."""
    is_over: bool = False
    least_bytes_per_s: float = 0.0
    """A transfer that moves less than this is overdue."""
    is_spared: bool = False
    """Whether it is judged by its own rate, as the link has slowed down since it began; once."""
    bytes_per_s: float = 0.0
    """Its rate at the last measurement."""
    measured_bytes: int = 0
    """Bytes moved that a measurement has counted."""

    @property
    def is_worth_its_bytes(self) -> bool:
        """Whether it is not to be replaced on a link that has slowed down: its bytes would be wasted."""
        moved = self.moved()
        is_well_begun = moved >= WELL_BEGUN * self.size_bytes > 0
        return is_well_begun or 0 < self.size_bytes - moved <= WAITED_FOR_S * self.bytes_per_s

    def spare(self, now_s: float) -> None:
        """Judge the transfer by its own rate from now on: the mean since it began, or the last one if that is lower."""
        so_far = self.moved() / max(LOOK_S, now_s - self.began_s)
        self.least_bytes_per_s = min(so_far, self.bytes_per_s) / TIMES_ITS_SHARE
        self.is_spared = True

    @property
    def is_nearly_done(self) -> bool:
        """Whether NEARLY_DONE of its bytes have moved, so that little is left beside another transfer in its place."""
        return self.moved() >= NEARLY_DONE * self.size_bytes > 0

    @property
    def due_s(self) -> float:
        """The loop time from which the transfer is overdue unless it moves on; infinite while it is not under way.

        Bytes beyond those expected buy no time: a peer that sends too many is not to keep the others waiting.
        """
        if self.is_over:
            return math.inf
        moved_bytes = min(self.moved(), self.size_bytes)
        return self.began_s + GRACE_S + moved_bytes / max(1.0, self.least_bytes_per_s)

    def is_overdue(self, now_s: float) -> bool:
        """Whether the transfer moves much less than its share of the link."""
        return now_s >= self.due_s


class Window:
    """The rule for how many transfers may be under way. Its user gives the time; this class does no I/O."""

    def __init__(self) -> None:
        self.bytes_per_s = float(START_BYTES_PER_S)
        self.under_way: set[Transfer] = set()
        self._is_measured = False
        self._since_s = 0.0
        """When the measurement under way began; moved on by the time in which no transfer was under way."""
        self._idle_from_s = 0.0
        self._moved_bytes = 0
        """Bytes moved since then by transfers that have ended."""
        self.most_at_once = float(MOST_AT_ONCE)
        """Fewer after all connections broke."""
        self._broke_s = -math.inf
        """When the first break of the series came; breaks within LOOK_S of it belong to the series."""
        self._n_broken = 0
        """Breaks of the series since the limit was last lowered."""
        self._answered_bytes = self._answers_s = 0.0
        """Bytes of transfers that ended well and time under way, both of late."""

    def has_room(self, transfer: Transfer, now_s: float) -> bool:
        """Return whether the link has room for one more transfer; that its peer may be slow is not looked at."""
        under_way = [
            one for one in self.under_way if one.size_bytes > SMALL_BYTES and not one.is_overdue(now_s)
        ]
        if len(under_way) < min(LEAST_AT_ONCE, int(self.most_at_once)):
            return True
        # Whole sizes, until the answer is here: what a socket or a proxy has taken may wait there for the link.
        size_bytes = transfer.size_bytes + sum(one.size_bytes for one in under_way)
        return len(under_way) < int(self.most_at_once) and size_bytes <= self.bytes_per_s * TARGET_S

    def slow_peers(self, now_s: float) -> set[Hashable]:
        """The peers of overdue transfers."""
        return {one.peer for one in self.under_way if one.is_overdue(now_s)}

    def begin(self, transfer: Transfer, now_s: float) -> None:
        """Count a transfer in."""
        if not self.under_way:
            self._since_s += now_s - self._idle_from_s
        self.under_way.add(transfer)
        shared_bytes = sum(one.size_bytes for one in self.under_way if not one.is_overdue(now_s))
        share = transfer.size_bytes / max(1, shared_bytes)
        transfer.began_s, transfer.is_over, transfer.is_spared = now_s, False, False
        transfer.least_bytes_per_s = share * self.bytes_per_s / TIMES_ITS_SHARE

    def end(self, transfer: Transfer, now_s: float) -> None:
        """Count a transfer out."""
        self.under_way.remove(transfer)
        self._idle_from_s = now_s
        self._moved_bytes += self._newly_moved(transfer)
        transfer.is_over = True

    def note_answer(self, transfer: Transfer) -> None:
        """Note that a transfer ended well. After as many as may be under way now, one more may be."""
        self._answered_bytes += transfer.size_bytes
        if transfer.size_bytes > SMALL_BYTES:
            self.most_at_once = min(MOST_AT_ONCE, self.most_at_once + 1 / self.most_at_once)

    def note_break(self, now_s: float) -> None:
        """Note that the connection of a transfer broke. The transfer counts no more among those under way.

        It tells of the link if each transfer broke that was under way for LOOK_S when the first did; else of the peer.
        """
        if now_s - self._broke_s > LOOK_S:
            self._broke_s, self._n_broken = now_s, 0
        self._n_broken += 1
        is_any_whole = any(
            one.began_s < self._broke_s - LOOK_S
            and one.size_bytes > SMALL_BYTES
            and not one.is_overdue(now_s)
            for one in self.under_way
        )
        if self._n_broken > 1 and not is_any_whole:
            self.most_at_once = max(1.0, min(self.most_at_once, self._n_broken) / 2)
            self._n_broken = 0

    def measure(self, now_s: float, is_full: bool) -> None:
        """Measure the link's rate, if LOOK_S have passed; `is_full` tells whether transfers wait for room.

        A lower rate counts only if they do: else there was not enough to carry. A time in which nothing moves tells
        nothing of the rate.
        """
        elapsed_s = (now_s if self.under_way else self._idle_from_s) - self._since_s
        if elapsed_s < LOOK_S:
            return
        moved_bytes = self._moved_bytes
        for one in self.under_way:
            newly = self._newly_moved(one)
            one.bytes_per_s = newly / elapsed_s
            moved_bytes += newly
        self._since_s, self._moved_bytes = self._since_s + elapsed_s, 0
        most = self._answered_rate(elapsed_s)
        rate = min(moved_bytes / elapsed_s, most)
        if not moved_bytes:
            return
        if not self._is_measured:
            self._is_measured, weight = True, 1.0
            for one in self.under_way:  # their share was reckoned with a guess
                one.least_bytes_per_s *= min(1.0, rate / self.bytes_per_s)
        elif rate > self.bytes_per_s:
            weight = GROWTH
        else:
            weight = -math.expm1(-elapsed_s / SLACKENING_S) if is_full else 0.0
        self.bytes_per_s += (rate - self.bytes_per_s) * weight
        if is_full:
            self.bytes_per_s = min(self.bytes_per_s, most)

    def _answered_rate(self, elapsed_s: float) -> float:
        """Return the most bytes a second that the answers of late may stand for.

        A tunnel or proxy may take whole requests at once and pass them on slowly: what it has taken has not passed.
        """
        self._answers_s += elapsed_s
        largest_bytes = max((one.size_bytes for one in self.under_way), default=0)
        most = (ANSWERS_SHARE * self._answered_bytes + largest_bytes) / self._answers_s
        still_counts = math.exp(-elapsed_s / ANSWERS_S)
        self._answered_bytes *= still_counts
        self._answers_s *= still_counts
        return most

    @staticmethod
    def _newly_moved(transfer: Transfer) -> int:
        moved_bytes = transfer.moved()
        newly = max(0, moved_bytes - transfer.measured_bytes)  # a request that is tried again begins at zero
        transfer.measured_bytes = moved_bytes
        return newly


@asynccontextmanager
async def at_once(transfer: Transfer) -> AsyncIterator[None]:
    """Begin a transfer that waits for no link."""
    transfer.began_s = asyncio.get_running_loop().time()
    transfer.on_begin()
    try:
        yield
    finally:
        transfer.is_over = True


class Link:
    """The transfers of one process, under way and in line."""

    def __init__(self) -> None:
        self.window = Window()
        self._line: deque[tuple[Transfer, asyncio.Future[None]]] = deque()
        self._next_look: asyncio.TimerHandle | None = None

    @property
    def bytes_per_s(self) -> float:
        """The rate measured of late; a guess before the first measurement."""
        return self.window.bytes_per_s

    @asynccontextmanager
    async def turn(self, transfer: Transfer) -> AsyncIterator[None]:
        """Wait until the link has room for the transfer, which is under way as long as the block lasts."""
        loop = asyncio.get_running_loop()
        if transfer.size_bytes <= SMALL_BYTES:
            self.window.begin(transfer, loop.time())
        else:
            await self._wait(transfer)
        if self._next_look is None:
            self._next_look = loop.call_later(LOOK_S, self._look)
        try:
            transfer.on_begin()
            yield
            self.window.note_answer(transfer)
        finally:
            if not transfer.is_over:
                self.window.end(transfer, loop.time())
            self._let_in()

    @asynccontextmanager
    async def lost_turn(self, transfer: Transfer) -> AsyncIterator[None]:
        """Give up the turn of a large transfer whose connection broke; wait for another one after the block."""
        now_s = asyncio.get_running_loop().time()
        self.window.end(transfer, now_s)
        self.window.note_break(now_s)
        self._let_in()
        yield
        await self._wait(transfer, is_first=True)

    async def _wait(self, transfer: Transfer, *, is_first: bool = False) -> None:
        """Put the transfer into the line, at its head if `is_first`, and wait for its turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if is_first:
            self._line.appendleft((transfer, turn))
        else:
            self._line.append((transfer, turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.window.end(transfer, loop.time())
            with suppress(ValueError):
                self._line.remove((transfer, turn))
            self._let_in()
            raise

    def _let_in(self) -> None:
        """Begin with what has room, in order; transfers to slow peers are passed over."""
        now_s = asyncio.get_running_loop().time()
        slow = self.window.slow_peers(now_s)
        passed_over = []
        while self._line and self.window.has_room(self._line[0][0], now_s):
            transfer, turn = self._line.popleft()
            if turn.cancelled():
                continue
            if transfer.peer in slow:
                passed_over.append((transfer, turn))
                continue
            self.window.begin(transfer, now_s)
            turn.set_result(None)
        self._line.extendleft(reversed(passed_over))

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self.window.measure(loop.time(), is_full=bool(self._line))
        self._let_in()
        self._next_look = loop.call_later(LOOK_S, self._look) if self.window.under_way else None
