"""The budget for peers: what they ask for waits for it, and neither readers nor writers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage.client import wire
from storage.node.budgets import ITSELF, Budget, Pool, Requester
from storage.node.http import admission, symbols
from storage.node.store.records import Symbols
from storage.redstuff import Axis
from tests.storage.node.http.conftest import SHARD, Serve, ServedNode, until

MISSING = 3
"""A shard of the node's whose slivers it lacks."""


class HeldBudget(Budget):
    """A budget whose turns the test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.served = 0
        self.go_on = asyncio.Event()
        self.memory_bytes: list[int] = []
        self.charged_bytes: list[int] = []

    @asynccontextmanager
    async def request(self, requester: Requester = ITSELF, size_bytes: int = 1) -> AsyncIterator[None]:
        self.asked += 1
        await self.go_on.wait()
        try:
            yield
        finally:
            self.served += 1

    @asynccontextmanager
    async def memory(self, size_bytes: int, requester: Requester = ITSELF) -> AsyncIterator[None]:
        self.memory_bytes.append(size_bytes)
        yield

    def charge(self, size_bytes: int) -> None:
        self.charged_bytes.append(size_bytes)


@pytest.fixture
def budget() -> HeldBudget:
    return HeldBudget()


@pytest.fixture
async def served(serve_node: Serve, budget: HeldBudget) -> ServedNode:
    return await serve_node(budget, (0, 1, SHARD))


async def test_readers_and_writers_do_not_wait_for_peers(served: ServedNode, budget: HeldBudget) -> None:
    peers = [asyncio.create_task(served.symbols()) for _ in range(2 * admission.WORK_AT_ONCE)]
    await until(lambda: budget.asked == len(peers))
    for axis in Axis:
        path = served.sliver_path(MISSING, axis)
        assert (await served.ask("PUT", path, served.sliver_body(MISSING, axis)))[0] == 201
        assert (await served.ask("GET", path))[0] == 200
    assert not any(peer.done() for peer in peers)
    budget.go_on.set()
    assert await asyncio.gather(*peers) == [200] * len(peers)


@pytest.mark.parametrize(
    "rest",
    [
        "decodingSymbols?targetSlivers=5&targetType=primary&helperShards=0-2",
        "recoverySymbols?targetSliver=5&targetType=primary&helperShards=0-2",
    ],
)
async def test_symbols_of_a_blob_are_waited_for_and_paid_for(
    served: ServedNode, budget: HeldBudget, rest: str
) -> None:
    asked = asyncio.create_task(served.ask("GET", served.path(rest)))
    await until(lambda: budget.asked)
    assert not asked.done()
    budget.go_on.set()
    status, body = await asked
    assert (status, budget.charged_bytes) == (200, [len(body)])
    (memory_bytes,) = budget.memory_bytes
    assert memory_bytes >= len(body)


async def test_symbols_of_several_blobs_are_paid_for(served: ServedNode, budget: HeldBudget) -> None:
    budget.go_on.set()
    _, body = await served.ask("POST", "/v1/decodingSymbols", served.questions(3))
    assert budget.charged_bytes == [len(body)]
    (memory_bytes,) = budget.memory_bytes
    assert memory_bytes >= len(body)


async def test_what_peers_ask_for_is_made_a_few_at_once(
    served: ServedNode, budget: HeldBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most, may_end = 0, 0, asyncio.Event()
    really = asyncio.to_thread

    async def to_thread(function: object, *args: object) -> object:
        nonlocal under_way, most
        if getattr(function, "__name__", "") != "collect":
            return await really(function, *args)  # type: ignore[arg-type]
        under_way += 1
        most = max(most, under_way)
        await may_end.wait()
        under_way -= 1
        return await really(function)  # type: ignore[arg-type]

    monkeypatch.setattr("storage.node.http.admission.asyncio.to_thread", to_thread)
    budget.go_on.set()
    peers = [asyncio.create_task(served.symbols()) for _ in range(3 * admission.BULK_WORK_AT_ONCE)]
    await until(lambda: budget.asked == len(peers))
    await asyncio.sleep(0)
    assert most == admission.BULK_WORK_AT_ONCE - 1, "one place is left to members"
    may_end.set()
    assert await asyncio.gather(*peers) == [200] * len(peers)
    assert most == admission.BULK_WORK_AT_ONCE - 1, "one place is left to members"


async def test_an_address_has_half_of_the_places_that_peers_wait_in(
    served: ServedNode, budget: HeldBudget
) -> None:
    peers = [asyncio.create_task(served.symbols()) for _ in range(admission.BULK_IN_LINE // 2)]
    await until(lambda: budget.asked == len(peers))
    status, body = await served.ask("POST", "/v1/decodingSymbols", served.questions())
    assert (status, b"UNAVAILABLE" in body) == (503, True)
    assert await served.sliver() == 200
    peers.append(asyncio.create_task(served.symbols(local="127.0.0.2")))
    await until(lambda: budget.asked == len(peers))
    budget.go_on.set()
    assert await asyncio.gather(*peers) == [200] * len(peers)
    assert await served.symbols() == 200


async def test_who_has_hung_up_is_not_served_and_pays_nothing(
    served: ServedNode, budget: HeldBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    sliver = served.node.store.sliver

    def watched(blob_id: bytes, shard: int, axis: Axis) -> Symbols | None:
        read.append(shard)
        return sliver(blob_id, shard, axis)

    monkeypatch.setattr(served.node.store, "sliver", watched)
    gone = [await served.begin("POST", "/v1/decodingSymbols", served.questions()) for _ in range(5)]
    await until(lambda: budget.asked == len(gone))
    for one in gone:
        one.close()
    await until(lambda: served.connections == 0)
    budget.go_on.set()
    await until(lambda: budget.served == len(gone))
    assert (read, budget.charged_bytes) == ([], [])
    assert await served.symbols(1) == 200


@pytest.mark.parametrize("least_bytes", [1, 10**6], ids=["large slivers", "many slivers"])
async def test_a_question_weighs_as_much_as_the_slivers_read_for_it(
    served: ServedNode, budget: HeldBudget, monkeypatch: pytest.MonkeyPatch, least_bytes: int
) -> None:
    """One symbol of each sliver: the answer has a seventh of the bytes that are read."""
    monkeypatch.setattr(symbols, "SLIVER_WORK_BYTES", least_bytes)
    weights, really = list[int | None](), Pool.lent

    def watched(pool: Pool, amount: int = 1, *requester: Requester, weight: int | None = None) -> Any:
        weights.append(weight)
        return really(pool, amount, *requester, weight=weight)

    monkeypatch.setattr(Pool, "lent", watched)
    budget.go_on.set()
    question = wire.Question(Axis.PRIMARY, [5], range(5), [served.blob.blob_id]).to_bcs()
    assert (await served.ask("POST", "/v1/decodingSymbols", question))[0] == 200
    here = [served.node.sliver(served.blob, shard, Axis.SECONDARY) for shard in (0, 1, SHARD)]
    work_bytes = max(sum(map(len, here)), len(here) * least_bytes)
    assert weights.count(work_bytes) == 2, "of the strangers' turns, and of all"
