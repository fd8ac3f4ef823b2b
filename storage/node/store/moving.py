"""Moving segments between the disk and an object store, so that a kill or a failure at any moment loses nothing.

A segment is sent when it takes nothing more, or when files take more than half of what they may: then the largest one.
What is acknowledged lies in a file, synced, until all of it was read back from the object store and found the same;
only then the list names the object, and the file is removed.

The name of an object goes on the list of removals before its first byte is sent, and off it by the transaction that
makes the object a segment. An object is a segment's, or is on that list, or is an orphan: of an upload that was given
up and came through later, or of a deletion that an object store only claimed. `note_orphans` finds these.

A segment of which half is dead is fetched, and then rewritten as any other on the disk (`storage.node.store.tidying`).
"""

from __future__ import annotations

import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest as checksum_of

from storage.node.sqlite import StoreError, StoreFull, StoreUnavailable, told
from storage.node.store import statements as sql
from storage.node.store.files import Appended, SegmentFiles
from storage.node.store.index import StoreIndex
from storage.node.store.objects import MARK, Objects
from storage.node.store.segments import Segment, Segments

BLOCK_BYTES = 8 * 2**20
"""Bytes that are sent, read back or fetched at once."""
REMOVED_AT_ONCE = 64
ORPHANS_NOTED = 10_000
LISTED_S = 600.0
"""Limits of one look at a list: it need not have an end, and what it names need not be there."""
STORE_ID = "store.id"
"""A bookmark: what sets the store's objects apart from other stores' in the same bucket."""
OBJECT_NAME = re.compile(r"\d+-\d+-[0-9a-f]{8}")


class Progress(NamedTuple):
    """How many segments, and bytes of them, a move of all segments has moved, and how many are left."""

    segments: int
    size_bytes: int
    segments_left: int
    bytes_left: int


class _Unreadable(Exception):
    """The file of a segment cannot be read whole."""


class Moving:
    """The moving of one store's segments. Any thread may call; one moves at a time."""

    def __init__(
        self,
        index: StoreIndex,
        segments: Segments,
        files: SegmentFiles,
        writing: threading.RLock,
        connect: Callable[[str], Objects] | None,
        limits: tuple[int, int],
    ) -> None:
        """`writing` is the store's lock, `connect` gives the object store for a store's id.

        `limits` are the most bytes that files of segments take, and those of the disk that are kept free.
        """
        self._index = index
        self._segments = segments
        self._files = files
        self._writing = writing
        self._connect = connect
        self._file_limit_bytes, self._reserve_bytes = limits
        self._stopped = threading.Event()
        self._is_own = False
        """Whether the object store was seen to be this store's."""
        self.lock = threading.RLock()
        """Held while segments are moved; taken before `writing`."""

    def open(self) -> None:
        """Connect to the object store, without a request, before `Segments.load`."""
        self._stopped.clear()
        self._is_own = False
        self._segments.objects = None
        if self._connect is not None:
            rows = self._index.query(sql.BOOKMARK, STORE_ID)
            store_id = rows[0][0] if rows else secrets.token_hex(16).encode()
            if not rows:
                with self._index.transaction() as index:
                    index.execute(sql.KEEP_BOOKMARK, (STORE_ID, store_id))
            self._segments.objects = self._connect(store_id.decode())

    def require_connected(self) -> None:
        """Raise `StoreError` when segments lie in an object store and none is named."""
        if self._segments.objects is None and self._segments.object_count:
            raise StoreError(
                f"{self._segments.object_count} segments of the store lie in an object store: name it by object_store "
                "in node.toml; `haulout node move FOLDER --to disk` brings them back"
            )

    def stop(self) -> None:
        """Have what is being moved end soon, with a `StoreUnavailable`; nothing is moved until the next opening."""
        self._stopped.set()

    def require_room(self, size_bytes: int) -> None:
        """Raise `StoreUnavailable` when files would take more than they may, as sending lags behind."""
        waiting_bytes = self._segments.file_bytes
        if self._segments.objects is not None and waiting_bytes + size_bytes > self._file_limit_bytes:
            raise StoreUnavailable(
                f"{size_bytes} bytes do not fit: {waiting_bytes} wait to be sent to the object store, which lags "
                f"behind; the limit is {self._file_limit_bytes}"
            )

    def status(self) -> dict[str, Any] | None:
        """Return what health tells of the object store; None without one."""
        objects = self._segments.objects
        if objects is None:
            return None
        counts = {"segments": self._segments.object_count, "waitingBytes": self._segments.file_bytes}
        return {**counts, "failingSeconds": math.ceil(10 * objects.failing_s()) / 10}

    # one after the other, while the node runs

    def step(self) -> bool:
        """Move one segment, if any is to be moved, and delete some objects; return whether there may be more to do.

        Raises `StoreUnavailable` when the object store fails, and `StoreError`.
        """
        with self.lock, told("cannot move segments"):
            if self._segments.objects is None or self._stopped.is_set():
                return False
            try:
                has_moved = self._move()
            finally:
                has_removed = self._remove()
            return has_moved or has_removed

    def note_orphans(self, is_to_end: Callable[[], bool] = lambda: False) -> int:
        """Look through what the object store lists for objects that the index does not know, and delete them.

        Return how many there were; a later `step` deletes them. It is asked after each page of the list whether it
        `is_to_end`. No more than ORPHANS_NOTED are noted, and no list is read for longer than LISTED_S.
        """
        count, until_s = 0, time.monotonic() + LISTED_S
        objects = self._segments.objects
        for names in objects.names() if objects is not None else ():
            if is_to_end() or count >= ORPHANS_NOTED or time.monotonic() >= until_s:
                break
            known = {name for (name,) in self._index.query(sql.KNOWN_OBJECTS)}
            orphans = [name for name in names if name not in known and OBJECT_NAME.fullmatch(name)]
            with self._writing, self._index.transaction() as index:
                index.executemany(sql.ADD_REMOVAL, [(name,) for name in orphans])
            count += len(orphans)
        return count

    # all of them, while no node runs

    def send_all(self) -> Iterator[Progress]:
        """Send all segments, the last of each shard too, and delete what is to be deleted; yield after each segment."""
        yield from self._all(self._files_to_send, self._send)

    def fetch_all(self) -> Iterator[Progress]:
        """Fetch all segments, and leave nothing of the store's own in the object store; yield after each segment.

        Raises `StoreFull`, before anything is fetched, when the disk has no room for all.
        """
        self._require_disk(sum(one.length for one in self._objects()))
        yield from self._all(self._objects, self._fetch)
        if self._segments.objects is not None and not self._segments.object_count:
            self._segments.objects.remove(MARK)
            self._is_own = False

    def _all(self, found: Callable[[], list[Segment]], move: Callable[[Segment], None]) -> Iterator[Progress]:
        with self.lock, told("cannot move segments"):
            moved, moved_bytes = 0, 0
            while left := found():
                move(left[0])
                moved, moved_bytes = moved + 1, moved_bytes + left[0].length
                yield Progress(moved, moved_bytes, len(left) - 1, sum(one.length for one in left[1:]))
            while self._remove():
                pass

    # the moves

    def _move(self) -> bool:
        """Fetch a segment that is half dead, or send one; return whether one was to be moved."""
        for segment in self._segments.wasteful():
            room_bytes = min(
                self._file_limit_bytes - self._segments.file_bytes,
                (self._files.free_bytes() - self._reserve_bytes) // 2,
            )
            if segment.object is not None and segment.length <= room_bytes:
                self._fetch(segment, is_retired=True)
                return True
        files = self._files_to_send()
        sealed = [one for one in files if not self._segments.takes_more(one)]
        if not sealed and self._segments.file_bytes <= self._file_limit_bytes // 2:
            return False
        if files:
            self._send(sealed[0] if sealed else max(files, key=lambda one: one.length))
        return bool(files)

    def _files_to_send(self) -> list[Segment]:
        return [one for one in self._segments.all() if one.object is None and not one.is_retired]

    def _objects(self) -> list[Segment]:
        return [one for one in self._segments.all() if one.object is not None]

    def _send(self, segment: Segment) -> None:
        """Make an object of a segment's file; the file is removed once the object is found to be the same."""
        objects = self._own()
        name = f"{segment.name}-{secrets.token_hex(4)}"
        with self._writing:
            now = self._segments.get(segment.number)
            if now is None or now.is_retired:
                return
            segment = now
            self._segments.seal(segment.number)
            with self._index.transaction() as index:
                index.execute(sql.ADD_REMOVAL, (name,))
        try:
            objects.write(name, self._blocks(segment))
            self._check(objects, segment, name)
            with self._writing, self._segments.transaction():
                now = self._segments.get(segment.number)
                if now is not None and not now.is_retired:
                    self._segments.put(replace(now, object=name))
        except _Unreadable:
            with self._writing, self._segments.transaction():
                now = self._segments.get(segment.number)
                if now is not None:
                    self._segments.put(replace(now, is_retired=True))
        finally:
            self._segments.seal(0)
        self._segments.remove_files()

    def _check(self, objects: Objects, segment: Segment, name: str) -> None:
        """Read an object back. Raises `StoreUnavailable` when it is not what was sent."""
        size_bytes = objects.length(name)
        if size_bytes != segment.length:
            raise StoreUnavailable(
                f"the object store took the {segment.length} bytes of {name} and has {size_bytes or 0} of them; "
                "sending them again"
            )
        for (offset, _), sent in zip(_spans(segment.length), self._blocks(segment), strict=True):
            (there,) = objects.read(name, [(offset, len(sent))])
            if there is None or checksum_of(there) != checksum_of(sent):
                raise StoreUnavailable(
                    f"the object store has other bytes in {name} than it took; sending it again"
                )

    def _blocks(self, segment: Segment) -> Iterator[memoryview]:
        """Read a segment's file block by block. Raises `_Unreadable`."""
        for span in _spans(segment.length):
            self._require_going()
            with told("cannot read segments"):
                (block,) = self._files.read(segment.name, [span])
            if block is None:
                raise _Unreadable(str(segment.name))
            yield block

    def _fetch(self, segment: Segment, *, is_retired: bool = False) -> None:
        """Make a file of a segment's object, as far as that is there; what is not is lost. The object is then removed.

        A segment that `is_retired`, or not whole, is rewritten by the next tidying.
        """
        objects = self._own()
        if segment.object is None:
            return
        self._require_disk(segment.length)
        self._segments.remove_files()
        self._files.remove(segment.name)
        length = 0
        for offset, size_bytes in _spans(min(segment.length, objects.length(segment.object) or 0)):
            self._require_going()
            (block,) = objects.read(segment.object, [(offset, size_bytes)])
            if block is None:
                break
            self._files.write([Appended(segment.name, offset, [block])])
            length += size_bytes
        with self._writing, self._segments.transaction():
            now = self._segments.get(segment.number)
            if now is not None:
                is_retired = is_retired or length < now.length
                self._segments.put(replace(now, object=None, length=length, is_retired=is_retired))
        if now is None:
            self._files.remove(segment.name)

    def _remove(self) -> bool:
        """Delete some objects that are to be deleted; return whether there were any."""
        names = [name for (name,) in self._index.query(sql.REMOVALS, REMOVED_AT_ONCE)]
        objects = self._segments.objects
        if not names or objects is None or self._stopped.is_set():
            return False
        for name in names:
            objects.remove(name)
        with self._writing, self._index.transaction() as index:
            index.executemany(sql.DELETE_REMOVAL, [(name,) for name in names])
        return True

    def _own(self) -> Objects:
        """The object store, known to be this store's: it has the mark, or is given it with the first object."""
        objects = self._segments.objects
        if objects is None:
            raise StoreError("no object store is named: set object_store in node.toml")
        if not self._is_own:
            if self._segments.object_count:
                objects.require_own()
            else:
                objects.claim()
            self._is_own = True
        return objects

    def _require_disk(self, size_bytes: int) -> None:
        free_bytes = self._files.free_bytes() - self._reserve_bytes
        if size_bytes > free_bytes:
            raise StoreFull(
                f"no room for {size_bytes} bytes of segments from the object store: {max(free_bytes, 0)} are free; "
                "make room on the disk"
            )

    def _require_going(self) -> None:
        if self._stopped.is_set():
            raise StoreUnavailable("segments are not moved any more: the store is being closed")


def _spans(length: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of the blocks that are moved one after the other."""
    for offset in range(0, length, BLOCK_BYTES):
        yield offset, min(BLOCK_BYTES, length - offset)
