"""The conversion of a store of version 4, which had a file or an inline row for each sliver, to segments.

    slivers/<shard>/<axis>/<first byte>/<blob id>
                           the larger slivers; shard in decimal, axis "primary" or "secondary", the others in hex
    incoming/, dropped/    slivers being written, and shards being dropped: nothing that counts

The conversion begins with one transaction that sets the old tables aside (`statements.SET_ASIDE`). It then takes the
old rows piece by piece: each is stored as if it were new, and then deleted. So it needs no more room than one piece,
but for the index, and a conversion that was interrupted goes on at the next opening. The store is open once it is done.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from xxhash import xxh3_64_digest as checksum_of

from committee.files import FOLDER, NotRegular, open_regular, opened
from committee.logs import Log
from storage.node.sqlite import StoreDamaged, StoreError, told
from storage.node.store import statements as sql
from storage.node.store.files import LOST
from storage.node.store.index import StoreIndex, number_of
from storage.node.store.records import NewSliver, SliverKey, Tally
from storage.node.store.tallies import add_tallies
from storage.redstuff import Axis

log = Log()

SLIVERS_AT_ONCE = 1024
METADATA_AT_ONCE = 256
BYTES_AT_ONCE = 32 * 2**20
"""Most bytes of slivers in one piece; a larger sliver is a piece of its own."""
TOLD_EVERY_S = 10.0
"""Time between two log lines of the progress."""
SLIVERS = "slivers"
"""The folder of the old slivers."""
OLD_FOLDERS = (SLIVERS, "incoming", "dropped")


class Store(Protocol):
    """What the conversion needs of the store."""

    folder: Path

    def put_slivers(self, slivers: Iterable[NewSliver]) -> int:
        """Store slivers, all or none."""


class _Old(NamedTuple):
    """A row of the old table."""

    row: int
    key: SliverKey
    size_bytes: int
    checksum: bytes
    inline: bytes | None


def has_old_files(folder: Path) -> bool:
    """Return whether a store of version 4 has left files of slivers in this folder."""
    try:
        return next((folder / SLIVERS).iterdir(), None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def convert(store: Store, index: StoreIndex, is_to_end: Callable[[], bool]) -> list[SliverKey]:
    """Convert what is left of an older version, if anything; return the slivers that were damaged and are gone.

    Raises `StoreError`, also once it `is_to_end`; `StoreFull` when there is no room for a piece, `StoreDamaged` for
    rows that make no sense. What was converted by then stays so.
    """
    if not index.query(sql.IS_ASIDE):
        return []
    place = store.folder / SLIVERS
    if index.query(sql.OLD_IN_FILES) and (place.is_symlink() or not place.is_dir()):
        raise StoreError(
            f"cannot convert the store {store.folder}: the slivers of its version lie in {place}, which is no folder; "
            "put it back and start again"
        )
    ((left,),) = index.query(sql.OLD_COUNT)
    log.info("converting the store to segments; it may be ended and goes on at the next start", slivers=left)
    damaged: list[SliverKey] = []
    what = f"cannot convert the store {store.folder}"
    try:
        with told(what):
            _convert_all(store, index, left, damaged, is_to_end)
    except (TypeError, ValueError) as error:  # SQLite gives a value of another type for a bit that changed
        raise StoreDamaged(f"{what}: its index has a row that no store has written: {error}") from error
    log.info("the store is converted", damaged=len(damaged))
    return damaged


def _convert_all(
    store: Store, index: StoreIndex, left: int, damaged: list[SliverKey], is_to_end: Callable[[], bool]
) -> None:
    """Convert the `left` slivers and all else, piece by piece; add the slivers that are damaged."""
    told_s = time.monotonic()
    while piece := _piece(index):
        _convert(store, index, piece, damaged)
        left -= len(piece)
        if is_to_end():
            raise StoreError(
                f"the conversion of {store.folder} was ended with {left} slivers left; it goes on later"
            )
        if time.monotonic() - told_s >= TOLD_EVERY_S:
            told_s = time.monotonic()
            log.info("converting the store", slivers_left=left)
    _convert_metadata(index)
    _convert_tallies(index)
    with index.transaction() as writer:
        for statement in sql.END_CONVERSION:
            writer.execute(statement)
    for name in OLD_FOLDERS:
        _remove_folders(store.folder / name)


def _piece(index: StoreIndex) -> list[_Old]:
    """Return slivers of the old store that are not converted yet: SLIVERS_AT_ONCE or BYTES_AT_ONCE of them at most.

    A first sliver that is larger is returned alone; the list is empty when all are converted.
    """
    rows = index.query(sql.OLD_SLIVERS, SLIVERS_AT_ONCE)
    piece: list[_Old] = []
    size_bytes = 0
    for row, shard, axis, blob_id, size, checksum, inline in rows:
        size_bytes += size
        if piece and size_bytes > BYTES_AT_ONCE:
            break
        piece.append(_Old(row, SliverKey(blob_id, shard, Axis(axis)), size, checksum, inline))
    return piece


def _convert(store: Store, index: StoreIndex, piece: list[_Old], damaged: list[SliverKey]) -> None:
    """Store the slivers of a piece, and delete its rows and files; add the slivers that are damaged."""
    found: list[NewSliver] = []
    for one in piece:
        content = _read(store.folder, one) if one.inline is None else one.inline
        if content is None or len(content) != one.size_bytes or checksum_of(content) != one.checksum:
            damaged.append(one.key)
        else:
            found.append(NewSliver(*one.key, content))
    store.put_slivers(found)
    with index.transaction() as writer:
        writer.executemany(sql.DELETE_OLD_SLIVER, [(one.row,) for one in piece])
    for one in piece:
        if one.inline is None:
            with contextlib.suppress(OSError), _opened_folder(store.folder, one.key) as folder:
                os.unlink(one.key.blob_id.hex(), dir_fd=folder)


def _convert_metadata(index: StoreIndex) -> None:
    while rows := index.query(sql.OLD_METADATA, METADATA_AT_ONCE):
        with index.transaction() as writer:
            for blob_id, bcs, checksum in rows:
                if checksum_of(bcs) == checksum:
                    writer.execute(sql.ADD_METADATA, (number_of(writer, blob_id), bcs, checksum))
            writer.executemany(sql.DELETE_OLD_METADATA, [(blob_id,) for blob_id, _, _ in rows])


def _convert_tallies(index: StoreIndex) -> None:
    while rows := index.query(sql.OLD_TALLIES, SLIVERS_AT_ONCE):
        with index.transaction() as writer:
            add_tallies(writer, [Tally(*row) for row in rows])
            writer.executemany(sql.DELETE_OLD_TALLY, [row[:4] for row in rows])


def _read(folder: Path, one: _Old) -> bytes | None:
    """The content of a sliver's file; None when it is no regular file of its size, or cannot be read (any more)."""
    try:
        with _opened_folder(folder, one.key) as descriptor:
            file = open_regular(one.key.blob_id.hex(), dir_fd=descriptor)
        with os.fdopen(file, "rb") as content:
            return content.read() if os.fstat(file).st_size == one.size_bytes else None
    except (NotRegular, PermissionError):
        return None
    except OSError as error:
        if error.errno in LOST:
            return None
        raise


@contextlib.contextmanager
def _opened_folder(folder: Path, key: SliverKey) -> Iterator[int]:
    """The open folder of a sliver's file, reached through no link."""
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(opened(os.open(folder / SLIVERS, FOLDER)))
        for name in (str(key.shard), key.axis.label, key.blob_id[:1].hex()):
            descriptor = stack.enter_context(opened(os.open(name, FOLDER, dir_fd=descriptor)))
        yield descriptor


def _remove_folders(folder: Path) -> None:
    """Remove a folder and those in it, as far as they are empty: what is not the store's own stays."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
