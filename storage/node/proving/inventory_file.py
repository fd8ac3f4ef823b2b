"""The inventory of an epoch in two files: its entries, in which an offset finds its blob, and its tree.

An entry is its leaf (`storage.proofs.inventory.Entry.leaf`), 42 bytes, so that the n-th one lies at n times that.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from storage.node.proving.tree_file import TreeFile
from storage.node.proving.unreadable import opened_to_read
from storage.proofs import ENTRY_BYTES, Entry, EntryProof, Inventory, entries_of
from storage.redstuff.merkle import leaf_hash

ENTRIES_AT_ONCE = 1024
"""Entries that are read at once when all are."""


class InventoryFile:
    """An inventory that has been made whole. Raises `OSError`, and `ValueError` for damage."""

    def __init__(self, folder: Path) -> None:
        """Open the files that `make` has made."""
        self._path = folder / "inventory"
        self.tree = TreeFile(folder / "inventory.tree")
        with opened_to_read(self._path) as file:
            if os.fstat(file.fileno()).st_size != self.tree.count * ENTRY_BYTES:
                raise ValueError(f"{self._path} has not the entries of {self.tree.count} blobs")

    @classmethod
    def make(cls, folder: Path, blobs: Iterable[tuple[bytes, int]]) -> InventoryFile:
        """Make the files, of the blobs' ids and symbol sizes, by ascending id."""
        path = folder / "inventory"
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with new.open("xb") as file:
                TreeFile.make(folder / "inventory.tree", _noted(file, entries_of(blobs)))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        return cls(folder)

    def inventory(self) -> Inventory:
        """Return what a quorum is to sign. Raises `ValueError` if the entry that tells the weight is damaged."""
        count = self.tree.count
        if not count:
            return Inventory(self.tree.root(), 0, 0)
        with opened_to_read(self._path) as file:
            last = self._entry(file, count - 1)
        self.tree.proof(count - 1, leaf_hash(last.leaf()))
        return Inventory(self.tree.root(), count, last.offset + last.symbol_size)

    def require_whole(self) -> None:
        """Raise `ValueError` if an entry is not the tree's leaf; then the tree's file is removed.

        Without it the inventory counts as not there, and file and tree are made anew.
        """
        for entry, node in zip(self.entries(), self.tree.leaves(), strict=True):
            if leaf_hash(entry.leaf()) != node:
                self.tree.path.unlink(missing_ok=True)
                raise ValueError(f"{self._path} is damaged: an entry is not that of its tree")

    def entries(self) -> Iterator[Entry]:
        """Yield all entries."""
        left = self.tree.count
        with opened_to_read(self._path) as file:
            while left:
                leaves = file.read(min(left, ENTRIES_AT_ONCE) * ENTRY_BYTES)
                if not leaves or len(leaves) % ENTRY_BYTES:
                    raise ValueError(f"{self._path} has lost its end")
                left -= len(leaves) // ENTRY_BYTES
                yield from Entry.of_leaves(leaves)

    def find(self, offset: int) -> tuple[int, Entry]:
        """Return the number of the blob that an offset below the weight names, and its entry.

        Raises `ValueError` as `require_whole` if damage leads to another one.
        """
        index, entry = self._last(lambda entry: entry.offset <= offset)
        if not entry.covers(offset):
            self.require_whole()
        return index, entry

    def proof_of(self, blob_id: bytes) -> EntryProof | None:
        """Return the entry of a blob and its path; None of a blob that the inventory has not.

        Raises `ValueError` if the path leads elsewhere, as `TreeFile.proof`.
        """
        if not self.tree.count:
            return None
        index, entry = self._last(lambda entry: entry.blob_id <= blob_id)
        if entry.blob_id != blob_id:
            return None
        return EntryProof(entry, index, self.tree.proof(index, leaf_hash(entry.leaf())).siblings)

    def _last(self, is_not_behind: Callable[[Entry], bool]) -> tuple[int, Entry]:
        """Return the number of the last entry of which that holds, and the entry; the first one if it holds of none.

        It must hold of all entries before one of which it holds.
        """
        first, beyond = 0, self.tree.count
        with opened_to_read(self._path) as file:
            while beyond - first > 1:
                middle = (first + beyond) // 2
                if is_not_behind(self._entry(file, middle)):
                    first = middle
                else:
                    beyond = middle
            return first, self._entry(file, first)

    def _entry(self, file: BinaryIO, index: int) -> Entry:
        file.seek(index * ENTRY_BYTES)
        return self._read(file)

    def _read(self, file: BinaryIO) -> Entry:
        leaf = file.read(ENTRY_BYTES)
        if len(leaf) != ENTRY_BYTES:
            raise ValueError(f"{self._path} has lost its end")
        return Entry.of_leaf(leaf)


def _noted(file: BinaryIO, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Write the entries; yield the nodes of their leaves."""
    for entry in entries:
        leaf = entry.leaf()
        file.write(leaf)
        yield leaf_hash(leaf)
