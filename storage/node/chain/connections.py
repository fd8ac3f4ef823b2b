"""The three connections to a node's chain file, each used under a lock: one writes, two read.

While a transaction is written, single blobs and pages of many are read as they were before it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from committee.files import NotRegular, clear_away, require_regular_or_none
from storage.node.sqlite import StoreError, connect, files_of, told

MEMORY = Path(":memory:")
"""The path that stands for a database in memory."""
CACHE_KIB = 32 * 2**10
"""Most of the file that each of the three connections keeps in memory."""
PAGES_OF_LOG = 10_000
"""Pages of 4 KiB in the log before they are written to the file: rows come in no order, several to a page."""


class Connections:
    """The connections to the file at `path`; a database in memory has one for all three. Raises `StoreError`.

    The locks are taken in this order: the writer's, that for single blobs, that for pages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._using = threading.RLock()
        self._looking, self._paging = (self._using if path == MEMORY else threading.RLock() for _ in range(2))
        self._writer: sqlite3.Connection | None = None
        self._looker: sqlite3.Connection | None = None
        self._pager: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def using(self, doing: str) -> Iterator[None]:
        """Hold the writer's lock; an error of the file's is told as "cannot `doing` …"."""
        with self._using, told(f"cannot {doing} {self.path}"):
            yield

    @contextlib.contextmanager
    def writer(self, doing: str = "write") -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes."""
        with self.using(doing):
            yield self._opened(self._writer)

    @contextlib.contextmanager
    def looker(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads one blob's objects."""
        with self._looking, told(f"cannot read {self.path}"):
            yield self._opened(self._looker)

    @contextlib.contextmanager
    def pager(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads the objects of many blobs."""
        with self._paging, told(f"cannot read {self.path}"):
            yield self._opened(self._pager)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all other threads from reading and writing."""
        with self._using, self._looking, self._paging:
            yield

    def open_writer(self) -> sqlite3.Connection:
        """Open the connection that writes, anew if it was open, and make the file if there is none."""
        self._disconnect()
        self._writer = self._connect()
        return self._writer

    def open_readers(self) -> None:
        """Open the two connections that read; the one that writes is open."""
        if self.path == MEMORY:
            self._looker = self._pager = self._writer
        else:
            self._looker, self._pager = self._connect(), self._connect()

    def close(self) -> None:
        """Close all connections once the calls under way have ended. Idempotent."""
        with self.alone():
            self._disconnect()

    def remove(self) -> None:
        """Close all connections, and remove the database's file and its log."""
        self._disconnect()
        for path in files_of(self.path):
            try:
                if require_regular_or_none(path):
                    path.unlink()
            except NotRegular:
                clear_away(path)

    def _opened(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreError(f"{self.path} is not open")
        return connection

    def _connect(self) -> sqlite3.Connection:
        if self.path == MEMORY:
            return sqlite3.connect(MEMORY, check_same_thread=False, isolation_level=None)
        connection = connect(self.path)
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_OF_LOG}")
        return connection

    def _disconnect(self) -> None:
        for connection in (self._looker, self._pager, self._writer):
            if connection is not None:
                connection.close()
        self._looker = self._pager = self._writer = None
