"""The tidying of the store: rows of dropped shards are removed, and segments rewritten that are half dead or damaged.

It looks at the store at the start, then every LOOK_S and as soon as a write finds a segment lost, and does what there
is to do in bounded pieces, none of them on the event loop; between two it rests as long as the last one took, so that
it never takes more than half of a core.
"""

from __future__ import annotations

import asyncio
import contextlib

from committee.logs import Log
from storage.node.store import SliverStore, StoreError
from storage.node.threads import finished

log = Log()

LOOK_S = 60.0
"""Pause between two looks at whether there is something to do."""


class Tidier:
    """The tidier of one store; made where an event loop runs."""

    def __init__(self, store: SliverStore) -> None:
        self._store = store
        self._is_needed = asyncio.Event()
        self.steps = 0
        """Pieces done since the start."""
        loop = asyncio.get_running_loop()
        store.on_loss = lambda: _wake(loop, self._is_needed)

    async def run(self) -> None:
        """Tidy for ever."""
        while True:
            self._is_needed.clear()
            try:
                await self.tidy()
            except StoreError as error:
                log.warning("the store cannot be tidied yet", retry_s=LOOK_S, error=str(error))
                await asyncio.sleep(LOOK_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._is_needed.wait()

    async def tidy(self) -> None:
        """Do all there is to do. Raises `StoreError`."""
        clock = asyncio.get_running_loop()
        began_s = clock.time()
        while await finished(self._store.tidy):
            self.steps += 1
            await asyncio.sleep(clock.time() - began_s)
            began_s = clock.time()


def _wake(loop: asyncio.AbstractEventLoop, is_needed: asyncio.Event) -> None:
    """Set the event from any thread, unless the node is stopping."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(is_needed.set)
