"""A node's view of a chain with many blobs: its memory and disk, and what a restart and an epoch's start take."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

from benchmarks.scale_chain import SHARDS, chain_of, ledger_of
from benchmarks.scale_upkeep import timed
from storage.node.chain import ChainView, pages
from storage.node.chain.conditions import over_in
from storage.node.chain.store import FILE, ChainStore

TICK_S = 0.001
PASSES = 5
"""Passes through all blobs, of which the shortest counts: that of the fewest takes milliseconds, and others work on the
machine too."""


async def chain_view(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Measure a chain view that has `n_blobs` live objects."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240
    chain, at = chain_of(n_blobs), dict[str, float]()
    ledger = ledger_of(chain)
    with contextlib.closing(ChainStore(folder)) as store, timed(at, "chain view: reading all of it anew"):
        await ChainView(ledger, 1, store).load()
    at["chain view: disk for a live object"] = (folder / FILE).stat().st_size / n_blobs
    tracemalloc.start()
    with contextlib.closing(ChainStore(folder)) as store:
        view = ChainView(ledger, 1, store)
        with timed(at, "chain view: a restart until it follows"):
            await view.load()
        at["chain view: memory for a live object"] = tracemalloc.get_traced_memory()[0] / n_blobs
        tracemalloc.stop()
        with timed(at, "chain view: checking what was saved, behind it"):
            while store.tidy(over_in(view.state.period, 0)):
                pass
        chain.start(SHARDS)
        at["chain view: longest stall of the loop at an epoch's start"] = await stall_ms(view)
        at["chain view: going through what was live at the start"] = min(
            [await asyncio.to_thread(through_s, view, n_blobs) for _ in range(PASSES)]
        )
    return at


def through_s(view: ChainView, n_blobs: int) -> float:
    """Return the seconds of one pass through the blobs that were live at the epoch's start, which are all."""
    began_s = time.perf_counter()
    live = sum(map(len, pages(view.live_at_start)))
    took_s = time.perf_counter() - began_s
    if live != n_blobs:
        raise AssertionError(f"{live} blobs live instead of {n_blobs}")
    return took_s


async def stall_ms(view: ChainView) -> float:
    """The longest time in which nothing else has its turn while the view follows what has happened."""
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            before_s = time.perf_counter()
            await asyncio.sleep(TICK_S)
            longest_s = max(longest_s, time.perf_counter() - before_s - TICK_S)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await view.refresh()
    await asyncio.sleep(0)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    return 1000 * longest_s
