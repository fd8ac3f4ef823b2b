"""Uploads that come before their blob's registration (`pending=true`, PROTOCOL section 6).

Metadata and slivers are checked when they come, kept in memory, and stored when the node sees the blob registered, so
that a writer can upload while the chain takes its registration. Nothing has been paid for them then: together they take
LIMIT_BYTES at most, of which a requester may hold at most as much as would then still be free. They are dropped after
KEPT_S.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from committee.ledger import BlobRegistered, Event
from committee.logs import Log
from storage.client.failures import Reason
from storage.node.budgets import Requester
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.store import SliverStore, StoreError
from storage.redstuff import Axis, BlobMetadata, blob_id_text

log = Log()

LIMIT_BYTES = 32 * 2**20
KEPT_S = 60.0
"""Time for which a blob's slivers are kept from the arrival of its metadata on."""
ENTRY_BYTES = 1024
"""What metadata and a sliver each take beside their bytes."""

Place = tuple[int, Axis]
"""A sliver's shard and axis."""


@dataclass
class _Upload:
    """What has come of one blob."""

    metadata: BlobMetadata
    slivers: dict[Place, bytes] = field(default_factory=dict)
    held: Counter[Requester] = field(default_factory=Counter)
    """Bytes of memory by the requester that sent them."""
    timer: asyncio.TimerHandle | None = None


class PendingUploads:
    """The uploads of one node. All methods are for the event loop's thread."""

    def __init__(self, view: ChainView, store: SliverStore) -> None:
        self._view = view
        self._store = store
        self._uploads: dict[bytes, _Upload] = {}
        self._storing: dict[bytes, asyncio.Task[None]] = {}
        """What is stored last of a blob: of one that is deleted and registered anew more may come meanwhile."""
        self._held: Counter[Requester] = Counter()
        self._writing = asyncio.Lock()
        """Blobs that are registered together are stored one after the other, and leave the threads to requests."""
        view.subscribe(self._on_event)

    def metadata(self, blob_id: bytes) -> BlobMetadata | None:
        """Return the metadata that is kept of a blob."""
        upload = self._uploads.get(blob_id)
        return None if upload is None else upload.metadata

    def has_sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bool:
        """Return whether a sliver is kept."""
        upload = self._uploads.get(blob_id)
        return upload is not None and (shard, axis) in upload.slivers

    def keep_metadata(self, requester: Requester, metadata: BlobMetadata) -> bool:
        """Keep a blob's metadata; return whether it is new. Raises `Refusal` when there is no room."""
        blob_id = metadata.blob_id
        if blob_id in self._uploads:
            return False
        upload = _Upload(metadata)
        self._take(upload, requester, len(metadata.to_bcs()))
        self._uploads[blob_id] = upload
        upload.timer = asyncio.get_running_loop().call_later(KEPT_S, self._drop, blob_id)
        return True

    def keep_sliver(
        self, requester: Requester, blob_id: bytes, shard: int, axis: Axis, symbols: bytes | memoryview
    ) -> bool:
        """Keep a sliver that fits the metadata kept; return whether it is new. Raises `Refusal`."""
        upload = self._uploads.get(blob_id)
        if upload is None:
            raise Refusal(400, Reason.METADATA_NOT_FOUND, "the metadata was dropped meanwhile; send it again")
        if (shard, axis) in upload.slivers:
            return False
        self._take(upload, requester, len(symbols))
        upload.slivers[shard, axis] = bytes(symbols)
        return True

    async def stored(self, blob_id: bytes) -> None:
        """Wait until what was kept of a blob that has been registered is stored."""
        task = self._storing.get(blob_id)
        if task is not None:
            await asyncio.shield(task)

    async def close(self) -> None:
        """Drop what is kept, and wait for what is being stored. Idempotent."""
        for blob_id in list(self._uploads):
            self._drop(blob_id)
        await asyncio.gather(*self._storing.values())

    def _take(self, upload: _Upload, requester: Requester, size_bytes: int) -> None:
        size_bytes += ENTRY_BYTES
        free_bytes = LIMIT_BYTES - self._held.total() - size_bytes
        if self._held[requester] + size_bytes > free_bytes:
            raise Refusal(
                *(400, Reason.CACHE_SATURATED),
                "no room is left for uploads before their registration; send it again once the blob is registered",
            )
        for held in (self._held, upload.held):
            held[requester] += size_bytes

    def _drop(self, blob_id: bytes) -> None:
        self._release(self._taken_out(blob_id))

    def _taken_out(self, blob_id: bytes) -> _Upload:
        """Take an upload out of the list and stop its timer, so that it is not dropped while it is stored."""
        upload = self._uploads.pop(blob_id)
        if upload.timer is not None:
            upload.timer.cancel()
        return upload

    def _release(self, upload: _Upload) -> None:
        self._held -= upload.held  # which also forgets requesters that hold nothing any more

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BlobRegistered) and event.blob_id in self._uploads:
            settling = self._settle(event.blob_id, self._taken_out(event.blob_id))
            self._storing[event.blob_id] = asyncio.create_task(settling)

    async def _settle(self, blob_id: bytes, upload: _Upload) -> None:
        try:
            async with self._writing:
                await asyncio.to_thread(self._write, blob_id, upload, frozenset(self._view.my_shards()))
        except StoreError as error:
            log.warning("an upload that was kept is lost", blob=blob_id_text(blob_id), error=str(error))
        finally:
            self._release(upload)
            if self._storing.get(blob_id) is asyncio.current_task():
                del self._storing[blob_id]

    def _write(self, blob_id: bytes, upload: _Upload, shards: frozenset[int]) -> None:
        self._store.put_metadata(blob_id, upload.metadata.to_bcs())
        for (shard, axis), symbols in upload.slivers.items():
            if shard in shards:
                self._store.put_sliver(blob_id, shard, axis, symbols)
