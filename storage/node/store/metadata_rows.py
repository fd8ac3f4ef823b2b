"""Blobs' metadata in the index of the sliver store. Every read checks the checksum; what is damaged is deleted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from xxhash import xxh3_64_digest as checksum_of

from storage.node.sqlite import portions
from storage.node.store import statements as sql
from storage.node.store.index import StoreIndex
from storage.node.store.reading import Reading


class MetadataRows:
    """The metadata of one store, by any thread. Writes take the store's lock `writing`."""

    def __init__(self, index: StoreIndex, reading: Reading, writing: threading.RLock) -> None:
        self._index = index
        self._reading = reading
        self._writing = writing

    def of(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return blob id → metadata of those of the blobs that have any that is whole."""
        found: dict[bytes, bytes] = {}
        for marks, some in portions(blob_ids):
            for blob_id, bcs, checksum in self._index.query(sql.SOME_METADATA.format(marks), *some):
                if type(bcs) is bytes and checksum_of(bcs) == checksum:
                    found[blob_id] = bcs
                else:
                    self.discard(blob_id, bcs)
        return found

    def sizes(self, blob_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Return blob id → bytes of its metadata, unchecked, of those of the blobs that have any."""
        sizes: dict[bytes, int] = {}
        for marks, some in portions(blob_ids):
            sizes.update(self._index.query(sql.SOME_METADATA_SIZES.format(marks), *some))
        return sizes

    def discard(self, blob_id: bytes, metadata: bytes) -> bool:
        """Delete a blob's metadata, found damaged, unless other is stored meanwhile; return whether it was deleted."""
        with self._writing, self._index.transaction() as index:
            discarded = index.execute(sql.DISCARD_METADATA, (blob_id, metadata)).rowcount > 0
        if discarded:
            self._reading.damaged_count += 1
            self._reading.tell_damage(blob_id)
        return discarded
