"""The scrubber: re-reads all that is stored, at a bounded rate, and checks it against the blobs' ids.

Blob by blob, in the order of their ids: the metadata against the id, then each sliver against its root. What does not
hold is discarded and looked after (`storage.node.upkeep.healing`) before anyone asks for it. The place is kept in the
store, so that a node that is restarted often comes around all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from committee.logs import Log
from storage.node.store import SliverStore, StoreError
from storage.redstuff import Axis, BlobMetadata, RedStuff, RedStuffError, blob_id_text

log = Log()

BOOKMARK = "scrubber"
"""In the store: the id of the last blob scrubbed; empty at the beginning."""
BLOBS_IN_A_STEP = 64
"""The place is kept so often: a restart scrubs at most so many blobs again."""
RETRY_S = 30.0
"""Pause after the store has failed."""
SHORTEST_PAUSE_S = 0.05
"""Small slivers are read several in a row before the rate asks for a pause."""


class Scrubber:
    """The scrubber of one store; `bytes_per_s` is its rate, passes begin `interval_s` apart at least."""

    def __init__(
        self,
        store: SliverStore,
        code: RedStuff,
        look_after: Callable[[bytes], None],
        bytes_per_s: float,
        interval_s: float,
    ) -> None:
        self._store = store
        self._code = code
        self._look_after = look_after
        self._bytes_per_s = bytes_per_s
        self._interval_s = interval_s
        self._free_at_s = 0.0
        """Time at which the rate allows the next read."""
        self.slivers = 0
        """Slivers scrubbed since the start, good or bad."""
        self.size_bytes = 0
        """Bytes of these slivers."""
        self.passes = 0
        """Ends of the store reached since the start."""

    async def run(self) -> None:
        """Scrub for ever; with a rate of 0, never."""
        if not self._bytes_per_s:
            await asyncio.Event().wait()
        clock = asyncio.get_running_loop()
        while True:
            began_s = clock.time()
            try:
                await self.scrub_to_end()
            except StoreError as error:
                log.warning("scrubbing pauses", retry_s=RETRY_S, error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            await asyncio.sleep(max(0.0, began_s + self._interval_s - clock.time()))

    async def scrub_to_end(self) -> None:
        """Scrub from the kept place to the store's end; the next pass starts at its beginning. Raises `StoreError`."""
        last = await asyncio.to_thread(self._store.bookmark, BOOKMARK) or b""
        while blobs := await asyncio.to_thread(self._store.blobs_after, last, BLOBS_IN_A_STEP):
            for blob_id in blobs:
                await self._scrub(blob_id)
            last = blobs[-1]
            await asyncio.to_thread(self._store.keep_bookmark, BOOKMARK, last)
        await asyncio.to_thread(self._store.keep_bookmark, BOOKMARK, b"")
        self.passes += 1

    async def _scrub(self, blob_id: bytes) -> None:
        metadata = await asyncio.to_thread(self._good_metadata, blob_id)
        if metadata is None:
            # Its slivers cannot be checked before it is back.
            self._look_after(blob_id)
            return
        for axis in Axis:
            for shard in sorted(await asyncio.to_thread(self._store.shards_with, blob_id, axis)):
                size_bytes = await asyncio.to_thread(self._scrub_sliver, metadata, shard, axis)
                self.slivers += size_bytes > 0
                self.size_bytes += size_bytes
                await self._keep_to_the_rate(size_bytes)

    def _good_metadata(self, blob_id: bytes) -> BlobMetadata | None:
        """The blob's metadata, found good; None, and nothing stored any more, when they are not."""
        stored = self._store.metadata(blob_id)
        if stored is None:
            return None
        try:
            return BlobMetadata.from_bcs(stored, blob_id)
        except RedStuffError as error:
            log.warning("scrubbing found damaged metadata", blob=blob_id_text(blob_id), error=str(error))
            self._store.discard_metadata(blob_id, stored)
            return None

    def _scrub_sliver(self, metadata: BlobMetadata, shard: int, axis: Axis) -> int:
        """Bytes read; 0 when the sliver is gone, dropped meanwhile or found damaged by its very reading."""
        blob_id = metadata.blob_id
        symbols = self._store.sliver(blob_id, shard, axis)
        if symbols is None:
            return 0
        try:
            index = self._code.sliver_index(blob_id, shard, axis)
            self._code.verify_sliver(metadata, axis, index, symbols)
        except RedStuffError as error:
            log.warning("scrubbing found a damaged sliver", shard=shard, error=str(error))
            self._store.discard(blob_id, shard, axis, symbols)
        return len(symbols)

    async def _keep_to_the_rate(self, size_bytes: int) -> None:
        now_s = asyncio.get_running_loop().time()
        self._free_at_s = max(self._free_at_s, now_s) + size_bytes / self._bytes_per_s
        if self._free_at_s - now_s >= SHORTEST_PAUSE_S:
            await asyncio.sleep(self._free_at_s - now_s)
