"""The files of larger slivers: written whole and durable, or not there. The index in `storage.node.store` rules them.

    incoming/<number>                  a sliver being written
    dropped/<number>                   a shard being dropped
    slivers/<shard>/<axis>/<first byte>/<blob id>
                                       symbols only; shard in decimal, axis "primary" or "secondary", the blob id and
                                       its first byte in hex

Whatever lies in the first two at the opening is deleted. The fan by the first byte keeps folders small, at a million
blobs some four thousand files each. It adds few syncs to a handover, whose pages follow the order of blob ids.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from storage.node.sqlite import StoreInUse
from storage.redstuff import Axis
from storage.redstuff.memory import uninitialised
from storage.redstuff.parameters import BLOB_ID_BYTES

FILES_AT_ONCE = 128
"""Files open at once while a group is written; all are written before the first is synced, so that the disk can
gather them."""
_LOST = (errno.ENOENT, errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What a read of a file says that is gone: no entry; a sector, a file system's checksum or its own structure broken."""


class SliverKey(NamedTuple):
    """What names a sliver on a node."""

    blob_id: bytes
    shard: int
    axis: Axis


def lock(folder: Path) -> int:
    """Take the store's lock: its open file, which gives it back when it is closed. Raises `StoreInUse`."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreInUse(f"the store {folder} is open already; stop the node that uses it") from None
    return descriptor


class SliverFiles:
    """The files under `folder`. Raises `OSError` as the disk does. One writer at a time; readers at any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._dropped = folder / "dropped"
        self._slivers = folder / "slivers"
        self._numbers = itertools.count()
        self._durable: set[Path] = set()
        """Folders whose own entries are known to be on the disk."""

    def open(self) -> None:
        """Create the folders and delete what was being written or dropped when the last run ended."""
        folders = {self._incoming, self._dropped, self._slivers}
        for folder in folders:
            folder.mkdir(exist_ok=True)
        self._sync(folders)
        for path in self._incoming.iterdir():
            path.unlink()
        for path in self._dropped.iterdir():
            shutil.rmtree(path)

    def write(self, contents: Mapping[SliverKey, memoryview]) -> None:
        """Write the slivers' files, durable on return; on any error none of them is left."""
        try:
            items = list(contents.items())
            for first in range(0, len(items), FILES_AT_ONCE):
                self._write_group(items[first : first + FILES_AT_ONCE])
            self._sync({self._path(key).parent for key in contents})
        except BaseException:
            # A folder removed behind our back is to be made anew by the next write.
            self._durable.clear()
            self.remove(contents)
            raise

    def read(self, key: SliverKey, size_bytes: int) -> memoryview | None:
        """A file's bytes; None when it is not of this size or not there, or the disk cannot read it any more.

        Read and not mapped: a sector that has gone bad is then an error, and not the process' end.
        """
        try:
            with _opened(self._path(key), os.O_RDONLY) as descriptor:
                if os.fstat(descriptor).st_size != size_bytes:
                    return None
                content = uninitialised(size_bytes).data
                return content if _read_all(descriptor, content) == size_bytes else None
        except OSError as error:
            if error.errno in _LOST:
                return None
            raise

    def free_bytes(self) -> int:
        """What the disk can still take."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def has(self, key: SliverKey, size_bytes: int) -> bool:
        """Whether the file is there and of this size."""
        try:
            return self._path(key).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def remove(self, keys: Iterable[SliverKey]) -> None:
        """Remove files as far as the disk lets; what it keeps has no row, and the next opening tries again."""
        for key in keys:
            with contextlib.suppress(OSError):
                self._path(key).unlink()

    def set_shard_aside(self, shard: int) -> Path | None:
        """Take all files of a shard out of their place at once; where they lie now, for `discard`, if anywhere."""
        folder = self._slivers / str(shard)
        self._durable = {one for one in self._durable if not one.is_relative_to(folder)}
        aside = self._dropped / str(next(self._numbers))
        try:
            return folder.rename(aside)
        except OSError:
            return None

    def discard(self, aside: Path) -> None:
        """Remove files set aside, as far as the disk lets. The writer need not wait for it."""
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self, is_known: Callable[[SliverKey], object]) -> None:
        """Remove every sliver's file that is not known. What is no sliver's file is not ours to remove."""
        for path in self._slivers.glob("*/*/*/*"):
            key = _key_of(path)
            if key is not None and not is_known(key):
                path.unlink()

    def _write_group(self, items: Sequence[tuple[SliverKey, memoryview]]) -> None:
        temporary = [self._incoming / str(next(self._numbers)) for _ in items]
        try:
            with contextlib.ExitStack() as opened:
                new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                descriptors = [opened.enter_context(_opened(path, new)) for path in temporary]
                for descriptor, (_, content) in zip(descriptors, items, strict=True):
                    _write_all(descriptor, content)
                for descriptor in descriptors:
                    os.fsync(descriptor)
            for path, (key, _) in zip(temporary, items, strict=True):
                target = self._path(key)
                if target.parent not in self._durable:
                    target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        except BaseException:
            for path in temporary:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise

    def _sync(self, folders: Set[Path]) -> None:
        """Make all entries of these folders durable, and the folders' own on the way up to the store's.

        The parents of a folder found there are synced all the same, once in a run: a run that was killed may have
        created it and not come to that. A journaling file system writes all this in one go at the first call.
        """
        new = set()
        for folder in folders:
            while folder != self._folder.parent and folder not in self._durable:
                new.add(folder)
                folder = folder.parent
        for folder in folders | {one.parent for one in new}:
            with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.fsync(descriptor)
        self._durable |= new

    def _path(self, key: SliverKey) -> Path:
        name = key.blob_id.hex()
        return self._slivers / str(key.shard) / key.axis.label / name[:2] / name


def _key_of(path: Path) -> SliverKey | None:
    """The sliver a file under `slivers/` holds; None when its path is not one that this module writes."""
    shard, axis, first, name = path.parts[-4:]
    try:
        key = SliverKey(bytes.fromhex(name), int(shard), Axis[axis.upper()])
    except (ValueError, KeyError):
        return None
    written = (str(key.shard), key.axis.label, key.blob_id.hex()[:2], key.blob_id.hex())
    return key if written == (shard, axis, first, name) and len(key.blob_id) == BLOB_ID_BYTES else None


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, room: memoryview) -> int:
    """Fill the room as far as the file goes; how far."""
    place = 0
    while place < len(room) and (count := os.readv(descriptor, [room[place:]])):
        place += count
    return place


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
