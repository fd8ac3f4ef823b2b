"""Garbage collection: blobs that are deleted, expired, invalid or unknown to the chain are dropped from the store.

A blob id is kept as long as one object of it is registered and has neither been deleted nor expired, certified or not:
its slivers may just be arriving. What was live when the epoch started is kept until the epoch ends, unless it is
invalid, because gaining members still attest to it and fetch it from here (PROTOCOL section 5).

A blob is looked at once more when something of it was stored: it may have ended while that was on its way, and the
chain's event of the end is past by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress

from committee.ledger import BlobDeleted, BlobInvalidated, EpochStarted, Event
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.store import SliverStore, StoreError
from storage.redstuff import blob_id_text

log = Log()

BUCKETS = 2**12
"""Each is put in order in a millisecond if there are ten million blobs in all."""
BLOBS_IN_A_STEP = 1000
"""Blobs looked at together."""
BLOBS_NAMED = 8
"""Dropped blobs that a line of the log names."""
RETRY_S = 30.0
"""Pause after the store has failed."""
UNCONFIRMED_PAUSE_S = 1.0
"""How often a view that is not confirmed is looked at again."""


class Unconfirmed(Exception):
    """A single endpoint of several says that a blob is not needed: it stays until another one has said the same."""


class Garbage:
    """The garbage collection of one store: looks at single blobs, and with every epoch (and at the start) at all."""

    def __init__(self, view: ChainView, store: SliverStore) -> None:
        self._view = view
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._doubtful: list[set[bytes]] = [set() for _ in range(BUCKETS)]
        """Blobs to be looked at, by how their ids begin: the rows of a bucket lie together in the store, so that each
        page of its index is read and written once for many of them, however many blobs there are."""
        self._sweep_due = True
        self._more = asyncio.Event()
        self.dropped_blobs = 0
        """Since the start."""
        store.on_stored = self._on_stored
        view.subscribe(self._on_event)

    def look_at(self, blob_id: bytes) -> None:
        """Drop the blob soon, if it is not wanted."""
        self._doubtful[int.from_bytes(blob_id[:2]) * BUCKETS >> 16].add(blob_id)
        self._more.set()

    def _on_event(self, event: Event) -> None:
        match event:
            case BlobDeleted() | BlobInvalidated():
                self.look_at(event.blob_id)
            case EpochStarted():
                self._sweep_due = True
                self._more.set()
            case _:
                pass

    def _on_stored(self, blob_ids: Collection[bytes]) -> None:
        """Look at blobs that any thread has stored. When the node is stopping, the sweep of the next start does."""
        try:
            unwanted = set(blob_ids) - self._view.those_wanted(list(blob_ids))
        except StoreError:
            unwanted = set(blob_ids)  # to be asked again
        if unwanted:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look_at_all, unwanted)

    def _look_at_all(self, blob_ids: Collection[bytes]) -> None:
        for blob_id in blob_ids:
            self.look_at(blob_id)

    async def run(self) -> None:
        """Call `collect` for ever: at the start, and each time that there are blobs to look at."""
        self._more.set()
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                await self.collect()
            except Unconfirmed:
                await asyncio.sleep(UNCONFIRMED_PAUSE_S)
                self._more.set()
            except StoreError as error:
                log.warning("garbage cannot be collected yet", error=str(error))
                await asyncio.sleep(RETRY_S)
                self._more.set()

    async def collect(self) -> None:
        """Drop what is not wanted of the blobs named to `look_at`, and, if a sweep is due, of all blobs stored.

        Raises `StoreError`, and `Unconfirmed` while the view is not confirmed; the next call looks at what is left.
        """
        if not self._view.is_confirmed:
            raise Unconfirmed
        await self._drop_doubtful()
        while self._sweep_due:
            self._sweep_due = False
            try:
                await self._sweep()
            except BaseException:
                self._sweep_due = True
                raise

    async def _drop_doubtful(self) -> None:
        """Drop what is not wanted of the blobs named to `look_at`, in the order of their ids."""
        some: list[bytes] = []
        try:
            for bucket in self._doubtful:
                some += sorted(bucket)
                bucket.clear()
                while len(some) >= BLOBS_IN_A_STEP:
                    await self._drop_unwanted(some[:BLOBS_IN_A_STEP])
                    del some[:BLOBS_IN_A_STEP]
            if some:
                await self._drop_unwanted(some)
        except BaseException:
            self._look_at_all(some)
            raise

    async def _sweep(self) -> None:
        """Drop what is not wanted of all blobs that the store has."""
        last = b""
        while blobs := await asyncio.to_thread(self._store.blobs_after, last, BLOBS_IN_A_STEP):
            await self._drop_unwanted(blobs)
            last = blobs[-1]

    async def _drop_unwanted(self, blob_ids: Sequence[bytes]) -> None:
        dropped = await asyncio.to_thread(self._drop, blob_ids)
        self.dropped_blobs += len(dropped)
        if dropped:
            some = [blob_id_text(blob_id) for blob_id in dropped[:BLOBS_NAMED]]
            log.info("dropped blobs that nobody needs any more", count=len(dropped), blobs=some)
        if not self._view.is_confirmed:
            raise Unconfirmed

    def _drop(self, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Drop those of the blobs that need not be kept; return them. Not for the event loop's thread.

        The store asks once more, while writers wait, whether they need not be kept.
        """
        kept = self._kept(blob_ids)
        return self._store.drop_blobs([one for one in blob_ids if one not in kept], self._kept)

    def _kept(self, blob_ids: Sequence[bytes]) -> Collection[bytes]:
        """Those of the blobs that may not be dropped now."""
        return self._view.those_wanted(list(blob_ids)) if self._view.is_confirmed else blob_ids
