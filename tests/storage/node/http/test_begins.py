"""Requests begin some at a time, source by source."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from storage.client import wire
from storage.node.budgets import Requester
from storage.node.http import begins
from storage.node.http.begins import Begins
from storage.node.http.server import HEALTH, begun_in_turn
from tests.storage.node.http.conftest import Serve, until

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
    one_by_one, order = Begins(1), list[int]()

    async def begin(number: int) -> None:
        await one_by_one.turn(MANY)
        order.append(number)

    await asyncio.gather(*(begin(number) for number in range(50)))
    assert order == list(range(50))


@pytest.mark.parametrize("path", [HEALTH, "/v1/api"])
async def test_a_source_waits_for_no_flood_of_another(path: str) -> None:
    """Two thousand requests for health, ever again, kept one from elsewhere waiting for 3.3 s."""
    begun: list[Requester] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        begun.append(cast(Any, request.protocol).source)
        return web.Response()

    handler = begun_in_turn(handle)
    protocol = {"request_ended": lambda: None, "require_readable": lambda request: None}
    requests = [
        SimpleNamespace(path=path, protocol=SimpleNamespace(source=source, **protocol))
        for source in (*[MANY] * 1000, ONE)
    ]
    await asyncio.gather(*(handler(cast(web.BaseRequest, one)) for one in requests))
    assert begun.index(ONE) <= 2 * begins.AT_ONCE


async def test_requests_whose_bodies_end_together_go_on_some_at_a_time(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three thousand of them, at 0.6 ms each for the questions alone, kept all else waiting for 3.7 s."""
    count, read = 40, 0

    def question(encoded: bytes, n: int) -> wire.Question:
        nonlocal read
        read += 1
        return original(encoded, n)

    original = wire.Question.from_bcs
    monkeypatch.setattr(wire.Question, "from_bcs", question)
    served = await serve_node()
    body = served.questions()
    sent = [await served.begin("POST", "/v1/decodingSymbols", body[:-1], len(body)) for _ in range(count)]
    await until(lambda: served.connections == count)
    for _ in range(10 * count):
        await asyncio.sleep(0)
    for one in sent:
        one.send(body[-1:])
    while read < count:
        before = read
        await asyncio.sleep(0)
        assert read - before <= begins.AT_ONCE
