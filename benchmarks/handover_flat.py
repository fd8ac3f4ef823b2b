"""What losing one sliver pair costs does not grow with the blob: ever larger blobs whose pairs are of one size.

A newcomer gains the pair, which is the dearest way: of a blob it has nothing yet, it must receive the 2·n roots of 32
bytes against which all it rebuilds is checked, and those do grow with the number of shards. They are part of all bytes
on the wire. Where they, with the symbols that must cross the wire, are more than 1.05 times the pair by themselves, no
repair can keep within 1.05; the row then says so, and the one below it judges by the pair and the roots.
"""

from __future__ import annotations

from benchmarks.handover_bytes import OVERHEAD, Blobs, Cell, Moved, explain, measure
from benchmarks.rows import Row, row
from storage.redstuff import Parameters

PAIR_BYTES = 360_000
"""About what a pair has, whatever the number of shards."""
FLAT_GRID = (10, 31, 100, 301, 1000)
ROOTS_BYTES = 64
"""Two roots a shard."""
ONE_PAIR = "one pair of 360 kB lost, gained by a newcomer"


async def flat() -> list[Row]:
    """The rows, ordered by figure."""
    blobs = Blobs()
    moved = []
    for n in FLAT_GRID:
        shape = Parameters(n)
        symbol_bytes = PAIR_BYTES // (shape.p + shape.s) // 2 * 2
        size_bytes = shape.p * shape.s * symbol_bytes
        moved.append(await measure(Cell(n, size_bytes, 1, to_newcomers=True), blobs.get(n, size_bytes)))
        print(explain(moved[-1]), flush=True)
    rows = [(*_growth(one, moved[0]), *_with_metadata(one)) for one in moved]
    return [one for figure in zip(*rows, strict=True) for one in figure]


def _apart_bytes(moved: Moved) -> int:
    """All bytes on the wire but the metadata."""
    return moved.wire.wire_bytes - moved.wire.tally.by_purpose["metadata"]


def _dear_bytes(moved: Moved) -> int:
    """The same as if no symbol were saved.

    The newcomer's own secondary sliver gives one for its primary: an eleventh at 10 shards, a thousandth at 1000.
    """
    return _apart_bytes(moved) + moved.report.lower_bound_bytes - moved.wire.tally.symbol_bytes


def _growth(moved: Moved, first: Moved) -> list[Row]:
    """Metadata apart: what the pair costs against the first one."""
    where = (moved.cell.n, moved.cell.size_bytes, 1)
    return [
        row(
            f"{ONE_PAIR}: bytes rebuilt, as the nodes report them ÷ those at n={first.cell.n}",
            *where,
            moved.report.rebuilt_bytes / first.report.rebuilt_bytes,
            "at most",
            1.01,
        ),
        row(
            f"{ONE_PAIR}: bytes on the wire, metadata apart, and the symbol saved ÷ those at "
            f"n={first.cell.n}",
            *where,
            _dear_bytes(moved) / _dear_bytes(first),
            "at most",
            1.03,
        ),
        row(
            f"{ONE_PAIR}: bytes on the wire, metadata apart ÷ symbols on the wire",
            *where,
            _apart_bytes(moved) / moved.wire.tally.symbol_bytes,
            "at most",
            OVERHEAD,
        ),
        row(
            f"{ONE_PAIR}: the blob ÷ the pair", *where, moved.cell.size_bytes / moved.report.lower_bound_bytes
        ),
    ]


def _with_metadata(moved: Moved) -> list[Row]:
    n, pair, wire_bytes = moved.cell.n, moved.report.lower_bound_bytes, moved.wire.wire_bytes
    where = (n, moved.cell.size_bytes, 1)
    roots, shape = ROOTS_BYTES * n, Parameters(n)
    floor = 1 - 1 / (shape.p + shape.s) + roots / pair
    is_possible = floor <= OVERHEAD
    out_of_reach = (
        f"{OVERHEAD:g} is out of reach: symbols and roots alone are {floor:.4f}, roots {roots / pair:.4f}"
    )
    return [
        row(
            f"{ONE_PAIR}: all bytes on the wire, metadata too ÷ the pair",
            *where,
            wire_bytes / pair,
            "at most" if is_possible else None,
            OVERHEAD,
            remark="" if is_possible else out_of_reach,
        ),
        row(
            f"{ONE_PAIR}: all bytes on the wire, metadata too ÷ the pair and the blob's roots",
            *where,
            wire_bytes / (pair + roots),
            "at most",
            OVERHEAD,
        ),
        row(
            f"{ONE_PAIR}: metadata on the wire ÷ the pair",
            *where,
            moved.wire.tally.by_purpose["metadata"] / pair,
        ),
        row(f"{ONE_PAIR}: the blob's roots (64·n bytes) ÷ the pair", *where, roots / pair),
    ]
