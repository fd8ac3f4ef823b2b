"""The handover's numbers: `make bench-handover`. Some minutes; all rows go to `results/handover.json`.

Real nodes (HTTP on loopback, stores on disk) over a chain in memory, six to fifteen of them whatever the number of
shards, 33 in the rows that say "30 members stay". Relays in front of the nodes count every byte of HTTP on the wire,
heads and framing included; what TCP and IP add is not counted. "Bytes moved" are these. Who leaves is dead before the
next committee is selected, so that its slivers can only be rebuilt. The bytes do not depend on what else the machine
does; the MB/s do.

With arguments only these parts run, and nothing is written: bytes, flat, cases, users, kill, dead, speed.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks import parts
from benchmarks import rows as table
from benchmarks.handover_bytes import (
    FULL_REENCODE,
    ON_THE_WIRE,
    ONE_COPY_A_MEMBER,
    WHOLE_BLOB_REPAIR,
    Blobs,
    cells,
    explain,
    measure,
    rows_of,
)
from benchmarks.handover_cases import cases
from benchmarks.handover_faults import dead_members
from benchmarks.handover_flat import flat
from benchmarks.handover_kills import killed
from benchmarks.handover_users import reads_and_writes
from benchmarks.plot import Panel, Series, svg
from benchmarks.repair_speed import speeds
from benchmarks.rows import KIB, MIB, Row
from storage.redstuff import Parameters

RESULTS = Path(__file__).parent / "results"
GRID = (10, 100, 1000)
PLOTTED_BYTES = 16 * MIB


async def bytes_moved() -> list[Row]:
    """The grid, ordered by figure."""
    blobs = Blobs()
    found: list[Row] = []
    for cell in cells():
        moved = await measure(cell, blobs.get(cell.n, cell.size_bytes))
        print(explain(moved), flush=True)
        found += rows_of(moved)
    figures = list(dict.fromkeys(one.figure for one in found))
    return sorted(found, key=lambda one: figures.index(one.figure))


async def users() -> list[Row]:
    """Reads and writes meanwhile, at each number of shards."""
    sizes = {10: 64 * KIB, 100: MIB, 1000: MIB}
    return [one for n in GRID for one in await reads_and_writes(n, sizes[n])]


async def dead() -> list[Row]:
    """Dead members and hanging ones, at each number of shards."""
    blobs = Blobs()
    found = [(await dead_members(n, blobs), await dead_members(n, blobs, hanging=True)) for n in GRID]
    return [one for refusing, _ in found for one in refusing] + [
        one for _, hanging in found for one in hanging
    ]


PARTS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "speed": speeds,
    "bytes": bytes_moved,
    "flat": flat,
    "cases": cases,
    "users": users,
    "kill": killed,
    "dead": dead,
}


def plot(rows: list[Row]) -> str:
    """Bytes moved against what others would move, by the number of shards departed."""
    ratios = {
        "rebuilt sliver by sliver: all bytes on the wire": ON_THE_WIRE,
        "whole-blob repair: the blob for each lost pair": WHOLE_BLOB_REPAIR,
        "the blob once for each gaining member": ONE_COPY_A_MEMBER,
        "full re-encode: the blob once, all pairs anew to all members": FULL_REENCODE,
    }
    panels = []
    for n in (100, 1000):
        shape = Parameters(n)
        pair = (shape.p + shape.s) * shape.symbol_size(PLOTTED_BYTES)
        values = {
            (one.figure, one.departed_shards): one.value
            for one in rows
            if (one.n, one.size_bytes) == (n, PLOTTED_BYTES)
        }
        departed = sorted({count for figure, count in values if figure == ON_THE_WIRE and count is not None})
        on_wire = {count: values[ON_THE_WIRE, count] * pair * count for count in departed}
        series = [
            Series(
                name,
                [
                    (count, on_wire[count] * (1 if figure == ON_THE_WIRE else values[figure, count]))
                    for count in departed
                ],
            )
            for name, figure in ratios.items()
        ]
        panels.append(
            Panel(f"{n} shards, a blob of 16 MiB", "shards departed", "bytes moved", series, log_x=True)
        )
    return svg(panels)


def main() -> None:
    """Run, print, and write unless only parts were asked for."""
    rows, is_whole = parts.run(
        "benchmarks.bench_handover",
        "The handover's numbers: all of them, into benchmarks/results, or some parts and nothing written.",
        PARTS,
    )
    table.show(rows)
    if is_whole:
        table.write(RESULTS / "handover.json", rows)
        (RESULTS / "handover.svg").write_text(plot(rows))
    if any(one.holds is False for one in rows):
        sys.exit("some rows fall short of their goals")


if __name__ == "__main__":
    main()
