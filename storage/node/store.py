"""The sliver store: files with one SQLite index, in which a row is the commit point.

    lock                               held while the store is open; freed by the kernel when the process dies
    index.sqlite (-wal, -shm)          metadata, one row a sliver, tallies; slivers up to INLINE_BYTES in their row
    incoming/, slivers/                the larger slivers' files: see `storage.node.sliver_files`

A sliver is written to `incoming/`, synced, renamed to its place, its folder synced, and then its row committed (SQLite
in WAL mode with synchronous=FULL); it is dropped row first, file after. So a kill at any moment leaves at most a file
without a row, which the next opening deletes, and never a row without its file. A row whose file is gone or has another
size all the same (the disk lost it) is removed as soon as that is seen, at the opening or at a read, and listed in
`damaged`: the sliver then counts as missing, and repair fills it again. Whether a whole file's bytes are still the right
ones is for the caller to verify against the blob's metadata.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from storage.node.sliver_files import BLOB_ID_BYTES, SliverFiles, SliverKey
from storage.redstuff import Axis

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
READERS = 4
"""Connections that read while another writes."""
BUSY_LIMIT_S = 30.0
LOG_LIMIT_BYTES = 64 * 2**20
"""The write-ahead log is cut back to this after a checkpoint."""
IDS_IN_A_QUERY = 500
VERSION = 1

Way = Literal["transferred", "rebuilt"]
Symbols = bytes | memoryview | NDArray[np.uint8]
"""A sliver's symbols one after the other; an array or view must be C-contiguous."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE metadata (blob_id BLOB PRIMARY KEY, bcs BLOB NOT NULL);
CREATE TABLE sliver (
    shard INTEGER NOT NULL, axis INTEGER NOT NULL, blob_id BLOB NOT NULL,
    size INTEGER NOT NULL, inline BLOB, PRIMARY KEY (shard, axis, blob_id));
CREATE INDEX sliver_of_blob ON sliver (blob_id, axis, shard, size);
CREATE INDEX sliver_in_file ON sliver (shard, axis, blob_id, size) WHERE inline IS NULL;
CREATE TABLE tally (
    epoch INTEGER NOT NULL, shard INTEGER NOT NULL, blob_id BLOB NOT NULL, way TEXT NOT NULL,
    slivers INTEGER NOT NULL, symbol_bytes INTEGER NOT NULL, received_bytes INTEGER NOT NULL,
    wasted_bytes INTEGER NOT NULL, PRIMARY KEY (epoch, shard, blob_id, way)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_ADD_TALLY = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
slivers = slivers + excluded.slivers, symbol_bytes = symbol_bytes + excluded.symbol_bytes,
received_bytes = received_bytes + excluded.received_bytes, wasted_bytes = wasted_bytes + excluded.wasted_bytes
"""


class StoreError(Exception):
    """The store cannot do what was asked; the message says what failed and where.

    StoreError
    ├── StoreFull      no space is left on the disk
    └── StoreInUse     another process, or another part of this one, has it open
    """


class StoreFull(StoreError):
    """No space is left on the disk; nothing of what was asked is stored."""


class StoreInUse(StoreError):
    """The store is open already; two writers would delete each other's files."""


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

    items: list[tuple[bytes, bytes]]
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
        self._writing = threading.RLock()
        self._index: sqlite3.Connection | None = None
        """The one connection that writes; used under `_writing` only."""
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
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
        with self._writing, _told(f"cannot open the store {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                self._files.open()
                self._index = self._connect()
                self._set_up(self._index)
                self._put_in_order(self._index)
                for _ in range(READERS):
                    self._readers.put(self._connect())
            except BaseException:
                self._release()
                raise

    def close(self) -> None:
        """Close the store when all calls under way are done. Idempotent."""
        with self._writing:
            for _ in range(READERS if self._index is not None else 0):
                self._readers.get(timeout=BUSY_LIMIT_S).close()
            self._release()

    # metadata

    def put_metadata(self, blob_id: bytes, metadata: bytes) -> bool:
        """Store a blob's metadata (BCS BlobMetadata, checked by the caller); whether it is new."""
        _check_id(blob_id)
        if not 0 < len(metadata) <= MAX_METADATA_BYTES:
            raise ValueError(f"metadata of {len(metadata)} bytes; the limit is {MAX_METADATA_BYTES}")
        with self._transaction() as index:
            return (
                index.execute("INSERT OR IGNORE INTO metadata VALUES (?, ?)", (blob_id, metadata)).rowcount
                > 0
            )

    def metadata(self, blob_id: bytes) -> bytes | None:
        """A blob's metadata; None when there is none."""
        rows = self._query("SELECT bcs FROM metadata WHERE blob_id = ?", blob_id)
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
        with self._writing, _told(f"cannot store slivers in {self.folder}"):
            new = {key: value for key, value in offered.items() if not self.has_sliver(*key)}
            in_files = {key: symbols for key, (symbols, _) in new.items() if len(symbols) > INLINE_BYTES}
            self._files.write(in_files)
            try:
                with self._transaction() as index:
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
        rows = self._query(
            "SELECT size, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?",
            shard,
            axis,
            blob_id,
        )
        return self._content(SliverKey(blob_id, shard, axis), *rows[0]) if rows else None

    def has_sliver(self, blob_id: bytes, shard: int, axis: Axis) -> bool:
        """Whether a sliver is stored."""
        return bool(
            self._query(
                "SELECT 1 FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?", shard, axis, blob_id
            )
        )

    def shards_with(self, blob_id: bytes, axis: Axis) -> frozenset[int]:
        """Shards whose sliver of a blob is stored on an axis."""
        rows = self._query("SELECT shard FROM sliver WHERE blob_id = ? AND axis = ?", blob_id, axis)
        return frozenset(row[0] for row in rows)

    def shards_with_pair(self, blob_id: bytes) -> frozenset[int]:
        """Shards of which both slivers of a blob are stored."""
        return self.shards_with(blob_id, Axis.PRIMARY) & self.shards_with(blob_id, Axis.SECONDARY)

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
            stored.update(row[0] for row in self._query(statement, shard, axis, *some))
        return [blob_id for blob_id in blob_ids if blob_id not in stored]

    def slivers_from(
        self, shard: int, axis: Axis, first_blob_id: bytes, max_count: int, max_bytes: int
    ) -> Page:
        """A page from `first_blob_id` on: as many slivers as both limits and PAGE_LIMIT allow, but one if there is one."""
        count = min(max(max_count, 1), PAGE_LIMIT)
        rows = self._query(
            "SELECT blob_id, size, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id >= ? "
            "ORDER BY blob_id LIMIT ?",
            *(shard, axis, first_blob_id, count + 1),
        )
        items: list[tuple[bytes, bytes]] = []
        left = max_bytes
        for blob_id, size, inline in rows[:count]:
            if items and size > left:
                return Page(items, blob_id)
            content = self._content(SliverKey(blob_id, shard, axis), size, inline)
            if content is not None:
                items.append((blob_id, content))
                left -= size
        return Page(items, rows[count][0] if len(rows) > count else None)

    def drop_shard(self, shard: int) -> int:
        """Drop all slivers of a shard; how many there were. Metadata and tallies stay."""
        with self._writing, _told(f"cannot drop shard {shard} from {self.folder}"):
            with self._transaction() as index:
                dropped = index.execute("DELETE FROM sliver WHERE shard = ?", (shard,)).rowcount
            del self._count[shard], self._size_bytes[shard]
            self._files.remove_shard(shard)
            return dropped

    def drop_blob(self, blob_id: bytes) -> int:
        """Drop all slivers and the metadata of a blob; how many slivers there were. Tallies stay."""
        with self._writing, _told(f"cannot drop a blob from {self.folder}"):
            rows = self._query("SELECT shard, axis, size FROM sliver WHERE blob_id = ?", blob_id)
            with self._transaction() as index:
                index.execute("DELETE FROM sliver WHERE blob_id = ?", (blob_id,))
                index.execute("DELETE FROM metadata WHERE blob_id = ?", (blob_id,))
            for shard, _, size in rows:
                self._count[shard] -= 1
                self._size_bytes[shard] -= size
            self._files.remove(SliverKey(blob_id, shard, Axis(axis)) for shard, axis, _ in rows)
            return len(rows)

    # tallies and sizes

    def tallies(self, epoch: int) -> list[Tally]:
        """What the handover into an epoch cost, by shard and blob; kept for TALLY_EPOCHS epochs."""
        return [Tally(*row) for row in self._query("SELECT * FROM tally WHERE epoch = ?", epoch)]

    def sliver_count(self) -> int:
        """Slivers stored."""
        return self._count.total()

    def stored_bytes(self) -> int:
        """Bytes of all slivers stored."""
        return self._size_bytes.total()

    # inside

    def _take_lock(self) -> None:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreInUse(f"the store {self.folder} is open already; stop the node that uses it") from None
        self._lock = descriptor

    def _connect(self) -> sqlite3.Connection:
        # Connections wander between threads, but each is used by one at a time; SQLite asks for no more.
        connection = sqlite3.connect(
            self.folder / "index.sqlite", timeout=BUSY_LIMIT_S, check_same_thread=False, isolation_level=None
        )
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _set_up(self, index: sqlite3.Connection) -> None:
        index.execute("PRAGMA journal_mode=WAL")
        index.execute(f"PRAGMA journal_size_limit={LOG_LIMIT_BYTES}")
        (version,) = index.execute("PRAGMA user_version").fetchone()
        if version == 0:
            index.executescript(_SCHEMA)
        elif version != VERSION:
            raise StoreError(
                f"the store {self.folder} has version {version}; this node reads version {VERSION}"
            )

    def _put_in_order(self, index: sqlite3.Connection) -> None:
        """Remove rows without their file, then files without their row."""
        rows = index.execute("SELECT blob_id, shard, axis, size FROM sliver WHERE inline IS NULL")
        keys = ((SliverKey(blob_id, shard, Axis(axis)), size) for blob_id, shard, axis, size in rows)
        self.damaged = [key for key, size in keys if not self._files.has(key, size)]
        with self._transaction():
            for key in self.damaged:
                _delete_row(index, key)

        def is_known(key: SliverKey) -> bool:
            condition = "inline IS NULL AND shard = ? AND axis = ? AND blob_id = ?"
            values = (key.shard, key.axis, key.blob_id)
            return index.execute(f"SELECT 1 FROM sliver WHERE {condition}", values).fetchone() is not None  # noqa: S608

        self._files.sweep(is_known)
        self._count.clear()
        self._size_bytes.clear()
        for shard, count, size in index.execute(
            "SELECT shard, COUNT(*), SUM(size) FROM sliver GROUP BY shard"
        ):
            self._count[shard], self._size_bytes[shard] = count, size

    def _content(self, key: SliverKey, size: int, inline: bytes | None) -> bytes | None:
        if inline is not None:
            return inline
        with _told(f"cannot read a sliver of shard {key.shard} in {self.folder}"):
            content = self._files.read(key)
        if content is not None and len(content) == size:
            return content
        self._give_up(key, size)
        return None

    def _give_up(self, key: SliverKey, size: int) -> None:
        """Remove the row of a sliver that a reader found damaged, unless it was dropped or replaced meanwhile."""
        with self._writing, _told(f"cannot give up a damaged sliver in {self.folder}"):
            if self._files.has(key, size):
                return
            with self._transaction() as index:
                removed = _delete_row(index, key)
            if removed:
                self._files.remove([key])
                self._count[key.shard] -= 1
                self._size_bytes[key.shard] -= size
                self.damaged.append(key)

    def _query(self, statement: str, *values: Any) -> list[Any]:
        with _told(f"cannot read the index of {self.folder}"):
            if self._index is None:
                raise StoreError(f"the store {self.folder} is not open")
            try:
                reader = self._readers.get(timeout=BUSY_LIMIT_S)
            except queue.Empty:
                raise StoreError(f"no reader of {self.folder} came free in {BUSY_LIMIT_S:.0f} s") from None
            try:
                return reader.execute(statement, values).fetchall()
            finally:
                self._readers.put(reader)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, _told(f"cannot write the index of {self.folder}"):
            if self._index is None:
                raise StoreError(f"the store {self.folder} is not open")
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                self._index.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._index.execute("ROLLBACK")
                raise

    def _release(self) -> None:
        while not self._readers.empty():
            self._readers.get_nowait().close()
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _delete_row(index: sqlite3.Connection, key: SliverKey) -> int:
    """Delete a sliver's row; how many there were."""
    statement = "DELETE FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?"
    return index.execute(statement, (key.shard, key.axis, key.blob_id)).rowcount


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


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn the disk's and the index' errors into the store's own."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        no_space = (
            error.errno in (errno.ENOSPC, errno.EDQUOT)
            if isinstance(error, OSError)
            else getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        )
        if no_space:
            raise StoreFull(f"{what}: no space is left on the disk; free some and try again") from error
        raise StoreError(f"{what}: {error}") from error
