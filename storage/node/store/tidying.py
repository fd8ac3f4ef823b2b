"""The tidying of a store after dropping and damage: removes rows that count no more, and rewrites segments.

A pass goes through the rows once, in their order, in pieces of ROWS_IN_A_STEP rows, so that writers wait for none of
them long. It removes the rows of segments that are gone (of dropped shards), and of each retired segment copies the
slivers that are left to other segments of their shard, and gives up those that are damaged. A pass begins when rows may
count no more, which a bookmark remembers, or when a segment is worth rewriting; it retires as many of these as the disk
has room to rewrite. After a restart the pass begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest as checksum_of

from storage.node.sqlite import StoreFull
from storage.node.store import statements as sql
from storage.node.store.files import SegmentFiles
from storage.node.store.index import StoreIndex, id_of
from storage.node.store.records import Place, SliverKey, is_key
from storage.node.store.segments import UNTIDY, Segment, Segments
from storage.redstuff import Axis

ROWS_IN_A_STEP = 4096
COPIED_IN_A_STEP_BYTES = 8 * 2**20
"""Slivers of this many bytes are copied in one step, and at least one."""


class _Row(NamedTuple):
    """A row of the index whose segment is to be rewritten."""

    blob: int
    shard: int
    axis: int
    place: Place


class Tidying:
    """The tidying of one store; its caller holds the store's lock. Raises `StoreError` and `OSError`."""

    def __init__(
        self,
        index: StoreIndex,
        segments: Segments,
        files: SegmentFiles,
        give_up: Callable[[Sequence[tuple[SliverKey, Place]]], None],
        reserve_bytes: int,
    ) -> None:
        """`give_up` removes the rows of damaged slivers; `reserve_bytes` of the disk are not used for copies."""
        self._index = index
        self._segments = segments
        self._files = files
        self._give_up = give_up
        self._reserve_bytes = reserve_bytes
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget how far the pass has come."""
        self._after: int | None = None
        """The pass has dealt with the rows of blobs up to this number; None while there is no pass."""
        self._began = 0
        """`Segments.untidied` when the pass began."""
        self._rewritten: list[int] = []
        """Segments retired when it began."""

    def step(self) -> bool:
        """Do one piece; return whether there is more to do."""
        if self._after is None:
            return self._begin()
        ends = self._index.query(sql.STEP_END, self._after, ROWS_IN_A_STEP)
        upto = ends[0][0] if ends else 2**63 - 1
        rows = self._index.query(sql.STEP, self._after, upto)
        self._remove([row for row in rows if row[7] or not is_key(row[1:3])])
        sound = [row for row in rows if not row[7] and is_key(row[1:3])]
        left = [_Row(row[0], row[1], row[2], Place.of(row[3:7])) for row in sound]
        count = self._rewrite(left)
        if count < len(left):
            self._after = left[count].blob - 1
            return True
        self._after = upto
        if not ends:
            self._end()
        return True

    def _begin(self) -> bool:
        """Begin a pass if there is anything to do; return whether there is."""
        room = self._files.free_bytes() - self._reserve_bytes
        chosen: list[Segment] = []
        for segment in self._segments.wasteful():
            if segment.object is not None:
                continue  # it is fetched first (`storage.node.store.moving`)
            room -= 2 * segment.size_bytes
            if room < 0:
                break
            chosen.append(segment)
        if chosen:
            self._segments.retire(chosen)
        self._began = self._segments.untidied
        self._rewritten = [one.number for one in self._segments.retired()]
        is_untidy = self._index.query(sql.BOOKMARK, UNTIDY)
        self._after = -1 if self._rewritten or is_untidy else None
        return self._after is not None

    def _end(self) -> None:
        """End the pass: nothing is left in the segments that were retired when it began."""
        with self._segments.transaction() as index:
            self._segments.take_off_empty(self._rewritten)
            if self._segments.untidied == self._began:
                index.execute(sql.DELETE_BOOKMARK, (UNTIDY,))
        self._after = None

    def _remove(self, rows: Sequence[Sequence[Any]]) -> None:
        """Remove rows whose segments are gone, or that are of no sliver there can be."""
        if rows:
            with self._segments.transaction() as index:
                index.executemany(sql.DELETE_ROW, [row[:3] for row in rows])
                for row in rows:
                    self._segments.forget(Place.of(row[3:7]))

    def _rewrite(self, rows: Sequence[_Row]) -> int:
        """Copy the first of these slivers to other segments, or give them up; return how many were dealt with."""
        sizes = accumulate(row.place.size_bytes for row in rows)
        few = rows[: max(1, sum(size_bytes <= COPIED_IN_A_STEP_BYTES for size_bytes in sizes))]
        moved: list[tuple[_Row, memoryview]] = []
        lost: list[_Row] = []
        for row, content in zip(few, self._segments.read([row.place for row in few]), strict=True):
            if content is not None and checksum_of(content) == row.place.checksum:
                moved.append((row, content))
            else:
                lost.append(row)
        self._lose(lost)
        if moved:
            self._move(moved)
        return len(few)

    def _lose(self, rows: Sequence[_Row]) -> None:
        """Give up damaged slivers."""
        with self._index.writer() as index:
            named = [(id_of(index, row.blob), row) for row in rows]
        self._give_up(
            [
                (SliverKey(blob_id, row.shard, Axis(row.axis)), row.place)
                for blob_id, row in named
                if blob_id is not None
            ]
        )

    def _move(self, moved: Sequence[tuple[_Row, memoryview]]) -> None:
        """Copy slivers to other segments of their shards, and have their rows name the copies."""
        size_bytes = sum(len(content) for _, content in moved)
        if self._files.free_bytes() < size_bytes + self._reserve_bytes:
            raise StoreFull(
                f"no room to rewrite segments: {size_bytes} bytes do not fit; make room on the disk"
            )
        appended = self._segments.append([(row.shard, content) for row, content in moved])
        try:
            with self._segments.transaction() as index:
                self._segments.commit(appended)
                for (row, _), (segment, offset) in zip(moved, appended.places, strict=True):
                    self._segments.forget(row.place)
                    index.execute(sql.MOVE, (segment, offset, row.blob, row.shard, row.axis))
        except BaseException:
            self._segments.undo(appended)
            raise
