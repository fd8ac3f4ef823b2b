"""What a node has followed of the chain, on disk: blob objects, ejections, the epoch's state and the checkpoint.

    chain.sqlite (-wal, -shm)          in the node's folder

The checkpoint changes in the transaction that writes what its blocks changed, so a node that was killed goes on from a
block of which it has all events, and none behind it. Rows are whole values, never differences: events taken in twice
leave the same rows. All of it can be read from the chain again, so a file that is damaged, or of another deployment, is
made anew; how damage is seen `storage.node.chain.rows` says.

Blob objects are read from the file whenever they are asked for: there may be millions of them. While the disk takes
nothing, what changes is kept in memory beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from committee.files import NotRegular
from committee.ledger import EpochStarted, Parameters
from committee.ledger.follower import MARKS_KEPT, Step
from committee.logs import Log
from storage.node.chain import notes, rows
from storage.node.chain.changes import BlobObject, Change, Draft
from storage.node.chain.conditions import Condition
from storage.node.chain.connections import MEMORY, Connections
from storage.node.chain.rows import BUCKETS, TABLES, VERSION, Rows, object_of, rows_of
from storage.node.chain.saved import Saved, read_saved
from storage.node.chain.summaries import Kept, Registered, Summary
from storage.node.chain.unsaved import Unsaved
from storage.node.sqlite import (
    StoreDamaged,
    StoreError,
    code_of,
    connect,
    portions,
    told,
    version_of,
)

log = Log()

Made = TypeVar("Made")

FILE = "chain.sqlite"
REMOVED_AT_ONCE = 1000
"""Objects that are over and are removed in one transaction."""
_NO_DAMAGE = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
)
"""Errors that pass, or that a new file would have too. Every other error may come from changed bits: a table or column
of another name, text that is not UTF-8."""


class ChainStore:
    """The file in a node's folder; in memory without one. Raises `StoreError`.

    Any thread may read, one at a time from the event loop's and one at a time from all others'. What writes is for
    `in_thread` alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = MEMORY if folder is None else folder / FILE
        """Its file; a node that has run before has it."""
        self._thread = ThreadPoolExecutor(1, "chain-store")
        """The thread that calls the store: the chain is followed even when all other threads wait for a disk."""
        self.is_whole = False
        """Whether all objects are those that were saved, as far as it was looked at: nothing may be deleted before."""
        self._connections = Connections(self.path)
        self._table = 0
        self._unchecked: list[int] = []
        """Buckets that are to be checked."""
        self._untidy: list[int] = []
        """Buckets in which there may be objects that are over."""
        self._unsaved = Unsaved()
        self._kept = Kept()
        """Blob id → what its objects come to, as last read; of no blob that was written since."""

    async def in_thread(self, work: Callable[..., Made], *arguments: object) -> Made:
        """Return what `work` returns in the store's thread; if this is cancelled, wait until the work is over."""
        done = asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait((done,))
            raise

    # opening

    def open(self, domain: bytes) -> Saved | None:
        """Open or create the file of the deployment `domain` (32 bytes): what is saved, None for nothing."""
        with self._connections.using("open"):
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
            return self._open_anew(domain)

    def make_anew(self, domain: bytes) -> None:
        """Begin an empty file in the place of one that was found damaged."""
        with self._connections.alone(), told(f"cannot write {self.path}"):
            self._open_anew(domain)
            self.is_whole = False

    def _open_anew(self, domain: bytes) -> Saved | None:
        self._connections.remove()
        return self._open(domain)

    def _open(self, domain: bytes) -> Saved | None:
        connection = self._connections.open_writer()
        version = version_of(connection)
        found = dict(connection.execute("SELECT name, value FROM note")) if version == VERSION else {}
        if version == 0:
            connection.executescript(rows.SCHEMA)
        if found.get("domain") != domain:
            if version not in (0, VERSION) or found:
                log.warning("what was followed is of another deployment or version; reading the chain anew")
                return self._open_anew(domain)
            with rows_of(connection) as writing:
                writing.put("note", [("domain", domain)])
        self._connections.open_readers()
        self._table = TABLES.index(found["table"].decode()) if "table" in found else 0
        saved = read_saved(connection, found) if "state" in found else None
        rows.require_root(connection)
        self._unchecked = list(range(BUCKETS)) if saved else []
        self._untidy = list(self._unchecked)
        self.is_whole, self._unsaved = saved is None, Unsaved()
        self._look_anew()
        return saved

    def close(self) -> None:
        """Close when a call under way is done. Idempotent."""
        self._connections.close()
        self._thread.shutdown(wait=False)

    # the node's id

    def node_id(self, domain: bytes, public_key: bytes) -> int | None:
        """The id that `save_node_id` kept for this key in the deployment `domain`; None when there is none."""
        with self._connections.using("open"):
            try:
                if not self.path.exists():
                    return None
                with contextlib.closing(connect(self.path)) as connection:
                    found = dict(connection.execute("SELECT name, value FROM note"))
                    if found.get("domain") != domain or found.get("node_key") != public_key:
                        return None
                    return int.from_bytes(found["node_id"], "big")
            except Exception:
                return None  # damaged: `open` tells it, and makes the file anew

    def save_node_id(self, node_id: int, public_key: bytes) -> None:
        """Keep the id under which the node with this key is registered, for a start while the chain is silent."""
        with self.writing() as writing:
            writing.put("note", (("node_id", node_id.to_bytes(8, "big")), ("node_key", public_key)))

    # following

    def follow(
        self,
        step: Step,
        parameters: Parameters | None,
        *,
        is_confirmed: bool = True,
        missing: frozenset[int] | None = None,
    ) -> Change:
        """Take a step in; return what it changed. It is durable on return, or kept in memory when the disk fails.

        Raises `KeyError` when an event names an object that is not known, `StoreError` when the objects cannot be read,
        and `StoreDamaged` when an epoch starts, whose inventory and garbage are made of all objects, and the disk has
        changed any since they were saved: nothing is taken in then.
        """
        if any(isinstance(event, EpochStarted) for event in step.events):
            self.require_unchanged()
        change = Draft(self).follow(step)
        change = replace(change, parameters=parameters, is_confirmed=is_confirmed, missing=missing)
        waiting = self._unsaved.with_next(change)
        try:
            changed = {one.record.blob_id for one in waiting.objects.values()}
            with self.writing(changed) as writing:
                self.write(writing, self._table, waiting, owes_state=step.owes_state)
            self._unsaved = Unsaved()
        except StoreDamaged:
            raise
        except StoreError as error:
            if self._unsaved.change is None:
                log.warning("what the chain told cannot be saved; following on", error=str(error))
            self._unsaved.add(change)
        return change

    def write(self, writing: Rows, table: int, change: Change, *, owes_state: bool) -> None:
        """Write a change and its checkpoint, within a transaction."""
        writing.put_objects(table, change.objects.values())
        writing.put("ejection", change.ejected.items())
        writing.put("mark", ((mark.number, mark.hash) for mark in change.marks))
        checkpoint = change.marks[-1].number
        writing.remove("mark", "number > ? OR number <= ?", checkpoint, checkpoint - MARKS_KEPT)
        found = {
            "confirmed": bytes([change.is_confirmed]),
            "owes_state": bytes([owes_state]),
            "table": TABLES[table].encode(),
        }
        if change.state is not None:
            found["state"] = notes.note(change.state)
        if change.missing is not None:
            found["missing"] = notes.shards_note(change.missing)
        if change.parameters is not None:
            found["parameters"] = notes.note(change.parameters)
        writing.put("note", found.items())

    @contextlib.contextmanager
    def writing(self, changed: Collection[bytes] | None = None) -> Iterator[Rows]:
        """A context that lends the rows for a change, which is durable when the block ends and undone when it raises.

        `changed` are the ids of the blobs whose objects change; None when any may.
        """
        try:
            with self._connections.writer() as connection, rows_of(connection) as writing:
                yield writing
        finally:
            self._look_anew(changed)

    def _look_anew(self, changed: Collection[bytes] | None = None) -> None:
        """Forget what was read of these blobs, or of all."""
        self._kept = Kept() if changed is None else self._kept.without(changed)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, to read with; for `in_thread`."""
        with self._connections.writer("read") as connection:
            yield connection

    @property
    def table(self) -> int:
        """Number of the table with the view's objects."""
        return self._table

    def use_table(self, table: int, write: Callable[[Rows], None]) -> None:
        """Have `write` make another table the view's, at once for all that read."""
        with self._connections.alone():
            with self.writing() as writing:
                write(writing)
            self._table, self._unsaved = table, Unsaved()
            self._look_anew()
            self._unchecked, self.is_whole = [], True
            self.look_for_what_is_over()

    # reading

    def of(self, blob_id: bytes) -> list[BlobObject]:
        """The objects that name a blob, by object id, however many there are; not for the event loop's thread."""
        statement = f"SELECT * FROM {self._name} WHERE blob_id = ?"  # noqa: S608 (a name from above)
        found = {one.record.object_id: one for one in self._look(statement, blob_id)}
        found |= self._unsaved.of(blob_id)
        return [found[number] for number in sorted(found)]

    def summary(self, blob_id: bytes) -> Summary:
        """What the objects that name a blob come to. They are read once between two writes of any of them."""
        if self._unsaved.of(blob_id):
            return Summary.of(self.of(blob_id))
        kept = self._kept
        summary = kept.summaries.get(blob_id)
        if summary is None:
            with self._connections.looker() as connection:
                summary = Summary.read(connection, self._name, blob_id)
            kept.add(blob_id, summary)
        return summary

    def registered(self, blob_id: bytes, period: int) -> Registered:
        """What the objects that name a blob come to in a period; not for the event loop's thread."""
        if self._unsaved.of(blob_id):
            return Registered.of(self.of(blob_id), period)
        kept = self._kept
        found = kept.registered.get((blob_id, period))
        if found is None:
            self.summary(blob_id)  # which tells whether it is costly
            with self._connections.pager() as connection:
                found = Registered.read(connection, self._name, blob_id, period)
            kept.add_registered(blob_id, period, found)
        return found

    def those_invalid(self, blob_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the blobs of which an object is invalid; not for the event loop's thread."""
        found = {
            blob_id
            for blob_id, _ in self._of_each("DISTINCT blob_id, 1", blob_ids, "AND invalid_block IS NOT NULL")
        }
        return found | {one.blob_id for one in self._unsaved.records_of(blob_ids) if one.invalid}

    def lengths(self, blob_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Blob id → bytes of the blob, of those with an object; not for the event loop's thread."""
        found = dict(self._of_each("blob_id, MAX(length)", blob_ids, "GROUP BY blob_id"))
        return found | {one.blob_id: one.length for one in self._unsaved.records_of(blob_ids)}

    def _of_each(self, columns: str, blob_ids: Sequence[bytes], more: str) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []
        with self._connections.pager() as connection:
            for marks, some in portions(blob_ids):
                statement = f"SELECT {columns} FROM {self._name} WHERE blob_id IN ({marks}) {more}"  # noqa: S608 (names from above)
                found += connection.execute(statement, some)
        return found

    def by_id(self, object_id: int) -> BlobObject | None:
        """The object with this id, if it is known."""
        unsaved = self._unsaved.by_id(object_id)
        if unsaved is not None:
            return unsaved
        found = self._look(f"SELECT * FROM {self._name} WHERE object_id = ?", rows.id_bytes(object_id))  # noqa: S608 (a name from above)
        return found[0] if found else None

    def _look(self, statement: str, value: bytes) -> list[BlobObject]:
        with self._connections.looker() as connection:
            return [object_of(row) for row in connection.execute(statement, (value,))]

    def blobs_after(self, blob_id: bytes, max_count: int, condition: Condition) -> list[bytes]:
        """Ids of blobs behind this one in byte order, as many as the limit, of which an object meets the condition.

        Raises `StoreError` also while there is anything that the disk did not take.
        """
        where = f"blob_id > ? AND ({condition.where})"
        found = self._page(where, (blob_id, *condition.values), "ORDER BY blob_id LIMIT ?", max_count)
        return [blob_id for (blob_id,) in found]

    def those_with(self, blob_ids: Sequence[bytes], condition: Condition) -> set[bytes]:
        """Those of the blobs of which an object meets the condition; raises as `blobs_after`."""
        found: set[bytes] = set()
        for marks, some in portions(blob_ids):
            where = f"blob_id IN ({marks}) AND ({condition.where})"
            found.update(blob_id for (blob_id,) in self._page(where, (*some, *condition.values)))
        return found

    def _page(self, where: str, values: Sequence[Any], order: str = "", *last: int) -> list[tuple[bytes]]:
        statement = f"SELECT DISTINCT blob_id FROM {self._name} WHERE {where} {order}"  # noqa: S608 (names from above)
        with self._connections.pager() as connection:
            if self._unsaved.change is not None:
                raise StoreError(f"what the chain told cannot be saved in {self.path}")
            return connection.execute(statement, (*values, *last)).fetchall()

    @property
    def _name(self) -> str:
        return TABLES[self._table]

    # in the background

    def look_for_what_is_over(self) -> None:
        """Have `tidy` go through all objects once more: an epoch has started."""
        self._untidy = list(range(BUCKETS))

    def require_unchanged(self) -> None:
        """Raise `StoreDamaged` unless all rows are those that were saved; of a million objects it takes seconds."""
        with self._connections.writer("check") as connection:
            rows.require_root(connection)
        for bucket in range(BUCKETS):
            with self._connections.writer("check") as connection:
                rows.require_bucket(connection, self._table, bucket)

    def tidy(self, over: Condition) -> bool:
        """Check some objects, or remove some that are over; return whether there is more to do.

        Raises `StoreDamaged` when the objects are not those that were saved.
        """
        with self._connections.writer("tidy") as connection:
            if self._unchecked:
                rows.require_bucket(connection, self._table, self._unchecked[-1])
                self._unchecked.pop()
                self.is_whole = not self._unchecked
            elif self._untidy:
                where, values = rows.within(self._untidy[-1])
                statement = f"SELECT object_id FROM {self._name} WHERE {where} AND ({over.where}) LIMIT ?"  # noqa: S608
                found = connection.execute(statement, (*values, *over.values, REMOVED_AT_ONCE)).fetchall()
                if found:
                    with self.writing() as writing:
                        writing.remove_objects(self._table, [int.from_bytes(one, "big") for (one,) in found])
                if len(found) < REMOVED_AT_ONCE:
                    self._untidy.pop()
            return bool(self._unchecked or self._untidy)
