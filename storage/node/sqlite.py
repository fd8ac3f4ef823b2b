"""SQLite as this node uses it, and what a disk may do to it in the node's own words.

In WAL mode with synchronous=FULL a committed transaction survives a kill and a power failure, and readers do not wait
for a writer's sync.

    StoreError
    ├── StoreDamaged      an SQLite file is damaged
    ├── StoreFull         no space is left on the disk
    ├── StoreInUse        another process, or another part of this one, has it open
    └── StoreUnavailable  the object store that holds segments fails for now, or lags behind
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from committee.errors import HauloutError
from committee.files import free_bytes, require_regular_or_none

BUSY_LIMIT_S = 30.0
"""A statement fails when another connection holds the database for longer."""
MAP_BYTES = 2**15
"""Size of the file `-shm` of a database that was closed in good order and is opened again."""
IDS_IN_A_QUERY = 500
"""Ids that one statement names, below the least limit that SQLite is built with (999)."""

_UNSUITED = frozenset(
    {
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)
"""SQLite's result codes on a file system that is not fit for WAL mode."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLite's result codes for a damaged file. The last one is of statements that cannot be prepared, and ours can be: a
changed bit gave a table or column another name."""
_NO_TEXT = "Could not decode to UTF-8"
"""What Python says, without a code, of a value that is no text any more."""


class StoreError(HauloutError):
    """What is on the disk cannot be read or written; the message says what failed and where."""


class StoreDamaged(StoreError):
    """An SQLite file is damaged, or gone."""


class StoreFull(StoreError):
    """No space is left on the disk; nothing of what was asked is stored."""


class StoreInUse(StoreError):
    """The store is open already; two writers would delete each other's files."""


class StoreUnavailable(StoreError):
    """The object store that holds segments fails for now, or lags behind what is to be sent to it; try again later."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may wander between threads, but is used by one at a time; SQLite asks for no more.

    Raises `NotRegular`, `OSError` and `sqlite3.Error`. SQLite itself waits for a FIFO's other end and writes
    through symbolic links.
    """
    for name in files_of(path):
        if require_regular_or_none(name) and not os.access(name, os.R_OK | os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "this user may not read and write it", str(name))
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_LIMIT_S, check_same_thread=False, isolation_level=None
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE and not _has_room(
            path.parent
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    return connection


def _has_room(folder: Path) -> bool:
    """Return whether the disk has room for the memory map that SQLite makes when it opens a file in WAL mode."""
    return free_bytes(folder) >= MAP_BYTES


def files_of(path: Path) -> list[Path]:
    """Return the paths of a database and of what SQLite keeps beside it."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def version_of(connection: sqlite3.Connection) -> int:
    """The version its schema has set; 0 for a new file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Durable when the block ends, undone when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def portions(ids: Sequence[bytes]) -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield ids as many at a time as one statement takes: the question marks for a list of them, and the ids."""
    for first in range(0, len(ids), IDS_IN_A_QUERY):
        some = ids[first : first + IDS_IN_A_QUERY]
        yield ",".join("?" * len(some)), some


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the disk's and SQLite's errors into `StoreError`."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite's message names a table or column that is no text any more
        raise StoreDamaged(f"{what}: names that are no text") from error
    except (OSError, sqlite3.Error) as error:
        no_space = (
            error.errno in (errno.ENOSPC, errno.EDQUOT)
            if isinstance(error, OSError)
            else code_of(error) == sqlite3.SQLITE_FULL
        )
        if no_space:
            raise StoreFull(f"{what}: no space is left on the disk; free some and try again") from error
        if isinstance(error, sqlite3.Error) and _is_damage(error):
            raise StoreDamaged(f"{what}: {error}") from error
        advice = (
            "; the file system has to have file locks and shared memory maps" if _is_unsuited(error) else ""
        )
        raise StoreError(f"{what}: {error}{advice}") from error


def _is_damage(error: sqlite3.Error) -> bool:
    return code_of(error) in _DAMAGED or str(error).startswith(_NO_TEXT)


def _is_unsuited(error: OSError | sqlite3.Error) -> bool:
    """Return whether the file system lacks what a store needs, as some that are mounted over a network."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOLCK
    return getattr(error, "sqlite_errorcode", 0) in _UNSUITED


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for an error that is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
