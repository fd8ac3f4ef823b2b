"""Pages that are copied bring the metadata that is lacking; over a chain in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from storage.node.handover import sources
from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, MOVED, Bent, bend, lacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from storage.redstuff import EncodedBlob
    from tests.storage.network import Network


class Source(Bent):
    """An old owner whose answers are counted by their kind, pages with metadata apart; `change` may bend them."""

    def __init__(self, real: Any, asked: list[str], change: Any = None) -> None:
        super().__init__(real, change or (lambda name, answer: answer))
        self._asked_for = asked

    def __getattr__(self, name: str) -> Any:
        ask = super().__getattr__(name)

        async def counted(*arguments: Any, **options: Any) -> Any:
            self._asked_for.append(f"{name} with metadata" if options.get("with_metadata") else name)
            return await ask(*arguments, **options)

        return counted


async def forget_metadata(network: Network, blobs: Sequence[EncodedBlob] = BLOBS) -> None:
    """As if node 1 had never seen the blobs; nothing but the copying looks for them before the epoch starts."""
    node = network.running[1]
    await network.until(lambda: not node.healing.waiting)
    store = node.store
    store.on_damage = lambda blob_id: None
    for blob in blobs:
        store.discard_metadata(blob.blob_id, blob.metadata.to_bcs())


async def fetch_ahead(network: Network) -> None:
    """A change of epoch that starts when everything is there."""
    network.chain.select(MOVED)
    await network.until(lambda: not lacks(network, 1, 6))
    network.chain.start()
    await network.until(lambda: 6 in network.chain.attested)
    await network.seen()


async def test_metadata_that_is_lacking_comes_with_the_first_page_of_a_blob(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forget_metadata(stored)
    asked: list[str] = []
    everybody = {node_id: lambda real: Source(real, asked) for node_id in (2, 3, 4)}
    bend(stored, 1, everybody)
    # The stream of the other axis begins with the first page under way: one page at a time tells which comes first.
    monkeypatch.setattr("storage.node.handover.sources.STREAMS_FROM_A_SOURCE", 1)
    await fetch_ahead(stored)
    await check(stored)
    assert asked.count("sync_shard with metadata") == 1
    assert asked.count("sync_shard") == 1
    assert "metadata" not in asked
    ids = [blob.blob_id for blob in BLOBS]
    expected = {blob.blob_id: blob.metadata.to_bcs() for blob in BLOBS}
    assert stored.running[1].store.metadata_of(ids) == expected


async def test_metadata_larger_than_slivers_comes_once_for_both_axes(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [blob for blob in BLOBS if len(blob.metadata.to_bcs()) > len(blob.sliver(Axis.SECONDARY, 0))]
    assert small
    await forget_metadata(stored, small)
    brought: list[bytes] = []
    other_is_there = asyncio.Event()
    """The stream of the other axis asks for the metadata that a page is to bring, or waits for it."""
    until_brought, pages = sources.Source.until_brought, 0

    async def waiting(source: sources.Source, blob_id: bytes) -> None:
        if source.brings(blob_id):
            other_is_there.set()
        await until_brought(source, blob_id)

    monkeypatch.setattr(sources.Source, "until_brought", waiting)

    class Slow(Bent):
        async def sync_shard(self, *asked: Any, with_metadata: bool, **options: Any) -> Any:
            nonlocal pages
            pages += with_metadata
            if pages > 1:
                other_is_there.set()
            if with_metadata:
                await other_is_there.wait()
            page = await self._real.sync_shard(*asked, with_metadata=with_metadata, **options)
            brought.extend(page.metadata or ())
            return page

    store, read = stored.running[1].store, list[bytes]()
    metadata_of = store.metadata_of

    def noting(blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        read.extend(found := metadata_of(blob_ids))
        return found

    monkeypatch.setattr(store, "metadata_of", noting)
    bend(stored, 1, {3: lambda real: Slow(real, lambda name, answer: answer)})
    await fetch_ahead(stored)
    await check(stored)
    assert sorted(brought) == sorted(blob.blob_id for blob in small)
    assert set(read) == {blob.blob_id for blob in BLOBS} - set(brought)
    (report,) = stored.running[1].handover.report().shards
    assert report.transferred_slivers == 2 * len(BLOBS)


async def test_metadata_that_a_source_does_not_have_come_from_others(stored: Network) -> None:
    await forget_metadata(stored)
    asked: list[str] = []

    def without(name: str, answer: Any) -> Any:
        return dataclasses.replace(answer, metadata=None) if name == "sync_shard" else answer

    bend(stored, 1, {3: lambda real: Source(real, asked, without), 2: lambda real: Source(real, asked)})
    await fetch_ahead(stored)
    await check(stored)
    assert asked.count("metadata") > 0
    (report,) = stored.running[1].handover.report().shards
    assert report.transferred_slivers == 2 * len(BLOBS)


async def test_a_source_that_lies_in_metadata_is_named_and_holds_up_nothing(stored: Network) -> None:
    await forget_metadata(stored)
    blob = min(BLOBS, key=lambda one: one.blob_id)

    def lie(name: str, answer: Any) -> Any:
        if name != "sync_shard" or not answer.metadata:
            return answer
        flipped = bytearray(answer.metadata[blob.blob_id])
        flipped[-1] ^= 1
        return dataclasses.replace(answer, metadata={**answer.metadata, blob.blob_id: bytes(flipped)})

    bend(stored, 1, {3: lambda real: Source(real, [], lie)})
    stored.chain.select(MOVED)
    await stored.until(lambda: stored.running[1].repair.reputation.lies[3])
    stored.chain.start()
    await stored.until(lambda: 6 in stored.chain.attested)
    await stored.seen()
    await check(stored, in_vain=1)
    assert stored.running[1].store.metadata(blob.blob_id) == blob.metadata.to_bcs()
    (report,) = stored.running[1].handover.report().shards
    assert report.transferred_slivers + report.rebuilt_slivers == 2 * len(BLOBS)
    assert report.wasted_bytes > 0
