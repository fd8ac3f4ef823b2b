"""What a handover receives is charged to the node's budget, and kept within it; over a chain in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from storage.node.budgets import Budget
from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, CODE, LESS, MOVED, change

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
    async def request(self) -> AsyncIterator[None]:
        async with super().request():
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
    async def memory(self, size_bytes: int) -> AsyncIterator[None]:
        self.memory_bytes += size_bytes
        async with super().memory(size_bytes):
            yield


def watch(network: Network, node_id: int, monkeypatch: pytest.MonkeyPatch) -> Watched:
    node, budget = network.running[node_id], Watched()
    repair = node.repair
    for part in (node.handover._filling, repair, repair._helpers, repair._helpers._courier):
        monkeypatch.setattr(part, "_budget", budget)
    return budget


async def test_what_is_copied_is_charged(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = watch(stored, 1, monkeypatch)
    await change(stored, MOVED)
    await check(stored)
    assert budget.charged_bytes == PAIRS_BYTES
    assert budget.requests == 2, "a page for each axis"
    assert budget.memory_bytes >= 2 * PAIRS_BYTES


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
