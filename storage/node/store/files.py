"""The files of larger slivers: written whole and durable, or not there. The index in `storage.node.store` rules them.

    incoming/<number>                  a sliver being written
    dropped/<number>                   a shard being dropped
    slivers/<shard>/<axis>/<first byte>/<blob id>
                                       symbols only; shard in decimal, axis "primary" or "secondary", the blob id and
                                       its first byte in hex

Whatever lies in the first two at the opening is deleted. The fan by the first byte keeps folders small, at a million
blobs some four thousand files each. It adds few syncs to a handover, whose pages follow the order of blob ids.

Folders are opened one below the other and never through a symbolic link, so that nothing outside the store is read,
written or removed. The store's own three folders have to be folders. Below `slivers/`, whatever is not the folder or
regular file that belongs there is damage: its name is freed (`committee.files.clear_away`), its slivers are missing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from committee.files import FOLDER, NotRegular, clear_away, open_regular, opened, require_folder
from storage.node.sqlite import StoreError, StoreInUse
from storage.redstuff import Axis
from storage.redstuff.memory import uninitialised
from storage.redstuff.parameters import BLOB_ID_BYTES

FILES_AT_ONCE = 128
"""Files open at once while a group is written; all are written before the first is synced, so that the disk can
gather them."""
LOCK = "lock"
"""Name of the file that is locked while the store is open."""
SLIVERS = "slivers"
"""Name of the folder of all slivers' files."""
LOST_AND_FOUND = "lost+found"
"""The folder that ext file systems have at their top."""
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
"""What the opening of a folder says when something else is there."""
_LOST = (errno.ENOENT, errno.EIO, errno.EBADMSG, errno.EUCLEAN, *_NO_FOLDER)
"""What a read of a file says that is gone: no entry; a sector, a file system's checksum or its own structure broken;
something else on the way to it."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class SliverKey(NamedTuple):
    """What names a sliver on a node."""

    blob_id: bytes
    shard: int
    axis: Axis


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


class SliverFiles:
    """The files under `folder`. Raises `OSError` as the disk does. One writer at a time; readers at any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._dropped = folder / "dropped"
        self._slivers = folder / SLIVERS
        self._numbers = itertools.count(
            secrets.randbits(48)
        )  # others than those that an earlier run has left
        self._durable: set[Path] = set()
        """Folders whose own entries are known to be on the disk."""

    def open(self) -> None:
        """Create the folders. Raises `NotRegular` when one of the three is something else, and `PermissionError`."""
        folders = (self._incoming, self._dropped, self._slivers)
        for folder in folders:
            require_folder(folder)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "this user may not write in it", str(folder))
        self._sync(set(folders))

    def clean(self) -> None:
        """Delete what was being written or dropped when the last run ended, as far as the disk lets.

        Frees the names of folders below `slivers/` that something else has.
        """
        for folder in (self._incoming, self._dropped):
            with opened(os.open(folder, FOLDER)) as descriptor:
                for path in list(folder.iterdir()):
                    with contextlib.suppress(OSError):
                        _remove_all(path.name, descriptor)
        for depth in (1, 2, 3):
            for folder in list(self._level(depth)):
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    clear_away(folder)

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
        """A file's bytes; None when it is not a regular file of this size, or cannot be read (any more).

        Read and not mapped: a sector that has gone bad is then an error, and not the process' end.
        """
        try:
            opened_folder = self._folder_of(key)
        except OSError as error:
            if error.errno in (errno.ENOENT, *_NO_FOLDER):
                return None
            raise  # a disk that does not answer, or is gone: the sliver is not
        with opened_folder as folder:
            try:
                return _read(key.blob_id.hex(), folder, size_bytes)
            except OSError as error:
                if error.errno in _LOST:
                    return None
                raise

    def free_bytes(self) -> int:
        """What the disk can still take."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def has(self, key: SliverKey, size_bytes: int) -> bool:
        """Whether a regular file of this size is there; at an opening, when all on the way to it are folders."""
        try:
            found = self._path(key).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes

    def has_any(self) -> bool:
        """Whether the file of any sliver is there."""
        return any(_key_of(path) is not None for path in self._level(4))

    def remove(self, keys: Iterable[SliverKey]) -> None:
        """Remove files as far as the disk lets; what it keeps has no row, and the next opening tries again."""
        for key in keys:
            with contextlib.suppress(OSError), self._folder_of(key) as folder:
                os.unlink(key.blob_id.hex(), dir_fd=folder)

    def set_shard_aside(self, shard: int) -> str | None:
        """Take all files of a shard out of their place at once; their name now, for `discard`, if there are any."""
        self._forget(self._slivers / str(shard))
        aside = str(next(self._numbers))
        try:
            with opened(os.open(self._slivers, FOLDER)) as old, opened(os.open(self._dropped, FOLDER)) as new:
                os.rename(str(shard), aside, src_dir_fd=old, dst_dir_fd=new)
        except OSError:
            return None
        return aside

    def discard(self, aside: str) -> None:
        """Remove files set aside, as far as the disk lets. The writer need not wait for it."""
        with contextlib.suppress(OSError), opened(os.open(self._dropped, FOLDER)) as folder:
            _remove_all(aside, folder)

    def sweep(self, is_known: Callable[[SliverKey], object]) -> None:
        """Remove each sliver's file that is not known, as far as the disk lets. No other file is ours to remove."""
        for path in self._level(4):
            key = _key_of(path)
            if key is not None and not is_known(key):
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode):
                        path.unlink()
                    else:
                        clear_away(path)

    def _write_group(self, items: Sequence[tuple[SliverKey, memoryview]]) -> None:
        names = [str(next(self._numbers)) for _ in items]
        with opened(os.open(self._incoming, FOLDER)) as incoming:
            try:
                with contextlib.ExitStack() as stack:
                    files = [
                        stack.enter_context(opened(os.open(name, _NEW, 0o644, dir_fd=incoming)))
                        for name in names
                    ]
                    for file, (_, content) in zip(files, items, strict=True):
                        _write_all(file, content)
                    for file in files:
                        os.fsync(file)
                for name, (key, _) in zip(names, items, strict=True):
                    with self._folder_of(key, make=True) as folder:
                        _move(name, incoming, key.blob_id.hex(), folder)
            except BaseException:
                for name in names:
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=incoming)
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
            with opened(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
                os.fsync(descriptor)
        self._durable |= new

    def _folder_of(self, key: SliverKey, make: bool = False) -> AbstractContextManager[int]:
        """The open folder of a sliver's file, reached through no link; made, and all on the way to it, if asked to."""
        names = (str(key.shard), key.axis.label, key.blob_id[:1].hex())
        folder = os.open(self._slivers, FOLDER)
        for depth, name in enumerate(names, 1):
            try:
                below = self._folder_below(
                    folder, name, self._slivers.joinpath(*names[:depth]) if make else None
                )
            finally:
                os.close(folder)
            folder = below
        return opened(folder)

    def _folder_below(self, parent: int, name: str, made: Path | None) -> int:
        """A folder opened in its open parent; if it may be made, its path is given."""
        try:
            return os.open(name, FOLDER, dir_fd=parent)
        except OSError as error:
            if made is None or error.errno not in (errno.ENOENT, *_NO_FOLDER):
                raise
            if error.errno in _NO_FOLDER:
                clear_away(name, parent)
        self._forget(made)
        os.mkdir(name, dir_fd=parent)
        return os.open(name, FOLDER, dir_fd=parent)

    def _forget(self, folder: Path) -> None:
        """Hold a folder, and all in it, for durable no longer."""
        self._durable = {one for one in self._durable if not one.is_relative_to(folder)}

    def _level(self, depth: int) -> Iterator[Path]:
        """All that has the name of a folder `depth` below `slivers/`, at 4 of a file; behind no link."""
        if depth == 0:
            yield self._slivers
            return
        for folder in self._level(depth - 1):
            if stat.S_ISDIR(folder.lstat().st_mode):
                yield from (path for path in folder.iterdir() if _IS_NAME[depth - 1](path.name))

    def _path(self, key: SliverKey) -> Path:
        name = key.blob_id.hex()
        return self._slivers / str(key.shard) / key.axis.label / name[:2] / name


def _is_shard(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name


_IS_NAME: Sequence[Callable[[str], bool]] = (
    _is_shard,
    {axis.label for axis in Axis}.__contains__,
    {f"{byte:02x}" for byte in range(256)}.__contains__,
    lambda name: len(name) == 2 * BLOB_ID_BYTES,
)
"""Whether a name is one that this module gives, by its depth below `slivers/`."""


def _key_of(path: Path) -> SliverKey | None:
    """The sliver a file under `slivers/` holds; None when its path is not one that this module writes."""
    shard, axis, first, name = path.parts[-4:]
    try:
        key = SliverKey(bytes.fromhex(name), int(shard), Axis[axis.upper()])
    except (ValueError, KeyError):
        return None
    written = (str(key.shard), key.axis.label, key.blob_id.hex()[:2], key.blob_id.hex())
    return key if written == (shard, axis, first, name) and len(key.blob_id) == BLOB_ID_BYTES else None


def _read(name: str, folder: int, size_bytes: int) -> memoryview | None:
    """The content of a regular file of this size; None for anything else, and for what may not be read."""
    try:
        descriptor = open_regular(name, dir_fd=folder)
    except (NotRegular, PermissionError):
        return None
    with opened(descriptor):
        if os.fstat(descriptor).st_size != size_bytes:
            return None
        content = uninitialised(size_bytes).data
        return content if _read_all(descriptor, content) == size_bytes else None


def _read_all(descriptor: int, room: memoryview) -> int:
    """Fill the room as far as the file goes; how far."""
    place = 0
    while place < len(room) and (count := os.readv(descriptor, [room[place:]])):
        place += count
    return place


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _move(name: str, folder: int, new_name: str, new_folder: int) -> None:
    """Rename a file from one open folder to another; what else than a file has the new name loses it."""
    try:
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
    except IsADirectoryError:
        clear_away(new_name, new_folder)
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)


def _remove_all(name: str, folder: int) -> None:
    """Remove what has a name in an open folder, with all that can be removed in it; a link, not what it names."""
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)
