"""Slivers of many blobs in some shards: found by few statements, and read where they lie close together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from storage.node.sqlite import portions
from storage.node.store import statements as sql
from storage.node.store.index import StoreIndex
from storage.node.store.metadata_rows import MetadataRows
from storage.node.store.reading import Reading
from storage.node.store.records import Page, Place, SliverKey, Symbols
from storage.redstuff import Axis

PAGE_LIMIT = 1024
"""Slivers in one page, whatever is asked."""
BLOBS_IN_A_PAGE = 2**16
"""Most blobs looked through for one page: that of a shard with few of them ends there, and says where to go on."""


class BulkReading:
    """The reading of many slivers of one store, by any thread. Raises `StoreError`."""

    def __init__(self, index: StoreIndex, reading: Reading, metadata: MetadataRows) -> None:
        self._index = index
        self._reading = reading
        self._metadata = metadata

    def page(
        self,
        shard: int,
        axis: Axis,
        first_blob_id: bytes,
        max_count: int,
        max_bytes: int,
        *,
        with_metadata: bool,
    ) -> Page:
        """Return a page of a shard's slivers, from `first_blob_id` on, by ascending blob id.

        It has at least one sliver if there is any, at most `max_count` and PAGE_LIMIT of them, and `max_bytes`. With
        the blobs' metadata, if asked for, whose bytes count too.
        """
        count = min(max(max_count, 1), PAGE_LIMIT)
        rows = self._index.query(sql.PAGE, first_blob_id, BLOBS_IN_A_PAGE, shard, axis, count + 1)
        beyond = rows[count:] or self._index.query(sql.BLOB_BEHIND, first_blob_id, BLOBS_IN_A_PAGE)
        following = beyond[0][0] if beyond else None
        found = [(SliverKey(row[0], shard, axis), Place.of(row[1:])) for row in rows[:count]]
        blob_ids = [key.blob_id for key, _ in found]
        sizes = self._metadata.sizes(blob_ids) if with_metadata else {}
        left = max_bytes
        for number, (key, place) in enumerate(found):
            left -= place.size_bytes + sizes.get(key.blob_id, 0)
            if number and left < 0:
                found, following = found[:number], key.blob_id
                break
        metadata = self._metadata.of(blob_ids[: len(found)]) if with_metadata else {}
        slivers = [(key.blob_id, content) for key, content in self.all_of(found) if content is not None]
        return Page(slivers, following, metadata)

    def first_size(self, shard: int, axis: Axis, first_blob_id: bytes) -> int:
        """Return the bytes of a page's first sliver, with which alone a page may pass its limit; 0 of an empty page."""
        rows = self._index.query(sql.PAGE, first_blob_id, BLOBS_IN_A_PAGE, shard, axis, 1)
        return Place.of(rows[0][1:]).size_bytes if rows else 0

    def find(
        self, shards: Collection[int], axis: Axis, blob_ids: Sequence[bytes]
    ) -> list[tuple[SliverKey, Place]]:
        """Return (key, place) of each stored sliver of these blobs in these shards, for `read`."""
        found: list[tuple[SliverKey, Place]] = []
        for marks, some in portions(blob_ids):
            statement = sql.FIND_EACH.format(marks, ",".join(map(str, shards)))
            found += [
                (SliverKey(row[0], row[1], axis), Place.of(row[2:]))
                for row in self._index.query(statement, *some, axis)
            ]
        return found

    def read(
        self, found: Sequence[tuple[SliverKey, Place]], max_bytes: int = 2**22
    ) -> Iterator[list[tuple[SliverKey, Symbols | None]]]:
        """Yield the slivers of `found` in parts of `max_bytes`, or of one larger sliver.

        The symbols are None for a sliver that is gone or was found damaged.
        """
        first = size_bytes = 0
        for number, (_, place) in enumerate(found):
            if number > first and size_bytes + place.size_bytes > max_bytes:
                yield self.all_of(found[first:number])
                first, size_bytes = number, 0
            size_bytes += place.size_bytes
        if first < len(found):
            yield self.all_of(found[first:])

    def all_of(self, found: Sequence[tuple[SliverKey, Place]]) -> list[tuple[SliverKey, Symbols | None]]:
        """Return the slivers of `found`; the symbols are None for one that is gone or was found damaged."""
        contents = zip(found, self._reading.contents(found), strict=True)
        return [(key, content) for (key, _), content in contents]
