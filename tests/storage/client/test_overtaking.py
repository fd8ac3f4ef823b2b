"""Which requests are overtaken, and which of those are cancelled. Time passes as a test says."""

from __future__ import annotations

import asyncio

import pytest

from storage.client.link import GRACE_S, NEARLY_DONE, Transfer
from storage.client.overtaking import OVERTAKEN_AFTER_S, Requests

SIZE_BYTES = 1000


class Clock:
    now_s = 100.0


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock.now_s)
    return clock


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


def begun(moved_bytes: int, least_bytes_per_s: float = 100.0) -> Transfer:
    """A transfer that began just now, of which so many bytes have moved."""
    transfer = Transfer(SIZE_BYTES, moved=lambda: moved_bytes)
    transfer.began_s = asyncio.get_running_loop().time()
    transfer.least_bytes_per_s = least_bytes_per_s
    return transfer


def any_target(target: str) -> bool:
    return True


async def test_a_small_request_is_overtaken_by_the_clock(clock: Clock) -> None:
    async with Requests[str, bytes]() as requests:
        requests.send("a", never())
        clock.now_s += OVERTAKEN_AFTER_S
        assert await requests.answered() == []
        assert (requests.expected, requests.overtaken) == ([], ["a"])


@pytest.mark.parametrize(
    ("moved_bytes", "cancelled"), [(0, ["a"]), (100, ["a"]), (int(NEARLY_DONE * SIZE_BYTES), [])]
)
async def test_an_overtaken_transfer_is_cancelled_unless_nearly_all_is_here(
    clock: Clock, moved_bytes: int, cancelled: list[str]
) -> None:
    async with Requests[str, bytes]() as requests:
        requests.send("a", never(), begun(moved_bytes))
        clock.now_s += GRACE_S + moved_bytes / 100.0
        await requests.answered()
        assert requests.overtaken == ["a"]
        assert requests.cancel_overtaken(any_target, most=1) == cancelled


async def test_a_transfer_at_its_share_of_the_link_is_not_overtaken(clock: Clock) -> None:
    async with Requests[str, bytes]() as requests:
        requests.send("slow link", never(), begun(500, least_bytes_per_s=10.0))
        requests.send("slow member", never(), begun(500, least_bytes_per_s=500.0))
        clock.now_s += GRACE_S + 1.0
        await requests.answered()
        assert (requests.expected, requests.overtaken) == (["slow link"], ["slow member"])


@pytest.mark.parametrize(
    ("moved_bytes", "rates", "is_spared"),
    [
        ((300, 900, 900), (10.0, 10.0, 10.0), True),
        ((300, 900, 900), (10.0, 29.0, 1.0), True),
        ((300, 900, 900), (10.0, 31.0, 1.0), False),
        ((200, 900, 900), (10.0, 10.0, 10.0), False),
        ((200, 900, 900), (14.0, 14.0, 14.0), True),
        ((300, 900, 900), (0.0, 0.0, 0.0), False),
        ((300, 900), (10.0, 10.0), False),
    ],
    ids=[
        "as fast as all",
        "about as fast",
        "slower than one",
        "hardly begun",
        "soon here",
        "nothing moves",
        "two",
    ],
)
async def test_a_transfer_that_becomes_slow_with_all_others_is_waited_for_once(
    clock: Clock, moved_bytes: tuple[int, ...], rates: tuple[float, ...], is_spared: bool
) -> None:
    """A link fades from 20 to 1 Mbit/s in the middle of a read: private-octopus/picoquic#720."""
    async with Requests[int, bytes]() as requests:
        for peer, (moved, rate) in enumerate(zip(moved_bytes, rates, strict=True)):
            transfer = begun(moved)
            transfer.peer, transfer.bytes_per_s = peer, rate
            requests.send(peer, never(), transfer)
        clock.now_s += GRACE_S + 3.1
        await requests.answered()
        assert requests.overtaken == ([] if is_spared else [0])
        if is_spared:
            clock.now_s += 1000
            await requests.answered()
            assert 0 in requests.overtaken, "once"


async def test_transfers_that_were_overtaken_still_tell_that_the_link_is_slow(clock: Clock) -> None:
    async with Requests[int, bytes]() as requests:
        for peer, moved in enumerate((0, 10, 300)):
            transfer = begun(moved)
            transfer.peer, transfer.bytes_per_s = peer, 10.0
            requests.send(peer, never(), transfer)
        clock.now_s += GRACE_S + 0.2
        await requests.answered()
        assert requests.overtaken == [0, 1], "they hang"
        clock.now_s += 3.0
        await requests.answered()
        assert requests.overtaken == [0, 1], "the third is as fast as these"


async def test_only_as_many_are_cancelled_as_are_replaced_and_may_be(clock: Clock) -> None:
    async with Requests[str, bytes]() as requests:
        for target in ("a", "b", "c"):
            requests.send(target, never(), begun(0))
        clock.now_s += GRACE_S
        await requests.answered()
        assert requests.cancel_overtaken(lambda target: target != "a", most=1) == ["b"]
        assert requests.overtaken == ["a", "c"]


async def test_requests_of_a_hopeless_target_that_wait_are_overtaken_too(clock: Clock) -> None:
    async with Requests[str, bytes]() as requests:
        for target, transfer in {
            "slow 1": Transfer(SIZE_BYTES),
            "slow 2": begun(1),
            "other": Transfer(),
        }.items():
            requests.send(target, never(), transfer)
        requests.overtake(lambda target: target.startswith("slow"))
        assert (requests.expected, requests.overtaken) == (["slow 2", "other"], ["slow 1"])
