"""The rows of a node's record of the chain, and the sums that show whether they are those that were saved.

SQLite does not see a changed bit within a row, or pages of two different times. So the digests (XXH3, 64 bits) of all
rows but those of blob objects are added up in a note, the root. The objects' are added up by bucket, which is the first
byte of the blob id, and the rows of these sums count for the root. The root is checked at the opening, in no time; the
buckets are checked one by one afterwards (`ChainStore.tidy`), as there may be millions of objects.

There are two tables of objects: the view's, and one that the whole state is read into anew before it takes the place of
the view's.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from xxhash import xxh3_64_intdigest

from committee.ledger import BlobRecord
from storage.node.chain.changes import BlobObject
from storage.node.sqlite import StoreDamaged, transaction

VERSION = 7
BUCKETS = 256
TABLES = ("object_0", "object_1")
"""The tables of objects."""
_OBJECTS = "".join(
    f"""
CREATE TABLE {table} (
    blob_id BLOB NOT NULL, object_id BLOB NOT NULL, length INTEGER NOT NULL, owner TEXT NOT NULL,
    registered_epoch INTEGER NOT NULL, certified_epoch INTEGER, end_period INTEGER NOT NULL,
    deletable INTEGER NOT NULL, certified_block INTEGER, deleted_block INTEGER, invalid_block INTEGER,
    PRIMARY KEY (blob_id, object_id)) WITHOUT ROWID;
CREATE UNIQUE INDEX {table}_by_id ON {table} (object_id);
"""
    for table in TABLES
)
SCHEMA = f"""
BEGIN IMMEDIATE;
{_OBJECTS}
CREATE TABLE bucket (number INTEGER PRIMARY KEY, sum BLOB NOT NULL);
CREATE TABLE ejection (node_id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE mark (number INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_SMALL = {"bucket": "number", "ejection": "node_id", "mark": "number", "note": "name"}
"""Table whose rows count for the root → the name of its key, which is its first column."""
_ROOT = "sum"
"""Name of the note that holds the root, which leaves this note itself out."""


class Rows:
    """The rows of a file within a transaction, and their sums."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        saved = connection.execute("SELECT value FROM note WHERE name = ?", (_ROOT,)).fetchone()
        self._root = int.from_bytes(saved[0], "big") if saved else 0
        self._added: dict[int, int] = defaultdict(int)
        """Bucket → what its sum has grown by."""

    def put(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows of a small table, each in the place of the one with its key."""
        for row in rows:
            self.remove(table, f"{_SMALL[table]} = ?", row[0])
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 (names from above)
            self._root += _digest(row)

    def remove(self, table: str, where: str = "1", *values: Any) -> None:
        """Remove the rows of a small table that meet a condition."""
        named = f"FROM {table} WHERE {where}"  # of names from above
        self._root -= sum(map(_digest, self._connection.execute(f"SELECT * {named}", values)))
        self._connection.execute(f"DELETE {named}", values)

    def put_objects(self, table: int, objects: Iterable[BlobObject]) -> None:
        """Write objects, each in the place of the one with its id."""
        name = TABLES[table]
        for one in objects:
            row = row_of(one)
            self._remove_objects(table, "object_id = ?", row[1])
            self._connection.execute(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            self._added[_bucket(table, row)] += _digest(row)

    def remove_objects(self, table: int, ids: Iterable[int]) -> None:
        """Remove the objects with these ids."""
        for object_id in ids:
            self._remove_objects(table, "object_id = ?", id_bytes(object_id))

    def clear(self, table: int) -> None:
        """Remove all objects of a table."""
        self._connection.execute(f"DELETE FROM {TABLES[table]}")  # noqa: S608 (a name from above)
        first = table * BUCKETS
        self.remove("bucket", "number BETWEEN ? AND ?", first, first + BUCKETS - 1)
        self._added = defaultdict(
            int, {number: added for number, added in self._added.items() if number // BUCKETS != table}
        )

    def _remove_objects(self, table: int, where: str, value: object) -> None:
        named = f"FROM {TABLES[table]} WHERE {where}"
        for row in self._connection.execute(f"SELECT * {named}", (value,)).fetchall():
            self._added[_bucket(table, row)] -= _digest(row)
            self._connection.execute(f"DELETE {named}", (value,))

    def end(self) -> None:
        """Write the new sums of all buckets whose rows were changed, and the root."""
        for number, added in self._added.items():
            saved = self._connection.execute("SELECT sum FROM bucket WHERE number = ?", (number,)).fetchone()
            before = int.from_bytes(saved[0], "big") if saved else 0
            self.put("bucket", [(number, _as_bytes(before + added))])
        root = _as_bytes(self._root)
        self._connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (_ROOT, root))


@contextlib.contextmanager
def rows_of(connection: sqlite3.Connection) -> Iterator[Rows]:
    """The file's rows, to be changed: durable with their sums when the block ends, as they were when it raises."""
    with transaction(connection):
        rows = Rows(connection)
        yield rows
        rows.end()


def require_root(connection: sqlite3.Connection) -> None:
    """Raise `StoreDamaged` unless all rows but those of objects are those that were saved."""
    saved = connection.execute("SELECT value FROM note WHERE name = ?", (_ROOT,)).fetchone()
    total = 0
    for table in _SMALL:
        for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 (a name from above)
            total += _digest(row) if row[0] != _ROOT else 0
    if (_as_bytes(total),) != saved:
        raise StoreDamaged("the record of the chain has rows that are not those that were saved")


def require_bucket(connection: sqlite3.Connection, table: int, bucket: int) -> None:
    """Raise `StoreDamaged` unless the objects of a bucket are those that were saved."""
    number = table * BUCKETS + bucket
    saved = connection.execute("SELECT sum FROM bucket WHERE number = ?", (number,)).fetchone()
    where, values = within(bucket)
    statement = f"SELECT * FROM {TABLES[table]} WHERE {where}"  # noqa: S608 (names from above)
    total = sum(map(_digest, connection.execute(statement, values)))
    if _as_bytes(total) != (saved[0] if saved else bytes(8)):
        raise StoreDamaged("the record of the chain has objects that are not those that were saved")


def within(bucket: int) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that a row is of a bucket, and its values."""
    if bucket == BUCKETS - 1:
        return "blob_id >= ?", (bytes([bucket]),)
    return "blob_id >= ? AND blob_id < ?", (bytes([bucket]), bytes([bucket + 1]))


def row_of(one: BlobObject) -> tuple[Any, ...]:
    """Return the row of an object, of SQLite's own types: a subclass of `bytes` has another text, and digest."""
    record = one.record
    return (
        *(bytes(record.blob_id), id_bytes(record.object_id), _signed(record.length), record.owner),
        *(record.registered_epoch, record.certified_epoch, record.end_period),
        *(int(record.deletable), one.certified_block, one.deleted_block, one.invalid_block),
    )


def object_of(row: tuple[Any, ...]) -> BlobObject:
    """Return the object of a row."""
    blob_id, object_id, length, owner, registered, certified, end, deletable, *blocks = row
    record = BlobRecord(
        *(int.from_bytes(object_id, "big"), blob_id, length % 2**64, owner, registered, certified, end),
        *(bool(deletable), blocks[1] is not None, blocks[2] is not None),
    )
    return BlobObject(record, *blocks)


def id_bytes(object_id: int) -> bytes:
    """Return an object's id as the rows have it: big-endian, without leading zeros. It may have up to 256 bits."""
    return object_id.to_bytes((object_id.bit_length() + 7) // 8, "big")


def _signed(length: int) -> int:
    """Return a length of up to 64 bits as the signed integer that SQLite takes."""
    return length - 2**64 if length >= 2**63 else length


def _bucket(table: int, row: tuple[Any, ...]) -> int:
    return table * BUCKETS + int(row[0][0])


def _digest(row: tuple[Any, ...]) -> int:
    return xxh3_64_intdigest(repr(row).encode())


def _as_bytes(total: int) -> bytes:
    return (total % 2**64).to_bytes(8, "big")
