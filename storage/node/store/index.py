"""The index of the sliver store: one SQLite file, a connection that writes and a few that read.

index.sqlite (-wal, -shm)          blobs' ids and metadata, one row a sliver, one a segment, tallies, bookmarks

Rows name a blob by a number of 8 bytes instead of its id, and lie in the order of blobs: what a node stores or drops of
one blob is in one or two pages of the file, and so a sliver costs 40 to 60 bytes.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from storage.node.sqlite import (
    BUSY_LIMIT_S,
    StoreDamaged,
    StoreError,
    connect,
    portions,
    told,
    transaction,
    version_of,
)
from storage.node.store import statements as sql
from storage.node.store.files import LOCK, SEGMENTS

READERS = 4
"""Connections that read while another writes."""
LOG_LIMIT_BYTES = 64 * 2**20
"""The write-ahead log is cut back to this after a checkpoint."""
CACHED_BYTES = 64 * 2**20
"""Pages of the index that the writer keeps in memory."""
CHECKED_BYTES = 2**20
"""An index up to this size is checked as a whole at the opening, which takes some milliseconds. Damage to a larger one
shows when what is damaged is read: by the scrubber at the latest, which reads every row and has SQLite check all."""
STEPS_AT_ONCE = 10**5
"""Steps of SQLite's between two looks at whether a check of all of it is to end; some milliseconds."""
WINDOWS = (2**6, 2**12, 2**20)
"""Blobs whose ids begin with the same 63 bits have numbers next to each other. A blob is searched for among this many
numbers; in a larger window only where the one before does not suffice, which is about never."""


class StoreIndex:
    """The index in `folder`. Any thread may call; one transaction at a time. Raises `StoreError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "index.sqlite"
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._readers: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        """Connections that nobody reads by; None once the index is closed."""
        self._opened: dict[Path, tuple[int, int] | None] = {}
        """Path of each file that is open → (device, inode)."""
        self._damage: StoreDamaged | None = None
        """The first damage that was met since the opening."""

    def open(self, may_be_new: Callable[[], bool]) -> None:
        """Open the index, or create it if it `may_be_new`; SQLite brings back what was committed before a kill.

        Raises `StoreDamaged` when SQLite finds it damaged; one of up to CHECKED_BYTES is checked as a whole for that.
        """
        try:
            self._writer = connect(self._path)
            self._set_up(self._writer, may_be_new)
            self._readers = queue.LifoQueue()
            for _ in range(READERS):
                self._readers.put(connect(self._path))
            names = (LOCK, SEGMENTS, self._path.name, f"{self._path.name}-wal")
            self._opened = {path: _identity(path) for path in map(self._folder.joinpath, names)}
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the database once the calls under way have ended. Idempotent."""
        with self._writing:
            if self._writer is not None:
                for _ in range(READERS):
                    with contextlib.suppress(queue.Empty):
                        reader = self._readers.get(timeout=BUSY_LIMIT_S)
                        if reader is not None:
                            reader.close()
            self._release()

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Return all rows of what is committed."""
        with (
            self._found_whole(f"cannot read the index of {self._folder}"),
            self._reader() as reader,
        ):
            return reader.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads. Raises `StoreError` when none comes free or the index is closed meanwhile."""
        self._check_open()
        readers = self._readers
        try:
            reader = readers.get(timeout=BUSY_LIMIT_S)
        except queue.Empty:
            raise StoreError(f"no reader of {self._folder} came free in {BUSY_LIMIT_S:.0f} s") from None
        try:
            if reader is None:
                raise self._closed()
            yield reader
        finally:
            readers.put(reader)

    @contextlib.contextmanager
    def writer(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, to read by it what no other thread changes meanwhile."""
        with self._writing, self._found_whole(f"cannot read the index of {self._folder}"):
            yield self._check_open()

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

    def require_sound(self, is_to_end: Callable[[], bool] = lambda: False) -> None:
        """Read all of the index, and raise `StoreDamaged`, as `require_whole` does then, unless SQLite finds it whole.

        A row whose key the disk has changed is not found by either key, and no other check shows that. Raises
        `StoreError` soon after `is_to_end` returns true.
        """
        self._check_open()
        what = f"cannot check the index of {self._folder}"
        with self._found_whole(what), contextlib.closing(connect(self._path)) as connection:
            connection.set_progress_handler(is_to_end, STEPS_AT_ONCE)
            _check_all(connection, what)

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
        writer.execute(f"PRAGMA cache_size=-{CACHED_BYTES // 1024}")
        version = version_of(writer)
        if version == 0:
            if not may_be_new():
                raise StoreDamaged(
                    f"cannot open the store {self._folder}: it has files of slivers, and no index"
                )
            writer.executescript(sql.SCHEMA)
        elif version == sql.OLD_VERSION:
            writer.executescript(sql.SET_ASIDE)
        elif version not in (sql.VERSION, sql.VERSION_WITHOUT_OBJECTS):
            raise StoreError(
                f"the store {self._folder} has version {version}; this node reads version {sql.VERSION}. Run the node "
                "that made it, or move it away and start again: the node then fetches and rebuilds what it has to hold "
                "from the other members; do so with one node of a network at a time"
            )
        else:
            if self._path.stat().st_size <= CHECKED_BYTES:
                _check_all(writer, f"cannot open the store {self._folder}")
            if version == sql.VERSION_WITHOUT_OBJECTS:
                writer.executescript(sql.ADD_OBJECTS)

    def _check_open(self) -> sqlite3.Connection:
        if self._writer is None:
            raise self._closed()
        return self._writer

    def _closed(self) -> StoreError:
        return StoreError(f"the store {self._folder} is not open")

    def _release(self) -> None:
        """Close all connections; calls that wait for one are told so."""
        self._opened, self._damage = {}, None
        while not self._readers.empty():
            if (reader := self._readers.get_nowait()) is not None:
                reader.close()
        self._readers.put(None)
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _check_all(connection: sqlite3.Connection, what: str) -> None:
    """Raise `StoreDamaged` unless all that SQLite can check of a file is right, the order of its rows too."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StoreDamaged(f"{what}: {' '.join(found.split())}")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return (device, inode) of what lies at a path; None for nothing."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def number_of(index: sqlite3.Connection, blob_id: bytes) -> int:
    """Return the number of a blob, by which rows name it; give it one within the transaction, if it has none.

    It is made of the first 63 bits of the id, so that the rows of blobs lie in the order of their ids, as handovers and
    scrubbing go; or one of the next numbers, where those of other blobs are the same.
    """
    row = index.execute(sql.NUMBER, (blob_id,)).fetchone()
    if row is not None:
        if type(row[0]) is int:
            return row[0]
        index.execute(sql.DELETE_BLOB, (blob_id,))  # the disk has changed it: nothing is found by it
    first = min(int.from_bytes(blob_id[:8], "big") >> 1, 2**63 - WINDOWS[-1])
    for window in WINDOWS:
        taken = {number for (number,) in index.execute(sql.NUMBERS, _ids_around(first, window))}
        number = next((one for one in range(first, first + window) if one not in taken), None)
        if number is not None:
            index.execute(sql.ADD_BLOB, (blob_id, number))
            return number
    raise StoreError(f"no number is free for the blob {blob_id.hex()}: too many ids begin with the same bits")


def numbers_of(index: sqlite3.Connection, blob_ids: Collection[bytes]) -> dict[bytes, int]:
    """Return the numbers of blobs, as `number_of` does of each."""
    numbers: dict[bytes, int] = {}
    for marks, some in portions(list(blob_ids)):
        rows = index.execute(sql.SOME_NUMBERS.format(marks), some).fetchall()
        numbers.update(row for row in rows if type(row[1]) is int)
    for blob_id in blob_ids:
        if blob_id not in numbers:
            numbers[blob_id] = number_of(index, blob_id)
    return numbers


def id_of(index: sqlite3.Connection, number: int) -> bytes | None:
    """Return the id of the blob that has a number; None when there is none."""
    for window in WINDOWS:
        row = index.execute(sql.BLOB_ID, (*_ids_around(number, window), number)).fetchone()
        if row is not None:
            return bytes(row[0])
    return None


def _ids_around(number: int, window: int) -> tuple[bytes, bytes]:
    """The bounds, the second not included, of the ids whose first 63 bits are near a number."""
    first, last = max(number - window, 0), number + window
    beyond = (last << 1).to_bytes(8, "big") if last < 2**63 - WINDOWS[-1] else b"\xff" * 33
    return (first << 1).to_bytes(8, "big"), beyond
