"""Reading from real nodes over a chain in memory: blobs that are no more, nodes that are down, behind or lie."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from storage.client.errors import (
    BlobUnavailable,
    InvalidBlob,
    NodeRefused,
    UnknownBlob,
)
from storage.client.wire import Reason
from storage.redstuff import Axis, EncodedBlob, RedStuff, blob_id_text

if TYPE_CHECKING:
    from storage.client.client import Client
    from tests.storage.client.conftest import Tap
    from tests.storage.network import Network

CODE = RedStuff(10)  # p = 4, s = 7; 7 of 10 shards are a quorum
DATA = random.Random(1).randbytes(3000)
MUCH_MOVED = {1: (0, 1, 2, 6, 3, 4, 5), 3: (7,), 4: (8, 9)}
"""Shard 6 goes from node 3 to node 1, and all that node 2 had: six are kept, no quorum."""


def encoded(seed: int) -> EncodedBlob:
    return CODE.encode(random.Random(seed).randbytes(3000))


async def test_a_blob_nobody_knows_is_unknown(user: Client) -> None:
    unknown = encoded(2).blob_id
    with pytest.raises(UnknownBlob, match=f"no blob {blob_id_text(unknown)}: nodes with"):
        await user.read(unknown)


async def test_during_a_handover_a_blob_is_unknown_only_when_nobody_is_left_to_ask(
    network: Network, user: Client, metadata: Tap
) -> None:
    for node_id in (1, 2):  # which gain six shards of ten, and do not see it
        network.hold(node_id)
    network.chain.start({1: (3, 4, 5), 2: (0, 1, 2), 3: (6, 7), 4: (8, 9)})
    assert not network.chain.state.handover_done
    with pytest.raises(BlobUnavailable, match="metadata of blob") as unavailable:
        await user.read(encoded(2).blob_id)
    assert sorted(metadata.asked) == ["node-1", "node-2", "node-3", "node-4"]
    assert unavailable.value.failures.keys() == set(metadata.asked)


async def test_an_invalid_blob_is_told_so(network: Network, user: Client) -> None:
    blob = encoded(2)
    await network.upload(blob)
    network.chain.invalidate(blob.blob_id)
    await network.seen()
    with pytest.raises(InvalidBlob, match=f"blob {blob_id_text(blob.blob_id)} is invalid"):
        await user.read(blob.blob_id)


@pytest.mark.parametrize("reason", [Reason.FORBIDDEN_BLOB, Reason.METADATA_NOT_FOUND])
async def test_a_third_of_the_shards_cannot_call_a_blob_invalid_or_unknown(
    network: Network, user: Client, metadata: Tap, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network.upload(CODE.encode(DATA))

    async def refuse(name: str) -> None:
        if name == "node-1":
            raise NodeRefused(name, "", 451, reason, "so it says")

    metadata.before = refuse
    # Members are asked in any order; here the one that refuses comes first, so that its word is heard.
    monkeypatch.setattr("storage.client.client.random.shuffle", lambda members: None)
    assert await user.read(CODE.encode(DATA).blob_id) == DATA
    assert metadata.asked == ["node-1", "node-2"]


async def test_too_few_shards_are_told_with_the_names_of_those_who_failed(
    network: Network, user: Client
) -> None:
    blob = CODE.encode(DATA)
    await network.upload(blob)
    await network.stop(1, 2)
    assert await user.read(blob.blob_id) == DATA, "four shards of ten are enough"
    await network.stop(3)
    with pytest.raises(
        BlobUnavailable,
        match=r"needed 4 of 10 shards, reachable 2: no answer from node-1, node-2, node-3$",
    ):
        await user.read(blob.blob_id)


async def test_wrong_slivers_are_left_out(network: Network, user: Client, slivers: Tap) -> None:
    blob = CODE.encode(DATA)
    await network.upload(blob)
    liars = {"node-1", "node-3"}
    slivers.change = lambda name, symbols: bytes([symbols[0] ^ 1]) + symbols[1:] if name in liars else symbols
    assert await user.read(blob.blob_id) == DATA
    assert liars <= set(slivers.asked)
    await network.stop(2)
    with pytest.raises(BlobUnavailable, match=r"reachable 2: no answer from node-2; node-1: sent a wrong"):
        await user.read(blob.blob_id)


async def test_who_had_a_shard_serves_while_its_new_owner_lacks_it(
    network: Network, user: Client, slivers: Tap
) -> None:
    # Shard 6 alone of those that node 1 gains has a source row.
    blob = next(one for one in map(encoded, range(50)) if CODE.pair_of_shard(one.blob_id, 6) == 0)
    await network.upload(blob)
    network.hold(1)
    network.chain.start(MUCH_MOVED)
    assert not network.chain.state.handover_done
    await network.seen()
    pair = CODE.pair_of_shard(blob.blob_id, 6)
    with pytest.raises(NodeRefused, match="SLIVER_NOT_FOUND"):
        await network.client(1).sliver(blob.blob_id, pair, Axis.PRIMARY)
    slivers.asked.clear()
    assert await user.read(blob.blob_id) == CODE.decode(
        blob.metadata, Axis.PRIMARY, {index: blob.sliver(Axis.PRIMARY, index) for index in range(CODE.p)}
    )
    assert slivers.asked.count("node-3") >= 1
    assert len(slivers.asked) == CODE.p + 1, "node 1, which lacks it, was asked first"
