"""The digest a gaining member attests a shard with (PROTOCOL section 5): it binds the node to the bytes.

With `salt = H(epoch u32 LE ‖ shard u16 LE ‖ BLS public key ‖ hash of the block that started the epoch)`, it is the
Merkle root over the shard's live blobs, in blob-id order, of `blob_id ‖ H(salt ‖ primary bytes ‖ secondary bytes)`. Who
lacks the bytes cannot make the leaf, and one opened leaf shows a wrong one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from storage.redstuff import GrowingTree
from storage.redstuff.parameters import BLOB_ID_BYTES, HASH_BYTES


def salt(epoch: int, shard: int, public_key: bytes, start_block_hash: bytes) -> bytes:
    """What makes the digest this member's own, for this shard in this epoch."""
    return _hash(epoch.to_bytes(4, "little"), shard.to_bytes(2, "little"), public_key, start_block_hash)


def leaf(blob_id: bytes, salted: bytes, primary: bytes | memoryview, secondary: bytes | memoryview) -> bytes:
    """One blob's leaf, 64 bytes; begins with the blob id."""
    return blob_id + _hash(salted, primary, secondary)


def digest(leaves: Iterable[bytes]) -> tuple[bytes, int]:
    """The digest over a shard's leaves, 32 bytes, and their number; 32 zero bytes for a shard without blobs.

    Raises `ValueError` unless the leaves ascend in blob-id order, each once.
    """
    tree, last = GrowingTree(), b""
    for one in leaves:
        if one[:BLOB_ID_BYTES] <= last:
            raise ValueError("leaves of a shard's digest must ascend by blob id, each once")
        last = one[:BLOB_ID_BYTES]
        tree.add(one)
    return tree.root(), tree.count


def _hash(*parts: bytes | memoryview) -> bytes:
    hasher = hashlib.blake2b(digest_size=HASH_BYTES)
    for part in parts:
        hasher.update(part)
    return hasher.digest()
