"""What every fault ends in finds each thing that it is to find: a network with one thing wrong does not pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from storage.node.store import statements as sql
from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, CODE, MOVED, Bent, bend, change, encoded

if TYPE_CHECKING:
    from storage.node.store import SliverStore
    from storage.redstuff import EncodedBlob
    from tests.storage.network import Network

SMALL, LARGE = BLOBS[0], BLOBS[-1]
DEAD = encoded(300)


@pytest.fixture
def store(stored: Network) -> SliverStore:
    """Node 1's, which nobody clears up."""
    store = stored.running[1].store
    store.on_stored = lambda blob_ids: None
    return store


def put(store: SliverStore, blob: EncodedBlob, shard: int) -> None:
    sliver = blob.sliver(Axis.PRIMARY, CODE.sliver_index(blob.blob_id, shard, Axis.PRIMARY))
    store.put_sliver(blob.blob_id, shard, Axis.PRIMARY, sliver)


async def assert_found(network: Network, what: str) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(pytest.fail.Exception, match=what):
        patch.setattr(network, "limit_s", 1.0)
        await check(network)


async def test_a_network_with_nothing_wrong_passes(stored: Network) -> None:
    await check(stored)


async def test_metadata_of_a_dead_blob_is_found(stored: Network, store: SliverStore) -> None:
    store.put_metadata(DEAD.blob_id, DEAD.metadata.to_bcs())
    await assert_found(stored, "metadata of")


async def test_a_row_of_a_dead_blob_is_found(stored: Network, store: SliverStore) -> None:
    put(store, DEAD, 0)
    await assert_found(stored, "row of")


async def test_a_sliver_of_anothers_shard_is_found(stored: Network, store: SliverStore) -> None:
    put(store, SMALL, 9)
    await assert_found(stored, "row of .* of shard 9")


async def test_a_segment_that_is_not_listed_is_found(stored: Network) -> None:
    (stored.store_folder(1) / "segments" / "0-1000").write_bytes(b"not listed")
    await assert_found(stored, "file 0-1000")


async def test_a_sliver_that_is_lacking_is_found(stored: Network, store: SliverStore) -> None:
    with store._index.transaction() as index:
        index.execute(sql.DELETE, (SMALL.blob_id, 2, 1))
    with pytest.raises(AssertionError, match="node 1 lacks something"):
        await check(stored)


async def test_a_handover_that_goes_on_trying_is_found(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has attested all, asks nobody for anything, and its next try is further away than the looks last."""

    def never(*arguments: object) -> bool:
        return False

    monkeypatch.setattr(stored.running[1].handover._attesting, "is_settled", never)
    await change(stored, MOVED)
    await assert_found(stored, "Handover._work")


async def test_a_request_under_way_is_found(stored: Network) -> None:
    come = asyncio.Event()

    async def late(answer: object) -> object:
        await come.wait()
        return answer

    bend(stored, 1, {other: lambda real: Bent(real, lambda _, answer: late(answer)) for other in (2, 3, 4)})
    rebuilding = asyncio.create_task(
        stored.running[1].repair.rebuild(SMALL.metadata, Axis.SECONDARY, [6], avoiding={3})
    )
    await assert_found(stored, r"Helpers\._ask")
    come.set()
    await rebuilding
    await check(stored)


async def test_damage_that_waits_for_repair_is_found(stored: Network, store: SliverStore) -> None:
    def cut(name: str, answer: object) -> object:
        return {} if name == "decoding_symbols" else answer

    bend(stored, 1, {other: lambda real: Bent(real, cut) for other in (2, 3, 4)})
    sliver = store.sliver(LARGE.blob_id, 0, Axis.PRIMARY)
    assert sliver is not None
    assert store.discard(LARGE.blob_id, 0, Axis.PRIMARY, sliver)
    await assert_found(stored, "1 blobs to heal at node 1")
