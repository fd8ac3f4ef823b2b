"""Requests begin some at a time, source by source."""

from __future__ import annotations

import asyncio

import pytest

from storage.node.budgets import Requester
from storage.node.http.begins import Begins

MANY, ONE = Requester("many"), Requester("one")
AT_ONCE = 4


class Flood:
    """Requests that wait for their beginning, and those that have begun, in order."""

    def __init__(self) -> None:
        self.begins = Begins(AT_ONCE)
        self.begun: list[Requester] = []
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, source: Requester, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._begin(source)) for _ in range(count)]

    async def _begin(self, source: Requester) -> None:
        await self.begins.turn(source)
        self.begun.append(source)

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks)


async def test_few_requests_begin_at_once() -> None:
    flood = Flood()
    flood.send(MANY, AT_ONCE)
    await asyncio.sleep(0)
    assert len(flood.begun) == AT_ONCE


async def test_no_round_begins_more_than_some() -> None:
    flood = Flood()
    flood.send(MANY, 100)
    rounds = 0
    while len(flood.begun) < 100:
        before = len(flood.begun)
        await asyncio.sleep(0)
        assert len(flood.begun) - before <= AT_ONCE
        rounds += 1
    assert rounds <= 100
    await flood.ended()


async def test_another_source_waits_for_no_flood() -> None:
    flood = Flood()
    flood.send(MANY, 1000)
    await asyncio.sleep(0)
    flood.send(ONE)
    for _ in range(4):
        await asyncio.sleep(0)
    assert ONE in flood.begun
    assert len(flood.begun) < 10 * AT_ONCE
    await flood.ended()


@pytest.mark.parametrize("every", [1, 2, 3])
async def test_requests_whose_clients_are_gone_take_no_turn(every: int) -> None:
    flood = Flood()
    flood.send(MANY, 100)
    await asyncio.sleep(0)
    waiting = flood.tasks[AT_ONCE:]
    for gone in waiting[::every]:
        gone.cancel()
    await asyncio.gather(*flood.tasks, return_exceptions=True)
    assert len(flood.begun) == 100 - len(waiting[::every])
    flood.tasks.clear()
    flood.send(ONE, 2 * AT_ONCE)
    await flood.ended()
    assert flood.begun.count(ONE) == 2 * AT_ONCE


async def test_what_comes_later_from_one_source_does_not_overtake() -> None:
    begins, order = Begins(1), list[int]()

    async def begin(number: int) -> None:
        await begins.turn(MANY)
        order.append(number)

    await asyncio.gather(*(begin(number) for number in range(50)))
    assert order == list(range(50))
