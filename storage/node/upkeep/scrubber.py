"""The scrubber: re-reads all that is stored, at a bounded rate, and checks it against the blobs' ids.

Blob by blob, in the order of their ids: the metadata against the id, then each sliver against its root. What does not
hold is discarded (`SliverStore.discard`); the store then calls its `on_damage`, which has the blob healed
(`Healing.look_after`) before anyone asks for it. A blob without good metadata is handed to `look_after` by the scrubber
itself. The place is kept in the store, so that a node that is restarted often comes around all the same. At the end of
a pass the scrubber has SQLite check all of the store's index, whose damage ends the node, and looks through the object
store, if there is one, for objects that no segment needs.

It works in steps of STEP_S or STEP_BYTES, each on one thread, and rests between them as its rate and its share of a
core ask for: small slivers cost time, large ones bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from committee.logs import Log
from storage.node.store import SliverStore, StoreError, StoreUnavailable
from storage.node.store.records import Symbols
from storage.node.threads import finished, finished_or_told
from storage.redstuff import Axis, BlobMetadata, RedStuff, RedStuffError, blob_id_text

log = Log()

BOOKMARK = "scrubber"
"""In the store: the id of the last blob scrubbed; empty at the beginning."""
BLOBS_IN_A_STEP = 64
"""The place is kept after this many blobs: a restart scrubs at most these again."""
RETRY_S = 30.0
"""Pause after the store has failed."""
STEP_S = 0.1
STEP_BYTES = 2**20
"""A step ends with the sliver by which it has taken STEP_S or has read STEP_BYTES."""
CORE_SHARE = 0.25
"""Greatest part of a core's time that scrubbing takes."""
SHORTEST_PAUSE_S = 0.05
"""Steps are done several in a row before the rate asks for a pause."""


class Step:
    """What one step has scrubbed, and how long it took."""

    def __init__(self) -> None:
        self.slivers = 0
        self.size_bytes = 0
        self.took_s = 0.0
        self.unchecked: list[bytes] = []
        """Blobs whose slivers cannot be checked before their metadata are back."""
        self._began_s = time.perf_counter()

    def ends(self) -> bool:
        """Note the time that the step has taken; return whether it has come to STEP_S or STEP_BYTES."""
        self.took_s = time.perf_counter() - self._began_s
        return self.took_s >= STEP_S or self.size_bytes >= STEP_BYTES


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
            last = blobs[-1]
            slivers = self._scrubbed(blobs)
            has_more = True
            while has_more:
                step = Step()
                has_more = await finished(self._do, step, slivers)
                self.slivers += step.slivers
                self.size_bytes += step.size_bytes
                for blob_id in step.unchecked:
                    self._look_after(blob_id)
                await self._keep_to_the_rate(step)
            await asyncio.to_thread(self._store.keep_bookmark, BOOKMARK, last)
        await finished_or_told(self._store.require_sound)
        await self._note_orphans()
        await asyncio.to_thread(self._store.keep_bookmark, BOOKMARK, b"")
        self.passes += 1

    async def _note_orphans(self) -> None:
        """Have the store delete the objects that no segment needs, if it has an object store."""
        try:
            count = await finished_or_told(self._store.moving.note_orphans)
        except StoreUnavailable as error:
            log.warning("the objects cannot be looked through", error=str(error))
        else:
            if count:
                log.warning("deleting objects that no segment needs", objects=count)

    def _do(self, step: Step, slivers: Iterator[int | bytes]) -> bool:
        """Scrub until the step is over; return whether `slivers` may have more."""
        for one in slivers:
            if isinstance(one, bytes):
                step.unchecked.append(one)
            else:
                step.slivers += 1
                step.size_bytes += one
            if step.ends():
                return True
        return False

    def _scrubbed(self, blobs: Sequence[bytes]) -> Iterator[int | bytes]:
        """Scrub the slivers of blobs. Yield the size of each, or the id of a blob that has no good metadata."""
        for blob_id in blobs:
            metadata = self._good_metadata(blob_id)
            if metadata is None:
                yield blob_id
                continue
            place: tuple[int, int] | None = (0, 0)
            while place is not None:
                slivers, place = self._store.slivers_of(blob_id, place, STEP_BYTES)
                for shard, axis, symbols in slivers:
                    self._check(metadata, shard, axis, symbols)
                    yield len(symbols)

    def _good_metadata(self, blob_id: bytes) -> BlobMetadata | None:
        """Return the blob's metadata; None when none are stored, or they do not match its id and are discarded."""
        stored = self._store.metadata(blob_id)
        if stored is None:
            return None
        try:
            return BlobMetadata.from_bcs(stored, blob_id)
        except RedStuffError as error:
            log.warning("scrubbing found damaged metadata", blob=blob_id_text(blob_id), error=str(error))
            self._store.discard_metadata(blob_id, stored)
            return None

    def _check(self, metadata: BlobMetadata, shard: int, axis: Axis, symbols: Symbols) -> None:
        """Discard a sliver that does not hash to its root."""
        try:
            index = self._code.sliver_index(metadata.blob_id, shard, axis)
            self._code.verify_sliver(metadata, axis, index, symbols)
        except RedStuffError as error:
            log.warning("scrubbing found a damaged sliver", shard=shard, error=str(error))
            self._store.discard(metadata.blob_id, shard, axis, symbols)

    async def _keep_to_the_rate(self, step: Step) -> None:
        """Rest after a step for as long as the rate and the share of a core ask for."""
        now_s = asyncio.get_running_loop().time()
        rest_s = max(step.size_bytes / self._bytes_per_s, step.took_s * (1 / CORE_SHARE - 1))
        self._free_at_s = max(self._free_at_s, now_s) + rest_s
        if self._free_at_s - now_s >= SHORTEST_PAUSE_S:
            await asyncio.sleep(self._free_at_s - now_s)
