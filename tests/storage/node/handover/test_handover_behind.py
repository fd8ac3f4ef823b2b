"""A source whose endpoint of the chain lags refuses pages of an epoch that it has not seen: it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from storage.client import settling, waiting
from storage.client.errors import NodeRefused
from storage.client.failures import Reason
from storage.client.settling import Settling
from storage.node.handover import copying
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, MOVED, TWO_MOVED, Bent, bend

if TYPE_CHECKING:
    from tests.storage.network import Network


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the nodes that were waited for."""
    names: list[str] = []
    real = Settling.until_settled

    async def until_settled(self: Settling, node: Any, refused: Any) -> None:
        names.append(node.name)
        await real(self, node, refused)

    monkeypatch.setattr(Settling, "until_settled", until_settled)
    monkeypatch.setattr(waiting, "FIRST_PAUSE_S", 0.01)
    return names


async def test_a_source_that_has_not_seen_the_epoch_is_waited_for(stored: Network, waits: list[str]) -> None:
    stored.hold(3)
    stored.chain.start(MOVED)
    await stored.until(lambda: waits)
    stored.let_go(3)
    await stored.until(lambda: 6 in stored.chain.attested)
    await check(stored)
    (report,) = stored.running[1].handover.report().shards
    assert set(waits) == {"node-3"}
    assert (report.transferred_slivers, report.rebuilt_slivers) == (2 * len(BLOBS), 0)


async def test_a_source_that_only_says_that_it_gets_on_is_done_without(
    stored: Network, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that it names grows with each question, and never comes to the epoch's."""
    monkeypatch.setattr(copying, "SOURCE_BEHIND_LIMIT_S", 0.2)
    block = -(10**9)

    def further(_: dict[str, Any]) -> int:
        nonlocal block
        block += 1
        return block

    monkeypatch.setattr(settling, "block_of", further)
    monkeypatch.setattr(settling, "BEHIND_PATIENCE_S", 0.1)
    stored.hold(3)
    stored.chain.start(MOVED)
    await stored.until(lambda: 6 in stored.chain.attested)
    (report,) = stored.running[1].handover.report().shards
    assert set(waits) == {"node-3"}
    assert (report.transferred_slivers, report.rebuilt_slivers) == (0, 2 * len(BLOBS))


async def test_a_source_that_stays_behind_is_done_without(
    stored: Network, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "BEHIND_PATIENCE_S", 0.0)
    stored.hold(3)
    stored.chain.start(MOVED)
    await stored.until(lambda: 6 in stored.chain.attested)
    (report,) = stored.running[1].handover.report().shards
    assert waits
    assert (report.transferred_slivers, report.rebuilt_slivers) == (0, 2 * len(BLOBS))


async def test_a_source_is_waited_for_once_for_all_its_shards(
    stored: Network, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says of each shard and axis anew that it has not seen the epoch, and then that it has."""
    told: set[bytes] = set()
    until: set[float] = set()
    timeout_at = asyncio.timeout_at

    class Forgetful(Bent):
        def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if name == "sync_shard" and arguments[0] not in told:
                told.add(arguments[0])
                raise NodeRefused("node-1", "", 400, Reason.INVALID_EPOCH, "epoch 1 is not here yet")
            return arguments

    def noted(when: float | None) -> asyncio.Timeout:
        until.update({when} if when and when > limit_s else ())
        return timeout_at(when)

    limit_s = 10.0**9
    monkeypatch.setattr(copying, "SOURCE_BEHIND_LIMIT_S", limit_s)
    monkeypatch.setattr(asyncio, "timeout_at", noted)
    bend(stored, 4, {1: lambda real: Forgetful(real, lambda name, answer: answer)})
    stored.chain.start(TWO_MOVED)
    await stored.until(lambda: stored.chain.attested >= {1, 2})
    await check(stored)
    assert len(waits) == 4
    assert len(until) == 1
