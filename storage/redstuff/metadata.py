"""What everyone keeps of a blob: its length and the roots of all its slivers, which together make its id."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from committee.bcs import uleb128
from storage.redstuff.bcs import Reader
from storage.redstuff.errors import InvalidEncoding
from storage.redstuff.memory import NODE, Nodes
from storage.redstuff.merkle import blake2b_256, leaf_hash, node_to_bcs, read_node, root_of_hashes
from storage.redstuff.parameters import HASH_BYTES, MAX_SHARDS, MAX_SYMBOL_BYTES, Axis

ENCODING_TYPE = 1
"""RedStuff over Reed-Solomon ("RS2")."""
_VERSION = 0
_HEAD_BYTES = 10
"""Version, encoding type and length."""
_NODE_BYTES = 1 + HASH_BYTES
"""A node as `node_to_bcs` writes it, but for the node of zeros."""


@dataclass(frozen=True)
class BlobMetadata:
    """Length of the blob and the roots of its sliver pairs; the id follows from them.

    `primary_roots[i]` and `secondary_roots[i]` belong to sliver `i` of their axis, 32 bytes each.
    """

    length: int
    primary_roots: tuple[bytes, ...] = field(repr=False)
    secondary_roots: tuple[bytes, ...] = field(repr=False)

    @property
    def n_shards(self) -> int:
        """Sliver pairs."""
        return len(self.primary_roots)

    @cached_property
    def root(self) -> bytes:
        """Merkle root over `primary_root_i ‖ secondary_root_{n-1-i}`, in pair order."""
        return root_of_hashes(self.pair_nodes())

    def pair_nodes(self) -> list[bytes]:
        """Return the nodes of the leaves of the blob's tree, in pair order."""
        pairs = zip(self.primary_roots, reversed(self.secondary_roots), strict=True)
        return [leaf_hash(primary + secondary) for primary, secondary in pairs]

    @cached_property
    def blob_id(self) -> bytes:
        """`H(encoding type ‖ length u64 LE ‖ root)`, 32 bytes."""
        return self.id_of(self.length, self.root)

    @staticmethod
    def id_of(length: int, root: bytes) -> bytes:
        """Return the id of a blob by its length and root."""
        return blake2b_256(bytes((ENCODING_TYPE,)) + length.to_bytes(8, "little") + root)

    @classmethod
    def from_pairs(cls, length: int, roots: bytes, root: bytes) -> BlobMetadata:
        """Return metadata with `roots`, by pair the primary and the secondary, and their root, known to be right."""
        nodes = [roots[place : place + HASH_BYTES] for place in range(0, len(roots), HASH_BYTES)]
        metadata = cls(length, tuple(nodes[0::2]), tuple(reversed(nodes[1::2])))
        metadata.__dict__["root"] = root
        return metadata

    def sliver_root(self, axis: Axis, index: int) -> bytes:
        """Return the root of one sliver."""
        return (self.primary_roots if axis is Axis.PRIMARY else self.secondary_roots)[index]

    def to_bcs(self) -> bytes:
        """Return the bytes of BlobMetadata (PROTOCOL section 1, "BCS forms")."""
        return self._bcs

    @cached_property
    def _bcs(self) -> bytes:
        parts = [
            bytes((_VERSION, ENCODING_TYPE)),
            self.length.to_bytes(8, "little"),
            uleb128(self.n_shards),
        ]
        for pair in zip(self.primary_roots, reversed(self.secondary_roots), strict=True):
            parts += [node_to_bcs(node) for node in pair]
        return b"".join(parts)

    @classmethod
    def from_bcs(cls, encoded: bytes | memoryview, blob_id: bytes | None = None) -> BlobMetadata:
        """Read BlobMetadata; with `blob_id`, it must have that id. Raises `InvalidEncoding`."""
        reader = Reader(encoded)
        version, encoding = reader.unsigned(1), reader.unsigned(1)
        if (version, encoding) != (_VERSION, ENCODING_TYPE):
            raise InvalidEncoding(f"metadata of version {version}, encoding {encoding}: known are 0 and 1")
        length = reader.unsigned(8)
        nodes = [read_node(reader) for _ in range(2 * reader.uleb128(MAX_SHARDS))]
        reader.end()
        metadata = cls(length, tuple(nodes[0::2]), tuple(reversed(nodes[1::2])))
        if blob_id is not None and metadata.blob_id != blob_id:
            raise InvalidEncoding("metadata of another blob: its id is not the one asked for")
        return metadata


class SliverRoots(Protocol):
    """What slivers are verified against: `BlobMetadata`, or `EncodedMetadata`, which does not read all of it."""

    @property
    def blob_id(self) -> bytes:
        """The blob's id, 32 bytes."""

    @property
    def length(self) -> int:
        """Bytes of the blob."""

    @property
    def n_shards(self) -> int:
        """Sliver pairs."""

    def sliver_root(self, axis: Axis, index: int) -> bytes:
        """Root of one sliver, 32 bytes."""


@dataclass(frozen=True, slots=True)
class EncodedMetadata:
    """BlobMetadata as BCS whose roots all have 32 bytes: single roots are read from their places.

    To read all roots of 1000 shards takes a hundred times as long as to find one.
    """

    bcs: bytes | memoryview = field(repr=False)
    blob_id: bytes
    """As its reader was told; that it is right is checked elsewhere (`RedStuff.read_each`)."""
    length: int
    n_shards: int
    first: int
    """The place of the first node."""

    @classmethod
    def of(cls, bcs: bytes | memoryview, blob_id: bytes) -> EncodedMetadata | None:
        """Return the metadata in `bcs`, its id not checked; None when it is none, or has a node of zeros."""
        reader = Reader(bcs)
        try:
            if (reader.unsigned(1), reader.unsigned(1)) != (_VERSION, ENCODING_TYPE):
                return None
            length, n_shards = reader.unsigned(8), reader.uleb128(MAX_SHARDS)
        except InvalidEncoding:
            return None
        size_bytes = 2 * n_shards * _NODE_BYTES
        first = len(bcs) - size_bytes
        if first != _HEAD_BYTES + len(uleb128(n_shards)):
            return None
        kinds = np.frombuffer(bcs, np.uint8)[first::_NODE_BYTES]
        return cls(bcs, blob_id, length, n_shards, first) if (kinds == 1).all() else None

    def sliver_root(self, axis: Axis, index: int) -> bytes:
        """Root of one sliver. Raises `IndexError`."""
        pair = index if axis is Axis.PRIMARY else self.n_shards - 1 - index
        if not 0 <= pair < self.n_shards:
            raise IndexError(f"{axis.label} sliver {index}: there are {self.n_shards}")
        place = self.first + (2 * pair + axis) * _NODE_BYTES + 1
        return bytes(self.bcs[place : place + HASH_BYTES])

    def nodes(self) -> Nodes:
        """Return all roots in their places in the BCS, by pair the primary and the secondary, not copied."""
        return np.ndarray((2 * self.n_shards,), NODE, self.bcs, self.first + 1, (_NODE_BYTES,))


@dataclass(frozen=True, slots=True)
class SingleRoot:
    """What one sliver is verified against, without the metadata that it was read from."""

    blob_id: bytes
    length: int
    n_shards: int
    axis: Axis
    index: int
    root: bytes = field(repr=False)

    @classmethod
    def of(cls, metadata: SliverRoots, axis: Axis, index: int) -> SingleRoot:
        """Return the root of one sliver. Raises `IndexError`."""
        root = metadata.sliver_root(axis, index)
        return cls(metadata.blob_id, metadata.length, metadata.n_shards, axis, index, root)

    def sliver_root(self, axis: Axis, index: int) -> bytes:
        """Return the root. Raises `IndexError` for another sliver."""
        if (axis, index) != (self.axis, self.index):
            raise IndexError(f"{axis.label} sliver {index}: only {self.axis.label} {self.index} is known")
        return self.root


@dataclass(frozen=True)
class SliverData:
    """One sliver as it travels: its symbols, their size, its index on its axis."""

    symbols: bytes | memoryview = field(repr=False)
    symbol_size: int
    index: int

    def parts(self) -> tuple[bytes | memoryview, ...]:
        """Return ULEB128(length) ‖ symbols ‖ symbol size u16 LE ‖ sliver index u16 LE, the symbols not copied."""
        head, tail = self.frame(len(self.symbols), self.symbol_size, self.index)
        return head, self.symbols, tail

    @staticmethod
    def frame(size_bytes: int, symbol_size: int, index: int) -> tuple[bytes, bytes]:
        """Return the bytes of a sliver before and behind its `size_bytes` of symbols, as `parts` has them."""
        tail = symbol_size.to_bytes(2, "little") + index.to_bytes(2, "little")
        return uleb128(size_bytes), tail

    def to_bcs(self) -> bytes:
        """Return the joined `parts`."""
        return b"".join(self.parts())

    @classmethod
    def from_bcs(cls, encoded: bytes | memoryview) -> SliverData:
        """Read a sliver; the symbols are a view into `encoded`. Raises `InvalidEncoding`."""
        reader = Reader(encoded)
        sliver = cls.read(reader)
        reader.end()
        return sliver

    @classmethod
    def read(cls, reader: Reader) -> SliverData:
        """Read the sliver at the reader's place. Raises `InvalidEncoding`."""
        symbols = reader.view(reader.uleb128(MAX_SHARDS * MAX_SYMBOL_BYTES))
        return cls(symbols, reader.unsigned(2), reader.unsigned(2))
