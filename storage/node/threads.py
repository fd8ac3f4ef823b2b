"""Work in the event loop's threads: not abandoned half way, and of long work no more at once than leaves some free."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MOST_LONG = min(28, os.cpu_count() or 1)
"""Threads for long work. The event loop has 4 more than the machine has processors, and 32 at most."""


async def finished(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but when cancelled, wait for the thread to finish first; its error is then the cause.

    Whoever takes up the work afterwards then sees all that was stored, and fetches none of it again.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        while not running.done():
            with suppress(asyncio.CancelledError):  # once more
                await asyncio.wait([running])
        raise cancelled from running.exception()


class Threads:
    """A part of the event loop's threads, for long work: at most MOST_LONG at once, whatever is asked of them."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MOST_LONG)

    async def finished(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As the function `finished`, once a thread is free."""
        async with self._free:
            return await finished(function, *args, **kwargs)
