"""How long work takes on one core, as short as it can be had on a machine where others work too."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUDGET_S = 3.0
AT_ONCE = 2
"""As nodes work: while one answer is on its way, the next one is being made."""
WINDOW = 10
"""Times in a row that are averaged; the shortest such average counts."""


async def shortest(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds for one time of work, of which AT_ONCE are under way; the first, which warms up, does not count."""
    await work()
    ends: list[float] = []
    stop = time.perf_counter() + BUDGET_S

    async def repeat() -> None:
        while time.perf_counter() < stop or len(ends) <= WINDOW:
            await work()
            ends.append(time.perf_counter())

    await asyncio.gather(*(repeat() for _ in range(AT_ONCE)))
    return min(after - before for before, after in zip(ends, ends[WINDOW:], strict=False)) / WINDOW


async def shortest_here(work: Callable[[], object]) -> float:
    """The same for what runs on the calling thread."""

    async def run() -> object:
        return work()

    return await shortest(run)


def cores() -> tuple[int, int]:
    """One for the node, and one for who is not timed: another one, where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """All threads of this process, and those and processes begun meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    _stay_on({core})
    try:
        yield
    finally:
        _stay_on(before)


def _stay_on(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)
