"""The sliver store: files with one SQLite index, in which a row is the commit point.

    lock                               held while the store is open; freed by the kernel when the process dies
    index.sqlite (-wal, -shm)          `storage.node.store_index`; slivers up to INLINE_BYTES lie in their row
    incoming/, dropped/, slivers/      `storage.node.store_files`; the larger slivers

A sliver is written to `incoming/`, synced, renamed to its place, its folder synced, and then its row committed; it is
dropped row first, file after. So a kill at any moment leaves at most a file without a row, which the next opening
deletes, and never a row without its file. A row whose file is gone or has another size all the same (the disk lost it)
is removed as soon as that is seen, at the opening or at a read, and listed in `damaged`: the sliver then counts as
missing, and repair fills it again. Whether a whole file still holds the right bytes is for the caller to verify against
the blob's metadata.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from storage.node.store_files import BLOB_ID_BYTES, SliverFiles, SliverKey
from storage.node.store_index import StoreError, StoreFull, StoreIndex, StoreInUse, told
from storage.redstuff import Axis

__all__ = [
    "NewSliver",
    "Page",
    "SliverKey",
    "SliverStore",
    "StoreError",
    "StoreFull",
    "StoreInUse",
    "Tally",
    "Way",
]

INLINE_BYTES = 4096
"""Slivers up to this size live in their row: a file would cost more than it holds."""
MAX_SLIVER_BYTES = 256 * 2**20
"""Six times the largest sliver at 1000 shards."""
MAX_METADATA_BYTES = 16 * 2**20
MAX_SHARD = 2**16 - 1
PAGE_LIMIT = 1024
"""Slivers in one page, whatever is asked."""
TALLY_EPOCHS = 8
"""Epochs whose tallies are kept, the newest included."""
IDS_IN_A_QUERY = 500

Way = Literal["transferred", "rebuilt"]
Symbols = bytes | memoryview
"""A sliver's symbols one after the other; a view must be C-contiguous."""

_ADD_TALLY = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
slivers = slivers + excluded.slivers, symbol_bytes = symbol_bytes + excluded.symbol_bytes,
received_bytes = received_bytes + excluded.received_bytes, wasted_bytes = wasted_bytes + excluded.wasted_bytes
"""
_FIND_FILE = "SELECT 1 FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ? AND inline IS NULL"


@dataclass(frozen=True, slots=True)
class Tally:
    """What slivers of one blob cost one shard in the handover into `epoch`. Bytes."""

    epoch: int
    shard: int
    blob_id: bytes
    way: Way
    slivers: int = 0
    symbol_bytes: int = 0
    """Symbols that made the slivers."""
    received_bytes: int = 0
    """Of these, what crossed the wire."""
    wasted_bytes: int = 0
    """Received beyond that and thrown away."""


@dataclass(frozen=True, slots=True)
class NewSliver:
    """A verified sliver to be stored, with what it cost if that is to be recorded."""

    blob_id: bytes
    shard: int
    axis: Axis
    symbols: Symbols = field(repr=False)
    tally: Tally | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some slivers of one shard on one axis, in the byte order of their blob ids."""

    slivers: list[tuple[bytes, bytes]]
    """(blob id, symbols)."""
    next_blob_id: bytes | None
    """Where the next page begins; None at the end of the shard, which an empty page alone does not mean."""


class SliverStore:
    """The store in `folder`; a context manager. Any thread may call; one writes at a time, others read meanwhile.

    Every method raises `StoreError` when the disk or the index fails and `ValueError` for a blob id, shard or size that
    cannot be. Whatever a method stored or dropped is durable when it returns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[SliverKey] = []
        """(blob id, shard, axis) of slivers found lost or torn since the opening; their rows are gone."""
        self._files = SliverFiles(folder)
        self._dropping = threading.RLock()
        """Held while files set aside are removed, so that no closing overtakes it. Taken before `_writing`."""
        self._writing = threading.RLock()
        self._index = StoreIndex(folder)
        self._lock: int | None = None
        self._count: Counter[int] = Counter()
        self._size_bytes: Counter[int] = Counter()
        """By shard, kept along with the rows: health and metrics ask often and must not scan the index."""

    def __enter__(self) -> SliverStore:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Open or create the store, and put in order what a kill or a bad disk has left. Raises `StoreInUse`."""
        with self._dropping, self._writing, told(f"cannot open the store {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                self._files.open()
                self._index.open()
                self._put_in_order()
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

    # metadata

    def put_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Store a blob's metadata (BCS BlobMetadata, checked by the caller); whether it is new."""
        _check_id(blob_id)
        if not 0 < len(metadata) <= MAX_METADATA_BYTES:
            raise ValueError(f"metadata of {len(metadata)} bytes; the limit is {MAX_METADATA_BYTES}")
        with self._index.transaction() as index:
            values = (blob_id, metadata)
            return index.execute("INSERT OR IGNORE INTO metadata VALUES (?, ?)", values).rowcount > 0

    def metadata(self, blob_id: bytes) -> bytes | None:
        """A blob's metadata; None when there is none."""
        rows = self._index.query("SELECT bcs FROM metadata WHERE blob_id = ?", blob_id)
        return rows[0][0] if rows else None

    # slivers

    def put_sliver(
        self, blob_id: bytes, shard: int, axis: Axis, symbols: Symbols, tally: Tally | None = None
    ) -> bool:
        """Store one sliver; whether it is new."""
        return self.put_slivers([NewSliver(blob_id, shard, axis, symbols, tally)]) == 1

    def put_slivers(self, slivers: Iterable[NewSliver]) -> int:
        """Store slivers, all or none; how many are new. The tallies of the others do not count.

        Of several with one key the first is stored. Syncs are grouped: many slivers at once are much faster than one
        by one.
        """
        offered: dict[SliverKey, tuple[memoryview, Tally | None]] = {}
        for one in slivers:
            key = SliverKey(one.blob_id, one.shard, one.axis)
            offered.setdefault(key, (_checked(key, one.symbols), one.tally))
        with self._writing, told(f"cannot store slivers in {self.folder}"):
            new = {key: value for key, value in offered.items() if not self.has_sliver(*key)}
            in_files = {key: symbols for key, (symbols, _) in new.items() if len(symbols) > INLINE_BYTES}
            self._files.write(in_files)
            try:
                with self._index.transaction() as index:
                    for key, (symbols, tally) in new.items():
                        inline = None if key in in_files else bytes(symbols)
                        row = (key.shard, key.axis, key.blob_id, len(symbols), inline)
                        index.execute("INSERT INTO sliver VALUES (?, ?, ?, ?, ?)", row)
                        if tally is not None:
                            index.execute(_ADD_TALLY, astuple(tally))
                            index.execute("DELETE FROM tally WHERE epoch <= ?", (tally.epoch - TALLY_EPOCHS,))
            except BaseException:
                self._files.remove(in_files)
                raise
            for key, (symbols, _) in new.items():
                self._count[key.shard] += 1
                self._size_bytes[key.shard] += len(symbols)
            return len(new)

    def sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bytes | None:
        """A sliver's symbols; None when it is not stored, or was lost or torn on the disk."""
        rows = self._index.query(
            "SELECT size, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?",
            shard,
            axis,
            blob_id,
        )
        return self._content(SliverKey(blob_id, shard, axis), *rows[0]) if rows else None

    def has_sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bool:
        """Whether a sliver is stored."""
        return bool(
            self._index.query(
                "SELECT 1 FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?", shard, axis, blob_id
            )
        )

    def shards_with(self, blob_id: bytes, axis: Axis) -> frozenset[int]:
        """Shards whose sliver of a blob is stored on an axis."""
        rows = self._index.query("SELECT shard FROM sliver WHERE blob_id = ? AND axis = ?", blob_id, axis)
        return frozenset(row[0] for row in rows)

    def shards(self) -> frozenset[int]:
        """Shards of which any sliver is stored."""
        return frozenset(shard for shard, count in self._count.copy().items() if count)

    def missing(self, shard: int, axis: Axis, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Those of the blobs whose sliver is not stored, in the order given."""
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
            "SELECT blob_id, size, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id >= ? "
            "ORDER BY blob_id LIMIT ?",
            *(shard, axis, first_blob_id, count + 1),
        )
        slivers: list[tuple[bytes, bytes]] = []
        left = max_bytes
        for blob_id, size, inline in rows[:count]:
            if slivers and size > left:
                return Page(slivers, blob_id)
            content = self._content(SliverKey(blob_id, shard, axis), size, inline)
            if content is not None:
                slivers.append((blob_id, content))
                left -= size
        return Page(slivers, rows[count][0] if len(rows) > count else None)

    def drop_shard(self, shard: int) -> int:
        """Drop all slivers of a shard; how many there were. Metadata and tallies stay.

        Writers wait for the rows alone; the files are then out of their way.
        """
        with self._dropping, told(f"cannot drop shard {shard} from {self.folder}"):
            with self._writing:
                with self._index.transaction() as index:
                    dropped = index.execute("DELETE FROM sliver WHERE shard = ?", (shard,)).rowcount
                del self._count[shard], self._size_bytes[shard]
                aside = self._files.set_shard_aside(shard)
            if aside is not None:
                self._files.discard(aside)
            return dropped

    # tallies and sizes

    def tallies(self, epoch: int) -> list[Tally]:
        """What the handover into an epoch cost, by shard and blob; kept for TALLY_EPOCHS epochs."""
        return [Tally(*row) for row in self._index.query("SELECT * FROM tally WHERE epoch = ?", epoch)]

    def sliver_count(self) -> int:
        """Slivers stored."""
        return self._count.copy().total()

    def stored_bytes(self) -> int:
        """Bytes of all slivers stored."""
        return self._size_bytes.copy().total()

    # inside

    def _take_lock(self) -> None:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreInUse(f"the store {self.folder} is open already; stop the node that uses it") from None
        self._lock = descriptor

    def _put_in_order(self) -> None:
        """Remove rows without their file, then files without their row. Rows stream: there may be millions."""
        with self._index.transaction() as index:
            rows = index.execute("SELECT blob_id, shard, axis, size FROM sliver WHERE inline IS NULL")
            keys = ((SliverKey(blob_id, shard, Axis(axis)), size) for blob_id, shard, axis, size in rows)
            lost = [(key, size) for key, size in keys if not self._files.has(key, size)]
            for key, size in lost:
                _delete_row(index, key, size)
            self.damaged = [key for key, _ in lost]
            self._files.sweep(
                lambda key: index.execute(_FIND_FILE, (key.shard, key.axis, key.blob_id)).fetchone()
            )
            totals = index.execute("SELECT shard, COUNT(*), SUM(size) FROM sliver GROUP BY shard").fetchall()
        self._count = Counter({shard: count for shard, count, _ in totals})
        self._size_bytes = Counter({shard: size_bytes for shard, _, size_bytes in totals})

    def _content(self, key: SliverKey, size: int, inline: bytes | None) -> bytes | None:
        if inline is not None:
            return inline
        with told(f"cannot read a sliver of shard {key.shard} in {self.folder}"):
            content = self._files.read(key)
        if content is not None and len(content) == size:
            return content
        self._give_up(key, size)
        return None

    def _give_up(self, key: SliverKey, size: int) -> None:
        """Remove the row of a sliver that a reader found damaged, unless it was dropped or replaced meanwhile."""
        with self._writing, told(f"cannot give up a damaged sliver in {self.folder}"):
            if self._files.has(key, size):
                return
            with self._index.transaction() as index:
                removed = _delete_row(index, key, size)
            if removed:
                self._files.remove([key])
                self._count[key.shard] -= 1
                self._size_bytes[key.shard] -= size
                self.damaged.append(key)


def _delete_row(index: sqlite3.Connection, key: SliverKey, size: int) -> int:
    """Delete the row of a sliver in a file of this size; how many there were."""
    statement = (
        "DELETE FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ? AND size = ? AND inline IS NULL"
    )
    return index.execute(statement, (key.shard, key.axis, key.blob_id, size)).rowcount


def _check_id(blob_id: bytes) -> None:
    if len(blob_id) != BLOB_ID_BYTES:
        raise ValueError(f"a blob id of {len(blob_id)} bytes; it has {BLOB_ID_BYTES}")


def _checked(key: SliverKey, symbols: Symbols) -> memoryview:
    """The symbols as bytes, once they can be stored."""
    _check_id(key.blob_id)
    content = memoryview(symbols).cast("B")
    if not 0 < len(content) <= MAX_SLIVER_BYTES:
        raise ValueError(f"a sliver of {len(content)} bytes; it has 1 to {MAX_SLIVER_BYTES}")
    if not 0 <= key.shard <= MAX_SHARD:
        raise ValueError(f"no shard {key.shard}; they go from 0 to {MAX_SHARD}")
    return content
