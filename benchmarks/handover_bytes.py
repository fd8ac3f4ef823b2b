"""What a handover moves: the grid of shards, blobs and departed shards, each cell a network of its own.

It is set against what else could be moved for the same lost pairs:

a blob for each pair   the whole blob fetched for each lost pair, as one-dimensional Reed-Solomon repairs them. By this
                       are the goals for "full re-encode ÷ bytes moved" judged, at least 20 at 100 shards and 200 at
                       1000: a pair is `(p·s)/(p+s)` times smaller than the blob, 22.6 and 222 times, however many are
                       lost.
one copy a member      the blob once for each member that gains shards, which makes all its pairs of it.
one re-encode          the blob fetched once, encoded anew, and all pairs anew to all members: the same however few are
                       lost, so that the more are lost, the less repair saves. Told, without a goal.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.node_network import HandedOver, MeasuredNetwork
from benchmarks.rows import KIB, MIB, Bound, Row, row
from storage.node.handover.report import TransitionReport
from storage.redstuff import Axis, EncodedBlob, Parameters, RedStuff

STAYING = 9
"""Members that stay: few, so that a thousand shards fit one process; each is all the more busy."""
MANY_STAYING = 30
LEAVING = 3
"""At most so many members leave; with ten shards each holds one, and as many leave as shards."""
STAKE_OF_A_SHARD = 10**18
LARGE_SLIVER_BYTES = 64 * KIB
OVERHEAD = 1.05
"""At most so many times the lower bound may cross the wire, for slivers that large."""
LARGEST_AT_10 = Parameters(10).max_blob_bytes
"""1.75 MiB."""

ON_THE_WIRE = "all bytes on the wire ÷ lower bound"
WHOLE_BLOB_REPAIR = "full re-encode, as a whole blob fetched for each lost pair ÷ bytes moved"
ONE_COPY_A_MEMBER = "the blob once for each gaining member ÷ bytes moved"
FULL_REENCODE = "full re-encode, as one for all lost pairs (blob once, all pairs anew to all) ÷ bytes moved"


@dataclass(frozen=True)
class Cell:
    """One handover: `departed_shards` of `n` go, from members that are dead, to those that stay or to newcomers."""

    n: int
    size_bytes: int
    departed_shards: int
    to_newcomers: bool = False
    staying: int = STAYING

    @property
    def where(self) -> tuple[int, int, int]:
        """As rows name it."""
        return self.n, self.size_bytes, self.departed_shards


@dataclass(frozen=True)
class Moved:
    """What one handover moved, as the nodes tell it and as it was counted on the wire."""

    cell: Cell
    report: TransitionReport
    wire: HandedOver
    gaining_members: int


def cells() -> Iterator[Cell]:
    """The grid: one shard, a few, and `f` depart."""
    for n, few, sizes in (
        (10, 2, (64 * KIB, MIB, LARGEST_AT_10)),
        (100, 10, (64 * KIB, MIB, 16 * MIB)),
        (1000, 100, (64 * KIB, MIB, 16 * MIB)),
    ):
        for size_bytes in sizes:
            for departed_shards in (1, few, Parameters(n).f):
                yield Cell(n, size_bytes, departed_shards)
    # At 1000 shards slivers of 64 KiB take a larger blob.
    for departed_shards in (1, 100, 333):
        yield Cell(1000, 64 * MIB, departed_shards)
    # More members mean more requests, each with fewer symbols.
    for size_bytes in (16 * MIB, 64 * MIB):
        yield Cell(1000, size_bytes, 33, staying=MANY_STAYING)
    # Newcomers need the metadata too, and own no sliver yet.
    for n, size_bytes in ((10, LARGEST_AT_10), (100, 16 * MIB), (1000, 64 * MIB)):
        yield Cell(n, size_bytes, Parameters(n).f, to_newcomers=True)


def shares(cell: Cell) -> tuple[list[int], list[int]]:
    """Shards of the members that stay, and of those that leave."""
    if cell.n <= cell.staying + LEAVING:
        return [1] * (cell.n - cell.departed_shards), [1] * cell.departed_shards
    leaving = min(LEAVING, cell.departed_shards)
    return split(cell.n - cell.departed_shards, cell.staying), split(cell.departed_shards, leaving)


def split(total: int, parts: int) -> list[int]:
    """A total in parts as even as can be, larger ones first."""
    return [total // parts + (place < total % parts) for place in range(parts)]


class Blobs:
    """Encoded blobs of random bytes, the last one kept: cells that follow each other mostly share it."""

    def __init__(self) -> None:
        self._key = (0, 0)
        self._blob: EncodedBlob | None = None

    def get(self, n: int, size_bytes: int) -> EncodedBlob:
        """A blob of this size for `n` shards."""
        if self._blob is None or self._key != (n, size_bytes):
            self._blob = None
            self._blob = RedStuff(n, threads=2).encode(os.urandom(size_bytes))
            self._key = (n, size_bytes)
        return self._blob


async def measure(cell: Cell, blob: EncodedBlob) -> Moved:
    """Let the members leave, and count until every gained shard is attested."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(Path(folder), cell.n) as network:
            staying, leaving = shares(cell)
            old = network.add_nodes(len(staying) + len(leaving))
            new = network.add_nodes(len(leaving)) if cell.to_newcomers else []
            network.elect(stakes_of(old, staying + leaving))
            network.chain.start()
            # Who leaves is dead from the beginning: nothing can be copied from it, not even before the epoch starts.
            await network.start(*old[: len(staying)], *new)
            await network.upload(blob)
            stakes = stakes_of(old[: len(staying)] + new, staying + (leaving if new else []))
            wire = await network.handed_over(stakes)
            current = network.chain.state.current
            assert current is not None
            gaining = {current.owner_of[shard].node_id for shard in wire.gained}
            return Moved(cell, await network.report([cell.size_bytes]), wire, len(gaining))


def stakes_of(node_ids: list[int], shards: list[int]) -> dict[int, int]:
    """Node id → the stake that earns it so many shards."""
    return {node_id: count * STAKE_OF_A_SHARD for node_id, count in zip(node_ids, shards, strict=True)}


def rows_of(moved: Moved) -> list[Row]:
    """The figures of one handover."""
    cell = moved.cell
    to_whom = ", to newcomers" if cell.to_newcomers else ""
    if cell.staying != STAYING:
        to_whom = f", {cell.staying} members stay"
    rows = [*_on_the_wire(moved), *_compared(moved), row("seconds", *cell.where, moved.wire.seconds)]
    return [replace(one, figure=one.figure + to_whom) for one in rows]


def _on_the_wire(moved: Moved) -> list[Row]:
    """What moved, against what had to."""
    cell, report, wire = moved.cell, moved.report, moved.wire
    smallest = min(Parameters(cell.n).sliver_size(cell.size_bytes, axis) for axis in Axis)
    at_most: Bound | None = "at most" if smallest >= LARGE_SLIVER_BYTES else None
    lower_bound = report.lower_bound_bytes
    return [
        row("bytes for kept shards", *cell.where, wire.kept_bytes, "exactly", 0),
        row(
            "bytes rebuilt ÷ lower bound, data alone",
            *cell.where,
            (report.rebuilt_bytes + report.wasted_bytes) / lower_bound,
            "exactly",
            1,
        ),
        row(
            "symbols on the wire ÷ lower bound (own slivers help free)",
            *cell.where,
            wire.tally.symbol_bytes / lower_bound,
            "at most",
            1,
        ),
        row(ON_THE_WIRE, *cell.where, wire.wire_bytes / lower_bound, at_most, OVERHEAD),
        row(
            "all bytes on the wire ÷ symbols on the wire (help from own slivers is no excuse)",
            *cell.where,
            wire.wire_bytes / max(1, wire.tally.symbol_bytes),
            at_most,
            OVERHEAD,
        ),
    ]


def _compared(moved: Moved) -> list[Row]:
    """What else could be moved for the same pairs, against what moved."""
    cell, report, moved_bytes = moved.cell, moved.report, moved.wire.wire_bytes
    shape = Parameters(cell.n)
    source_bytes = shape.p * shape.s * shape.symbol_size(cell.size_bytes)
    goal = {100: 20.0, 1000: 200.0}.get(cell.n) if cell.size_bytes == 16 * MIB else None
    return [
        row(
            WHOLE_BLOB_REPAIR,
            *cell.where,
            report.whole_blob_repair_bytes / moved_bytes,
            None if goal is None else "at least",
            goal or 0,
        ),
        row(ONE_COPY_A_MEMBER, *cell.where, source_bytes * moved.gaining_members / moved_bytes),
        row(FULL_REENCODE, *cell.where, report.full_reencode_bytes / moved_bytes),
    ]


def explain(moved: Moved) -> str:
    """One line: where the bytes went."""
    purposes: Mapping[str, int] = Counter(moved.wire.tally.by_purpose)
    parts = (f"{name} {count:,} B in {moved.wire.tally.requests[name]}" for name, count in purposes.items())
    return f"{moved.cell}: {moved.wire.wire_bytes:,} B on the wire in {moved.wire.seconds:.1f} s; {', '.join(parts)}"
