"""Where a store's slivers lie on the disk, read from its index as another program would."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from storage.redstuff import Axis


class OnDisk(NamedTuple):
    """One sliver, as its row has it."""

    blob_id: bytes
    shard: int
    axis: Axis
    path: Path
    offset: int
    size_bytes: int

    def flip(self, at: int | None = None) -> None:
        """Change one bit of a byte, of that in the middle unless told otherwise; the segment stays the same file."""
        place = self.size_bytes // 2 if at is None else at
        self._overwrite(place, bytes([self.content()[place] ^ 4]))

    def clear(self) -> None:
        """Make all its bytes zeros, as a write that the disk has lost leaves them."""
        self._overwrite(0, bytes(self.size_bytes))

    def content(self) -> bytes:
        """Return its bytes, whatever they are."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)

    def _overwrite(self, at: int, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(self.offset + at)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def on_disk(folder: Path) -> Iterator[OnDisk]:
    """Yield every sliver of which the store in this folder has a row that counts."""
    with closing(sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True)) as index:
        rows = index.execute(
            "SELECT blob_id, sliver.shard, axis, segment, offset, size FROM sliver "
            "JOIN blob ON blob.number = sliver.blob JOIN segment ON segment.number = sliver.segment "
            "WHERE offset + size <= length ORDER BY blob_id, sliver.shard, axis"
        ).fetchall()
    for blob_id, shard, axis, segment, offset, size_bytes in rows:
        yield OnDisk(
            blob_id, shard, Axis(axis), folder / "segments" / f"{shard}-{segment}", offset, size_bytes
        )


def place_of(folder: Path, blob_id: bytes, shard: int, axis: Axis) -> OnDisk:
    """Return where one sliver lies."""
    (place,) = (one for one in on_disk(folder) if one[:3] == (blob_id, shard, axis))
    return place


def segments_of(folder: Path) -> list[str]:
    """Return the names of what lies in the folder of segments."""
    return sorted(path.name for path in (folder / "segments").iterdir())
