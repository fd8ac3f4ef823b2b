"""Against the Walrus core in Rust (`pysui-fastcrypto`), at sizes around every boundary."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pysui_fastcrypto as fastcrypto
import pytest

from storage.redstuff import Axis, BlobMetadata, RedStuff, SliverData

Content = Callable[[int, int], bytes]
SHARDS = (4, 5, 6, 7, 10, 13, 31, 64, 100)


def boundary_sizes(n: int) -> list[int]:
    """Around empty, around full grids, and symbols of 64 bytes with each length of tail."""
    code = RedStuff(n)
    grid = code.p * code.s
    tails = [grid * (64 + tail) for tail in random.Random(n).sample(range(2, 64, 2), 3)]
    return [0, 1, grid * 2 - 1, grid * 2, grid * 2 + 1, grid * 64, grid * 128 - 1, *tails]


def check(n: int, data: bytes, threads: int = 1) -> None:
    """Same id, metadata and slivers, and the same blob back from them."""
    code = RedStuff(n, threads=threads)
    ours, theirs = code.encode(data), fastcrypto.redstuff_encode(data, n)
    metadata = ours.metadata
    assert BlobMetadata.from_bcs(bytes(theirs.metadata_bcs), ours.blob_id) == metadata
    assert metadata.to_bcs() == bytes(theirs.metadata_bcs)
    size = code.symbol_size(len(data))
    for shard, pair in enumerate(theirs.slivers):
        assert code.pair_of_shard(ours.blob_id, shard) == pair.sliver_pair_index
        for axis, encoded in ((Axis.PRIMARY, pair.primary), (Axis.SECONDARY, pair.secondary)):
            index = code.sliver_index(ours.blob_id, shard, axis)
            assert SliverData(ours.sliver(axis, index), size, index).to_bcs() == bytes(encoded)


@pytest.mark.parametrize("n", SHARDS)
def test_same_bytes_at_every_boundary(n: int, content: Content) -> None:
    for size in boundary_sizes(n):
        check(n, content(size, n))


@pytest.mark.parametrize("n", [301, 1000])
def test_same_bytes_at_many_shards(n: int, content: Content) -> None:
    code = RedStuff(n)
    check(n, content(code.p * code.s * 6 - 5, n), threads=2)


@pytest.mark.parametrize("n", [4, 7])
def test_same_bytes_of_the_largest_blob(n: int, content: Content) -> None:
    check(n, content(RedStuff(n).max_blob_bytes, n))


def test_same_bytes_at_random_shard_counts_and_sizes(content: Content) -> None:
    chance = random.Random(20)
    for _ in range(25):
        n = chance.randrange(4, 130)
        check(n, content(int(10 ** chance.uniform(0, 5.5)), n), threads=chance.choice((1, 2)))


@pytest.mark.slow
def test_same_bytes_at_every_shard_count(content: Content) -> None:
    chance = random.Random(21)
    for n in (*range(4, 80), *chance.sample(range(80, 1001), 60), 1000):
        check(n, content(int(10 ** chance.uniform(0, 6)), n))


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("n", [4, 10, 31, 100])
def test_each_decodes_the_others_slivers(n: int, axis: Axis, content: Content) -> None:
    data, code = content(50_000, n), RedStuff(n)
    ours, theirs = code.encode(data), fastcrypto.redstuff_encode(data, n)
    chosen = random.Random(n).sample(range(n), code.source_symbols(axis.other))
    slivers: dict[int, Any] = {}
    for pair in theirs.slivers:
        sliver = SliverData.from_bcs(bytes(getattr(pair, axis.label)))
        slivers[sliver.index] = sliver.symbols
    assert code.decode(ours.metadata, axis, {index: slivers[index] for index in chosen}, "strict") == data
    size = code.symbol_size(len(data))
    encoded = [SliverData(ours.sliver(axis, index), size, index).to_bcs() for index in chosen]
    assert (
        fastcrypto.redstuff_decode(encoded, len(data), n, "primary" if axis is Axis.PRIMARY else "secondary")
        == data
    )
