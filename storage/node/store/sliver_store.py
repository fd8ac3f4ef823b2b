"""The sliver store: files with one SQLite index, in which a row is the commit point.

    lock                               held while the store is open; freed by the kernel when the process dies
    index.sqlite (-wal, -shm)          `storage.node.store.index`; slivers up to INLINE_BYTES lie in their row
    incoming/, dropped/, slivers/      `storage.node.store.files`; the larger slivers

A sliver is written to `incoming/`, synced, renamed to its place, its folder synced, and then its row committed; it is
dropped row first, file after. So a kill at any moment leaves at most a file without a row, which the next opening
deletes, and never a row without its file.

Disks lose and change bytes all the same. Every row holds a checksum (XXH3, 64 bits) of its sliver or metadata, and
every read checks it; that slivers are the blob's, callers and the scrubber verify against their roots. What is lost,
torn, unreadable or changed is deleted as soon as that is seen and told to `on_damage`: it then counts as missing, and
repair fills it again from peers. A failing disk must not fill up with what nobody can use; its last RESERVE_BYTES take
nothing new, so that dropping always has room for the index' own writing.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from xxhash import xxh3_64_digest as checksum_of

from committee.files import require_folder
from storage.node.sqlite import StoreDamaged, StoreFull, told
from storage.node.store.files import SliverFiles, SliverKey, lock
from storage.node.store.index import (
    DELETE,
    FIND,
    FIND_FILE,
    FIND_SIZE,
    LARGEST_SHARE,
    TALLIES_BY_SHARD,
    TOTALS_BY_SHARD,
    StoreIndex,
    add_tally,
)
from storage.node.store.records import NewSliver, Page, ShardTally, Symbols, Tally, check_id, checked
from storage.node.store.totals import Totals
from storage.redstuff import Axis

INLINE_BYTES = 4096
"""Slivers up to this size live in their row: a file would cost more than it holds."""
MAX_METADATA_BYTES = 16 * 2**20
PAGE_LIMIT = 1024
"""Slivers in one page, whatever is asked."""
IDS_IN_A_QUERY = 500
RESERVE_BYTES = 64 * 2**20
"""Space kept free for the index' log."""
DAMAGED_LISTED = 1000
"""The most damaged slivers that are named, the last ones found."""


class SliverStore:
    """The store in `folder`; a context manager. Any thread may call; one writes at a time, others read meanwhile.

    Every method raises `StoreError` when the disk or the index fails and `ValueError` for a blob id, shard or size that
    cannot be. Whatever a method stored or dropped is durable when it returns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged_count = 0
        """Slivers and metadata found damaged since the opening."""
        self.tallied = 0
        """Grows whenever anything is tallied."""
        self.on_damage: Callable[[bytes], None] = lambda blob_id: None
        """Told the id of a blob of which something was found damaged, by any thread; must not block."""
        self.on_stored: Callable[[Collection[bytes]], None] = lambda blob_ids: None
        """Told the ids of blobs of which something was stored that is new, by any thread; must not block."""
        self._damaged: deque[SliverKey] = deque(maxlen=DAMAGED_LISTED)
        self._files = SliverFiles(folder)
        self._dropping = threading.RLock()
        """Held while files set aside are removed, so that no closing overtakes it. Taken before `_writing`."""
        self._writing = threading.RLock()
        self._index = StoreIndex(folder)
        self._lock: int | None = None
        self._totals = Totals()

    def __enter__(self) -> SliverStore:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self) -> None:
        """Open or create the store, and put in order what a kill or a bad disk has left.

        Raises `StoreInUse`, and `StoreError` when the index or a folder of the store is not what it has to be: nothing
        is then changed. Slivers' files are repaired, the index is not: without it the files cannot be told apart.
        """
        what = f"cannot open the store {self.folder}"
        with self._dropping, self._writing, told(what):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            require_folder(self.folder)
            self._lock = lock(self.folder)
            try:
                with told(what):
                    self._files.open()
                    self._index.open(may_be_new=lambda: not self._files.has_any())
                    self._files.clean()
                    self._put_in_order()
            except StoreDamaged as error:
                self.close()
                raise self._index.damaged(error) from None
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the store when all calls under way are done. Idempotent."""
        with self._dropping, self._writing:
            self._index.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def require_whole(self) -> None:
        """Raise `StoreDamaged`, which says what to do, if the index or a folder was found damaged or gone."""
        self._index.require_whole()

    # metadata

    def put_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Store a blob's metadata (BCS BlobMetadata, checked by the caller); whether it is new."""
        check_id(blob_id)
        if not 0 < len(metadata) <= MAX_METADATA_BYTES:
            raise ValueError(f"metadata of {len(metadata)} bytes; the limit is {MAX_METADATA_BYTES}")
        self.require_room(len(metadata))
        self.metadata(blob_id)  # what is there, and damaged, must not stand for what is stored now
        with self._writing, self._index.transaction() as index:
            values = (blob_id, metadata, checksum_of(metadata))
            is_new = index.execute("INSERT OR IGNORE INTO metadata VALUES (?, ?, ?)", values).rowcount > 0
        self.on_stored((blob_id,) if is_new else ())
        return is_new

    def metadata(self, blob_id: bytes) -> bytes | None:
        """A blob's metadata; None when there is none, or it was damaged on the disk."""
        rows = self._index.query("SELECT bcs, checksum FROM metadata WHERE blob_id = ?", blob_id)
        if rows and checksum_of(rows[0][0]) != rows[0][1]:
            self.discard_metadata(blob_id, rows[0][0])
            return None
        return rows[0][0] if rows else None

    def discard_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Delete a blob's metadata, found damaged, unless other is stored meanwhile; whether it was deleted."""
        with self._writing, self._index.transaction() as index:
            statement = "DELETE FROM metadata WHERE blob_id = ? AND bcs = ?"
            discarded = index.execute(statement, (blob_id, metadata)).rowcount > 0
        if discarded:
            self.damaged_count += 1
            self.on_damage(blob_id)
        return discarded

    # slivers

    def put_sliver(
        self, blob_id: bytes, shard: int, axis: Axis, symbols: Symbols, tally: Tally | None = None
    ) -> bool:
        """Store one sliver; whether it is new."""
        return self.put_slivers([NewSliver(blob_id, shard, axis, symbols, tally)]) == 1

    def put_slivers(self, slivers: Iterable[NewSliver]) -> int:
        """Store slivers, all or none; how many are new. What was received for the others is tallied as wasted.

        Of several with one key the first is stored. What is there already is read, and stored anew if it is damaged.
        Syncs are grouped: many slivers at once are much faster than one by one.
        """
        offered: dict[SliverKey, tuple[memoryview, Tally | None]] = {}
        for one in slivers:
            key = SliverKey(one.blob_id, one.shard, one.axis)
            offered.setdefault(key, (checked(key, one.symbols), one.tally))
        with self._writing, told(f"cannot store slivers in {self.folder}"):
            new = {key: value for key, value in offered.items() if self.sliver(*key) is None}
            self.require_room(sum(len(symbols) for symbols, _ in new.values()))
            in_files = {key: symbols for key, (symbols, _) in new.items() if len(symbols) > INLINE_BYTES}
            self._files.write(in_files)
            try:
                with self._index.transaction() as index:
                    for key, (symbols, _) in new.items():
                        inline = None if key in in_files else bytes(symbols)
                        row = (key.shard, key.axis, key.blob_id, len(symbols), checksum_of(symbols), inline)
                        index.execute("INSERT INTO sliver VALUES (?, ?, ?, ?, ?, ?)", row)
                    for key, (_, tally) in offered.items():
                        if tally is not None:
                            add_tally(index, tally if key in new else tally.in_vain)
            except BaseException:
                self._files.remove(in_files)
                raise
            self.tallied += sum(tally is not None for _, tally in offered.values())
            for key, (symbols, _) in new.items():
                self._totals.add(key.shard, len(symbols))
        self.on_stored({key.blob_id for key in new})
        return len(new)

    def sliver(self, blob_id: bytes, shard: int, axis: Axis) -> Symbols | None:
        """A sliver's symbols; None when it is not stored, or was damaged on the disk."""
        rows = self._index.query(FIND, shard, axis, blob_id)
        return self._content(SliverKey(blob_id, shard, axis), *rows[0]) if rows else None

    def discard(self, blob_id: bytes, shard: int, axis: Axis, symbols: Symbols) -> bool:
        """Delete a sliver that was read and does not hash to its root; whether it was deleted.

        What has been stored in its place meanwhile, with other symbols, stays.
        """
        key, checksum = SliverKey(blob_id, shard, axis), checksum_of(symbols)
        with self._writing, told(f"cannot discard a damaged sliver in {self.folder}"):
            rows = self._index.query(FIND, shard, axis, blob_id)
            if not rows or rows[0][:2] != (len(symbols), checksum):
                return False
            self._give_up(key, len(symbols))
            return True

    def has_sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bool:
        """Whether a sliver is stored."""
        return self.sliver_size(blob_id, shard, axis) is not None

    def sliver_size(self, blob_id: bytes, shard: int, axis: Axis) -> int | None:
        """Bytes of a sliver; None when it is not stored."""
        rows = self._index.query(FIND_SIZE, shard, axis, blob_id)
        return rows[0][0] if rows else None

    def shards_with(self, blob_id: bytes, axis: Axis) -> frozenset[int]:
        """Shards whose sliver of a blob is stored on an axis."""
        rows = self._index.query("SELECT shard FROM sliver WHERE blob_id = ? AND axis = ?", blob_id, axis)
        return frozenset(row[0] for row in rows)

    def shards(self) -> frozenset[int]:
        """Shards of which any sliver is stored."""
        return self._totals.shards()

    def missing(self, shard: int, axis: Axis, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Return those of the blobs whose sliver is not stored, in the order given."""
        stored: set[bytes] = set()
        for first in range(0, len(blob_ids), IDS_IN_A_QUERY):
            some = blob_ids[first : first + IDS_IN_A_QUERY]
            marks = ",".join("?" * len(some))
            statement = f"SELECT blob_id FROM sliver WHERE shard = ? AND axis = ? AND blob_id IN ({marks})"  # noqa: S608
            stored.update(row[0] for row in self._index.query(statement, shard, axis, *some))
        return [blob_id for blob_id in blob_ids if blob_id not in stored]

    def slivers_from(
        self, shard: int, axis: Axis, first_blob_id: bytes, max_count: int, max_bytes: int
    ) -> Page:
        """A page from `first_blob_id` on: as many slivers as the limits and PAGE_LIMIT allow, at least one."""
        count = min(max(max_count, 1), PAGE_LIMIT)
        rows = self._index.query(
            "SELECT blob_id, size, checksum, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id >= ? "
            "ORDER BY blob_id LIMIT ?",
            *(shard, axis, first_blob_id, count + 1),
        )
        slivers: list[tuple[bytes, Symbols]] = []
        left = max_bytes
        for blob_id, size, checksum, inline in rows[:count]:
            if slivers and size > left:
                return Page(slivers, blob_id)
            content = self._content(SliverKey(blob_id, shard, axis), size, checksum, inline)
            if content is not None:
                slivers.append((blob_id, content))
                left -= size
        return Page(slivers, rows[count][0] if len(rows) > count else None)

    def drop_shard(self, shard: int, is_wanted: Callable[[], bool] = lambda: False) -> int:
        """Drop all slivers of a shard, unless it is wanted (again); how many there were. Metadata and tallies stay.

        `is_wanted` is asked while writers wait, as by `drop_blob`. They wait for the rows alone; the files are then out
        of their way.
        """
        with self._dropping, told(f"cannot drop shard {shard} from {self.folder}"):
            with self._writing:
                if is_wanted():
                    return 0
                with self._index.transaction() as index:
                    dropped = index.execute("DELETE FROM sliver WHERE shard = ?", (shard,)).rowcount
                self._totals.drop_shard(shard)
                aside = self._files.set_shard_aside(shard)
            if aside is not None:
                self._files.discard(aside)
            return dropped

    # whole blobs

    def blobs_after(self, blob_id: bytes, max_count: int) -> list[bytes]:
        """Ids of blobs of which anything is stored, behind this one in byte order, as many as the limit."""
        found: set[bytes] = set()
        for table in ("metadata", "sliver"):
            statement = f"SELECT DISTINCT blob_id FROM {table} WHERE blob_id > ? ORDER BY blob_id LIMIT ?"  # noqa: S608
            found.update(row[0] for row in self._index.query(statement, blob_id, max_count))
        return sorted(found)[:max_count]

    def drop_blob(self, blob_id: bytes, is_wanted: Callable[[], bool]) -> bool:
        """Drop metadata and all slivers of a blob, unless it is wanted (again); whether anything was dropped.

        `is_wanted` is asked while writers wait, so that no blob is dropped that comes back just now: whoever stores a
        sliver has seen the blob wanted before.
        """
        with self._writing, told(f"cannot drop a blob from {self.folder}"):
            if is_wanted():
                return False
            with self._index.transaction() as index:
                rows = index.execute("SELECT shard, axis, size FROM sliver WHERE blob_id = ?", (blob_id,))
                slivers = [(SliverKey(blob_id, shard, Axis(axis)), size) for shard, axis, size in rows]
                index.execute("DELETE FROM sliver WHERE blob_id = ?", (blob_id,))
                n_metadata = index.execute("DELETE FROM metadata WHERE blob_id = ?", (blob_id,)).rowcount
            self._files.remove(key for key, _ in slivers)
            for key, size in slivers:
                self._totals.subtract(key.shard, size)
            return n_metadata > 0 or bool(slivers)

    # bookmarks, tallies and sizes

    def bookmark(self, name: str) -> bytes | None:
        """What was kept under a name, in this run or an earlier one."""
        rows = self._index.query("SELECT value FROM bookmark WHERE name = ?", name)
        return rows[0][0] if rows else None

    def keep_bookmark(self, name: str, value: bytes) -> None:
        """Keep a few bytes under a name across restarts."""
        with self._writing, self._index.transaction() as index:
            index.execute("INSERT OR REPLACE INTO bookmark VALUES (?, ?)", (name, value))

    def require_room(self, size_bytes: int) -> None:
        """Raise `StoreFull` when the disk cannot take `size_bytes` more and keep its reserve."""
        with told(f"cannot tell the room in {self.folder}"):
            free_bytes = self._files.free_bytes()
        if free_bytes < size_bytes + RESERVE_BYTES:
            raise StoreFull(
                f"{size_bytes} bytes do not fit into {self.folder}: {free_bytes} are free, of which {RESERVE_BYTES} "
                "are kept for the index; make room on the disk"
            )

    @property
    def damaged(self) -> list[SliverKey]:
        """(blob id, shard, axis) of slivers found damaged since the opening, the last ones; their rows are gone."""
        return list(self._damaged)

    def tallies_by_shard(self, epoch: int) -> list[ShardTally]:
        """What the handover into an epoch cost, by shard, over all blobs; kept for `index.TALLY_EPOCHS` epochs."""
        return [ShardTally(*row) for row in self._index.query(TALLIES_BY_SHARD, epoch)]

    def largest_share(self, epoch: int, slivers_of_a_blob: Sequence[int]) -> float:
        """The most received and wasted of one blob, as a share of it; so many slivers (by axis) are one."""
        return self._index.query(LARGEST_SHARE, epoch, *slivers_of_a_blob)[0][0] or 0.0

    def sliver_count(self) -> int:
        """Slivers stored."""
        return self._totals.slivers

    def stored_bytes(self) -> int:
        """Bytes of all slivers stored."""
        return self._totals.size_bytes

    # inside

    def _put_in_order(self) -> None:
        """Remove rows without their file, then files without their row. Rows stream: there may be millions."""
        with self._index.transaction() as index:
            rows = index.execute("SELECT blob_id, shard, axis, size FROM sliver WHERE inline IS NULL")
            keys = ((SliverKey(blob_id, shard, Axis(axis)), size) for blob_id, shard, axis, size in rows)
            lost = [key for key, size in keys if not self._files.has(key, size)]
            for key in lost:
                index.execute(DELETE, (key.shard, key.axis, key.blob_id))
            self._damaged = deque(lost, DAMAGED_LISTED)
            self.damaged_count = len(lost)
            self._files.sweep(
                lambda key: index.execute(FIND_FILE, (key.shard, key.axis, key.blob_id)).fetchone()
            )
            self._totals = Totals(index.execute(TOTALS_BY_SHARD))

    def _content(self, key: SliverKey, size: int, checksum: bytes, inline: bytes | None) -> Symbols | None:
        content = self._read(key, size, checksum, inline)
        if content is None:
            with self._writing, told(f"cannot give up a damaged sliver in {self.folder}"):
                # Another thread may have dropped, replaced or given it up since its row was read.
                rows = self._index.query(FIND, key.shard, key.axis, key.blob_id)
                if rows and self._read(key, *rows[0]) is None:
                    self._give_up(key, rows[0][0])
        return content

    def _read(self, key: SliverKey, size: int, checksum: bytes, inline: bytes | None) -> Symbols | None:
        """A sliver's symbols by its row; None when they are not there whole and unchanged."""
        with told(f"cannot read a sliver of shard {key.shard} in {self.folder}"):
            content = self._files.read(key, size) if inline is None else inline
        if content is None or len(content) != size or checksum_of(content) != checksum:
            return None
        return content

    def _give_up(self, key: SliverKey, size: int) -> None:
        with self._index.transaction() as index:
            index.execute(DELETE, (key.shard, key.axis, key.blob_id))
        self._files.remove([key])
        self._totals.subtract(key.shard, size)
        self._damaged.append(key)
        self.damaged_count += 1
        self.on_damage(key.blob_id)
