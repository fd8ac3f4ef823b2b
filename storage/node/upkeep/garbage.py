"""Garbage collection: blobs that are deleted, expired, invalid or unknown to the chain are dropped from the store.

A blob id is kept as long as one object of it is registered and has neither been deleted nor expired, certified or not:
its slivers may just be arriving. What was live when the epoch started is kept until the epoch ends, unless it is
invalid, because gaining members still attest to it and fetch it from here (PROTOCOL section 5).

Whatever is stored is looked at once more when it is there: its blob may have ended while it was on its way, and what
the chain said of that was heeded then already.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress

from committee.ledger import BlobDeleted, BlobInvalidated, EpochStarted, Event
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.store import SliverStore, StoreError
from storage.redstuff import blob_id_text

log = Log()

BLOBS_IN_A_STEP = 1000
"""Blobs looked at together; dropping takes one at a time."""
RETRY_S = 30.0
"""Pause after the store has failed."""
UNCONFIRMED_PAUSE_S = 1.0
"""How often a view that is not confirmed is looked at again."""


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
        """Whether the blob must be kept. Any thread may ask."""
        return bool(self._view.those_wanted([blob_id]))

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
            some = [
                self._doubtful.popitem(last=False)[0]
                for _ in range(min(len(self._doubtful), BLOBS_IN_A_STEP))
            ]
            try:
                wanted = await asyncio.to_thread(self._view.those_wanted, some)
                while some:
                    if some[-1] not in wanted:
                        await self._drop_unwanted(some[-1])
                    some.pop()
            finally:
                for blob_id in some:
                    self.look_at(blob_id)
        while self._sweep_due:
            self._sweep_due = False
            try:
                await self._sweep()
            except BaseException:
                self._sweep_due = True
                raise

    async def _sweep(self) -> None:
        last: bytes | None = b""
        while last is not None:
            unwanted, last = await asyncio.to_thread(self._unwanted_after, last)
            for blob_id in unwanted:
                await self._drop_unwanted(blob_id)

    def _unwanted_after(self, last: bytes) -> tuple[list[bytes], bytes | None]:
        """Those of the next stored blobs that need not be kept, and the last of all these; None at the store's end."""
        blobs = self._store.blobs_after(last, BLOBS_IN_A_STEP)
        wanted = self._view.those_wanted(blobs)
        return [one for one in blobs if one not in wanted], blobs[-1] if blobs else None

    async def _drop_unwanted(self, blob_id: bytes) -> None:
        if await asyncio.to_thread(self._store.drop_blob, blob_id, lambda: self._is_kept(blob_id)):
            self.dropped_blobs += 1
            log.info("dropped a blob that nobody needs any more", blob=blob_id_text(blob_id))
        elif not self._view.is_confirmed:
            raise Unconfirmed

    def _is_kept(self, blob_id: bytes) -> bool:
        """Whether the blob may not be dropped now."""
        return self.is_wanted(blob_id) or not self._view.is_confirmed
