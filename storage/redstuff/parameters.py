"""Sizes and positions of the grid (PROTOCOL section 1); pure arithmetic."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from storage.redstuff.errors import InvalidEncoding, TooFewShards, TooLarge

MIN_SHARDS = 4
MAX_SHARDS = 1000
MAX_SYMBOL_BYTES = 65534
BLOB_ID_BYTES = 32
HASH_BYTES = 32


class Axis(IntEnum):
    """A primary sliver is a row of the grid, a secondary one a column."""

    PRIMARY = 0
    SECONDARY = 1

    @property
    def label(self) -> str:
        """As messages and addresses write it: "primary", "secondary"."""
        return self.name.lower()

    @property
    def other(self) -> Axis:
        """The axis whose slivers help to rebuild one of this axis."""
        return Axis.SECONDARY if self is Axis.PRIMARY else Axis.PRIMARY


@dataclass(frozen=True)
class Parameters:
    """The shape of the grid for `n_shards`: `f = (n-1)//3`, `p = n-2f` source rows, `s = n-f` source columns.

    Raises `TooFewShards` below four shards.
    """

    n_shards: int

    def __post_init__(self) -> None:
        if self.n_shards < MIN_SHARDS:
            raise TooFewShards(f"{self.n_shards} shards: the grid needs at least {MIN_SHARDS}")

    @property
    def f(self) -> int:
        """Shards that may be lost or lie."""
        return (self.n_shards - 1) // 3

    @cached_property
    def p(self) -> int:
        """Source rows; primary slivers needed to decode; symbols needed for a secondary sliver."""
        return self.n_shards - 2 * self.f

    @cached_property
    def s(self) -> int:
        """Source columns; secondary slivers needed to decode; symbols needed for a primary sliver."""
        return self.n_shards - self.f

    @cached_property
    def max_blob_bytes(self) -> int:
        """The longest blob."""
        return self.p * self.s * MAX_SYMBOL_BYTES

    def symbol_size(self, length: int) -> int:
        """Return `t`, the bytes of a symbol of a blob of `length` bytes: an even number. Raises `TooLarge`."""
        if length > self.max_blob_bytes:
            raise TooLarge(
                f"a blob of {length} bytes does not fit {self.n_shards} shards, which take at most "
                f"{self.max_blob_bytes} bytes: split it, or use a network with more shards"
            )
        size = -(-max(length, 1) // (self.p * self.s))
        return size + size % 2

    def source_symbols(self, axis: Axis) -> int:
        """Return the number of source symbols in a sliver of this axis."""
        return self.s if axis is Axis.PRIMARY else self.p

    def sliver_size(self, length: int, axis: Axis) -> int:
        """Return the bytes of a sliver."""
        return self.source_symbols(axis) * self.symbol_size(length)

    @property
    def metadata_size(self) -> int:
        """Bytes of a blob's metadata as BCS: head, count, and two nodes a pair."""
        return 10 + (1 if self.n_shards < 128 else 2) + 2 * self.n_shards * (1 + HASH_BYTES)

    def sliver_of_pair(self, pair: int, axis: Axis) -> int:
        """Return the index of a pair's sliver: the pair's own on the primary axis, reversed on the secondary one."""
        return pair if axis is Axis.PRIMARY else self.n_shards - 1 - pair

    def pair_of_shard(self, blob_id: bytes, shard: int) -> int:
        """Return the sliver pair of a blob that a shard holds."""
        return (shard - int.from_bytes(blob_id, "big")) % self.n_shards

    def shard_of_pair(self, blob_id: bytes, pair: int) -> int:
        """Return the shard that holds a sliver pair of a blob."""
        return (pair + int.from_bytes(blob_id, "big")) % self.n_shards

    def sliver_index(self, blob_id: bytes, shard: int, axis: Axis) -> int:
        """Return the index of the sliver of a blob that a shard holds on an axis."""
        return self.sliver_of_pair(self.pair_of_shard(blob_id, shard), axis)

    def sliver_indices(self, blob_id: bytes, shards: Iterable[int], axis: Axis) -> list[int]:
        """Return the same of many shards, in their order."""
        n, first = self.n_shards, self.pair_of_shard(blob_id, 0)
        if axis is Axis.PRIMARY:
            return [(first + shard) % n for shard in shards]
        return [n - 1 - (first + shard) % n for shard in shards]


def blob_id_text(blob_id: bytes) -> str:
    """Return a blob id as people read it: 43 characters of base64url without padding."""
    return base64.urlsafe_b64encode(blob_id).decode().rstrip("=")


def parse_blob_id(text: str) -> bytes:
    """Return the 32 bytes of a blob id as text. Raises `InvalidEncoding` for anything but its one form."""
    try:
        blob_id = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        blob_id = b""
    if len(blob_id) != BLOB_ID_BYTES or blob_id_text(blob_id) != text:
        raise InvalidEncoding(f"{text[:60]!r} is no blob id: it has 43 characters of base64url, no padding")
    return blob_id


class BlobId(bytes):
    """The 32 bytes that name a blob, as programs hold them; printed, its 43 characters of base64url.

    Made of the bytes, of that text, or of the chain's u256, which is the bytes' little-endian value. Raises
    `InvalidEncoding` for anything else. It equals the bytes, and takes their place everywhere.
    """

    __slots__ = ()

    def __new__(cls, value: bytes | str | int) -> BlobId:
        """Take the id in any of its forms."""
        if isinstance(value, str):
            value = parse_blob_id(value)
        elif isinstance(value, int):
            if not 0 <= value < 1 << 8 * BLOB_ID_BYTES:
                raise InvalidEncoding(f"{value} is no blob id: as a number it has {8 * BLOB_ID_BYTES} bits")
            value = value.to_bytes(BLOB_ID_BYTES, "little")
        if len(value) != BLOB_ID_BYTES:
            raise InvalidEncoding(f"{len(value)} bytes are no blob id: it has {BLOB_ID_BYTES}")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return blob_id_text(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return f"BlobId({blob_id_text(self)!r})"
