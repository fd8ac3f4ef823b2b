"""The files of the sliver store: its lock, and the segments that slivers are appended to.

    lock                       held while the store is open; freed by the kernel when the process dies
    segments/<shard>-<number>  symbols of one shard's slivers, one sliver after the other and nothing between them; both
                               numbers in decimal. Which sliver lies where is in the index alone.

`SegmentFiles` knows names, offsets and bytes, and nothing of slivers or of the index: something that keeps the bytes
elsewhere can take its place. A segment is only ever written behind what was committed of it.

The folder is opened before each use and never through a symbolic link, and so is each file in it: nothing outside the
store is read, written or removed. The folder has to be one. Whatever else than a regular file has a segment's name is
damage: the name is freed (`committee.files.clear_away`), its slivers are missing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from committee.errors import HauloutError
from committee.files import FOLDER, NotRegular, clear_away, free_bytes, open_regular, opened, require_folder
from storage.node.sqlite import StoreError, StoreInUse
from storage.redstuff.memory import uninitialised

FILES_AT_ONCE = 128
"""Segments open at once while a batch is written; all are written before the first is synced, so that the disk can
gather them."""
SYNCED_AT_ONCE = 8
"""Segments synced at once: a journaling file system then makes several durable in one go."""
BUFFERS_AT_ONCE = 512
"""Slivers in one call that writes; systems allow 1024."""
GAP_BYTES = 2**13
"""Bytes between two slivers that are read with them: a call costs as much as some kilobytes more."""
READ_BYTES = 2**20
"""Slivers read in one call, but for a single larger one."""
LOCK = "lock"
"""Name of the file that is locked while the store is open."""
SEGMENTS = "segments"
"""Name of the folder of all segments."""
LOST_AND_FOUND = "lost+found"
"""The folder that ext file systems have at their top."""
LOST = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""Errors of a read by which the file's content is lost: no entry, or a link; a bad sector, a wrong checksum of the file
system, or a broken structure of it."""


class SegmentName(NamedTuple):
    """What names a segment's file."""

    shard: int
    number: int

    def __str__(self) -> str:
        return f"{self.shard}-{self.number}"


class Appended(NamedTuple):
    """Slivers to be appended to one segment."""

    name: SegmentName
    offset: int
    """Bytes committed before; what lies behind them is overwritten. 0 for a segment that is to be created."""
    contents: Sequence[memoryview]


class Unusable(HauloutError):
    """Nothing can be appended to a segment: its file is gone, shorter than it has to be, or may not be written."""

    def __init__(self, name: SegmentName) -> None:
        super().__init__(str(name))
        self.name = name


def lock(folder: Path) -> int:
    """Take the store's lock: its open file, which gives it back when it is closed. Raises `StoreInUse`, `OSError`."""
    descriptor = open_regular(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreInUse(f"the store {folder} is open already; stop the node that uses it") from None
    return descriptor


def require_mounted(store: Path, chain: Path) -> None:
    """Raise `StoreError` when a store is an empty folder though its node has run: its disk is not mounted.

    All that is on the disk would be fetched again, to the disk below. A node that has run has the file `chain`; a store
    that was moved away leaves no folder.
    """
    try:
        is_empty = not {one.name for one in store.iterdir()} - {LOST_AND_FOUND}
    except OSError:
        return  # what is wrong there shows when the store is opened
    if is_empty and chain.exists():
        raise StoreError(
            f"the store {store} is an empty folder, and this node has run before: mount its disk there; to begin with "
            f"an empty store, which is filled from the other members, remove {chain}"
        )


class SegmentFiles:
    """The segments under `folder`. Raises `OSError` as the disk does. One writer at a time; readers at any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments = folder / SEGMENTS
        self._syncing = ThreadPoolExecutor(SYNCED_AT_ONCE, "sync")

    def open(self) -> None:
        """Create the folder. Raises `NotRegular` when it is something else, and `PermissionError`."""
        require_folder(self._segments)
        if not os.access(self._segments, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "this user may not write in it", str(self._segments))
        for folder in (self._segments, self._folder, self._folder.parent):
            with opened(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
                os.fsync(descriptor)

    def listed(self) -> dict[SegmentName, bool]:
        """Return the segments in the folder, and of each whether it is a regular file."""
        with os.scandir(self._segments) as entries:
            named = ((_name_of(entry.name), entry) for entry in entries)
            return {name: entry.is_file(follow_symlinks=False) for name, entry in named if name is not None}

    def length(self, name: SegmentName) -> int:
        """Return the bytes of a segment's regular file; 0 when there is none."""
        try:
            found = (self._segments / str(name)).lstat()
        except FileNotFoundError:
            return 0
        return found.st_size if stat.S_ISREG(found.st_mode) else 0

    def write(self, pieces: Sequence[Appended]) -> None:
        """Append to segments, at most one piece to each; all is durable on return.

        Raises `Unusable`, before anything is written to that segment. `undo` takes away what an error has left.
        """
        with self._opened_folder() as folder:
            for first in range(0, len(pieces), FILES_AT_ONCE):
                with contextlib.ExitStack() as stack:
                    some = pieces[first : first + FILES_AT_ONCE]
                    files = [stack.enter_context(opened(_for_writing(piece, folder))) for piece in some]
                    for file, piece in zip(files, some, strict=True):
                        _write_all(file, piece)
                    list(self._syncing.map(os.fsync, files) if len(files) > 1 else map(os.fsync, files))
            if not all(piece.offset for piece in pieces):
                os.fsync(folder)

    def undo(self, pieces: Sequence[Appended]) -> None:
        """Cut segments back to where `write` began, as far as the disk lets; the next `write` overwrites the rest."""
        for piece in pieces:
            with contextlib.suppress(OSError):
                if piece.offset:
                    self.cut(piece.name, piece.offset)
                else:
                    self.remove(piece.name)

    def cut(self, name: SegmentName, length: int) -> None:
        """Cut off what lies behind the first `length` bytes of a segment."""
        with (
            self._opened_folder() as folder,
            opened(open_regular(str(name), os.O_WRONLY, dir_fd=folder)) as file,
        ):
            if os.fstat(file).st_size > length:
                os.ftruncate(file, length)

    def read(self, name: SegmentName, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        """Return the bytes of each span (offset, size) of a segment.

        None stands for a span that is not there whole, or cannot be read (any more), and for all of them when the
        segment is no regular file. Read and not mapped: a sector that has gone bad is then an error, and not the
        process' end.
        """
        with self._opened_folder() as folder:
            try:
                file = open_regular(str(name), dir_fd=folder)
            except (NotRegular, PermissionError):
                return [None] * len(spans)
            except OSError as error:
                if error.errno in LOST:
                    return [None] * len(spans)
                raise
            with opened(file):
                return _read_all(file, spans)

    def remove(self, name: SegmentName) -> None:
        """Free a segment's name; no link is followed, and a folder that holds something is renamed."""
        with contextlib.suppress(FileNotFoundError), self._opened_folder() as folder:
            if stat.S_ISREG(os.stat(str(name), dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(str(name), dir_fd=folder)
            else:
                clear_away(str(name), folder)

    def free_bytes(self) -> int:
        """What the disk can still take."""
        return free_bytes(self._folder)

    @contextlib.contextmanager
    def _opened_folder(self) -> Iterator[int]:
        with opened(os.open(self._segments, FOLDER)) as descriptor:
            yield descriptor


def _name_of(text: str) -> SegmentName | None:
    """The name that a file in the folder has; None when it is not one that this module gives."""
    shard, _, number = text.partition("-")
    if not (text.isascii() and shard.isdecimal() and number.isdecimal()):
        return None
    name = SegmentName(int(shard), int(number))
    return name if str(name) == text else None


def _for_writing(piece: Appended, folder: int) -> int:
    """The open file of a segment, placed where the piece begins. Raises `Unusable`."""
    text = str(piece.name)
    if not piece.offset:
        with contextlib.suppress(FileNotFoundError):  # left by a run that could not remove it
            os.stat(text, dir_fd=folder, follow_symlinks=False)
            clear_away(text, folder)
        return os.open(text, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        file = open_regular(text, os.O_WRONLY, dir_fd=folder)
    except (NotRegular, PermissionError, FileNotFoundError):
        raise Unusable(piece.name) from None
    try:
        size_bytes = os.fstat(file).st_size
        if size_bytes < piece.offset:
            raise Unusable(piece.name)
        if size_bytes > piece.offset:
            os.ftruncate(file, piece.offset)
        os.lseek(file, piece.offset, os.SEEK_SET)
    except BaseException:
        os.close(file)
        raise
    return file


def _write_all(file: int, piece: Appended) -> None:
    for first in range(0, len(piece.contents), BUFFERS_AT_ONCE):
        buffers = list(piece.contents[first : first + BUFFERS_AT_ONCE])
        while buffers:
            written = os.writev(file, buffers)
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if buffers:
                buffers[0] = buffers[0][written:]


def _read_all(file: int, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
    """Spans of an open file, as `_read` gives each; those that lie close together are read at once."""
    contents: list[memoryview | None] = [None] * len(spans)
    order, first = sorted(range(len(spans)), key=spans.__getitem__), 0
    while first < len(order):
        begin, size_bytes = spans[order[first]]
        end, last = begin + size_bytes, first + 1
        while last < len(order):
            offset, size_bytes = spans[order[last]]
            if offset - end > GAP_BYTES or offset + size_bytes - begin > READ_BYTES:
                break
            end, last = max(end, offset + size_bytes), last + 1
        whole = _read(file, begin, end - begin)
        for at in order[first:last]:
            offset, size_bytes = spans[at]
            if whole is not None:
                contents[at] = whole[offset - begin : offset - begin + size_bytes]
            elif last > first + 1:
                contents[at] = _read(file, offset, size_bytes)
        first = last
    return contents


def _read(file: int, offset: int, size_bytes: int) -> memoryview | None:
    """A span of an open file; None when the file ends before, or the disk cannot read it."""
    content, place = uninitialised(size_bytes).data, 0
    try:
        while place < size_bytes and (count := os.preadv(file, [content[place:]], offset + place)):
            place += count
    except OSError as error:
        if error.errno in LOST:
            return None
        raise
    return content if place == size_bytes else None
