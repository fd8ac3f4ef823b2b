"""Work in the event loop's threads: not abandoned half way, and of long work no more at once than leaves some free."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
QUOTA_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
"""The files that tell a container's share of the processors: "QUOTA PERIOD" in microseconds, or a file for each."""


def count_processors() -> int:
    """Return how many processors this process may keep busy: those it is bound to, and no more than its cgroup's quota.

    More threads that compute would use up the quota at once, and the kernel would then stop all threads, those that
    answer requests too, for the rest of its period.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        told = QUOTA_V2.read_text() if QUOTA_V2.exists() else " ".join(one.read_text() for one in QUOTA_V1)
        quota, period = map(int, told.split())  # "max", as -1, is no quota
        if quota > 0 and period > 0:
            return max(1, min(bound, -(-quota // period)))
    return bound


MOST_LONG = min(28, count_processors())
"""Threads for long work. The event loop has 4 more than the machine has processors, and 32 at most."""


async def finished(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a thread and return what it returns; when cancelled, wait for the thread to end first.

    An error of the thread is then the cause of the `CancelledError`. So work that is taken up again after a
    cancellation sees all that was stored, and fetches none of it again.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        while not running.done():
            with suppress(asyncio.CancelledError):  # once more
                await asyncio.wait([running])
        raise cancelled from running.exception()


async def finished_or_told(function: Callable[[Callable[[], bool]], T]) -> T:
    """Call `function(is_to_end)` in a thread, and return what it returns, as `finished` does.

    For long work, which calls `is_to_end` from time to time: it returns True once the caller is cancelled.
    """
    is_to_end = threading.Event()
    running = asyncio.ensure_future(finished(function, is_to_end.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        is_to_end.set()
        await asyncio.wait([running])
        raise cancelled from running.exception()


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Threads:
    """A part of the event loop's threads, for long work: at most MOST_LONG at once, whatever is asked of them."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MOST_LONG)

    async def finished(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As the function `finished`, once a thread is free."""
        async with self._free:
            return await finished(function, *args, **kwargs)
