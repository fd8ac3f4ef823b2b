"""A Merkle tree in a file: all its nodes, so that a path to the root is a few short reads (PROTOCOL section 1).

offset  bytes
0       8       number of leaves, u64 little-endian
8       32 each the nodes of the leaves, then those of each level above, up to the root; a level of odd length has one
                node of zeros more
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from committee.files import free_bytes
from storage.node.proving.unreadable import opened_to_read
from storage.redstuff import MerkleProof
from storage.redstuff.merkle import EMPTY, depth_of, inner_node
from storage.redstuff.parameters import HASH_BYTES

HEAD_BYTES = 8
NODES_AT_ONCE = 4096
"""Nodes that are read at once while a level is made; an even number."""


class TreeFile:
    """A tree that has been made whole. Any thread may read it; raises `OSError`, and `ValueError` for damage."""

    def __init__(self, path: Path) -> None:
        """Open a file that `make` has made."""
        self.path = path
        with opened_to_read(self.path) as file:
            self.count = int.from_bytes(file.read(HEAD_BYTES), "little")
            self._levels = _levels(self.count)
            size_bytes = _size_bytes(self._levels)
            if os.fstat(file.fileno()).st_size != size_bytes:
                raise ValueError(f"{path} is no tree of {self.count} leaves: that has {size_bytes} bytes")
            top = len(self._levels) - 1
            self._root = self._node(file, top, 0) if self.count else EMPTY
            if self.count > 1:
                below = self._node(file, top - 1, 0), self._node(file, top - 1, 1)
                if self._root != inner_node(*below):
                    raise ValueError(f"{path} is damaged: its root is not over its two highest nodes")

    @classmethod
    def make(cls, path: Path, nodes: Iterable[bytes], count: int = 0) -> TreeFile:
        """Make the file over the nodes of leaves, in their order; it appears whole or not at all.

        What `nodes` raises is raised, and leaves nothing behind. If their `count` is told, the disk must have room for
        all of them before the first one is asked for: to come to them may take long.
        """
        size_bytes = _size_bytes(_levels(count))
        if free_bytes(path.parent) < size_bytes:
            raise OSError(errno.ENOSPC, f"{size_bytes} bytes of a tree do not fit on the disk", str(path))
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with new.open("xb+") as file:
                _write(file, nodes)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        return cls(path)

    def root(self) -> bytes:
        """Return the root; zeros over no leaves."""
        return self._root

    def leaves(self) -> Iterator[bytes]:
        """Yield the nodes of the leaves, in their order."""
        with opened_to_read(self.path) as file:
            for index in range(self.count):
                yield self._node(file, 0, index)

    def siblings(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings from a leaf to the root, bottom-up."""
        with opened_to_read(self.path) as file:
            return tuple(self._node(file, level, index >> level ^ 1) for level in range(depth_of(self.count)))

    def proof(self, index: int, node: bytes) -> MerkleProof:
        """Return the path from the node of a leaf to the root. Raises `ValueError` if it leads elsewhere.

        The file is damaged then, and goes, so that it is made anew.
        """
        path = MerkleProof(self.siblings(index))
        if path.root(node, index, self.count) != self.root():
            self.path.unlink(missing_ok=True)
            raise ValueError(f"{self.path} is damaged: leaf {index} is not under its root")
        return path

    def _node(self, file: BinaryIO, level: int, index: int) -> bytes:
        file.seek(HEAD_BYTES + HASH_BYTES * (sum(self._levels[:level]) + index))
        node = file.read(HASH_BYTES)
        if len(node) != HASH_BYTES:
            raise ValueError(f"{self.path} has lost its end")
        return node


def _size_bytes(levels: list[int]) -> int:
    """Return the size of a file of a tree with these levels."""
    return HEAD_BYTES + HASH_BYTES * sum(levels)


def _levels(count: int) -> list[int]:
    """Return how many nodes the levels of a tree over so many leaves have, the node of zeros counted."""
    levels = []
    while count > 1:
        levels.append(count + count % 2)
        count = (count + 1) // 2
    return [*levels, count]


def _write(file: BinaryIO, nodes: Iterable[bytes]) -> None:
    file.write(bytes(HEAD_BYTES))
    count = 0
    for node in nodes:
        file.write(node)
        count += 1
    first, left = HEAD_BYTES, count
    while left > 1:
        if left % 2:
            file.write(EMPTY)
            left += 1
        first, left = _write_above(file, first, left)
    file.seek(0)
    file.write(count.to_bytes(HEAD_BYTES, "little"))


def _write_above(file: BinaryIO, first: int, count: int) -> tuple[int, int]:
    """Write the level above that of `count` nodes at `first`, to the end; return where it is, and how many it has."""
    to = first + count * HASH_BYTES
    for start in range(0, count, NODES_AT_ONCE):
        file.seek(first + start * HASH_BYTES)
        below = file.read(min(NODES_AT_ONCE, count - start) * HASH_BYTES)
        above = [
            inner_node(below[at : at + HASH_BYTES], below[at + HASH_BYTES : at + 2 * HASH_BYTES])
            for at in range(0, len(below), 2 * HASH_BYTES)
        ]
        file.seek(to + start // 2 * HASH_BYTES)
        file.write(b"".join(above))
    return to, count // 2
