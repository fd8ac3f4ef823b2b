"""Which segments a store has, how far each is filled and with how much; in the index, and in memory in step with it.

A row of the index counts only while it lies in a listed segment, before that segment's end. So a shard is dropped, and
a lost file given up, by changing the list alone; the rows that then count no more are removed afterwards, at leisure
(`storage.node.store.tidying`).

A segment holds slivers of one shard. It takes more of them until it has SEGMENT_BYTES, or is retired: then the tidying
copies what is left of it to other segments. One that holds nothing is off the list, and its file is removed. Numbers
are never given twice, so that a row left by a segment that is gone is not taken for another's.

A segment is a file, or an object of an object store once it takes nothing more (`storage.node.store.moving`). Which of
both, the list says; the other one, if it is still there, is to be removed: a file by the next opening at the latest, an
object by a list of its own in the index, as nothing here relies on what an object store lists.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import chain
from typing import NamedTuple

from storage.node.sqlite import StoreDamaged, StoreUnavailable
from storage.node.store import statements as sql
from storage.node.store.files import Appended, SegmentFiles, SegmentName, Unusable
from storage.node.store.index import StoreIndex
from storage.node.store.objects import Objects
from storage.node.store.records import Place

SEGMENT_BYTES = 256 * 2**20
"""A segment of this length takes nothing more. The last batch may go over it."""
UNTIDY = "store.untidy"
"""A bookmark that is set while there may be rows that count no more."""


class Append(NamedTuple):
    """Slivers that were written and do not count yet."""

    pieces: Sequence[Appended]
    places: Sequence[tuple[int, int]]
    """(segment, offset) of each sliver."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as the index lists it."""

    number: int
    shard: int
    length: int = 0
    """Bytes that are committed, or as many as are still there of a file that was cut."""
    slivers: int = 0
    """Rows that name it."""
    size_bytes: int = 0
    """Bytes of these rows' slivers."""
    is_retired: bool = False
    object: str | None = None
    """Name of the object that it is; None for a file."""

    @property
    def name(self) -> SegmentName:
        """The name of its file."""
        return SegmentName(self.shard, self.number)

    @property
    def is_full(self) -> bool:
        """Whether it takes nothing more."""
        return self.is_retired or self.object is not None or self.length >= SEGMENT_BYTES

    @property
    def is_half_dead(self) -> bool:
        """Whether at least half of it is of slivers that were dropped."""
        return 2 * self.size_bytes <= self.length


class Segments:
    """The segments of one store. Any thread may ask; one at a time changes them, and holds the store's lock for that.

    Raises `StoreError` and `OSError` as index and disk do, `StoreUnavailable` as the object store does.
    """

    objects: Objects | None = None
    """The object store, set before `load`."""

    def __init__(self, index: StoreIndex, files: SegmentFiles, on_loss: Callable[[], None]) -> None:
        """`on_loss` is called when an append has found a segment unusable and retired it."""
        self._index = index
        self._files = files
        self._on_loss = on_loss
        self._listed: dict[int, Segment] = {}
        self._filling: dict[int, int] = {}
        """Shard → the number of its segment that takes more."""
        self._sealed = 0
        """Number of the segment that is being sent to the object store, and so takes nothing more; 0 for none."""
        self.file_bytes = 0
        """Bytes of the segments that are files."""
        self.object_count = 0
        """Segments that are objects."""
        self._slivers: Counter[int] = Counter()
        self._size_bytes: Counter[int] = Counter()
        """By shard."""
        self._changed: dict[int, Segment] = {}
        """What the transaction under way makes of segments."""
        self._is_untidy = False
        """Whether rows may count no more once the transaction under way is done."""
        self._last_number = 0
        self._unlisted: list[SegmentName] = []
        """Files that are to be removed."""
        self._removing = threading.Lock()
        """Held while they are, so that a file of one of these names can be made anew afterwards."""
        self.untidied = 0
        """Grows whenever rows may have come to count no more."""

    def load(self) -> None:
        """Read the list, and put in order what a kill or a bad disk has left; full segments are not measured.

        What was appended and not committed is cut off, and files that are not listed are removed, as far as the disk
        lets. A listed file that is gone or too short is retired with what is left of it.
        """
        rows = self._index.query(sql.SEGMENTS)
        last = self._index.query(sql.LAST_SEGMENT)[0][0]
        if not all(type(value) is int for value in (last, *chain.from_iterable(row[:6] for row in rows))):
            raise StoreDamaged("the list of segments has what is no number")
        listed = {row[0]: Segment(*row) for row in rows}
        self._listed, self._filling, self._unlisted = {}, {}, []
        self._sealed = self.file_bytes = self.object_count = 0
        self._slivers, self._size_bytes = Counter(), Counter()
        self._last_number = last
        for segment in listed.values():
            self._install(segment.number, segment)
        found = self._files.listed()
        files = [segment for segment in listed.values() if segment.object is None]
        known = {segment.name for segment in files}
        self._unlisted = [name for name in found if name not in known]
        cut: list[Segment] = []
        for segment in files:
            if found.get(segment.name):
                length = segment.length if segment.is_full else self._files.length(segment.name)
            else:
                length = 0
                self._unlisted += [segment.name] if segment.name in found else []
            if length < segment.length:
                cut.append(replace(segment, length=length, is_retired=True))
            elif length > segment.length:
                with contextlib.suppress(OSError):
                    self._files.cut(segment.name, segment.length)
        if cut:
            with self.transaction():
                for segment in cut:
                    self.put(segment)
        self.remove_files()

    # questions

    def holds(self, place: Place) -> bool:
        """Whether a row counts: what it names is stored."""
        segment = self._listed.get(place.segment)
        return segment is not None and 0 < place.size_bytes <= segment.length - place.offset

    def read(self, places: Sequence[Place]) -> list[memoryview | None]:
        """Return the bytes at each place, unchecked; None for what is not there."""
        contents: list[memoryview | None] = [None] * len(places)
        by_segment: dict[int, list[int]] = defaultdict(list)
        for at, place in enumerate(places):
            if self.holds(place):
                by_segment[place.segment].append(at)
        for number, wanted in by_segment.items():
            spans = [(places[at].offset, places[at].size_bytes) for at in wanted]
            segment = self._listed.get(number)
            while segment is not None:
                for at, content in zip(wanted, self.read_spans(segment, spans), strict=True):
                    contents[at] = content
                before, segment = segment, self._listed.get(number)
                if segment is None or segment.object == before.object:
                    break  # else it was moved meanwhile
        return contents

    def read_spans(self, segment: Segment, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        """Return the bytes of each span (offset, size) of a segment; None for what is not there whole."""
        if segment.object is None:
            return self._files.read(segment.name, spans)
        if self.objects is None:
            raise StoreUnavailable("no object store is named")
        return self.objects.read(segment.object, spans)

    def shards(self) -> frozenset[int]:
        """Shards of which any sliver is stored."""
        return frozenset(shard for shard, count in self._slivers.copy().items() if count)

    def slivers(self) -> int:
        """Return the number of slivers stored."""
        return self._slivers.copy().total()

    def slivers_of(self, shard: int) -> int:
        """Return the number of a shard's slivers."""
        return self._slivers[shard]

    def size_bytes(self) -> int:
        """Bytes of all slivers stored."""
        return self._size_bytes.copy().total()

    def get(self, number: int) -> Segment | None:
        """Return a segment; None when it is not listed."""
        return self._listed.get(number)

    def object_of(self, place: Place) -> str | None:
        """Return the name of the object that a place lies in; None for one in a file, or in no listed segment."""
        segment = self.get(place.segment)
        return None if segment is None else segment.object

    def all(self) -> list[Segment]:
        """All segments."""
        return list(self._listed.values())

    def takes_more(self, segment: Segment) -> bool:
        """Whether slivers may still be appended to a segment."""
        return not segment.is_full and self._filling.get(segment.shard) == segment.number != self._sealed

    def wasteful(self) -> list[Segment]:
        """Segments that are worth rewriting, those with the least left in them first."""
        found = (one for one in self.all() if one.is_half_dead and one.number != self._sealed)
        return sorted((one for one in found if not self.takes_more(one)), key=lambda one: one.size_bytes)

    def retired(self) -> list[Segment]:
        """Segments that are to be rewritten."""
        return [one for one in self.all() if one.is_retired]

    # changes

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction over rows and list, durable when the block ends; what is changed here counts from then on."""
        self._changed, self._is_untidy = {}, False
        with self._index.transaction() as index:
            yield index
            if self._is_untidy:
                index.execute(sql.KEEP_BOOKMARK, (UNTIDY, b""))
            for number, segment in self._changed.items():
                before = self._listed.get(number) or segment
                now = segment.object if segment.slivers else None
                if before.object not in (None, now):
                    index.execute(sql.ADD_REMOVAL, (before.object,))
                if now not in (None, before.object):
                    index.execute(sql.DELETE_REMOVAL, (now,))
                if segment.slivers:
                    index.execute(sql.KEEP_SEGMENT, astuple(segment))
                else:
                    index.execute(sql.DELETE_SEGMENT, (number,))
        for number, segment in self._changed.items():
            self._install(number, segment if segment.slivers else None)
        self._changed = {}

    def append(self, slivers: Sequence[tuple[int, memoryview]]) -> Append:
        """Write slivers, as (shard, bytes), to their shards' segments, durable on return; none is left on any error.

        They count once `commit` was called in a transaction with their rows.
        """
        by_shard: dict[int, list[memoryview]] = defaultdict(list)
        for shard, content in slivers:
            by_shard[shard].append(content)
        while True:
            filling = {shard: self._filling_of(shard) for shard in by_shard}
            pieces = [
                Appended(filling[shard].name, filling[shard].length, contents)
                for shard, contents in by_shard.items()
            ]
            try:
                self._files.write(pieces)
            except Unusable as error:
                self._files.undo(pieces)
                segment = self._listed[error.name.number]
                with self.transaction():
                    left = min(self._files.length(segment.name), segment.length)
                    self.put(replace(segment, length=left, is_retired=True))
                self._on_loss()
            except BaseException:
                self._files.undo(pieces)
                raise
            else:
                return Append(pieces, _places(filling, slivers))

    def undo(self, append: Append) -> None:
        """Take away what was appended and is not to be committed."""
        self._files.undo(append.pieces)

    def commit(self, append: Append) -> None:
        """Within a transaction: count what was appended."""
        for name, offset, contents in append.pieces:
            segment = self._now(name.number) or Segment(name.number, name.shard)
            size_bytes = sum(map(len, contents))
            self._changed[name.number] = replace(
                segment,
                length=offset + size_bytes,
                slivers=segment.slivers + len(contents),
                size_bytes=segment.size_bytes + size_bytes,
            )

    def forget(self, place: Place) -> None:
        """Within a transaction: no longer count a row, which is removed. Does nothing when its segment is gone."""
        segment = self._now(place.segment)
        if segment is not None:
            self._changed[segment.number] = replace(
                segment, slivers=segment.slivers - 1, size_bytes=segment.size_bytes - place.size_bytes
            )

    def drop(self, shard: int) -> None:
        """Within a transaction: take all segments of a shard off the list."""
        for segment in self._listed.values():
            if segment.shard == shard:
                self._changed[segment.number] = replace(segment, slivers=0, size_bytes=0)
                self._mark_untidy()

    def take_off_empty(self, numbers: Sequence[int]) -> None:
        """Within a transaction: take segments off the list that no row names."""
        for segment in map(self._listed.get, numbers):
            if segment is not None:
                self._changed[segment.number] = replace(segment, slivers=0, size_bytes=0)

    def retire(self, segments: Sequence[Segment]) -> None:
        """Have segments rewritten by the next tidying."""
        with self.transaction():
            for segment in segments:
                self.put(replace(segment, is_retired=True))

    def seal(self, number: int) -> None:
        """Append nothing more to a segment until another number, or 0, is sealed."""
        self._sealed = number

    def put(self, segment: Segment) -> None:
        """Put a segment into the list, in the place of the one of its number; to be called within a transaction."""
        self._changed[segment.number] = segment
        if segment.is_retired:
            self._mark_untidy()

    def remove_files(self) -> None:
        """Remove the files of segments off the list, as far as the disk lets; the next opening tries again."""
        with self._removing:
            while self._unlisted:
                with contextlib.suppress(OSError):
                    self._files.remove(self._unlisted.pop())

    def _mark_untidy(self) -> None:
        self.untidied += 1
        self._is_untidy = True

    def _now(self, number: int) -> Segment | None:
        """A segment as the transaction under way has it."""
        return self._changed.get(number) or self._listed.get(number)

    def _filling_of(self, shard: int) -> Segment:
        """The segment that takes more slivers of a shard: the one that did, or a new one."""
        segment = self._listed.get(self._filling.get(shard, 0))
        if segment is not None and self.takes_more(segment):
            return segment
        self._last_number += 1
        return Segment(self._last_number, shard)

    def _install(self, number: int, segment: Segment | None) -> None:
        """Take into memory what the index has of a segment now: None for one that is off the list."""
        before = self._listed.get(number)
        if before is not None:
            self._count(before, -1)
            if before.object is None and (segment is None or segment.object is not None):
                self._unlisted.append(before.name)
        if segment is None:
            self._listed.pop(number, None)
            return
        self._listed[number] = segment
        self._count(segment, 1)
        if not segment.is_full:
            self._filling[segment.shard] = max(number, self._filling.get(segment.shard, 0))

    def _count(self, segment: Segment, by: int) -> None:
        """Count a segment once more, or once less, by 1 or -1."""
        self._slivers[segment.shard] += by * segment.slivers
        self._size_bytes[segment.shard] += by * segment.size_bytes
        if segment.object is None:
            self.file_bytes += by * segment.length
        else:
            self.object_count += by


def _places(
    filling: Mapping[int, Segment], slivers: Sequence[tuple[int, memoryview]]
) -> list[tuple[int, int]]:
    """(segment, offset) of each sliver, of which those of a shard are written one after the other."""
    places: list[tuple[int, int]] = []
    ends = {shard: segment.length for shard, segment in filling.items()}
    for shard, content in slivers:
        places.append((filling[shard].number, ends[shard]))
        ends[shard] += len(content)
    return places
