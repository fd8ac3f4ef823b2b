"""What a member commits to before positions are drawn: a tree over all symbols it stores, salted (PROTOCOL section 8).

    symbol leaf   H(0x00 ‖ salt ‖ symbol)
    pair root     over the s symbols of a pair's primary sliver, then the p of its secondary one
    shard root    over the pair roots of all blobs of the inventory, in its order
    commitment    over the roots of the member's shards, in the committee's order

The roots of one level are the leaves' nodes of the next one. Nobody knows the salt before the epoch has begun, and no
two members have the same: who commits has the bytes, and who keeps hashes of them instead cannot. For what a member
need not have, the pair of a blob that has become invalid or a shard that it does not hold, there stand 32 zero bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from storage.redstuff import GrowingTree, MerkleProof
from storage.redstuff.merkle import leaf_hash
from storage.redstuff.parameters import HASH_BYTES

Symbols = bytes | bytearray | memoryview


def salt_of(epoch: int, node_id: int, public_key: bytes, start_hash: bytes) -> bytes:
    """Return a member's salt, H(epoch u32 LE ‖ node id u32 LE ‖ BLS public key 48 ‖ `start_hash`).

    `start_hash` is the hash of the block that started the epoch, 32 bytes.
    """
    parts = epoch.to_bytes(4, "little") + node_id.to_bytes(4, "little") + public_key + start_hash
    return blake2b(parts, digest_size=HASH_BYTES).digest()


def symbol_node(salt: bytes, symbol: Symbols) -> bytes:
    """Return the node of a symbol's leaf."""
    return leaf_hash(salt + bytes(symbol))


def pair_nodes(salt: bytes, primary: Symbols, secondary: Symbols, symbol_size: int) -> list[bytes]:
    """Return the nodes of all leaves of a pair, in their order. `RedStuff.salted_roots` gives the root over them."""
    return [
        symbol_node(salt, sliver[place : place + symbol_size])
        for sliver in (primary, secondary)
        for place in range(0, len(sliver), symbol_size)
    ]


def root_over(nodes: Iterable[bytes]) -> bytes:
    """Return the root over nodes: a shard's over those of its pairs, the commitment over those of the shards."""
    tree = GrowingTree()
    for node in nodes:
        tree.add_node(node)
    return tree.root()


def path_to_root(nodes: Sequence[bytes], number: int) -> tuple[bytes, ...]:
    """Return the siblings from one of the nodes to the root over them, bottom-up."""
    return MerkleProof.of(nodes, number).siblings
