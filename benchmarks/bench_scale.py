"""What grows with the number of blobs: `make bench-scale`. All figures go to `results/scale.json`.

The blobs are synthetic, the code is the node's own and its stores lie on disk. Each figure is measured at each of the
sizes, 10 000, 100 000 and 1 000 000 blobs unless `--sizes` names others, and so is its growth for ten times the blobs,
which is what its goal speaks of: times depend on the machine.

With arguments only these parts run, and nothing is written; `--help` names the parts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.client_memory import CLIENT_SHARDS, LARGEST_BYTES, MIB, READ, STORED, client, most_beyond
from benchmarks.scale_filling import SHARD_COUNTS, filling
from benchmarks.scale_store import store
from benchmarks.scale_upkeep import health, lines
from benchmarks.scale_view import chain_view

RESULTS = Path(__file__).parent / "results"
SIZES = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Goal:
    """What a figure has to be."""

    unit: str
    most_growth: float | None = None
    """For ten times the blobs; None where the figure itself has a bound."""
    most: float | None = None
    """At every size."""


@dataclass(frozen=True)
class Figure:
    """One figure at all sizes."""

    figure: str
    unit: str
    at: Mapping[int, float]
    """Number of blobs → the figure."""
    growth: Sequence[float]
    """From each size to the next, for ten times the blobs."""
    goal: str
    holds: bool


Part = Callable[[int, Path], Awaitable[Mapping[str, float]]]
IN_THIS_PROCESS: Mapping[str, Part] = {
    "health": health,
    "lines": lines,
    "store": store,
    "chain": chain_view,
    "filling": filling,
}
"""Name → measures some figures with so many blobs, in a folder of its own."""
PARTS: Mapping[str, Part] = {**IN_THIS_PROCESS, "client": client}
REBUILT_AT_MOST_MS = {1000: 20.0}
"""Number of shards → processor time of rebuilding a small pair, where that has a bound of its own."""
GOALS: dict[str, Goal] = {
    "one scrape of health and metrics": Goal("ms", most=50),
    "a line of blobs to heal, to its end": Goal("s", most_growth=11),
    "a line of blobs to drop, to its end": Goal("s", most_growth=11),
    "a run of slivers copied in pages, without their verifying and storing": Goal("s", most_growth=11),
    "a small sliver stored in a batch, once all others are there": Goal("µs", most_growth=1.3),
    "bytes on the disk beyond a small sliver's own": Goal("B", most=100),
    "a store opened": Goal("s", most=5),
    "a shard dropped": Goal("s", most=1),
    "the rows of a dropped shard removed": Goal("s", most_growth=11),
    "a writer's wait while a shard is dropped, the longest but one in a hundred": Goal("ms", most=100),
    "the index' log after a shard was dropped": Goal("MiB", most=64),
    STORED: Goal("MiB", most=most_beyond(CLIENT_SHARDS, LARGEST_BYTES) / MIB),
    READ: Goal("MiB", most=most_beyond(CLIENT_SHARDS, LARGEST_BYTES) / MIB),
    "chain view: memory for a live object": Goal("B", most=100),
    "chain view: disk for a live object": Goal("B"),
    "chain view: reading all of it anew": Goal("s", most_growth=11),
    "chain view: a restart until it follows": Goal("s", most=5),
    "chain view: checking what was saved, behind it": Goal("s", most_growth=11),
    "chain view: longest stall of the loop at an epoch's start": Goal("ms", most=50),
    "chain view: going through what was live at the start": Goal("s", most_growth=11),
    **{f"CPU of both ends for a small sliver copied, {n} shards": Goal("ms", most=0.2) for n in SHARD_COUNTS},
    **{f"the same ÷ moving its blob's metadata alone, {n} shards": Goal("") for n in SHARD_COUNTS},
    **{
        f"CPU of both ends for a small pair rebuilt, {n} shards": Goal("ms", most=REBUILT_AT_MOST_MS.get(n))
        for n in SHARD_COUNTS
    },
    **{f"the same ÷ the kernels, blob by blob, {n} shards": Goal("", most=3) for n in SHARD_COUNTS},
    **{f"the same ÷ the kernels, all blobs together, {n} shards": Goal("") for n in SHARD_COUNTS},
}


def judged(figure: str, at: Mapping[int, float]) -> Figure:
    """Return a figure with its growth, and whether it is what it has to be."""
    goal, sizes = GOALS[figure], sorted(at)
    growth = [tenfold(at[less], at[more], more / less) for less, more in pairwise(sizes)]
    if goal.most is not None:
        return Figure(
            *(figure, goal.unit, rounded(at), [round(one, 2) for one in growth]),
            *(f"at most {goal.most:g} {goal.unit}", max(at.values()) <= goal.most),
        )
    if goal.most_growth is None:
        return Figure(figure, goal.unit, rounded(at), [round(one, 2) for one in growth], "", True)
    most = goal.most_growth
    text = f"at most {most:g} times for ten times the blobs"
    holds = max(growth, default=0.0) <= most
    return Figure(figure, goal.unit, rounded(at), [round(one, 2) for one in growth], text, holds)


def tenfold(less: float, more: float, times: float) -> float:
    """Return the growth for ten times the blobs, of a figure that grew from `less` to `more` for `times` the blobs."""
    return math.inf if less <= 0 else (more / less) ** (1 / math.log10(times))


def rounded(at: Mapping[int, float]) -> dict[int, float]:
    """Return the figures with four digits."""
    return {size: float(f"{value:.4g}") for size, value in at.items()}


async def measured(names: Sequence[str], sizes: Sequence[int]) -> list[Figure]:
    """Run parts at all sizes."""
    at: dict[str, dict[int, float]] = {}
    for name in names:
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
                for figure, value in (await PARTS[name](size, Path(folder))).items():
                    at.setdefault(figure, {})[size] = value
    return [judged(figure, values) for figure, values in at.items()]


def show(figures: Sequence[Figure]) -> None:
    """Print all figures as a table."""
    table = Table(title="Scale", title_justify="left")
    sizes = sorted({size for one in figures for size in one.at})
    for name in ("figure", "unit", *(f"{size:,}" for size in sizes), "growth", "goal", ""):
        table.add_column(name)
    for one in figures:
        table.add_row(
            *(one.figure, one.unit, *(f"{one.at[size]:,g}" if size in one.at else "" for size in sizes)),
            *(", ".join(f"{growth:g}" for growth in one.growth), one.goal),
            "[green]holds" if one.holds else "[red]falls short",
        )
    Console(width=None if Console().is_terminal else 170).print(table)


def main() -> None:
    """Run, print, and write unless only parts were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_scale", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of blobs, ascending")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = tuple(map(int, asked.sizes.split(",")))
    figures = asyncio.run(measured(asked.parts or list(PARTS), sizes))
    show(figures)
    if not asked.parts:
        rows = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in figures)
        (RESULTS / "scale.json").write_text(f"[\n{rows}\n]\n")
    if not all(one.holds for one in figures):
        sys.exit("some figures fall short of their goals")


if __name__ == "__main__":
    main()
