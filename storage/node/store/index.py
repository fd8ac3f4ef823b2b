"""The index of the sliver store: one SQLite file, a connection that writes and a few that read.

index.sqlite (-wal, -shm)          metadata, one row a sliver, tallies, bookmarks
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from storage.node.sqlite import (
    BUSY_LIMIT_S,
    StoreDamaged,
    StoreError,
    connect,
    told,
    transaction,
    version_of,
)
from storage.node.store.files import LOCK, SLIVERS
from storage.node.store.records import Tally

READERS = 4
"""Connections that read while another writes."""
LOG_LIMIT_BYTES = 64 * 2**20
"""The write-ahead log is cut back to this after a checkpoint."""
TALLY_EPOCHS = 8
"""Epochs whose tallies are kept, the newest included."""
CHECKED_BYTES = 64 * 2**20
"""An index up to this size is looked through at the opening, which takes a fraction of a second."""
VERSION = 4
"""Version of the index and of the files' places."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE metadata (blob_id BLOB PRIMARY KEY, bcs BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE sliver (
    shard INTEGER NOT NULL, axis INTEGER NOT NULL, blob_id BLOB NOT NULL,
    size INTEGER NOT NULL, checksum BLOB NOT NULL, inline BLOB, PRIMARY KEY (shard, axis, blob_id));
CREATE INDEX sliver_of_blob ON sliver (blob_id, axis, shard, size);
CREATE INDEX sliver_in_file ON sliver (shard, axis, blob_id, size) WHERE inline IS NULL;
CREATE TABLE tally (
    epoch INTEGER NOT NULL, shard INTEGER NOT NULL, blob_id BLOB NOT NULL, way TEXT NOT NULL,
    slivers INTEGER NOT NULL, symbol_bytes INTEGER NOT NULL, received_bytes INTEGER NOT NULL,
    wasted_bytes INTEGER NOT NULL, PRIMARY KEY (epoch, shard, blob_id, way)) WITHOUT ROWID;
CREATE TABLE bookmark (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_ADD_TALLY = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
slivers = slivers + excluded.slivers, symbol_bytes = symbol_bytes + excluded.symbol_bytes,
received_bytes = received_bytes + excluded.received_bytes, wasted_bytes = wasted_bytes + excluded.wasted_bytes
"""
FIND = "SELECT size, checksum, inline FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?"
FIND_SIZE = "SELECT size FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?"
FIND_FILE = "SELECT 1 FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ? AND inline IS NULL"
DELETE = "DELETE FROM sliver WHERE shard = ? AND axis = ? AND blob_id = ?"
TOTALS_BY_SHARD = "SELECT shard, COUNT(*), SUM(size) FROM sliver GROUP BY shard"
TALLIES_BY_SHARD = """
SELECT shard, way, SUM(slivers), SUM(symbol_bytes), SUM(received_bytes), SUM(wasted_bytes)
FROM tally WHERE epoch = ? GROUP BY shard, way ORDER BY shard
"""
LARGEST_SHARE = """
SELECT MAX(received * 1.0 / COALESCE(
    ?2 * (SELECT size FROM sliver WHERE sliver.blob_id = one.blob_id AND axis = 0 LIMIT 1),
    ?3 * (SELECT size FROM sliver WHERE sliver.blob_id = one.blob_id AND axis = 1 LIMIT 1)))
FROM (SELECT blob_id, SUM(received_bytes + wasted_bytes) AS received
    FROM tally WHERE epoch = ?1 GROUP BY blob_id) AS one
"""


class StoreIndex:
    """The index in `folder`. Any thread may call; one transaction at a time. Raises `StoreError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "index.sqlite"
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._opened: dict[Path, tuple[int, int] | None] = {}
        """Path of each file that is open → (device, inode)."""
        self._damage: StoreDamaged | None = None
        """The first damage that was met since the opening."""

    def open(self, may_be_new: Callable[[], bool]) -> None:
        """Open the index, or create it if it `may_be_new`; SQLite brings back what was committed before a kill.

        Raises `StoreDamaged` when SQLite finds it damaged; one of up to CHECKED_BYTES it looks through for that.
        """
        try:
            self._writer = connect(self._path)
            self._set_up(self._writer, may_be_new)
            for _ in range(READERS):
                self._readers.put(connect(self._path))
            names = (LOCK, SLIVERS, self._path.name, f"{self._path.name}-wal")
            self._opened = {path: _identity(path) for path in map(self._folder.joinpath, names)}
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close when all calls under way are done. Idempotent."""
        with self._writing:
            if self._writer is not None:
                for _ in range(READERS):
                    with contextlib.suppress(queue.Empty):
                        self._readers.get(timeout=BUSY_LIMIT_S).close()
            self._release()

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Return all rows of what is committed."""
        with self._found_whole(f"cannot read the index of {self._folder}"):
            self._check_open()
            try:
                reader = self._readers.get(timeout=BUSY_LIMIT_S)
            except queue.Empty:
                raise StoreError(f"no reader of {self._folder} came free in {BUSY_LIMIT_S:.0f} s") from None
            try:
                return reader.execute(statement, values).fetchall()
            finally:
                self._readers.put(reader)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when the block ends, undone when it raises."""
        what = f"cannot write the index of {self._folder}"
        with self._writing, self._found_whole(what), transaction(self._check_open()) as writer:
            yield writer

    def require_whole(self) -> None:
        """Raise `StoreDamaged` if damage was met since the opening, by any call, or a file is not there any more."""
        if self._damage is None:
            with (
                contextlib.suppress(StoreDamaged),
                self._found_whole(f"cannot look at the index of {self._folder}"),
            ):
                pass
        if self._damage is not None:
            raise self.damaged(self._damage)

    @contextlib.contextmanager
    def _found_whole(self, what: str) -> Iterator[None]:
        """Before the block, require the files that were opened to be in their places; note the damage that is met.

        SQLite goes on in a file that was removed, or that another has taken the place of, and no restart finds what
        was written to it. Where the disk of the files is gone, so are all of them, and no row of theirs must follow.
        """
        try:
            with told(what):
                for path, opened in self._opened.items():
                    if _identity(path) != opened:
                        raise StoreDamaged(f"{what}: {path} was removed or replaced while it was open")
                yield
        except StoreDamaged as error:
            self._damage = self._damage or error
            raise

    def damaged(self, error: StoreDamaged) -> StoreDamaged:
        """Return the error that says what to do about a damaged index."""
        return StoreDamaged(
            f"{error}. The store's files are of no use without its index {self._path}, nor that without them; none was "
            f"deleted. Put back index.sqlite, or what else is gone, or move {self._folder} away and start again: the "
            "node then fetches and rebuilds what it has to hold from the other members"
        )

    def _set_up(self, writer: sqlite3.Connection, may_be_new: Callable[[], bool]) -> None:
        writer.execute(f"PRAGMA journal_size_limit={LOG_LIMIT_BYTES}")
        version = version_of(writer)
        if version == 0:
            if not may_be_new():
                raise StoreDamaged(
                    f"cannot open the store {self._folder}: it has files of slivers, and no index"
                )
            writer.executescript(_SCHEMA)
        elif version != VERSION:
            raise StoreError(
                f"the store {self._folder} has version {version}; this node reads version {VERSION}"
            )
        elif self._path.stat().st_size <= CHECKED_BYTES:
            (found,) = writer.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise StoreDamaged(f"cannot open the store {self._folder}: {' '.join(found.split())}")

    def _check_open(self) -> sqlite3.Connection:
        if self._writer is None:
            raise StoreError(f"the store {self._folder} is not open")
        return self._writer

    def _release(self) -> None:
        self._opened, self._damage = {}, None
        while not self._readers.empty():
            self._readers.get_nowait().close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Return (device, inode) of what lies at a path; None for nothing."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def add_tally(writer: sqlite3.Connection, tally: Tally) -> None:
    """Add to the record of what a handover cost, and drop what has become too old of it."""
    writer.execute(_ADD_TALLY, astuple(tally))
    writer.execute("DELETE FROM tally WHERE epoch <= ?", (tally.epoch - TALLY_EPOCHS,))
