"""What a member commits to before positions are drawn: a tree over all symbols it stores, salted (PROTOCOL section 8).

    symbol leaf   H(0x00 ‖ salt ‖ symbol)
    pair root     over the s symbols of a pair's primary sliver, then the p of its secondary one
    shard root    over the pair roots of all blobs of the inventory, in its order
    commitment    over the roots of the member's shards, in the committee's order

The roots of one level are the leaves' nodes of the next one. Nobody knows the salt before the epoch has begun, and no
two members have the same: a member that commits has the bytes, and one that keeps hashes of them instead cannot. For
what a member need not have, the pair of a blob that has become invalid or a shard that it does not hold, there stand 32
zero bytes.
"""

from __future__ import annotations

from storage.redstuff.merkle import blake2b_256, leaf_hash

Symbols = bytes | bytearray | memoryview


def salt_of(epoch: int, node_id: int, public_key: bytes, salt_seed: bytes) -> bytes:
    """Return a member's salt, H(epoch u32 LE ‖ node id u32 LE ‖ BLS public key 48 ‖ `salt_seed`).

    `salt_seed` is the epoch's, 32 bytes that nobody knew before it started.
    """
    return blake2b_256(epoch.to_bytes(4, "little") + node_id.to_bytes(4, "little") + public_key + salt_seed)


def symbol_node(salt: bytes, symbol: Symbols) -> bytes:
    """Return the node of a symbol's leaf."""
    return leaf_hash(salt + bytes(symbol))


def pair_nodes(salt: bytes, primary: Symbols, secondary: Symbols, symbol_size: int) -> list[bytes]:
    """Return the nodes of all leaves of a pair, in their order. `RedStuff.salted_roots` returns the root over them."""
    return [
        symbol_node(salt, sliver[place : place + symbol_size])
        for sliver in (primary, secondary)
        for place in range(0, len(sliver), symbol_size)
    ]
