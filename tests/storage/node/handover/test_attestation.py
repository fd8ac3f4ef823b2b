"""The digest of a shard's bytes, against PROTOCOL section 5 spelled out once more."""

from __future__ import annotations

import hashlib

import pytest

from storage.node.handover import attestation
from storage.redstuff import merkle_root

KEY, BLOCK = bytes(range(48)), bytes([9]) * 32
SALT = attestation.salt(7, 300, KEY, BLOCK)
A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


def h(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def test_salt_is_the_hash_of_epoch_shard_key_and_block() -> None:
    assert h(b"\x07\0\0\0" + b"\x2c\x01" + KEY + BLOCK) == SALT


@pytest.mark.parametrize(
    "other",
    [
        attestation.salt(8, 300, KEY, BLOCK),
        attestation.salt(7, 301, KEY, BLOCK),
        attestation.salt(7, 300, KEY[::-1], BLOCK),
        attestation.salt(7, 300, KEY, bytes(32)),
    ],
    ids=["epoch", "shard", "key", "block"],
)
def test_salt_depends_on_each_part(other: bytes) -> None:
    assert other != SALT


def test_leaf_is_the_blob_id_and_the_salted_hash_of_both_slivers() -> None:
    assert attestation.leaf(A, SALT, b"row", b"column") == A + h(SALT + b"row" + b"column")


def test_leaf_changes_with_a_flipped_bit_of_either_sliver() -> None:
    leaves = {
        attestation.leaf(A, SALT, *pair) for pair in ((b"row", b"col"), (b"rov", b"col"), (b"row", b"com"))
    }
    assert len(leaves) == 3


def test_digest_is_the_merkle_root_of_the_leaves() -> None:
    leaves = [attestation.leaf(blob_id, SALT, b"r", b"c") for blob_id in (A, B, C)]
    first, second, third = (h(b"\0" + leaf) for leaf in leaves)
    left, right = h(b"\1" + first + second), h(b"\1" + third + bytes(32))
    assert attestation.digest(leaves) == (h(b"\1" + left + right), 3)


def test_digest_of_an_empty_shard_is_32_zero_bytes() -> None:
    assert attestation.digest([]) == (bytes(32), 0)


@pytest.mark.parametrize("order", [(B, A), (A, A), (A, C, B)], ids=["swapped", "twice", "swapped later"])
def test_digest_refuses_leaves_out_of_order(order: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        attestation.digest([attestation.leaf(blob_id, SALT, b"r", b"c") for blob_id in order])


@pytest.mark.parametrize("count", [*range(20), 63, 64, 65, 100])
def test_digest_of_any_number_of_leaves_is_that_of_the_whole_tree(count: int) -> None:
    leaves = [attestation.leaf(number.to_bytes(32, "big"), SALT, b"r", b"c") for number in range(count)]
    assert attestation.digest(iter(leaves)) == (merkle_root(leaves), count)
