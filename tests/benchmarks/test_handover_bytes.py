"""One small cell of the grid, on real nodes."""

from __future__ import annotations

from benchmarks.handover_bytes import Blobs, Cell, cells, measure, rows_of, shares


def test_every_cell_gives_each_shard_to_a_member() -> None:
    for cell in cells():
        staying, leaving = shares(cell)
        assert sum(staying) + sum(leaving) == cell.n
        assert sum(leaving) == cell.departed_shards
        assert min(staying + leaving) >= 1


async def test_a_small_handover_moves_the_lower_bound_and_nothing_for_kept_shards() -> None:
    cell = Cell(10, 4096, 1)
    moved = await measure(cell, Blobs().get(cell.n, cell.size_bytes))
    judged = [one for one in rows_of(moved) if one.holds is not None]
    assert judged
    assert all(one.holds for one in judged), judged
    assert moved.report.rebuilt_bytes == moved.report.lower_bound_bytes > 0
    assert moved.wire.tally.symbol_bytes == moved.report.received_bytes
    bulk_bytes = sum(count for name, count in moved.wire.tally.by_purpose.items() if name != "health")
    assert abs(moved.wire.wire_bytes - bulk_bytes) < 1000, "at most a health poll was half through"
