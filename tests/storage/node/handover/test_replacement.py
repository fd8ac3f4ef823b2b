"""The handover that follows a replacement: the shards of the ejected alone are rebuilt, and nothing else moves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest

from committee.ledger import Event
from storage.node.handover import jobs
from tests.storage.network import SHARDS
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, MOVED, change, encoded

if TYPE_CHECKING:
    from tests.memory_chain.contracts import Contracts
    from tests.storage.network import Network

GRACE_S = 30


def set_grace(network: Network) -> None:
    """Give certificates of the epoch before a grace, as the governor does."""

    def setting(now: Contracts) -> tuple[Contracts, tuple[Event, ...]]:
        parameters = dataclasses.replace(now.parameters, certificate_grace_s=GRACE_S)
        return dataclasses.replace(now, parameters=parameters), ()

    network.chain.send("set", setting)


async def test_the_shards_of_a_replaced_member_are_rebuilt_and_no_other_moves(stored: Network) -> None:
    """A blob that ends with the period is rebuilt too: the period goes on."""
    ending = encoded(100)
    await stored.upload(ending, end_period=stored.chain.state.period + 1)
    await stored.stop(3)
    period = stored.chain.state.period
    stored.chain.eject(3)
    stored.chain.replace()
    stored.chain.start()
    await stored.until(lambda: stored.chain.gained == stored.chain.attested == {*SHARDS[3]})
    await stored.seen()
    assert stored.chain.state.period == period
    moved = {}
    for node in stored.running.values():
        for report in node.handover.report().shards:
            moved[report.shard] = (report.transferred_slivers, report.rebuilt_slivers)
    assert moved == dict.fromkeys(SHARDS[3], (0, 2 * len([*BLOBS, ending])))
    await check(stored)
    for blob in (*BLOBS, ending):
        await stored.read(blob.blob_id)


@pytest.mark.parametrize("grace_s", [0, GRACE_S])
async def test_a_lost_shard_is_served_until_the_next_epoch_and_the_grace_are_over(
    stored: Network, monkeypatch: pytest.MonkeyPatch, grace_s: int
) -> None:
    monkeypatch.setattr(jobs, "LOOK_AGAIN_S", 0.01)
    if grace_s:
        set_grace(stored)
    dropping, asked = stored.running[3].store, list[int]()
    chain_time_s = stored.ledgers[3].chain_time_s

    async def counted() -> int:
        asked.append(1)
        return await chain_time_s()

    monkeypatch.setattr(stored.ledgers[3], "chain_time_s", counted)
    await change(stored, MOVED)
    assert 6 in dropping.shards()
    await change(stored, MOVED)
    if grace_s:
        stored.chain.time_s = stored.chain.state.started_at_s + grace_s - 1
        stored.chain.mine()
        await stored.seen()
        asked.clear()
        await stored.until(lambda: len(asked) > 3)
        assert 6 in dropping.shards(), "a reader may know the committee of two epochs ago"
        later_s = stored.chain.time_s + GRACE_S
        monkeypatch.setattr(stored.ledgers[3], "chain_time_s", AsyncMock(return_value=later_s))
        looks = AsyncMock(wraps=stored.ledgers[3].block_time_s)
        monkeypatch.setattr(stored.ledgers[3], "block_time_s", looks)
        await stored.until(lambda: looks.await_count > 3)
        assert 6 in dropping.shards(), "the newest block is later by the word of one endpoint"
        stored.chain.time_s += 1
        stored.chain.mine()
    await stored.until(lambda: 6 not in dropping.shards())
    await check(stored)
