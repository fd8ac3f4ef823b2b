"""How many requests are under way over links of any rate, with peers that are slow or hang. Time is simulated."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from storage.client import link as links
from storage.client.link import (
    LEAST_AT_ONCE,
    MOST_AT_ONCE,
    SMALL_BYTES,
    START_BYTES_PER_S,
    TARGET_S,
    Link,
    Transfer,
    Window,
)
from storage.client.progress import PATIENCE_S

STEP_S = 0.1
SLIVER_BYTES = 460_000


@dataclass(eq=False)
class Simulated:
    """A transfer that a simulated link carries."""

    transfer: Transfer
    bytes_per_s: float
    """The most that its peer takes or gives."""
    is_taken: bool = False
    """Whether a tunnel has taken all of it, and passes it on."""
    moved: float = 0.0

    def moved_bytes(self) -> int:
        return self.transfer.size_bytes if self.is_taken else int(self.moved)


@dataclass
class Simulation:
    """Transfers of one size to many peers over one link, which shares its rate evenly."""

    bytes_per_s: float
    peer_rates: list[float]
    sliver_bytes: int = SLIVER_BYTES
    breaks_every_s: float = math.inf
    """Time after which all connections break; what they carried is sent again."""
    has_tunnel: bool = False
    """Whether a tunnel before the link takes whole requests at once."""
    window: Window = field(default_factory=Window)
    now_s: float = 0.0
    waiting: list[tuple[int, int]] = field(default_factory=list)
    under_way: list[Simulated] = field(default_factory=list)
    most: int = 0
    longest_s: float = 0.0
    """The longest time from a transfer's beginning to its end."""
    done: int = 0

    def run(self, each: int, until_done: int) -> float:
        """Seconds until so many transfers of `each` to every peer have ended."""
        self.waiting = [(peer, turn) for turn in range(each) for peer in range(len(self.peer_rates))]
        look_s, break_s = 0.0, self.breaks_every_s
        while self.done < until_done:
            assert self.now_s < 1_000_000
            self._let_in()
            self._carry()
            self.now_s += STEP_S
            if self.now_s >= look_s:
                self.window.measure(self.now_s, is_full=bool(self.waiting))
                look_s = self.now_s + links.LOOK_S
            if self.now_s >= break_s:
                break_s += self.breaks_every_s
                self._break()
        return self.now_s

    def _let_in(self) -> None:
        slow = self.window.slow_peers(self.now_s)
        for offer in list(self.waiting):
            transfer = Transfer(self.sliver_bytes, offer[0])
            if offer[0] in slow:
                continue
            if not self.window.has_room(transfer, self.now_s):
                break
            self.waiting.remove(offer)
            one = Simulated(transfer, self.peer_rates[offer[0]], self.has_tunnel)
            transfer.moved = one.moved_bytes
            self.window.begin(transfer, self.now_s)
            self.under_way.append(one)
        self.most = max(self.most, len(self.under_way))

    def _break(self) -> None:
        for one in self.under_way:
            self.window.end(one.transfer, self.now_s)
            self.window.note_break(self.now_s)
            peer = one.transfer.peer
            assert isinstance(peer, int)
            self.waiting.insert(0, (peer, 0))
        self.under_way.clear()

    def _carry(self) -> None:
        """The link's bytes of one step, shared evenly by those whose peers take their share."""
        left, rest = self.bytes_per_s * STEP_S, sorted(self.under_way, key=lambda one: one.bytes_per_s)
        for place, one in enumerate(rest):
            count = min(left / (len(rest) - place), one.bytes_per_s * STEP_S)
            one.moved += count
            left -= count
            if one.moved >= self.sliver_bytes:
                self.longest_s = max(self.longest_s, self.now_s - one.transfer.began_s)
                self.window.end(one.transfer, self.now_s)
                self.window.note_answer(one.transfer)
                self.under_way.remove(one)
                self.done += 1


MBIT = 125_000.0


@pytest.mark.parametrize(
    ("mbit_per_s", "size_bytes"),
    [
        (0.25, SLIVER_BYTES),
        (1, SLIVER_BYTES),
        (5, 20_000),
        (5, SLIVER_BYTES),
        (50, SLIVER_BYTES),
        (500, 4_400_000),
    ],
)
def test_a_link_is_used_and_not_crowded(mbit_per_s: float, size_bytes: int) -> None:
    peers, rate = 25, mbit_per_s * MBIT
    simulation = Simulation(rate, [1e12] * peers, size_bytes)
    seconds = simulation.run(8, 8 * peers)
    assert seconds <= 1.1 * 8 * peers * size_bytes / rate + 2 * STEP_S
    carried = 1.2 * TARGET_S * max(rate, START_BYTES_PER_S) / size_bytes
    assert simulation.most <= max(LEAST_AT_ONCE, min(MOST_AT_ONCE, 1 + 1.2 * carried))


def test_what_a_tunnel_has_taken_has_not_passed() -> None:
    """It takes whole requests at once: their answers have to come before they count as stalled."""
    simulation = Simulation(MBIT, [1e12] * 10, has_tunnel=True)
    needed_s = 20 * SLIVER_BYTES / MBIT
    assert simulation.run(2, 20) <= 1.05 * needed_s
    assert simulation.most <= LEAST_AT_ONCE + 2
    assert simulation.longest_s < 0.7 * PATIENCE_S


def test_a_slow_link_is_left_to_few_transfers_and_a_fast_one_to_many() -> None:
    slow, fast = (Simulation(rate * MBIT, [1e12] * 25) for rate in (1, 50))
    slow.run(8, 50)
    fast.run(40, 300)
    assert (slow.most, fast.most > 20) == (LEAST_AT_ONCE, True)


def test_the_window_follows_a_link_that_becomes_slower() -> None:
    simulation = Simulation(50 * MBIT, [1e12] * 25)
    simulation.run(14, 300)
    assert simulation.window.bytes_per_s > 40 * MBIT
    simulation.bytes_per_s = MBIT
    simulation.run(2, simulation.done + 50)
    assert simulation.window.bytes_per_s < 1.5 * MBIT


@pytest.mark.parametrize(
    ("mbit_per_s", "slow_rate"),
    [(1, 0.0), (1, 1100.0), (5, 0.0), (5, 1100.0), (5, 20_000.0), (50, 0.0), (50, 20_000.0)],
)
def test_a_third_of_the_peers_that_is_slow_costs_the_others_less_than_as_long_again(
    mbit_per_s: float, slow_rate: float
) -> None:
    rates = [slow_rate if peer % 3 == 0 else 1e12 for peer in range(60)]
    random.Random(1).shuffle(rates)
    simulation = Simulation(mbit_per_s * MBIT, rates)
    assert simulation.run(2, 80) <= 1.7 * 80 * SLIVER_BYTES / (mbit_per_s * MBIT) + 1


# the link itself


async def begins(link: Link, stack: AsyncExitStack, transfer: Transfer) -> asyncio.Task[None]:
    """Ask for a turn; the task is done once the transfer is under way."""
    task = asyncio.create_task(stack.enter_async_context(link.turn(transfer)))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_what_has_no_room_waits_in_line_in_order() -> None:
    link = Link()
    first, second = AsyncExitStack(), AsyncExitStack()
    large = 10 * START_BYTES_PER_S
    for peer in range(LEAST_AT_ONCE - 1):
        assert (await begins(link, second, Transfer(large, peer))).done()
    await begins(link, first, Transfer(large, "last"))
    async with second:
        waiting = [await begins(link, second, Transfer(large, peer)) for peer in "ab"]
        assert [one.done() for one in waiting] == [False, False]
        small = await begins(link, second, Transfer(SMALL_BYTES, "c"))
        assert small.done(), "a small request does not wait"
        await first.aclose()
        for _ in range(5):
            await asyncio.sleep(0)
        assert [one.done() for one in waiting] == [True, False]
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert not link.window.under_way


async def test_a_transfer_that_is_let_go_in_line_leaves_its_place() -> None:
    link = Link()
    async with AsyncExitStack() as stack:
        for peer in range(LEAST_AT_ONCE):
            await begins(link, stack, Transfer(10 * START_BYTES_PER_S, peer))
        waiting = await begins(link, stack, Transfer(10 * START_BYTES_PER_S, "a"))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(link.window.under_way) == LEAST_AT_ONCE
    assert not link.window.under_way
    assert not link._line


async def test_a_peer_with_an_overdue_transfer_is_passed_over_until_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, passed_s = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed_s)
    link = Link()
    async with AsyncExitStack() as stack:
        hanging = AsyncExitStack()
        await begins(link, hanging, Transfer(SLIVER_BYTES, "slow"))
        passed_s += 1000
        waiting = await begins(link, stack, Transfer(SLIVER_BYTES, "slow"))
        other = await begins(link, stack, Transfer(SLIVER_BYTES, "quick"))
        assert (waiting.done(), other.done()) == (False, True)
        await hanging.aclose()
        for _ in range(5):
            await asyncio.sleep(0)
        assert waiting.done()


async def test_bytes_that_were_not_expected_keep_no_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer sends ten times as much as it was asked for, at once, and hangs."""
    loop, passed_s = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed_s)
    link, large = Link(), 10 * START_BYTES_PER_S
    async with AsyncExitStack() as stack:
        for peer in range(LEAST_AT_ONCE):
            hanging = Transfer(large, peer, moved=lambda: 10 * large)
            assert (await begins(link, stack, hanging)).done()
        waiting = await begins(link, stack, Transfer(large, "honest"))
        assert not waiting.done()
        passed_s += links.GRACE_S + LEAST_AT_ONCE * large / START_BYTES_PER_S * links.TIMES_ITS_SHARE + 1
        link._let_in()
        await asyncio.sleep(0)
        assert waiting.done()
