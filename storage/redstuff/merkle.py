"""Merkle trees by Blake2b-256: leaf `H(0x00 ‖ bytes)`, inner `H(0x01 ‖ left ‖ right)` (PROTOCOL section 1).

A level of odd length is padded with one node of 32 zero bytes; a tree of no leaves has the root of 32 zero
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from committee.bcs import listed
from storage.redstuff.bcs import Reader
from storage.redstuff.errors import InvalidEncoding, InvalidProof
from storage.redstuff.parameters import HASH_BYTES, MAX_SHARDS

EMPTY = bytes(HASH_BYTES)


def blake2b_256(data: bytes) -> bytes:
    """Return the Blake2b digest of 32 bytes (RFC 7693)."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the node of a leaf."""
    return blake2b_256(b"\x00" + data)


def inner_node(left: bytes, right: bytes) -> bytes:
    """Return the node above two."""
    return blake2b_256(b"\x01" + left + right)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaves given as their bytes."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def root_of_hashes(nodes: Sequence[bytes]) -> bytes:
    """Return the root over leaves given as their nodes."""
    return _levels(nodes)[-1][0] if nodes else EMPTY


def _levels(nodes: Sequence[bytes]) -> list[list[bytes]]:
    levels = [list(nodes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        if len(below) % 2:
            below.append(EMPTY)
        levels.append([inner_node(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels


def depth_of(n_leaves: int) -> int:
    """Return how many siblings lead from a leaf to the root."""
    return max(n_leaves - 1, 0).bit_length()


def node_to_bcs(node: bytes) -> bytes:
    """Return a node as it travels: `0x01 ‖ 32 bytes`, or `0x00` for the node of zeros."""
    return b"\x00" if node == EMPTY else b"\x01" + node


def read_node(reader: Reader) -> bytes:
    """Read a node as `node_to_bcs` writes it. Raises `InvalidEncoding`."""
    kind = reader.unsigned(1)
    if kind > 1:
        raise InvalidEncoding(f"a node of kind {kind}: known are 0 and 1")
    return reader.take(HASH_BYTES) if kind else EMPTY


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """The siblings on the way from a leaf to the root, bottom-up."""

    siblings: tuple[bytes, ...]

    @classmethod
    def of(cls, nodes: Sequence[bytes], index: int) -> MerkleProof:
        """Return the proof for leaf `index` of a tree over these leaf nodes."""
        siblings = []
        for level in _levels(nodes)[:-1]:
            siblings.append(level[index ^ 1])
            index >>= 1
        return cls(tuple(siblings))

    def verify(self, root: bytes, leaf: bytes, index: int, n_leaves: int) -> None:
        """Raises `InvalidProof` unless `leaf` stands at `index` of the tree of `n_leaves` leaves under `root`."""
        if self.root(leaf_hash(leaf), index, n_leaves) != root:
            raise InvalidProof("the proof leads to another root")

    def root(self, node: bytes, index: int, n_leaves: int) -> bytes:
        """Return the root of the tree in which the leaf at `index` of `n_leaves` has this node.

        Raises `InvalidProof` if such a tree has no such leaf, or another depth.
        """
        depth = depth_of(n_leaves)
        if len(self.siblings) != depth or not 0 <= index < n_leaves:
            raise InvalidProof(
                f"a proof of {len(self.siblings)} nodes for leaf {index}: a tree of {n_leaves} leaves has {depth}"
            )
        for sibling in self.siblings:
            node = inner_node(sibling, node) if index & 1 else inner_node(node, sibling)
            index >>= 1
        return node

    def to_bcs(self) -> bytes:
        """Return ULEB128 count ‖ nodes, bottom-up, each as `node_to_bcs` writes it."""
        return listed([node_to_bcs(one) for one in self.siblings])

    @classmethod
    def read(cls, reader: Reader) -> MerkleProof:
        """Read one proof. Raises `InvalidEncoding`, also for more nodes than a tree of MAX_SHARDS leaves needs."""
        count = reader.uleb128((MAX_SHARDS - 1).bit_length())
        return cls(tuple(read_node(reader) for _ in range(count)))
