"""What a handover receives is charged to the node's budget, and kept within it; over a chain in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from storage.client import wire
from storage.node.budgets import ITSELF, Budget, Requester
from storage.node.handover import jobs
from storage.node.sqlite import StoreFull
from storage.redstuff import Axis
from tests.logged import captured
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, CODE, LESS, MOVED, Bent, bend, change, flip

if TYPE_CHECKING:
    from tests.storage.network import Network

PAIRS_BYTES = sum(CODE.sliver_size(blob.length, axis) for blob in BLOBS for axis in Axis)


class Watched(Budget):
    """A budget that tells what was taken of it."""

    def __init__(self) -> None:
        super().__init__()
        self.charged_bytes = 0
        self.requests = 0
        self.at_once = 0
        self.memory_bytes = 0
        """All that was ever taken, given back or not."""
        self._now = 0

    @asynccontextmanager
    async def request(self, requester: Requester = ITSELF, size_bytes: int = 1) -> AsyncIterator[None]:
        async with super().request(requester, size_bytes):
            self.requests += 1
            self._now += 1
            self.at_once = max(self.at_once, self._now)
            try:
                yield
            finally:
                self._now -= 1

    def charge(self, size_bytes: int) -> None:
        self.charged_bytes += size_bytes
        super().charge(size_bytes)

    @asynccontextmanager
    async def memory(self, size_bytes: int, requester: Requester = ITSELF) -> AsyncIterator[None]:
        self.memory_bytes += size_bytes
        async with super().memory(size_bytes, requester):
            yield


def watch(network: Network, node_id: int, monkeypatch: pytest.MonkeyPatch) -> Watched:
    node, budget = network.running[node_id], Watched()
    repair = node.repair
    copying = node.handover._filling._copying
    for part in (copying, repair, repair._helpers.courier, repair._proofs, repair._metadata):
        monkeypatch.setattr(part, "_budget", budget)
    return budget


async def test_what_is_copied_is_charged(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = watch(stored, 1, monkeypatch)
    await change(stored, MOVED)
    await check(stored)
    assert budget.charged_bytes == PAIRS_BYTES
    assert budget.requests == 2, "a page for each axis"
    assert budget.memory_bytes >= 2 * PAIRS_BYTES


async def test_memory_for_a_page_is_that_of_the_most_that_may_come(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is wanted: it is the source that says how much comes."""
    most_bytes: list[int] = []

    class Asked(Bent):
        def __getattr__(self, name: str) -> Any:
            ask = super().__getattr__(name)

            async def noted(*arguments: Any, **options: Any) -> Any:
                most_bytes.extend([options["most_bytes"]] if name == "sync_shard" else [])
                return await ask(*arguments, **options)

            return noted

    budget = watch(stored, 1, monkeypatch)
    bend(stored, 1, {node_id: lambda real: Asked(real, lambda name, answer: answer) for node_id in (2, 3, 4)})
    await change(stored, MOVED)
    assert most_bytes
    assert min(most_bytes) >= wire.PAGE_BYTES
    assert budget.memory_bytes >= 2 * sum(most_bytes)


async def test_what_is_rebuilt_is_charged(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    await change(stored, MOVED)
    await stored.stop(3)
    budget = watch(stored, 2, monkeypatch)
    await change(stored, LESS)
    await check(stored)
    (report,) = stored.running[2].handover.report().shards
    assert budget.charged_bytes == report.received_bytes > 0
    assert budget.requests >= 2
    assert budget.memory_bytes == 2 * PAIRS_BYTES


async def test_a_budget_of_one_request_at_a_time_is_kept(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(stored, MOVED)
    await stored.stop(3)
    budget = watch(stored, 2, monkeypatch)
    Budget.__init__(budget, requests_at_once=1, memory_bytes=1)
    await change(stored, LESS)
    await check(stored)
    assert budget.at_once == 1


@pytest.mark.usefixtures("no_retries")
async def test_what_tries_that_failed_received_is_told(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    await change(stored, MOVED)
    await stored.stop(3)
    lie, received = True, list[int]()

    def maybe_lie(name: str, answer: Any) -> Any:
        if name != "decoding_symbols":
            return answer
        received.extend(len(one) for some in answer.values() for one in some.values())
        return {
            index: {target: flip(one) if lie else one for target, one in some.items()}
            for index, some in answer.items()
        }

    bend(stored, 2, {other: lambda real: Bent(real, maybe_lie) for other in (1, 4)})
    with captured() as logs:
        stored.chain.start(LESS)
        await stored.until(lambda: sum(one["event"] == "handover is incomplete" for one in logs) >= 2)
    lie = False
    await stored.until(lambda: 7 in stored.chain.attested)
    await check(stored, in_vain=2)
    (report,) = stored.running[2].handover.report().shards
    assert report.wasted_bytes > 0
    assert report.received_bytes + report.wasted_bytes == sum(received)


async def test_what_a_disk_refused_is_told(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    store = stored.running[1].store
    put, is_full, refused = store.put_slivers, True, list[int]()

    def refuse(slivers: Any, *metadata: Any) -> int:
        if is_full:
            refused.append(sum(len(one.symbols) for one in slivers))
            raise StoreFull("no space is left")
        return put(slivers, *metadata)

    monkeypatch.setattr(store, "put_slivers", refuse)
    with captured() as logs:
        stored.chain.start(MOVED)
        await stored.until(lambda: sum(one["event"] == "handover waits" for one in logs) >= 2)
    is_full = False
    await stored.until(lambda: 6 in stored.chain.attested)
    await check(stored, in_vain=len(refused))
    (report,) = stored.running[1].handover.report().shards
    assert report.wasted_bytes == sum(refused) > 0
