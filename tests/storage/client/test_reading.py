"""Reading from real nodes over a chain in memory: blobs that are no more, nodes that are down, behind or lie."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee import bls
from committee.membership import Member
from storage.client.errors import (
    BlobUnavailable,
    InvalidBlob,
    NodeRefused,
    UnknownBlob,
)
from storage.client.failures import Reason
from storage.client.link import START_BYTES_PER_S, Transfer
from storage.client.node_client import NodeClient
from storage.client.reading import spread
from storage.redstuff import Axis, EncodedBlob, RedStuff, blob_id_text
from tests.storage.client.conftest import Tap

if TYPE_CHECKING:
    from storage.client.client import Client
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
    assert {one.name for one in unavailable.value.failures.values()} == set(metadata.asked)


async def test_an_invalid_blob_is_told_so(network: Network, user: Client) -> None:
    blob = encoded(2)
    await network.upload(blob)
    network.chain.invalidate(blob.blob_id)
    await network.seen()
    with pytest.raises(InvalidBlob, match=f"blob {blob_id_text(blob.blob_id)} is invalid"):
        await user.read(blob.blob_id)


@pytest.mark.parametrize("hanging", ["node-4", "node-1"])
async def test_a_member_that_hangs_does_not_keep_an_invalid_blob_from_being_told(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    """Whoever is asked for the status may drip it for minutes."""
    blob = encoded(2)
    await network.upload(blob)
    network.chain.invalidate(blob.blob_id)
    await network.seen()
    Tap(monkeypatch, "blob_status").hang(hanging)
    async with asyncio.timeout(10):
        with pytest.raises(InvalidBlob):
            await user.read(blob.blob_id)


@pytest.fixture
def last_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are asked by descending node id."""
    monkeypatch.setattr(
        random,
        "sample",
        lambda members, count: sorted(members, key=lambda one: one.node_id, reverse=True),
    )


@pytest.mark.usefixtures("last_asked_first")
async def test_liars_and_members_that_missed_the_certificate_cannot_call_a_blob_unknown(
    network: Network, user: Client, metadata: Tap
) -> None:
    """Nodes 3 and 4 have four shards of ten: more than f, of which one is correct, but not a quorum."""
    await network.upload(CODE.encode(DATA))

    async def refuse(name: str) -> None:
        if name in ("node-3", "node-4"):
            raise NodeRefused(name, "", 404, Reason.METADATA_NOT_FOUND, "so it says")

    metadata.before = refuse
    assert await user.read(CODE.encode(DATA).blob_id) == DATA
    assert {"node-3", "node-4"} <= set(metadata.asked)


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
    monkeypatch.setattr(random, "sample", lambda members, count: members)
    assert await user.read(CODE.encode(DATA).blob_id) == DATA
    assert metadata.asked[:2] == ["node-1", "node-2"]


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
    with pytest.raises(NodeRefused, match="SHARD_NOT_ASSIGNED"):
        await network.client(1).sliver(blob.blob_id, pair, Axis.PRIMARY)
    slivers.asked.clear()
    assert await user.read(blob.blob_id) == CODE.decode(
        blob.metadata, Axis.PRIMARY, {index: blob.sliver(Axis.PRIMARY, index) for index in range(CODE.p)}
    )
    assert slivers.asked.count("node-3") >= 1
    assert len(slivers.asked) == CODE.p + 1, "node 1, which lacks it, was asked first"


async def turn_over(network: Network, *, closed: bool) -> None:
    """Nodes 1 and 2 alone have a blob, and then 3 and 4 all the shards, of which they have filled none."""
    await network.stop(3, 4)
    network.chain.start({1: (0, 1, 2, 3, 4), 2: (5, 6, 7, 8, 9)})
    await network.until(lambda: len(network.chain.attested) == 6)
    await network.upload(CODE.encode(DATA))
    await network.start(3, 4)
    await network.seen()
    network.hold(3)
    network.hold(4)
    network.chain.start({3: (0, 1, 2, 3, 4), 4: (5, 6, 7, 8, 9)})
    if closed:
        network.chain.close()
    await network.seen()


@pytest.mark.usefixtures("last_asked_first")
@pytest.mark.parametrize("closed", [False, True], ids=["under way", "closed without them"])
async def test_a_blob_is_read_from_the_previous_members_while_none_of_the_new_ones_knows_it(
    network: Network, user: Client, metadata: Tap, closed: bool
) -> None:
    await turn_over(network, closed=closed)
    metadata.asked.clear()
    assert await user.read(CODE.encode(DATA).blob_id) == DATA
    assert metadata.asked[0] == "node-4"
    assert {"node-1", "node-2"} & set(metadata.asked)


# members that hang


@pytest.mark.usefixtures("overtaken_at_once", "last_asked_first")
async def test_a_member_that_hangs_with_the_metadata_is_overtaken(
    network: Network, user: Client, metadata: Tap, slivers: Tap
) -> None:
    blob = blob_of_node_1()
    await network.upload(blob)
    metadata.hang("node-4", "node-3")
    assert len(await user.read(blob.blob_id)) == 3000
    assert metadata.asked[:3] == ["node-4", "node-3", "node-2"]
    assert set(slivers.asked[: CODE.p]) == {"node-1", "node-2"}, "who hung there is not asked first here"


async def test_a_member_that_answers_in_time_is_asked_alone(
    network: Network, user: Client, metadata: Tap, slivers: Tap
) -> None:
    await network.upload(CODE.encode(DATA))
    assert await user.read(CODE.encode(DATA).blob_id) == DATA
    assert (len(metadata.asked), len(slivers.asked)) == (1, CODE.p)


def blob_of_node_1() -> EncodedBlob:
    """All shards of node 1 are among those that are asked for first."""
    return next(
        one
        for one in map(encoded, range(500))
        if all(CODE.pair_of_shard(one.blob_id, shard) < CODE.p for shard in (0, 1, 2))
    )


@pytest.mark.usefixtures("overtaken_at_once")
async def test_a_member_that_hangs_with_slivers_is_overtaken(
    network: Network, user: Client, slivers: Tap
) -> None:
    blob = blob_of_node_1()
    await network.upload(blob)
    slivers.hang("node-1")
    assert len(await user.read(blob.blob_id)) == 3000
    assert slivers.asked.count("node-1") == 3
    assert len(slivers.asked) == CODE.p + 3


@pytest.mark.usefixtures("overtaken_at_once")
async def test_a_member_that_was_overtaken_counts_when_it_answers(
    network: Network, user: Client, slivers: Tap
) -> None:
    """Without one sliver of node 1's there are three of four."""
    blob = blob_of_node_1()
    await network.upload(blob)
    await network.stop(3, 4)
    goes_on = slivers.hang("node-1")

    async def let_go_at_the_last(name: str) -> None:
        if slivers.asked.count("node-2") == 3:
            goes_on.set()

    slivers.before = let_go_at_the_last
    assert len(await user.read(blob.blob_id)) == 3000
    assert slivers.asked.count("node-1") <= 2 * 3, "an overtaken request that was cancelled is made once more"


async def test_downloads_are_not_judged_by_what_uploads_carry(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a link that is fast in one direction: else all of a read's requests count as slow, and are made twice."""
    data = random.Random(9).randbytes(400_000)
    stored = await user.store(data, 3)
    user._uplink.window.bytes_per_s = 1e12
    least: list[float] = []
    real = NodeClient.sliver

    async def sliver(node: NodeClient, *arguments: Any) -> bytes | memoryview:
        answer = await real(node, *arguments)
        least.extend(one.least_bytes_per_s for one in arguments if isinstance(one, Transfer))
        return answer

    monkeypatch.setattr(NodeClient, "sliver", sliver)
    assert await user.read(stored.blob_id) == data
    assert 0 < max(least) <= START_BYTES_PER_S


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    p=st.integers(1, 20),
    first=st.integers(0, 30),
)
def test_pairs_are_asked_for_member_by_member_the_source_rows_first(
    counts: list[int], p: int, first: int
) -> None:
    owners = [node_id for node_id, count in enumerate(counts, 1) for _ in range(count)]
    n, members = len(owners), {one: member(one) for one in set(owners)}
    holders = {pair: [members[owners[(pair + first) % n]]] for pair in range(n)}
    order = spread(holders, p)
    assert order == holders
    assert set(list(order)[:p]) == set(range(min(p, n)))
    asked = [order[pair][0].node_id for pair in list(order)[:p]]
    different = len(set(asked))
    assert len(set(asked[:different])) == different, "each once before any twice"


def member(node_id: int) -> Member:
    return Member(node_id, f"node-{node_id}", "http://127.0.0.1:1", bls.SecretKey(node_id).public_key, (0,))
