"""Nodes that lost bytes, time or peers, and heal; over the network of tests/storage/network.py."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from storage.client.errors import InvalidBlob, NodeRefused
from storage.redstuff import Axis, EncodedBlob, RedStuff
from tests.storage.node.checks import check
from tests.storage.node.handovers import badly_encoded
from tests.storage.node.places import on_disk

if TYPE_CHECKING:
    from storage.node.node import StorageNode
    from tests.storage.network import Network

pytestmark = pytest.mark.usefixtures("soon_tried_again")

CODE = RedStuff(10)


def encoded(seed: int, size: int = 300_000) -> EncodedBlob:
    return CODE.encode(random.Random(seed).randbytes(size))


def is_healed(node: StorageNode) -> bool:
    return node.healing.waiting == 0


def flip_on_disk(network: Network, node_id: int, blob: EncodedBlob) -> int:
    """Change a bit in every primary sliver of a blob that a node holds; how many."""
    places = [
        one
        for one in on_disk(network.store_folder(node_id))
        if (one.blob_id, one.axis) == (blob.blob_id, Axis.PRIMARY)
    ]
    for one in places:
        one.flip()
    return len(places)


async def test_a_wiped_node_recovers_all_its_shards(network: Network) -> None:
    blobs = [encoded(1), encoded(2, 1000), encoded(3, 0)]
    for blob in blobs:
        await network.upload(blob)
    await network.stop(1)
    network.wipe(1)
    await network.start(1)
    await network.until(is_healed, network.running[1])
    assert all(network.is_complete(1, blob) for blob in blobs)
    assert network.running[1].upkeep()["repaired_slivers"] == len(blobs) * 2 * 3
    await check(network)


async def test_a_read_that_meets_damage_finds_nothing_and_has_it_repaired(network: Network) -> None:
    blob = encoded(1)
    await network.upload(blob)
    assert flip_on_disk(network, 2, blob) == 3
    pairs = [CODE.pair_of_shard(blob.blob_id, shard) for shard in (3, 4, 5)]
    for pair in pairs:
        with pytest.raises(NodeRefused, match="SLIVER_NOT_FOUND"):
            await network.client(2).sliver(blob.blob_id, pair, Axis.PRIMARY)
    await network.until(network.is_complete, 2, blob)
    assert network.running[2].upkeep()["damage_found"] == 3
    assert await network.client(2).sliver(blob.blob_id, pairs[0], Axis.PRIMARY) == blob.sliver(
        Axis.PRIMARY, pairs[0]
    )
    await check(network)


async def test_the_scrubber_has_bit_rot_repaired_before_anyone_asks(network: Network) -> None:
    blob = encoded(1)
    await network.upload(blob)
    await network.stop(2)
    assert flip_on_disk(network, 2, blob) == 3
    await network.start(2, scrub_bytes_per_s=1e9)
    upkeep = network.running[2].upkeep
    await network.until(lambda: upkeep()["repaired_slivers"] == 3)
    assert network.is_complete(2, blob)
    assert upkeep()["damage_found"] == 3
    health = await network.client(2).health()
    assert health["upkeep"]["damage_found"] == 3
    await check(network)


@pytest.mark.parametrize(
    "shards",
    [
        {1: (0, 1, 2, 6), 2: (3, 4, 5), 3: (7,), 4: (8, 9)},
        {1: (0, 1, 2, 6, 7), 2: (3, 4, 5), 4: (8, 9)},
    ],
    ids=["a member", "no member any more"],
)
@pytest.mark.parametrize("epochs", [1, 2], ids=["of the epoch before", "owed"])
@pytest.mark.usefixtures("no_retries")
async def test_bit_rot_in_a_shard_that_is_kept_for_others_is_repaired(
    network: Network, shards: dict[int, tuple[int, ...]], epochs: int
) -> None:
    """Nobody has attested shard 6: who had it before is the only one that has it."""
    blob = encoded(1)
    await network.upload(blob)
    await network.stop(1)
    for _ in range(epochs):
        network.chain.start(shards)
        await network.seen()
    await network.stop(3)
    assert flip_on_disk(network, 3, blob) == 2
    await network.start(3, scrub_bytes_per_s=1e9)
    node, index = network.running[3], CODE.sliver_index(blob.blob_id, 6, Axis.PRIMARY)
    await network.until(lambda: node.upkeep()["damage_found"] == 2)
    await network.until(
        lambda: node.store.sliver(blob.blob_id, 6, Axis.PRIMARY) == blob.sliver(Axis.PRIMARY, index)
    )
    await network.until(is_healed, node)
    assert node.upkeep()["repaired_slivers"] == 2
    await check(network)


async def test_blobs_that_cannot_be_repaired_hold_up_no_other(network: Network) -> None:
    lost = [encoded(seed, 1000).metadata for seed in range(20)]
    for metadata in lost:
        network.chain.certify(network.chain.register(metadata))
    await network.seen()
    blob = encoded(99)
    await network.upload(blob)
    await network.stop(3)
    network.wipe(3)
    await network.start(3)
    await network.until(network.is_complete, 3, blob)
    await network.until(lambda: network.running[3].healing.waiting == len(lost))
    assert network.running[3].view.block == network.chain.state.block
    for metadata in lost:
        network.chain.invalidate(metadata.blob_id)
    await check(network)


async def test_a_node_down_for_three_epochs_catches_up(network: Network) -> None:
    before, expiring, deleted = encoded(1), encoded(2), encoded(3)
    await network.upload(before)
    await network.upload(expiring, end_period=3)
    gone = await network.upload(deleted, deletable=True)
    await network.stop(1)
    # Node 1 gains shard 5 in epoch 2 and does not come to fill it; node 2 keeps it.
    for shards in (
        {1: (0, 1, 2, 5), 2: (3, 4), 3: (6, 7), 4: (8, 9)},
        {1: (0, 1, 2, 5), 2: (3, 4), 3: (6, 7, 8), 4: (9,)},
        {1: (0, 1, 2, 5), 2: (3, 4, 6), 3: (7, 8), 4: (9,)},
    ):
        network.chain.start(shards)
        await network.seen()
        gained = {shard for shard in (6, 8) if network.chain.state.epoch == {8: 3, 6: 4}[shard]}
        await network.until(lambda gained=gained: gained <= network.chain.attested)
        await network.upload(encoded(10 + network.chain.state.epoch))
    network.chain.delete(gone)
    assert 5 in network.running[2].store.shards(), "owed until its new owner attests it"
    await network.start(1)
    for blob in (before, encoded(12), encoded(13), encoded(14)):
        await network.until(network.is_complete, 1, blob)
    assert network.running[1].view.my_shards() == (0, 1, 2, 5)
    await network.until(network.has_nothing, 1, expiring.blob_id)
    for node_id in network.running:
        await network.until(network.has_nothing, node_id, expiring.blob_id)
    # What was live when the epoch started goes when it ends.
    assert not network.has_nothing(2, deleted.blob_id)
    network.chain.start({1: (0, 1, 2, 5), 2: (3, 4, 6), 3: (7, 8), 4: (9,)})
    for node_id in network.running:
        await network.until(network.has_nothing, node_id, deleted.blob_id)
    await check(network)


# inconsistent blobs


async def test_an_inconsistent_blob_ends_in_a_proof_f_plus_1_signatures_and_a_clear_answer(
    network: Network,
) -> None:
    blob = badly_encoded((0, 1, 2))
    good = encoded(7)
    await network.upload(good, blob)
    client = network.client(4)
    pair = CODE.pair_of_shard(blob.blob_id, 8)
    assert "permanent" in await client.blob_status(blob.blob_id)
    await network.stop(1)
    network.wipe(1)
    await network.start(1)
    await network.until(lambda: all(one.view.is_invalid(blob.blob_id) for one in network.running.values()))
    assert "invalid" in await client.blob_status(blob.blob_id)
    for request, reason in (
        (client.sliver(blob.blob_id, pair, Axis.PRIMARY), "SLIVER_NOT_FOUND"),
        (client.metadata(blob.blob_id), "METADATA_NOT_FOUND"),
    ):
        with pytest.raises(NodeRefused, match=reason) as refused:
            await request
        assert refused.value.status == 404
    with pytest.raises(InvalidBlob, match="its writer was proven on chain"):
        await network.read(blob.blob_id)
    # Nobody keeps it, nobody goes on repairing it, and the others are as they were.
    for node_id in network.running:
        await network.until(network.has_nothing, node_id, blob.blob_id)
    await check(network)
