"""What a node has followed of the chain, on disk: blob objects, ejections, the epoch's state and the checkpoint.

    chain.sqlite (-wal, -shm)          in the node's folder

The checkpoint changes in the transaction that writes what its blocks changed, so a node that was killed goes on from a
block of which it has all events, and none behind it. Rows are whole values, never differences: events taken in twice
leave the same rows. All of it can be read from the chain again, so a file that is damaged, or of another deployment, is
made anew. SQLite does not see a changed bit within a row, or pages of two different times; the sum of all rows' digests
(XXH3, 64 bits), kept as a note, does.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

from committee.files import NotRegular, clear_away, require_regular_or_none
from committee.ledger import BlobRecord, BlockMark, EpochState, Parameters
from committee.ledger.follower import MARKS_KEPT
from committee.logs import Log
from committee.membership import Committee, Member
from committee.untrusted import parse_json
from storage.node.chain.changes import Change
from storage.node.sqlite import StoreError, code_of, connect, files_of, told, transaction, version_of
from storage.redstuff.parameters import BLOB_ID_BYTES, MAX_SHARDS, MIN_SHARDS

log = Log()

FILE = "chain.sqlite"
VERSION = 4
OBJECT_ID_BYTES = 32
MAX_NOTE_BYTES = 2**26
"""Largest note, in bytes; the state of 1000 shards that were all left unattested takes some megabytes."""
MAX_NOTE_BRACKETS = 2**14

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE object (
    object_id BLOB PRIMARY KEY, blob_id BLOB NOT NULL, length INTEGER NOT NULL, owner TEXT NOT NULL,
    registered_epoch INTEGER NOT NULL, certified_epoch INTEGER, end_period INTEGER NOT NULL,
    deletable INTEGER NOT NULL, deleted INTEGER NOT NULL, invalid INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ejection (node_id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE mark (number INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_NO_DAMAGE = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
)
"""What passes, or what a new file would not help against. Every other error may be of bits that changed: a table or
column of another name, text that is not UTF-8."""


class ChainStore:
    """The file in a node's folder. Any thread may call; one at a time. Raises `StoreError`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        """Its file, which a node that has run has."""
        self.thread = ThreadPoolExecutor(1, "chain-store")
        """The thread that calls the store: the chain is followed even when all other threads wait for a disk."""
        self._using = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self, domain: bytes) -> Change | None:
        """Open or create the file of the deployment `domain` (32 bytes): what is saved, None for nothing."""
        with self._using, told(f"cannot open {self.path}"):
            try:
                return self._open(domain)
            except (NotRegular, PermissionError) as error:
                log.warning(
                    "what was followed of the chain cannot be used; reading it anew", error=str(error)
                )
            except sqlite3.DatabaseError as error:
                if code_of(error) in _NO_DAMAGE:
                    raise
                log.warning("what was followed of the chain is damaged; reading it anew", error=str(error))
            except (OSError, sqlite3.Error):
                raise
            except Exception as error:
                # Whatever a damaged value makes of the reading: it is all on the chain.
                log.warning(
                    "what was followed of the chain makes no sense; reading it anew", error=repr(error)
                )
            self._remove()
            return self._open(domain)

    def save(self, change: Change) -> None:
        """Write a change and its checkpoint: durable when this returns, or nothing of it."""
        with self._using, told(f"cannot write {self.path}"):
            if self._connection is None:
                raise StoreError(f"{self.path} is not open")
            with _rows_of(self._connection) as rows:
                _write(rows, change)

    def node_id(self, domain: bytes, public_key: bytes) -> int | None:
        """The id that `save_node_id` kept for this key in the deployment `domain`; None when there is none."""
        with self._using, told(f"cannot open {self.path}"):
            try:
                if not self.path.exists():
                    return None
                with contextlib.closing(connect(self.path)) as connection:
                    notes = dict(connection.execute("SELECT name, value FROM note"))
                    if notes.get("domain") != domain or notes.get("node_key") != public_key:
                        return None
                    return int.from_bytes(notes["node_id"], "big")
            except Exception:
                return None  # damaged: `open` tells it, and makes the file anew

    def save_node_id(self, node_id: int, public_key: bytes) -> None:
        """Keep the id under which the node with this key is registered, for a start while the chain is silent."""
        with self._using, told(f"cannot write {self.path}"):
            if self._connection is None:
                raise StoreError(f"{self.path} is not open")
            notes = (("node_id", node_id.to_bytes(8, "big")), ("node_key", public_key))
            with _rows_of(self._connection) as rows:
                rows.put("note", notes)

    def close(self) -> None:
        """Close when a call under way is done. Idempotent."""
        with self._using:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        self.thread.shutdown(wait=False)

    def _open(self, domain: bytes) -> Change | None:
        if self._connection is not None:
            self._connection.close()
        connection = self._connection = connect(self.path)
        version = version_of(connection)
        notes = dict(connection.execute("SELECT name, value FROM note")) if version == VERSION else {}
        if version == 0:
            connection.executescript(_SCHEMA)
        if notes.get("domain") != domain:
            if version not in (0, VERSION) or notes:
                log.warning("what was followed is of another deployment or version; reading the chain anew")
                self._remove()
                return self._open(domain)
            with _rows_of(connection) as rows:
                rows.put("note", [("domain", domain)])
        found = _read(connection, notes) if "state" in notes else None
        _require_sum(connection)
        return found

    def _remove(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for path in files_of(self.path):
            try:
                if require_regular_or_none(path):
                    path.unlink()
            except NotRegular:
                clear_away(path)


_KEYS = {"object": "object_id", "ejection": "node_id", "mark": "number", "note": "name"}
"""Table → the name of its key, which is its first column."""
_SUM = "sum"
"""The note of the sum; it is not part of it."""


class _Rows:
    """The rows of a file in a transaction, and the sum of their digests."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        saved = connection.execute("SELECT value FROM note WHERE name = ?", (_SUM,)).fetchone()
        self.sum = int.from_bytes(saved[0], "big") if saved else 0

    def put(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows, each in the place of the one with its key."""
        for row in rows:
            self.remove(table, f"{_KEYS[table]} = ?", row[0])
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 (names from above)
            self.sum += _digest(row)

    def remove(self, table: str, where: str = "1", *values: Any) -> None:
        """Remove the rows that meet a condition."""
        named = f"FROM {table} WHERE {where}"  # of names from above
        self.sum -= sum(map(_digest, self._connection.execute(f"SELECT * {named}", values)))
        self._connection.execute(f"DELETE {named}", values)


@contextlib.contextmanager
def _rows_of(connection: sqlite3.Connection) -> Iterator[_Rows]:
    """The file's rows, to be changed: durable with their sum when the block ends, as they were when it raises."""
    with transaction(connection):
        rows = _Rows(connection)
        yield rows
        total = (rows.sum % 2**64).to_bytes(8, "big")
        connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (_SUM, total))


def _digest(row: tuple[Any, ...]) -> int:
    return xxh3_64_intdigest(repr([int(one) if isinstance(one, bool) else one for one in row]).encode())


def _require_sum(connection: sqlite3.Connection) -> None:
    """Raise `ValueError` unless all rows are those that were saved."""
    (saved,) = connection.execute("SELECT value FROM note WHERE name = ?", (_SUM,)).fetchone()
    total = 0
    for table in _KEYS:
        for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 (a name from above)
            total += _digest(row) if row[0] != _SUM else 0
    if (total % 2**64).to_bytes(8, "big") != saved:
        raise ValueError("rows that are not those that were saved")


def _write(rows: _Rows, change: Change) -> None:
    if change.is_all:
        for table in ("object", "ejection", "mark"):
            rows.remove(table)
    rows.put("object", map(_row, change.records))
    rows.put("ejection", change.ejected.items())
    rows.put("mark", ((mark.number, mark.hash) for mark in change.marks))
    checkpoint = change.marks[-1].number
    rows.remove("mark", "number > ? OR number <= ?", checkpoint, checkpoint - MARKS_KEPT)
    notes = {"confirmed": bytes([change.is_confirmed])}
    if change.state is not None:
        notes["state"] = json.dumps(asdict(change.state), default=_as_json).encode()
    if change.live_at_start is not None:
        notes["live_at_start"] = b"".join(change.live_at_start)
    if change.parameters is not None:
        notes["parameters"] = json.dumps(asdict(change.parameters), default=_as_json).encode()
    rows.put("note", notes.items())


def _read(connection: sqlite3.Connection, notes: Mapping[str, bytes]) -> Change:
    """Return all that is saved. Raises any exception for what was not saved so."""
    live = notes["live_at_start"]
    marks = connection.execute("SELECT number, hash FROM mark ORDER BY number").fetchall()
    if not marks:
        raise ValueError("a state without a checkpoint")
    return Change(
        marks=tuple(BlockMark(number, digest) for number, digest in marks),
        records=tuple(map(_record, connection.execute("SELECT * FROM object ORDER BY object_id"))),
        ejected=dict(connection.execute("SELECT node_id, epoch FROM ejection").fetchall()),
        state=_state(_parse(notes["state"])),
        live_at_start=tuple(
            live[place : place + BLOB_ID_BYTES] for place in range(0, len(live), BLOB_ID_BYTES)
        ),
        parameters=_parameters(_parse(notes["parameters"])) if "parameters" in notes else None,
        is_all=True,
        is_confirmed=notes["confirmed"] != bytes(1),
    )


def _parse(note: bytes) -> Any:
    if len(note) > MAX_NOTE_BYTES:
        raise ValueError(f"a note of {len(note)} bytes")
    return parse_json(note, MAX_NOTE_BRACKETS)


def _parameters(values: Mapping[str, Any]) -> Parameters:
    numbers = {name: value for name, value in values.items() if name != "domain"}
    if any(type(value) is not int for value in numbers.values()):
        raise TypeError("parameters that are no numbers")
    if not MIN_SHARDS <= numbers["n_shards"] <= MAX_SHARDS:
        raise ValueError("a number of shards that there cannot be")
    return Parameters(**numbers, domain=bytes.fromhex(values["domain"]))


def _row(record: BlobRecord) -> tuple[Any, ...]:
    return (
        record.object_id.to_bytes(OBJECT_ID_BYTES, "big"),
        *(record.blob_id, record.length, record.owner),
        *(record.registered_epoch, record.certified_epoch, record.end_period),
        *(record.deletable, record.deleted, record.invalid),
    )


def _record(row: tuple[Any, ...]) -> BlobRecord:
    object_id, blob_id, length, owner, registered, certified, end, *flags = row
    return BlobRecord(
        *(int.from_bytes(object_id, "big"), blob_id, length, owner, registered, certified, end),
        *map(bool, flags),
    )


def _as_json(value: bytes) -> str:
    return value.hex()


def _state(values: Mapping[str, Any]) -> EpochState:
    return EpochState(
        block=_mark(values["block"]),
        epoch=values["epoch"],
        period=values["period"],
        first_epoch=values["first_epoch"],
        started_at_s=values["started_at_s"],
        started_block=_mark(values["started_block"]) if values["started_block"] else None,
        handover_done=values["handover_done"],
        last_handover_done_s=values["last_handover_done_s"],
        regular_handover_done_s=values["regular_handover_done_s"],
        selected_at_s=values["selected_at_s"],
        next_is_replacement=values["next_is_replacement"],
        replaceable_at_s=values["replaceable_at_s"],
        previous=_committee(values["previous"]),
        current=_committee(values["current"]),
        next=_committee(values["next"]),
        unattested=dict(
            zip(map(int, values["unattested"]), _members(values["unattested"].values()), strict=True)
        ),
    )


def _mark(values: Mapping[str, Any]) -> BlockMark:
    return BlockMark(values["number"], bytes.fromhex(values["hash"]))


def _committee(values: Mapping[str, Any] | None) -> Committee | None:
    if values is None:
        return None
    return Committee(values["epoch"], values["n_shards"], tuple(_members(values["members"])))


def _members(listed: Iterable[Mapping[str, Any]]) -> Iterable[Member]:
    for values in listed:
        key = bytes.fromhex(values["public_key"])
        yield Member(**{**values, "public_key": key, "shards": tuple(values["shards"])})
