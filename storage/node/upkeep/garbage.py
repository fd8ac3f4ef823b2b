"""Garbage collection: blobs that are deleted, expired, invalid or unknown to the chain are dropped from the store.

A blob id is kept as long as one object of it is registered and has neither been deleted nor expired, certified or not:
its slivers may just be arriving. What was live when the epoch started is kept until the epoch ends, unless it is
invalid, because gaining members still attest to it and fetch it from here (PROTOCOL section 5).

Whatever is stored is looked at once more when it is there: its blob may have ended while it was on its way, and what
the chain said of that was heeded then already.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress

from committee.ledger import BlobDeleted, BlobInvalidated, EpochStarted, Event
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.store import SliverStore, StoreError
from storage.redstuff import blob_id_text

log = Log()

BLOBS_IN_A_STEP = 256
"""Blobs looked at before others get their turn; dropping takes one at a time."""
RETRY_S = 30.0
"""Pause after the store has failed."""
UNCONFIRMED_PAUSE_S = 1.0
"""How often a view that is not confirmed is looked at again."""
ANSWER_LIMIT_S = 30.0
"""A store's thread waits so long for the event loop to say whether a blob is wanted."""


class Unconfirmed(Exception):
    """A single endpoint of several says that a blob is not needed: it stays until another one has said the same."""


class Garbage:
    """What is to be looked at: single blobs, and with every epoch (and at the start) all that is stored."""

    def __init__(self, view: ChainView, store: SliverStore) -> None:
        self._view = view
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._doubtful: OrderedDict[bytes, None] = OrderedDict()
        """Blobs to be looked at. (A dict would look at all that left it to find its first one.)"""
        self._sweep_due = True
        self._more = asyncio.Event()
        self.dropped_blobs = 0
        """Since the start."""
        store.on_stored = self._on_stored
        view.subscribe(self._on_event)

    def is_wanted(self, blob_id: bytes) -> bool:
        """Whether the blob must be kept. For the event loop's thread alone: between its steps the view is whole."""
        if self._view.is_invalid(blob_id):
            return False
        return was_live_at_start(self._view, blob_id) or self._view.is_registered(blob_id)

    def look_at(self, blob_id: bytes) -> None:
        """Drop the blob soon, if it is not wanted."""
        self._doubtful.setdefault(blob_id)
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
        """Look at stored blobs, from any thread; when the node is stopping, the next start's sweep does instead."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._look_at_unwanted, blob_ids)

    def _look_at_unwanted(self, blob_ids: Collection[bytes]) -> None:
        for blob_id in blob_ids:
            if not self.is_wanted(blob_id):
                self.look_at(blob_id)

    async def run(self) -> None:
        """Collect for ever."""
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
        """Look at all that is to be looked at now.

        Raises `StoreError`, and `Unconfirmed` while the view is not confirmed; what is left is looked at the next time.
        """
        if not self._view.is_confirmed:
            raise Unconfirmed
        while self._doubtful:
            blob_id = next(iter(self._doubtful))
            await self._drop_unwanted(blob_id)
            self._doubtful.pop(blob_id, None)
        while self._sweep_due:
            self._sweep_due = False
            try:
                await self._sweep()
            except BaseException:
                self._sweep_due = True
                raise

    async def _sweep(self) -> None:
        last = b""
        while blobs := await asyncio.to_thread(self._store.blobs_after, last, BLOBS_IN_A_STEP):
            for blob_id in blobs:
                await self._drop_unwanted(blob_id)
            last = blobs[-1]

    async def _drop_unwanted(self, blob_id: bytes) -> None:
        if self.is_wanted(blob_id):
            return
        if await asyncio.to_thread(self._store.drop_blob, blob_id, lambda: self._is_kept(blob_id)):
            self.dropped_blobs += 1
            log.info("dropped a blob that nobody needs any more", blob=blob_id_text(blob_id))
        elif not self._view.is_confirmed:
            raise Unconfirmed

    def _is_kept(self, blob_id: bytes) -> bool:
        """Whether the blob may not be dropped now. From a thread, which waits for the event loop's answer."""

        async def answer() -> bool:
            return self.is_wanted(blob_id) or not self._view.is_confirmed

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_LIMIT_S)


def was_live_at_start(view: ChainView, blob_id: bytes) -> bool:
    """Whether the blob was live when the current epoch started."""
    place = bisect_left(view.live_at_start, blob_id)
    return place < len(view.live_at_start) and view.live_at_start[place] == blob_id
