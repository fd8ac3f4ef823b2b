"""Reading slivers by their rows: a sliver that is not there whole and unchanged is given up, and `on_damage` called."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_digest as checksum_of

from storage.node.sqlite import portions, told
from storage.node.store import statements as sql
from storage.node.store.index import StoreIndex
from storage.node.store.records import Place, SliverKey, Symbols, is_key
from storage.node.store.segments import Segments
from storage.redstuff import Axis

DAMAGED_LISTED = 1000
"""The most damaged slivers that are named, the last ones found."""


class Reading:
    """The reading of one store, by any thread; to give a sliver up, a thread takes the store's lock `writing`."""

    def __init__(
        self,
        folder: Path,
        index: StoreIndex,
        segments: Segments,
        writing: threading.RLock,
        on_damage: Callable[[bytes], None],
    ) -> None:
        """`on_damage` is told the id of a blob of which a sliver was given up."""
        self._folder = folder
        self._index = index
        self._segments = segments
        self._writing = writing
        self.tell_damage = on_damage
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was found damaged."""
        self.damaged: deque[SliverKey] = deque(maxlen=DAMAGED_LISTED)
        """Slivers found damaged, the last ones."""
        self.damaged_count = 0
        """How many slivers and metadata were found damaged."""

    def note(self, damaged: Collection[SliverKey]) -> None:
        """Take down slivers that were found damaged elsewhere."""
        self.damaged.extend(damaged)
        self.damaged_count += len(damaged)

    def find(self, key: SliverKey) -> Place | None:
        """Where a sliver lies; None when it is not stored."""
        rows = self._index.query(sql.FIND, *key)
        place = Place.of(rows[0]) if rows else None
        return place if place is not None and self._segments.holds(place) else None

    def good(self, keys: Collection[SliverKey]) -> set[SliverKey]:
        """Return those of the slivers that are stored whole; damaged ones are given up. The caller holds `writing`.

        What lies in the object store is not read: `check_objects` has done that.
        """
        by_shard: dict[tuple[int, Axis], list[bytes]] = defaultdict(list)
        for key in keys:
            by_shard[key.shard, key.axis].append(key.blob_id)
        found: list[tuple[SliverKey, Place]] = []
        with self._index.writer() as index:
            for (shard, axis), blob_ids in by_shard.items():
                for marks, some in portions(blob_ids):
                    rows = index.execute(sql.FIND_SOME.format(marks), (*some, shard, axis)).fetchall()
                    found += [(SliverKey(row[0], shard, axis), Place.of(row[1:])) for row in rows]
        found = [(key, place) for key, place in found if self._segments.get(place.segment)]
        here = [(key, place) for key, place in found if self._segments.object_of(place) is None]
        read = zip(here, self.contents(here), strict=True)
        damaged = {key for (key, _), content in read if content is None}
        return {key for key, _ in found} - damaged

    def check_objects(self, keys: Collection[SliverKey]) -> None:
        """Read those of the slivers that lie in the object store, and give up damaged ones.

        Not to be called with `writing` held: no writer waits for an object store.
        """
        if not self._segments.object_count:
            return
        rows = ((key, self._index.query(sql.FIND, *key)) for key in keys)
        found = [(key, Place.of(row[0])) for key, row in rows if row]
        self.contents([(key, place) for key, place in found if self._segments.object_of(place)])

    def slivers_of(
        self, blob_id: bytes, first: tuple[int, int], max_bytes: int
    ) -> tuple[list[tuple[int, Axis, Symbols]], tuple[int, int] | None]:
        """Return a blob's slivers from (shard, axis) `first` on, and the (shard, axis) to go on with, None at the end.

        The slivers ascend by (shard, axis): at least one, and as many as `max_bytes` allows. Damaged ones are left out.
        """
        rows = self._index.query(sql.FIND_ALL, blob_id)
        self._remove_strange(blob_id, [row for row in rows if not is_key(row[:2])])
        # Sorted here: where the disk has changed a shard, SQLite's own order is another.
        rows = sorted((row for row in rows if is_key(row[:2]) and row[:2] >= first), key=itemgetter(0, 1))
        places = [Place.of(row[2:]) for row in rows]
        sizes = itertools.accumulate(place.size_bytes for place in places)
        count = max(1, sum(size_bytes <= max_bytes for size_bytes in sizes))
        keys = [SliverKey(blob_id, row[0], Axis(row[1])) for row in rows[:count]]
        found = list(zip(keys, places[:count], strict=True))
        contents = zip(keys, self.contents(found), strict=True)
        slivers = [(key.shard, key.axis, content) for key, content in contents if content is not None]
        return slivers, rows[count][:2] if count < len(rows) else None

    def _remove_strange(self, blob_id: bytes, rows: Sequence[Sequence[Any]]) -> None:
        """Remove a blob's rows, as FIND_ALL gives them, that are of no sliver there can be; tell that one is lost."""
        if not rows:
            return
        with self._writing, told(f"cannot give up damaged rows in {self._folder}"):
            with self._segments.transaction() as index:
                index.executemany(sql.DELETE, [(blob_id, *row[:2]) for row in rows])
                for row in rows:
                    self._segments.forget(Place.of(row[2:]))
            self._segments.remove_files()
            self.damaged_count += len(rows)
        self.tell_damage(blob_id)

    def contents(self, found: Sequence[tuple[SliverKey, Place]]) -> list[Symbols | None]:
        """Slivers' symbols by their rows; None for one that is not there whole and unchanged, which is given up."""
        contents = self._read([place for _, place in found])
        lost = {at: found[at] for at, content in enumerate(contents) if content is None}
        while lost:
            lost = self._give_up_lost(lost, contents)
        return contents

    def _give_up_lost(
        self, lost: Mapping[int, tuple[SliverKey, Place]], contents: list[Symbols | None]
    ) -> dict[int, tuple[SliverKey, Place]]:
        """Read once more what was not found, put what is into `contents`, and give up the rest.

        Another thread may have dropped, replaced, moved or given one up since its row was read. Return those that were
        moved to another place of the object store: what lies there is read without the lock, as no writer is to wait.
        """
        objects = {at: self._segments.object_of(place) for at, (_, place) in lost.items()}
        self._put([(at, place) for at, (_, place) in lost.items() if objects[at] is not None], contents)
        lost = {at: one for at, one in lost.items() if contents[at] is None}
        with self._writing, told(f"cannot give up damaged slivers in {self._folder}"):
            rows = {at: self._index.query(sql.FIND, *key) for at, (key, _) in lost.items()}
            now = {at: (lost[at][0], Place.of(some[0])) for at, some in rows.items() if some}
            now = {at: (key, place) for at, (key, place) in now.items() if self._segments.get(place.segment)}
            here = {at: self._segments.object_of(place) for at, (_, place) in now.items()}
            self._put([(at, place) for at, (_, place) in now.items() if here[at] is None], contents)
            moved = {
                at: one
                for at, one in now.items()
                if here[at] is not None and (here[at], one) != (objects[at], lost[at])
            }
            self.give_up([one for at, one in now.items() if contents[at] is None and at not in moved])
        return moved

    def _put(self, places: Sequence[tuple[int, Place]], contents: list[Symbols | None]) -> None:
        """Read places, and put what is there into `contents` at their numbers."""
        for (at, _), content in zip(places, self._read([place for _, place in places]), strict=True):
            contents[at] = content

    def give_up(self, damaged: Sequence[tuple[SliverKey, Place]]) -> None:
        """Remove the rows of damaged slivers, all at once, and tell of them. The caller holds `writing`."""
        if not damaged:
            return
        with self._segments.transaction() as index:
            index.executemany(sql.DELETE, (key for key, _ in damaged))
            for _, place in damaged:
                self._segments.forget(place)
        self._segments.remove_files()
        self.note([key for key, _ in damaged])
        for blob_id in {key.blob_id for key, _ in damaged}:
            self.tell_damage(blob_id)

    def _read(self, places: Sequence[Place]) -> list[Symbols | None]:
        """Slivers' symbols by their rows; None for what is not there whole and unchanged."""
        with told(f"cannot read slivers in {self._folder}"):
            contents = self._segments.read(places)
        return [
            content if content is not None and checksum_of(content) == place.checksum else None
            for place, content in zip(places, contents, strict=True)
        ]
