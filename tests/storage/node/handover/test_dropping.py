"""What was given up is dropped when it may go: whatever the disk does, and whenever the news comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger import Attestation
from storage.node.handover import jobs
from storage.node.store import StoreError
from tests.logged import captured
from tests.storage.node.checks import check
from tests.storage.node.handovers import LESS, MOVED, change

if TYPE_CHECKING:
    from tests.storage.network import Network


async def test_a_disk_that_cannot_delete_holds_up_no_handover(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 1 gives shard 6 up, and can drop it no sooner than its disk is well."""
    monkeypatch.setattr(jobs, "LOOK_AGAIN_S", 0.05)
    await change(stored, MOVED)
    store = stored.running[1].store
    drop = store.drop_shard

    def fail(*arguments: Any) -> int:
        raise StoreError("the disk deletes nothing")

    monkeypatch.setattr(store, "drop_shard", fail)
    with captured() as logs:
        for shards in (
            {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)},
            {**LESS, 1: (0, 1, 2, 8), 2: (3, 4, 5, 6, 7), 4: (9,)},
        ):
            await change(stored, shards)
    assert any(one["event"] == "old shards stay for now" for one in logs)
    assert {6, 8} <= store.shards()
    monkeypatch.setattr(store, "drop_shard", drop)
    await stored.until(lambda: 6 not in store.shards())
    await check(stored)


@pytest.mark.usefixtures("no_retries")
async def test_an_attestation_seen_while_shards_are_dropped_is_heeded(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 3 owes shard 6; when it comes to dropping, what it knows of that is older than the news."""
    await stored.stop(1)
    node = stored.running[3]
    asked, go_on = asyncio.Event(), asyncio.Event()
    chain_time_s = node.view.ledger.chain_time_s

    async def late() -> int:
        time_s = await chain_time_s()
        asked.set()
        await go_on.wait()
        return time_s

    for _ in range(3):
        stored.chain.start(MOVED)
        await stored.seen()
    monkeypatch.setattr(node.view.ledger, "chain_time_s", late)
    attesting = stored.chain.ledger("node-1")
    stored.chain.eject(4)  # news
    async with asyncio.timeout(20):
        await asked.wait()
    await attesting.attest(stored.chain.state.epoch, [Attestation(6, bytes(32), 0)])
    await stored.seen()
    go_on.set()
    await stored.until(lambda: 6 not in node.store.shards())
    await check(stored)
