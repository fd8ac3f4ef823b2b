"""Storing slivers and metadata: one sync a segment and one transaction, for all that wait to be stored at that moment.

While one thread stores, others wait in a line; the next one that gets the store's lock stores for all of them. Batches
that cannot be stored together are tried one at a time, so that each fails for its own reasons alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xxhash import xxh3_64_digest as checksum_of

from storage.node.sqlite import told
from storage.node.store import statements as sql
from storage.node.store.index import numbers_of
from storage.node.store.reading import Reading
from storage.node.store.records import Metadata, NewSliver, SliverKey, StoredKey, Tally, checked
from storage.node.store.segments import Segments
from storage.node.store.tallies import Tallies, add_tallies

GROUP_BYTES = 64 * 2**20
"""Most bytes of batches that are stored together; a larger batch is stored alone."""


@dataclass(slots=True, eq=False)
class _Batch:
    """What one call stores, all or none."""

    offered: dict[SliverKey, tuple[memoryview, Tally | None]]
    metadata: Metadata
    size_bytes: int
    new: Collection[StoredKey] | None = None
    """Keys of slivers, and ids of blobs whose metadata were, not stored before; None until the batch is stored."""
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether the batch was stored or has failed."""
        return self.new is not None or self.error is not None


@dataclass(slots=True)
class _Plan:
    """What a group of batches comes to."""

    new: list[tuple[SliverKey, memoryview]] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    new_of: list[list[StoredKey]] = field(default_factory=list)
    """For each batch, the keys of slivers that it adds, and, once committed, the blobs whose metadata it adds."""
    metadata_of: list[Metadata] = field(default_factory=list)
    """For each batch, BCS metadata by blob id, whether or not they are stored."""

    @property
    def size_bytes(self) -> int:
        """The most bytes that are written to segments and index, rows not counted."""
        slivers_bytes = sum(len(symbols) for _, symbols in self.new)
        return slivers_bytes + sum(len(bcs) for some in self.metadata_of for bcs in some.values())


class Writing:
    """The storing of slivers in one store, by any thread, under the store's lock `writing`."""

    def __init__(
        self,
        folder: Path,
        segments: Segments,
        reading: Reading,
        tallies: Tallies,
        writing: threading.RLock,
        require_room: Callable[[int], None],
    ) -> None:
        """`require_room` raises `StoreFull` when the number of bytes it is given do not fit."""
        self._folder = folder
        self._segments = segments
        self._reading = reading
        self._writing = writing
        self._require_room = require_room
        self._line: deque[_Batch] = deque()
        self._tallies = tallies

    def put(self, slivers: Iterable[NewSliver], metadata: Metadata | None = None) -> Collection[StoredKey]:
        """Store slivers, and BCS metadata by blob id, all or none; return what is new.

        That is the keys of new slivers, and the ids of the blobs whose metadata are new. Raises `ValueError` and
        `StoreError`.
        """
        metadata = metadata or {}
        offered: dict[SliverKey, tuple[memoryview, Tally | None]] = {}
        for one in slivers:
            key = SliverKey(one.blob_id, one.shard, one.axis)
            offered.setdefault(key, (checked(key, one.symbols), one.tally))
        self._reading.check_objects(offered.keys())
        size_bytes = sum(len(symbols) for symbols, _ in offered.values()) + sum(map(len, metadata.values()))
        batch = _Batch(offered, metadata, size_bytes)
        self._line.append(batch)
        with self._writing:
            while not batch.is_done:
                self._store(self._group())
        if batch.error is not None:
            raise batch.error
        return batch.new or ()

    def _group(self) -> list[_Batch]:
        """Take the first batches off the line."""
        group = [self._line.popleft()]
        size_bytes = group[0].size_bytes
        while self._line and size_bytes + self._line[0].size_bytes <= GROUP_BYTES:
            group.append(self._line.popleft())
            size_bytes += group[-1].size_bytes
        return group

    def _store(self, group: Sequence[_Batch]) -> None:
        try:
            with told(f"cannot store slivers in {self._folder}"):
                plan = self._planned(group)
                self._commit(plan)
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for batch in group:
                self._store([batch])
        except BaseException as error:
            for batch in group:
                batch.error = RuntimeError(f"storing was ended by {type(error).__name__}")
            raise
        else:
            for batch, new in zip(group, plan.new_of, strict=True):
                batch.new = new

    def _planned(self, group: Sequence[_Batch]) -> _Plan:
        """Return what a group adds. Slivers that are stored, or that an earlier batch adds, are tallied as wasted."""
        there = self._reading.good({key for batch in group for key in batch.offered})
        plan = _Plan()
        for batch in group:
            new = [key for key in batch.offered if key not in there]
            plan.new += [(key, batch.offered[key][0]) for key in new]
            tallied = ((key, tally) for key, (_, tally) in batch.offered.items() if tally is not None)
            plan.tallies += [tally.in_vain if key in there else tally for key, tally in tallied]
            there.update(new)
            plan.new_of.append([*new])
            plan.metadata_of.append(batch.metadata)
        plan.new.sort(key=lambda one: one[0])
        return plan

    def _commit(self, plan: _Plan) -> None:
        self._require_room(plan.size_bytes)
        appended = self._segments.append([(key.shard, symbols) for key, symbols in plan.new])
        try:
            with self._segments.transaction() as index:
                self._segments.commit(appended)
                blob_ids = {key.blob_id for key, _ in plan.new}.union(*plan.metadata_of)
                numbers = numbers_of(index, blob_ids)
                rows = (
                    (numbers[key.blob_id], key.shard, key.axis, *place, len(symbols), checksum_of(symbols))
                    for (key, symbols), place in zip(plan.new, appended.places, strict=True)
                )
                index.executemany(sql.ADD, rows)
                added = [_add_metadata(index, some, numbers) for some in plan.metadata_of]
                add_tallies(index, plan.tallies)
        except BaseException:
            self._segments.undo(appended)
            raise
        self._tallies.added += len(plan.tallies)
        for new, with_metadata in zip(plan.new_of, added, strict=True):
            new += with_metadata


def _add_metadata(index: sqlite3.Connection, metadata: Metadata, numbers: Mapping[bytes, int]) -> list[bytes]:
    """Add BCS metadata, by blob id, within a transaction; return the blobs that had none."""
    return [
        blob_id
        for blob_id, bcs in metadata.items()
        if index.execute(sql.ADD_METADATA, (numbers[blob_id], bcs, checksum_of(bcs))).rowcount > 0
    ]
