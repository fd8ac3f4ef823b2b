"""The network in memory with blobs on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from aiohttp import web

from storage.node import duties
from storage.node.handover import jobs
from storage.node.upkeep import healing, invalidation
from tests.storage import pacing
from tests.storage.network import Network
from tests.storage.node.handovers import BLOBS


@pytest.fixture
def no_retries() -> Iterator[None]:
    """Who is down does not answer the next time either."""
    with pacing.tries(1):
        yield


class Nothing:
    """A server that answers each request with a head and then nothing, or a byte now and then, while the test lasts."""

    def __init__(self, drips: bool) -> None:
        self.address = ""
        self.asked: list[str] = []
        """Paths."""
        self.ended = asyncio.Event()
        self._drips = drips

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = web.StreamResponse()
        await answer.prepare(request)
        while self._drips and not self.ended.is_set():
            await answer.write(b"\0")
            await asyncio.wait([asyncio.ensure_future(self.ended.wait())], timeout=0.1)
        await self.ended.wait()
        return answer


@pytest.fixture
async def serve_nothing(
    serve: Callable[[Any], Coroutine[Any, Any, str]],
) -> AsyncIterator[Callable[[bool], Coroutine[Any, Any, Nothing]]]:
    """`await serve_nothing(drips)` → `Nothing`, serving."""
    servers: list[Nothing] = []

    async def start(drips: bool) -> Nothing:
        servers.append(Nothing(drips))
        servers[-1].address = await serve(servers[-1].answer)
        return servers[-1]

    yield start
    for server in servers:
        server.ended.set()


@pytest.fixture
def soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what ends in `check`, which waits until nobody is about to try anything again."""
    for module in (jobs, healing):
        monkeypatch.setattr(module, "FIRST_RETRY_S", 0.05)
    for module, name, seconds in ((duties, "LEAST_TURN_S", 0.05), (invalidation, "LONGEST_ROUND_S", 0)):
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(invalidation, "REST_S", 0.01)


@pytest.fixture
async def stored(network: Network, soon_tried_again: None) -> Network:
    """With `BLOBS`, each of which every node has looked after since it was certified."""
    await network.upload(*BLOBS)
    await network.until(lambda: not any(node.healing.waiting for node in network.running.values()))
    return network
