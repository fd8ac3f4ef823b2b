"""What the sliver store takes and gives: new slivers, pages, and the record of what a handover cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from storage.redstuff import Axis
from storage.redstuff.parameters import BLOB_ID_BYTES

MAX_SLIVER_BYTES = 256 * 2**20
"""Six times the largest sliver at 1000 shards."""
MAX_METADATA_BYTES = 16 * 2**20
MAX_SHARD = 2**16 - 1
MAX_METADATA_BYTES = 16 * 2**20

Way = Literal["transferred", "rebuilt"]
Symbols = bytes | memoryview
"""A sliver's symbols one after the other; a view must be C-contiguous."""
Metadata = Mapping[bytes, bytes | memoryview]
"""Blob id → BCS BlobMetadata."""


class SliverKey(NamedTuple):
    """What names a sliver on a node."""

    blob_id: bytes
    shard: int
    axis: Axis


class Place(NamedTuple):
    """Where a sliver lies, and what it has to be: a row of the index."""

    segment: int
    offset: int
    size_bytes: int
    """0 of a row that names no bytes."""
    checksum: bytes

    @classmethod
    def of(cls, row: Sequence[Any]) -> Place:
        """Return the place that a row (segment, offset, size, checksum) tells, of 0 bytes if a value cannot be.

        A bit that the disk changes makes a number negative, or a value one of another type; SQLite tells it as it is.
        """
        segment, offset, size_bytes, checksum = row
        if (
            type(offset) is type(size_bytes) is int
            and type(checksum) is bytes
            and min(offset, size_bytes) >= 0
        ):
            return cls(segment if type(segment) is int else 0, offset, size_bytes, checksum)
        return cls(segment if type(segment) is int else 0, 0, 0, b"")


def is_key(row: Sequence[Any]) -> bool:
    """Return whether a row (shard, axis) is of a sliver that there can be, and not what the disk has made of one."""
    shard, axis = row
    return type(shard) is type(axis) is int and 0 <= shard <= MAX_SHARD and axis in tuple(Axis)


StoredKey = SliverKey | bytes
"""What names a sliver, or a blob's metadata: these have the blob's id alone."""


def blob_of(key: StoredKey) -> bytes:
    """Return the id of the blob that something stored is of."""
    return key if isinstance(key, bytes) else key.blob_id


@dataclass(frozen=True, slots=True)
class Tally:
    """What slivers of one blob cost one shard in the handover into `epoch`. Bytes."""

    epoch: int
    shard: int
    blob_id: bytes
    way: Way
    slivers: int = 0
    symbol_bytes: int = 0
    """Symbols that made the slivers."""
    received_bytes: int = 0
    """Bytes of these symbols that crossed the wire."""
    wasted_bytes: int = 0
    """Received beyond that and thrown away."""

    @property
    def in_vain(self) -> Tally:
        """The tally of slivers that were stored already: all bytes received for them are wasted."""
        return Tally(
            *(self.epoch, self.shard, self.blob_id, self.way),
            wasted_bytes=self.received_bytes + self.wasted_bytes,
        )


@dataclass(frozen=True, slots=True)
class ShardTally:
    """The sum of a shard's tallies of one way, over all blobs."""

    shard: int
    way: Way
    slivers: int
    symbol_bytes: int
    received_bytes: int
    wasted_bytes: int


@dataclass(frozen=True, slots=True)
class NewSliver:
    """A verified sliver to be stored, with what it cost if that is to be recorded."""

    blob_id: bytes
    shard: int
    axis: Axis
    symbols: Symbols = field(repr=False)
    tally: Tally | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some slivers of one shard on one axis, in the byte order of their blob ids."""

    slivers: list[tuple[bytes, Symbols]]
    """(blob id, symbols)."""
    next_blob_id: bytes | None
    """Where the next page begins; None at the end of the shard, which an empty page alone does not mean."""
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    """Blob id → BCS BlobMetadata, as far as it was asked for and is stored."""


def check_id(blob_id: bytes) -> None:
    """Raise `ValueError` for bytes that are no blob id."""
    if len(blob_id) != BLOB_ID_BYTES:
        raise ValueError(f"a blob id of {len(blob_id)} bytes; it has {BLOB_ID_BYTES}")


def check_metadata(blob_id: bytes, bcs: Symbols) -> None:
    """Raise `ValueError` for metadata that cannot be stored."""
    check_id(blob_id)
    if not 0 < len(bcs) <= MAX_METADATA_BYTES:
        raise ValueError(f"metadata of {len(bcs)} bytes; the limit is {MAX_METADATA_BYTES}")


def checked(key: SliverKey, symbols: Symbols) -> memoryview:
    """The symbols as bytes, once they can be stored. Raises `ValueError`."""
    check_id(key.blob_id)
    content = memoryview(symbols).cast("B")
    if not 0 < len(content) <= MAX_SLIVER_BYTES:
        raise ValueError(f"a sliver of {len(content)} bytes; it has 1 to {MAX_SLIVER_BYTES}")
    if not 0 <= key.shard <= MAX_SHARD:
        raise ValueError(f"no shard {key.shard}; they go from 0 to {MAX_SHARD}")
    return content
