"""Blobs whose slivers are made while they are sent, and what memory a client needs for them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from benchmarks.client_memory import MIB, WAYS, most_beyond, peaks
from storage.client import client, reading
from storage.redstuff import Axis, LargeBlob, RedStuff, groups
from tests.storage.network import N_SHARDS, SHARDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.client.client import Client
    from storage.redstuff.memory import Bytes
    from tests.storage.network import Network

DATA = random.Random(5).randbytes(700_001)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_nodes_get_the_slivers_of_a_whole_encoding(
    network: Network, user: Client, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEPT_GRID_BYTES", 0)
    stored = await user.store(kind(DATA), 1)
    expected = RedStuff(N_SHARDS).encode(DATA)
    assert stored.blob_id == expected.blob_id
    await network.until(lambda: all(network.is_complete(node_id, expected) for node_id in SHARDS))
    assert await user.read(stored.blob_id) == DATA


async def test_slivers_for_all_nodes_are_made_together(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEPT_GRID_BYTES", 0)
    monkeypatch.setattr(groups, "LEAST_GROUP", 2)
    passes = []
    real = LargeBlob._make

    def make(blob: LargeBlob, axis: Axis, indices: Sequence[int], out: Sequence[Bytes]) -> None:
        passes.append((axis, sorted(indices)))
        real(blob, axis, indices, out)

    monkeypatch.setattr(LargeBlob, "_make", make)
    stored = await user.store(DATA, 1)
    expected = RedStuff(N_SHARDS).encode(DATA)
    await network.until(lambda: all(network.is_complete(node_id, expected) for node_id in SHARDS))
    assert stored.blob_id == expected.blob_id
    assert sorted(passes) == [(Axis.PRIMARY, [4, 5, 6, 7, 8, 9]), (Axis.SECONDARY, [7, 8, 9])]


async def test_few_slivers_are_under_way_at_once(
    network: Network, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "UNDER_WAY_BYTES", 1)
    monkeypatch.setattr(reading, "LEAST_AT_ONCE", 1)
    stored = await user.store(DATA, 1)
    under_way, most = 0, 0
    real = reading.Reading._sliver

    async def sliver(*arguments: object) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(*arguments)  # type: ignore[arg-type]
        finally:
            under_way -= 1

    monkeypatch.setattr(reading.Reading, "_sliver", sliver)
    assert await user.read(stored.blob_id) == DATA
    assert most == 1


@pytest.mark.slow
@pytest.mark.parametrize(("n_shards", "size_bytes"), [(100, 7 * MIB), (100, 128 * MIB), (1000, 64 * MIB)])
async def test_memory_beyond_the_blob_is_a_few_slivers(n_shards: int, size_bytes: int) -> None:
    """In processes of their own: the most memory that each had, beyond what it had before, and the blob."""
    found = await peaks(n_shards, size_bytes)
    assert found.keys() == set(WAYS)
    assert len({one.digest for one in found.values()}) == 1
    for peak in found.values():
        assert peak.beyond_bytes <= most_beyond(n_shards, size_bytes)


@pytest.mark.parametrize(("n", "length"), [(10, MIB), (100, 8 * MIB)])
def test_what_a_large_blob_keeps_counts_with_its_groups(
    monkeypatch: pytest.MonkeyPatch, n: int, length: int
) -> None:
    monkeypatch.setattr(client, "KEPT_GRID_BYTES", 2**20)
    code = RedStuff(n)
    large = code.encode_large(bytes(length))
    for axis in Axis:
        large.expect(axis, range(n))
        large.take(axis, n - 1)
    made_bytes = sum(one.nbytes for one in large._groups._memory)
    assert (made_bytes > 0) == (n == 100)
    assert client._kept_bytes(code, length) == length + made_bytes
    assert client._kept_bytes(code, 2**60) == 0
