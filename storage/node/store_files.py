"""The files of larger slivers: written whole and durable, or not there. The index in `storage.node.store` rules them.

    incoming/<number>                  slivers being written; whatever lies here at the opening is deleted
    slivers/<shard>/<axis>/<blob id>   symbols only; shard in decimal, axis "primary" or "secondary", id in hex

One folder for each axis of a shard, and not a fan of folders below it: a page of a handover is then one folder to sync,
and the file systems a node runs on find a name among a million as quickly as among a hundred.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from storage.redstuff import Axis

FILES_AT_ONCE = 128
"""Files open at once while a group is written; all are written before the first is synced, so that the disk can
gather them."""
BLOB_ID_BYTES = 32


class SliverKey(NamedTuple):
    """What names a sliver on a node."""

    blob_id: bytes
    shard: int
    axis: Axis


class SliverFiles:
    """The files under `folder`. Raises `OSError` as the disk does. One writer at a time; readers at any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._slivers = folder / "slivers"
        self._numbers = itertools.count()
        self._durable: set[Path] = set()
        """Folders whose own entries are known to be on the disk."""

    def open(self) -> None:
        """Create the folders and delete what was being written when the last run ended."""
        self._make_durable(self._incoming)
        self._make_durable(self._slivers)
        for path in self._incoming.iterdir():
            path.unlink()

    def write(self, contents: Mapping[SliverKey, memoryview]) -> None:
        """Write the slivers' files, durable on return; on any error none of them is left."""
        try:
            items = list(contents.items())
            for first in range(0, len(items), FILES_AT_ONCE):
                self._write_group(items[first : first + FILES_AT_ONCE])
            for folder in {self._path(key).parent for key in contents}:
                _sync_folder(folder)
        except BaseException:
            # A folder removed behind our back is to be made anew by the next write.
            self._durable.clear()
            self.remove(contents)
            raise

    def read(self, key: SliverKey) -> bytes | None:
        """A file's bytes; None when there is none."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

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

    def remove_shard(self, shard: int) -> None:
        """Remove all files of a shard, as far as the disk lets."""
        folder = self._slivers / str(shard)
        self._durable = {one for one in self._durable if folder not in (one, one.parent)}
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, is_known: Callable[[SliverKey], object]) -> None:
        """Remove every sliver's file that is not known. What is no sliver's file is not ours to remove."""
        for path in self._slivers.glob("*/*/*"):
            key = _key_of(path)
            if key is not None and not is_known(key):
                path.unlink()

    def _write_group(self, items: Sequence[tuple[SliverKey, memoryview]]) -> None:
        temporary = [self._incoming / str(next(self._numbers)) for _ in items]
        try:
            with contextlib.ExitStack() as opened:
                descriptors = [opened.enter_context(_created(path)) for path in temporary]
                for descriptor, (_, content) in zip(descriptors, items, strict=True):
                    _write_all(descriptor, content)
                for descriptor in descriptors:
                    os.fsync(descriptor)
            for path, (key, _) in zip(temporary, items, strict=True):
                target = self._path(key)
                self._make_durable(target.parent)
                path.rename(target)
        except BaseException:
            for path in temporary:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise

    def _make_durable(self, folder: Path) -> None:
        """Create a folder, its entry and its parents' durable.

        A folder found there is synced all the same, once in a run: a run that was killed may have created it and not
        synced its parent.
        """
        if folder in self._durable:
            return
        if folder != self._folder:
            self._make_durable(folder.parent)
            folder.mkdir(exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        self._durable.add(folder)

    def _path(self, key: SliverKey) -> Path:
        return self._slivers / str(key.shard) / key.axis.name.lower() / key.blob_id.hex()


def _key_of(path: Path) -> SliverKey | None:
    """The sliver a file under `slivers/` holds; None when its path is not one that this module writes."""
    axis, shard = path.parent, path.parent.parent
    try:
        key = SliverKey(bytes.fromhex(path.name), int(shard.name), Axis[axis.name.upper()])
    except (ValueError, KeyError):
        return None
    written = (key.blob_id.hex(), str(key.shard), key.axis.name.lower())
    return (
        key if written == (path.name, shard.name, axis.name) and len(key.blob_id) == BLOB_ID_BYTES else None
    )


@contextlib.contextmanager
def _created(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
