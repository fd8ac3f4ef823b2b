"""A node's life with many small blobs: within its memory, and nothing is lost on the way."""

from __future__ import annotations

import pytest

from benchmarks import node_life

N_BLOBS = 200_000


@pytest.mark.slow
async def test_nodes_live_with_many_blobs_within_their_memory() -> None:
    """They are given the blobs, start, hand over a shard, drop it and restart; what they then have is looked at."""
    life = await node_life.in_its_own_process(N_BLOBS)
    assert [one.name for one in life.phases] == ["load", "start", "handover", "drop", "restart"]
    assert life.slivers == [4 * N_BLOBS, 4 * N_BLOBS]
    assert life.highest_bytes <= node_life.MOST_BYTES
