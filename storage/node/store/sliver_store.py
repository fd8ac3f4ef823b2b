"""The sliver store: segments that slivers are appended to, with one SQLite index, in which a row is the commit point.

    lock                       held while the store is open; freed by the kernel when the process dies
    index.sqlite (-wal, -shm)  `storage.node.store.index`
    segments/                  `storage.node.store.files`, `storage.node.store.segments`; full ones lie in an object
                               store if there is one (`storage.node.store.objects`, `storage.node.store.moving`)

Slivers are appended to their shards' segments, the segments synced, and then their rows and the segments' new lengths
committed in one transaction; a row is dropped first, its bytes after. So a kill at any moment leaves at most bytes
behind the end of a segment, or a segment that is not listed, which the next opening cuts off or removes, and never a
row without its bytes. Opening looks at the list of segments and at those that were being filled, however many slivers
there are.

Disks lose and change bytes all the same. Every row holds a checksum (XXH3, 64 bits) of its sliver or metadata, and
every read checks it; that slivers are the blob's, callers and the scrubber verify against their roots. What is lost,
torn, unreadable or changed is deleted as soon as that is seen and told to `on_damage`: it then counts as missing, and
repair fills it again from peers. A failing disk must not fill up with what nobody can use; its last RESERVE_BYTES take
nothing new, so that dropping always has room for the index' own writing.

What is dropped leaves dead bytes in segments, and a dropped shard leaves rows that count no more. `tidy` removes both,
one bounded piece a call (`storage.node.store.tidying`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from xxhash import xxh3_64_digest as checksum_of

from committee.files import require_folder
from storage.node.sqlite import StoreDamaged, StoreFull, portions, told
from storage.node.store import statements as sql
from storage.node.store.bulk import BulkReading
from storage.node.store.conversion import convert, has_old_files
from storage.node.store.files import SegmentFiles, lock
from storage.node.store.index import StoreIndex
from storage.node.store.metadata_rows import MetadataRows
from storage.node.store.moving import Moving
from storage.node.store.objects import Objects
from storage.node.store.reading import Reading
from storage.node.store.records import (
    Metadata,
    NewSliver,
    Page,
    Place,
    SliverKey,
    StoredKey,
    Symbols,
    Tally,
    blob_of,
    check_metadata,
)
from storage.node.store.segments import Segments
from storage.node.store.tallies import Tallies
from storage.node.store.tidying import Tidying
from storage.node.store.writing import Writing
from storage.redstuff import Axis

BLOBS_IN_A_DROP = 32
"""Blobs dropped in one transaction: with 64 slivers of each, writers wait for some milliseconds."""
RESERVE_BYTES = 64 * 2**20
"""Space kept free for the index' log."""
FILE_LIMIT_BYTES = 8 * 2**30
"""What the files of segments take at most where there is an object store, unless told otherwise."""


class SliverStore:
    """The store in `folder`; a context manager. Any thread may call; one writes at a time, others read meanwhile.

    Every method raises `StoreError` when the disk or the index fails and `ValueError` for a blob id, shard or size that
    cannot be. Whatever a method stored or dropped is durable when it returns.
    """

    def __init__(
        self,
        folder: Path,
        connect: Callable[[str], Objects] | None = None,
        file_limit_bytes: int = FILE_LIMIT_BYTES,
    ) -> None:
        """`connect` gives the object store of a store's id, if there is one; `file_limit_bytes` counts only then."""
        self.folder = folder
        self.on_damage: Callable[[bytes], None] = lambda blob_id: None
        """Told the id of a blob of which something was found damaged, by any thread; must not block."""
        self.on_loss: Callable[[], None] = lambda: None
        """Called, by any thread, when a write finds a segment's file unusable; the next tidying gives up, and tells to
        `on_damage`, the slivers that are lost with it. Must not block."""
        self.on_stored: Callable[[Collection[bytes]], None] = lambda blob_ids: None
        """Told the ids of blobs of which something was stored that is new, by any thread; must not block."""
        self._files = SegmentFiles(folder)
        self._dropping = threading.RLock()
        """Held while files are removed, so that no closing overtakes it. Taken before `_writing`."""
        self._writing = threading.RLock()
        self._index = StoreIndex(folder)
        self._segments = Segments(self._index, self._files, lambda: self.on_loss())
        self._reading = Reading(
            folder, self._index, self._segments, self._writing, lambda blob_id: self.on_damage(blob_id)
        )
        self._metadata = MetadataRows(self._index, self._reading, self._writing)
        self.bulk = BulkReading(self._index, self._reading, self._metadata)
        """The slivers of many blobs."""
        self.tallies = Tallies(self._index)
        """What handovers cost."""
        self._new_slivers = Writing(
            *(folder, self._segments, self._reading, self.tallies, self._writing, self.require_room)
        )
        self._tidying = Tidying(
            self._index, self._segments, self._files, self._reading.give_up, RESERVE_BYTES
        )
        limits = file_limit_bytes, RESERVE_BYTES
        self.moving = Moving(self._index, self._segments, self._files, self._writing, connect, limits)
        self._lock: int | None = None

    def __enter__(self) -> SliverStore:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self, is_to_end: Callable[[], bool] = lambda: False) -> None:
        """Open or create the store, and put in order what a kill or a bad disk has left.

        An older version's store is converted, which may take hours; with `is_to_end` that ends, by `StoreError`.
        Raises `StoreInUse`, and `StoreError` when the index or a folder of the store is not what it has to be: nothing
        is then changed. Segments are repaired, the index is not: without it nobody knows what lies where in them.
        """
        what = f"cannot open the store {self.folder}"
        with self._dropping, self._writing, told(what):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            require_folder(self.folder)
            self._lock = lock(self.folder)
            try:
                with told(what):
                    self._files.open()
                    self._index.open(
                        may_be_new=lambda: not (self._files.listed() or has_old_files(self.folder))
                    )
                    self._reading.begin_anew()
                    self.moving.open()
                    self._segments.load()
                    self.moving.require_connected()
                    self._tidying.begin_anew()
                    self._reading.note(convert(self, self._index, is_to_end))
            except StoreDamaged as error:
                self.close()
                raise self._index.damaged(error) from None
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the store when all calls under way are done. Idempotent."""
        self.moving.stop()
        with self.moving.lock, self._dropping, self._writing:
            self._index.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def require_whole(self) -> None:
        """Raise `StoreDamaged`, which says what to do, if the index or a folder was found damaged or gone."""
        self._index.require_whole()

    def require_sound(self, is_to_end: Callable[[], bool] = lambda: False) -> None:
        """Read all of the index; raise `StoreDamaged` if SQLite finds it damaged, `StoreError` if `is_to_end`."""
        self._index.require_sound(is_to_end)

    # metadata

    def put_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Store a blob's metadata (BCS BlobMetadata, checked by the caller); whether it is new."""
        return self.put_blobs({blob_id: metadata}, ()) == {blob_id}

    def metadata(self, blob_id: bytes) -> bytes | None:
        """A blob's metadata; None when there is none, or it was damaged on the disk."""
        return self._metadata.of([blob_id]).get(blob_id)

    def metadata_of(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return blob id → metadata, as `metadata` gives it, of those of the blobs that have any."""
        return self._metadata.of(blob_ids)

    def missing_metadata(self, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Return those of the blobs whose metadata is not stored, in the order given."""
        stored = self._metadata.sizes(blob_ids)
        return [blob_id for blob_id in blob_ids if blob_id not in stored]

    def discard_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Delete a blob's metadata, found damaged, unless other is stored meanwhile; whether it was deleted."""
        return self._metadata.discard(blob_id, metadata)

    # slivers

    def put_sliver(
        self, blob_id: bytes, shard: int, axis: Axis, symbols: Symbols, tally: Tally | None = None
    ) -> bool:
        """Store one sliver; whether it is new."""
        return self.put_slivers([NewSliver(blob_id, shard, axis, symbols, tally)]) == 1

    def put_slivers(self, slivers: Iterable[NewSliver]) -> int:
        """Store slivers, all or none; return how many are new. What was received for the others is tallied as wasted.

        Of several with one key the first is stored. What is there already is read, and stored anew if it is damaged.
        Many at once are much faster than one by one, and so are many threads that store at once.
        """
        return len(self._put(slivers, {}))

    def put_blobs(self, metadata: Metadata, slivers: Iterable[NewSliver]) -> set[bytes]:
        """Store metadata, by blob id, and slivers, all or none; return the blobs of which anything is new.

        All of it is one group commit. Metadata are as for `put_metadata`, slivers as for `put_slivers`.
        """
        for blob_id, bcs in metadata.items():
            check_metadata(blob_id, bcs)
        self._metadata.of(list(metadata))  # what is there, and damaged, must not stand for what is stored now
        return set(map(blob_of, self._put(slivers, metadata)))

    def _put(self, slivers: Iterable[NewSliver], metadata: Metadata) -> Collection[StoredKey]:
        new = self._new_slivers.put(slivers, metadata)
        self.on_stored(set(map(blob_of, new)))
        return new

    def sliver(self, blob_id: bytes, shard: int, axis: Axis) -> Symbols | None:
        """A sliver's symbols; None when it is not stored, or was damaged on the disk."""
        rows = self._index.query(sql.FIND, blob_id, shard, axis)
        found = [(SliverKey(blob_id, shard, axis), Place.of(row)) for row in rows[:1]]
        return self._reading.contents(found)[0] if found else None

    def slivers_of(
        self, blob_id: bytes, first: tuple[int, int] = (0, 0), max_bytes: int = 2**20
    ) -> tuple[list[tuple[int, Axis, Symbols]], tuple[int, int] | None]:
        """Return a blob's slivers from (shard, axis) `first` on, and the (shard, axis) to go on with, None at the end.

        The slivers ascend by (shard, axis): at least one, and as many as `max_bytes` allows. Damaged ones are left out.
        """
        return self._reading.slivers_of(blob_id, first, max_bytes)

    def discard(self, blob_id: bytes, shard: int, axis: Axis, symbols: Symbols) -> bool:
        """Delete a sliver that was read and does not hash to its root; whether it was deleted.

        What has been stored in its place meanwhile, with other symbols, stays.
        """
        key = SliverKey(blob_id, shard, axis)
        with self._writing, told(f"cannot discard a damaged sliver in {self.folder}"):
            place = self._reading.find(key)
            if place is None or place[2:] != (len(symbols), checksum_of(symbols)):
                return False
            self._reading.give_up([(key, place)])
            return True

    def has_sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bool:
        """Whether a sliver is stored."""
        return self.sliver_size(blob_id, shard, axis) is not None

    def sliver_size(self, blob_id: bytes, shard: int, axis: Axis) -> int | None:
        """Bytes of a sliver; None when it is not stored."""
        place = self._reading.find(SliverKey(blob_id, shard, axis))
        return None if place is None else place.size_bytes

    def shards_with(self, blob_id: bytes, axis: Axis) -> frozenset[int]:
        """Shards whose sliver of a blob is stored on an axis."""
        rows = self._index.query(sql.FIND_ALL, blob_id)
        return frozenset(row[0] for row in rows if row[1] == axis and self._segments.holds(Place.of(row[2:])))

    def shards(self) -> frozenset[int]:
        """Shards of which any sliver is stored."""
        return self._segments.shards()

    def missing(self, shard: int, axis: Axis, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Return those of the blobs whose sliver is not stored, in the order given."""
        stored: set[bytes] = set()
        for marks, some in portions(blob_ids):
            rows = self._index.query(sql.FIND_SOME.format(marks), *some, shard, axis)
            stored.update(row[0] for row in rows if self._segments.holds(Place.of(row[1:])))
        return [blob_id for blob_id in blob_ids if blob_id not in stored]

    def slivers_from(
        self,
        shard: int,
        axis: Axis,
        first_blob_id: bytes,
        max_count: int,
        max_bytes: int,
        *,
        with_metadata: bool = False,
    ) -> Page:
        """Return a page of a shard's slivers, from `first_blob_id` on, by ascending blob id.

        It has at least one sliver if there is any, at most `max_count` and PAGE_LIMIT of them, and `max_bytes`. With
        the blobs' metadata, if asked for, whose bytes count too.
        """
        where = (shard, axis, first_blob_id)
        return self.bulk.page(*where, max_count, max_bytes, with_metadata=with_metadata)

    def drop_shard(self, shard: int, is_wanted: Callable[[], bool] = lambda: False) -> int:
        """Drop all slivers of a shard, unless it is wanted (again); return how many. Metadata and tallies stay.

        `is_wanted` is asked while writers wait, as by `drop_blobs`. They wait for one short transaction, however many
        slivers there are; the files are removed after it, and the rows by the tidying.
        """
        with self._dropping, told(f"cannot drop shard {shard} from {self.folder}"):
            with self._writing:
                if is_wanted():
                    return 0
                dropped = self._segments.slivers_of(shard)
                with self._segments.transaction():
                    self._segments.drop(shard)
            self._segments.remove_files()
            return dropped

    def tidy(self) -> bool:
        """Do a piece of what dropping and damage have left to do, while writers wait; return whether there is more."""
        with self._dropping, told(f"cannot tidy {self.folder}"):
            with self._writing:
                has_more = self._tidying.step()
            self._segments.remove_files()
            return has_more

    # whole blobs

    def blobs_after(self, blob_id: bytes, max_count: int) -> list[bytes]:
        """Ids of the blobs that the store knows, behind this one in byte order, as many as the limit.

        A blob is known once anything of it was stored, until it is dropped.
        """
        return [row[0] for row in self._index.query(sql.BLOBS_AFTER, blob_id, max_count)]

    def drop_blobs(
        self, blob_ids: Sequence[bytes], those_wanted: Callable[[Sequence[bytes]], Collection[bytes]]
    ) -> list[bytes]:
        """Drop metadata and all slivers of those of the blobs that are not wanted (again); return what was there.

        `those_wanted` is asked of BLOBS_IN_A_DROP blobs at a time while writers wait, so that no blob is dropped that
        comes back just now: what stores a sliver has seen the blob wanted before. It must not wait for anything.
        """
        dropped: list[bytes] = []
        for first in range(0, len(blob_ids), BLOBS_IN_A_DROP):
            some = blob_ids[first : first + BLOBS_IN_A_DROP]
            with self._writing, told(f"cannot drop blobs from {self.folder}"):
                wanted = those_wanted(some)
                with self._segments.transaction() as index:
                    dropped += [one for one in some if one not in wanted and self._drop(index, one)]
                self._segments.remove_files()
        return dropped

    def _drop(self, index: sqlite3.Connection, blob_id: bytes) -> bool:
        for row in index.execute(sql.FIND_ALL, (blob_id,)).fetchall():
            self._segments.forget(Place.of(row[2:]))
        index.execute(sql.DELETE_ALL, (blob_id,))
        index.execute(sql.DELETE_METADATA, (blob_id,))
        return index.execute(sql.DELETE_BLOB, (blob_id,)).rowcount > 0

    # bookmarks and sizes

    def bookmark(self, name: str) -> bytes | None:
        """Return what was kept under a name, in this run or an earlier one; None if nothing was."""
        rows = self._index.query(sql.BOOKMARK, name)
        return rows[0][0] if rows else None

    def keep_bookmark(self, name: str, value: bytes) -> None:
        """Keep a few bytes under a name across restarts."""
        with self._writing, self._index.transaction() as index:
            index.execute(sql.KEEP_BOOKMARK, (name, value))

    def require_room(self, size_bytes: int) -> None:
        """Raise `StoreFull` when the disk cannot take `size_bytes` more and keep its reserve.

        `StoreUnavailable` when sending to the object store lags behind.
        """
        self.moving.require_room(size_bytes)
        with told(f"cannot tell the room in {self.folder}"):
            free_bytes = self._files.free_bytes()
        if free_bytes < size_bytes + RESERVE_BYTES:
            raise StoreFull(
                f"{size_bytes} bytes do not fit into {self.folder}: {free_bytes} are free, of which {RESERVE_BYTES} "
                "are kept for the index; make room on the disk"
            )

    @property
    def damaged(self) -> list[SliverKey]:
        """The slivers found damaged since the opening, the newest ones; their rows are gone."""
        return list(self._reading.damaged)

    @property
    def damaged_count(self) -> int:
        """Slivers and metadata found damaged since the opening."""
        return self._reading.damaged_count

    def sliver_count(self) -> int:
        """Slivers stored."""
        return self._segments.slivers()

    def stored_bytes(self) -> int:
        """Bytes of all slivers stored."""
        return self._segments.size_bytes()
