"""The inventory of an epoch: which blobs its members must be able to prove that they keep (PROTOCOL section 8).

It is a Merkle tree over the blobs that were live, and valid, at the end of the block that started the epoch, by
ascending id. A leaf says how many bytes the blobs before it have, of one symbol each: so a number drawn below the
`weight` names a blob, each as likely as it is large, and the largest cannot hide among a million small ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import starmap

from committee.messages import inventory_body
from storage.redstuff import blob_id_text, merkle_root
from storage.redstuff.parameters import BLOB_ID_BYTES, MAX_SYMBOL_BYTES

_LEAF = struct.Struct(f"<{BLOB_ID_BYTES}sHQ")
ENTRY_BYTES = _LEAF.size
"""Of an entry's leaf."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One blob of the inventory."""

    blob_id: bytes
    """32 bytes."""
    symbol_size: int
    """Bytes of a symbol of it: `t`."""
    offset: int
    """Sum of the symbol sizes of all blobs before it."""

    def leaf(self) -> bytes:
        """Blob id ‖ symbol size u16 LE ‖ offset u64 LE."""
        return _LEAF.pack(self.blob_id, self.symbol_size, self.offset)

    @classmethod
    def of_leaf(cls, leaf: bytes) -> Entry:
        """Read back what `leaf` wrote."""
        return cls(*_LEAF.unpack(leaf))

    @classmethod
    def of_leaves(cls, leaves: bytes) -> Iterator[Entry]:
        """Yield the entries of leaves that lie one after the other."""
        return starmap(cls, _LEAF.iter_unpack(leaves))

    def covers(self, offset: int) -> bool:
        """Whether a number below the weight names this blob."""
        return self.offset <= offset < self.offset + self.symbol_size


@dataclass(frozen=True, slots=True)
class EntryProof:
    """An entry, and what shows that an inventory has it (`storage.proofs.opening.require_entry`)."""

    entry: Entry
    index: int
    """Number of the blob in the inventory."""
    path: tuple[bytes, ...]
    """From the entry's leaf to the inventory's root."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a quorum signs of an epoch's inventory, and the chain keeps."""

    root: bytes
    """Of the tree over the entries' leaves, 32 bytes; zeros for no entries."""
    count: int
    weight: int
    """Sum of all symbol sizes."""

    def body(self) -> bytes:
        """Return the body of the message that a quorum signs."""
        return inventory_body(self.root, self.count, self.weight)


def entries_of(blobs: Iterable[tuple[bytes, int]]) -> Iterator[Entry]:
    """Yield the entries of an inventory, for its blobs' ids and symbol sizes.

    Raises `ValueError` unless the ids have 32 bytes and ascend, each once, and the sizes are those of symbols.
    """
    offset, last = 0, b""
    for blob_id, symbol_size in blobs:
        if len(blob_id) != BLOB_ID_BYTES:
            raise ValueError(f"a blob id of {len(blob_id)} bytes in an inventory: it has {BLOB_ID_BYTES}")
        if blob_id <= last:
            raise ValueError(f"{blob_id_text(blob_id)} in an inventory: ids must ascend, each once")
        if not 0 < symbol_size <= MAX_SYMBOL_BYTES or symbol_size % 2:
            raise ValueError(f"symbols of {symbol_size} bytes: their size is even, 2 to {MAX_SYMBOL_BYTES}")
        yield Entry(blob_id, symbol_size, offset)
        offset, last = offset + symbol_size, blob_id


def inventory_of(entries: Iterable[Entry]) -> Inventory:
    """Return what is signed of an inventory, from all its entries in their order."""
    leaves = [entry.leaf() for entry in entries]
    last = Entry.of_leaf(leaves[-1]) if leaves else None
    return Inventory(merkle_root(leaves), len(leaves), last.offset + last.symbol_size if last else 0)
