"""Blobs that end while slivers of them are on their way into a node's store: nothing of them may stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import CODE, MOVED, Held, encoded

if TYPE_CHECKING:
    from tests.storage.network import Network

BLOB = encoded(100)


def is_dropped(network: Network, node_id: int) -> bool:
    return network.has_nothing(node_id, BLOB.blob_id)


async def test_a_blob_deleted_while_it_is_prefetched(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await stored.upload(BLOB, deletable=True)
    held = Held(stored, 1, monkeypatch, "put_slivers")
    stored.chain.select(MOVED)
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.delete(number)
    await stored.until(is_dropped, stored, 1)
    held.go_on()
    await stored.until(lambda: 6 in stored.running[1].store.shards())
    await stored.until(lambda: stored.running[1].garbage.dropped_blobs >= 2)
    await stored.until(is_dropped, stored, 1)
    await check(stored)


async def test_a_blob_deleted_before_the_start_whose_page_comes_after_it(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await stored.upload(BLOB, deletable=True)
    held = Held(stored, 1, monkeypatch, "put_slivers")
    stored.chain.select(MOVED)
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.delete(number)
    stored.chain.start()
    await stored.seen()
    await stored.until(is_dropped, stored, 1)
    held.go_on()
    await stored.until(lambda: 6 in stored.chain.attested)
    await stored.until(is_dropped, stored, 1)
    await check(stored)


async def test_a_blob_that_expires_while_it_is_transferred(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored.upload(BLOB, end_period=3)
    held = Held(stored, 1, monkeypatch, "put_slivers")
    stored.chain.start(MOVED)
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.start(MOVED)
    await stored.until(is_dropped, stored, 1)
    held.go_on()
    await stored.until(lambda: 6 in stored.chain.attested)
    await stored.until(is_dropped, stored, 1)
    await check(stored)


async def test_a_blob_deleted_while_its_writer_uploads_it(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = stored.chain.register(BLOB.metadata, deletable=True)
    client, pair = stored.client(1), CODE.pair_of_shard(BLOB.blob_id, 0)
    await client.put_metadata(BLOB.metadata)
    held = Held(stored, 1, monkeypatch, "put_slivers")
    sliver = BLOB.sliver(Axis.PRIMARY, CODE.sliver_of_pair(pair, Axis.PRIMARY))
    putting = asyncio.create_task(client.put_sliver(BLOB.metadata, pair, Axis.PRIMARY, sliver))
    await stored.until(lambda: held.asked)
    stored.chain.delete(number)
    await stored.until(is_dropped, stored, 1)
    held.go_on()
    await putting
    await stored.until(is_dropped, stored, 1)
    await check(stored)
