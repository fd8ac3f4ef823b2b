"""The moving of segments to the object store, one after the other, and the deletion of objects that are to go.

It looks every LOOK_S whether there is something to do. While the object store fails it tries again, ever more rarely.
None of it is done on the event loop; a node that stops waits for no upload.
"""

from __future__ import annotations

import asyncio

from committee.backoff import next_pause_s
from committee.logs import Log
from storage.node.store import StoreError
from storage.node.store.moving import Moving
from storage.node.threads import finished

log = Log()

LOOK_S = 5.0
"""Pause between two looks at whether there is something to do."""
LONGEST_PAUSE_S = 60.0
"""Pauses after a failure: each is twice the one before, up to the longest."""


class Mover:
    """Moves one store's segments to the object store."""

    def __init__(self, moving: Moving) -> None:
        self._moving = moving

    async def run(self) -> None:
        """Move segments for ever, whenever there are any to be moved."""
        pause_s = LOOK_S
        while True:
            try:
                while await self._step():
                    pass
                pause_s = LOOK_S
            except StoreError as error:
                pause_s = next_pause_s(pause_s, LOOK_S, LONGEST_PAUSE_S)
                log.warning("segments cannot be moved yet", retry_s=pause_s, error=str(error))
            await asyncio.sleep(pause_s)

    async def _step(self) -> bool:
        """Move one segment; when cancelled, have that end soon and wait for it."""
        step = asyncio.ensure_future(finished(self._moving.step))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError as cancelled:
            self._moving.stop()
            await asyncio.wait([step])
            raise cancelled from step.exception()
