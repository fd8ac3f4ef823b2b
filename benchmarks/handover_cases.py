"""Two more handovers: owners that live and give their shards up, and many small blobs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.handover_bytes import LARGEST_AT_10, STAYING, Blobs, split, stakes_of
from benchmarks.node_network import MeasuredNetwork
from benchmarks.rows import KIB, MIB, Row, row
from storage.redstuff import Axis, Parameters, RedStuff

SMALL_N = 100
SMALL_BLOBS = 100
SMALL_DEPARTED = 10


async def transferred(n: int, size_bytes: int, blobs: Blobs) -> list[Row]:
    """A living member gives half its shards up to a newcomer: they are copied, and nothing else moves."""
    blob = blobs.get(n, size_bytes)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(Path(folder), n) as network:
            giver, *others, newcomer = network.add_nodes(STAYING + 1)
            largest, *rest = split(n, STAYING)
            moved_shards = largest // 2
            network.elect(stakes_of([giver, *others], [largest, *rest]))
            network.chain.start()
            await network.start(giver, newcomer, *others)
            await network.upload(blob)
            shares = [largest - moved_shards, *rest, moved_shards]
            moved = await network.handed_over(stakes_of([giver, *others, newcomer], shares))
    assert len(moved.gained) == moved_shards
    shape, where = Parameters(n), (n, size_bytes, moved_shards)
    pairs = moved_shards * sum(shape.sliver_size(size_bytes, axis) for axis in Axis)
    return [
        row("transferred: bytes for kept shards", *where, moved.kept_bytes, "exactly", 0),
        row(
            "transferred: slivers on the wire ÷ the pairs",
            *where,
            moved.tally.page_bytes / pairs,
            "exactly",
            1,
        ),
        row("transferred: symbols for rebuilding", *where, moved.tally.symbol_bytes, "exactly", 0),
        row(
            "transferred: all bytes on the wire ÷ the pairs",
            *where,
            moved.wire_bytes / pairs,
            "at most",
            1.05,
        ),
        row("transferred: seconds", *where, moved.seconds),
    ]


async def many_small() -> list[Row]:
    """A dead member's slivers of many small blobs are rebuilt."""
    code, shape = RedStuff(SMALL_N), Parameters(SMALL_N)
    size_bytes, departed = 64 * KIB, SMALL_DEPARTED
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(Path(folder), SMALL_N) as network:
            dead, *staying = network.add_nodes(STAYING + 1)
            stakes = stakes_of(staying, split(SMALL_N - departed, STAYING))
            network.elect(stakes | stakes_of([dead], [departed]))
            network.chain.start()
            await network.start(*staying)
            await network.upload(*(code.encode(os.urandom(size_bytes)) for _ in range(SMALL_BLOBS)))
            moved = await network.handed_over(stakes)
            report = await network.report([size_bytes] * SMALL_BLOBS)
    symbols = (shape.p + shape.s) * departed * SMALL_BLOBS
    where, what = (SMALL_N, size_bytes, departed), f"{SMALL_BLOBS} small blobs"
    lower_bound = report.lower_bound_bytes
    rebuilt = report.rebuilt_bytes + report.wasted_bytes
    return [
        # 1.00: with so many questions under way on one event loop, a helper may be overtaken and answer all the same.
        row(
            f"{what}: bytes rebuilt ÷ lower bound, data alone",
            *where,
            rebuilt / lower_bound,
            "at most",
            1.005,
        ),
        row(f"{what}: all bytes on the wire ÷ lower bound", *where, moved.wire_bytes / lower_bound),
        row(f"{what}: symbols needed ÷ requests", *where, symbols / moved.tally.requests["decodingSymbols"]),
        row(f"{what}: sliver pairs rebuilt a second", *where, departed * SMALL_BLOBS / moved.seconds),
    ]


async def cases() -> list[Row]:
    """The rows of both."""
    blobs = Blobs()
    found = [
        await transferred(10, LARGEST_AT_10, blobs),
        await transferred(100, 16 * MIB, blobs),
        await transferred(1000, 64 * MIB, blobs),
    ]
    figures = [[rows[place] for rows in found] for place in range(len(found[0]))]
    return [one for rows in figures for one in rows] + await many_small()
