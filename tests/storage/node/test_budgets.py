"""Budgets: what is over one waits its turn, and nothing is lost when a waiter gives up."""

from __future__ import annotations

import asyncio

import pytest

from storage.node import budgets
from storage.node.budgets import Budget


async def begun(*tasks: asyncio.Task[None]) -> list[bool]:
    """Which of the tasks are done when all that can has happened."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


class Holder:
    """Takes memory, and holds it until it is told to let go."""

    def __init__(self, budget: Budget, size_bytes: int) -> None:
        self.has_it = False
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, size_bytes))

    async def _run(self, budget: Budget, size_bytes: int) -> None:
        async with budget.memory(size_bytes):
            self.has_it = True
            await self.let_go.wait()


async def test_memory_is_given_in_order_and_given_back() -> None:
    budget = Budget(memory_bytes=100)
    first, large, small = (Holder(budget, size) for size in (60, 65, 10))
    await begun()
    assert (first.has_it, large.has_it, small.has_it) == (True, False, False), "nobody overtakes"
    first.let_go.set()
    await begun()
    assert (large.has_it, small.has_it) == (True, True)
    for one in (large, small):
        one.let_go.set()
        await one.task
    async with asyncio.timeout(1), budget.memory(100):
        pass


async def test_more_memory_than_there_is_leaves_room_for_small_amounts_alone() -> None:
    budget = Budget(memory_bytes=100)
    huge, other, small = (Holder(budget, size_bytes) for size_bytes in (1000, 1000, 1))
    await begun()
    assert (huge.has_it, other.has_it, small.has_it) == (True, False, True)
    for one in (huge, other, small):
        one.let_go.set()
    await asyncio.gather(huge.task, other.task, small.task)


@pytest.mark.parametrize("holds", [True, False])
async def test_who_gives_up_takes_nothing_along(holds: bool) -> None:
    budget = Budget(memory_bytes=100)
    first, second = Holder(budget, 100), Holder(budget, 100)
    await begun()
    (first if holds else second).task.cancel()
    await begun()
    assert second.has_it == holds
    for one in (first, second):
        one.let_go.set()
    await asyncio.gather(first.task, second.task, return_exceptions=True)
    async with asyncio.timeout(1), budget.memory(100):
        pass


async def test_requests_at_once_are_limited() -> None:
    budget = Budget(requests_at_once=2)
    under_way, most = 0, 0

    async def request() -> None:
        nonlocal under_way, most
        async with budget.request():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(request() for _ in range(9)))
    assert most == 2


async def test_bytes_a_second_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("storage.node.budgets.asyncio.sleep", sleep)
    budget = Budget(bytes_per_s=1000)
    budget.charge(200)
    async with budget.request():
        assert not waited, "a burst passes"
    budget.charge(1800)
    async with budget.request():
        (waited_s,) = waited
    assert waited_s == pytest.approx(2.0 - budgets.BURST_S, abs=0.1)


@pytest.mark.parametrize("limits", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_budget_that_lets_nothing_through_is_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="never let anything through"):
        Budget(*limits)
