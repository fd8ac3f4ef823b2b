"""Leaves and trees by the eight-lane Blake2b (PROTOCOL section 1, "Hashes")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.redstuff.kernels.blake2b import SHORT_BYTES, hash_long, hash_short
from storage.redstuff.kernels.vector import compiled

Bytes = NDArray[np.uint8]
HASH = 32
PAIR = 2 * HASH
LEAF, INNER = 0, 1


@compiled
def hash_both(
    data: Bytes, start: int, stride: int, count: int, second: int, second_count: int, size: int, mark: int,
    out: Bytes, to: int, to_stride: int, second_to: int,
) -> None:  # fmt: skip
    """Digests of `count ≤ 8` messages of `size` bytes `stride` apart, and of `second_count ≤ 8` others."""
    if size <= SHORT_BYTES:
        hash_short(
            data, start, stride, count, second, second_count, size, mark, out, to, to_stride, second_to
        )  # fmt: skip
    else:
        hash_long(data, start, stride, count, second, second_count, size, mark, out, to, to_stride, second_to)


@compiled
def hash_leaves(
    data: Bytes, start: int, stride: int, count: int, size: int, out: Bytes, to: int, to_stride: int
) -> None:
    """Leaf nodes of `count` messages of `size` bytes, the first at `start`, `stride` bytes apart.

    The nodes go to `out`, from `to` on, `to_stride` apart. `data` has 1 byte before the first message and 127
    after the last one.
    """
    for lane in range(0, count, 16):
        hash_both(
            data, start + lane * stride, stride, min(8, count - lane),
            start + (lane + 8) * stride, min(8, count - lane - 8), size, LEAF,
            out, to + lane * to_stride, to_stride, to + (lane + 8) * to_stride,
        )  # fmt: skip


@compiled
def tree_roots(nodes: Bytes, start: int, stride: int, trees: int, leaves: int) -> None:
    """Roots of up to 8 trees, in place.

    Tree `i` has its leaf nodes from `start + i·stride` on, and its root
    ends up there. Each has room for one node more than leaves.
    """
    count = leaves
    # Eight trees fill the lanes; of fewer, each tree's own pairs fill them better.
    side_by_side = trees > 4
    while count > 1:
        if count % 2:
            for tree in range(trees):
                odd = start + tree * stride + count * HASH
                for place in range(odd, odd + HASH):
                    nodes[place] = 0
            count += 1
        count //= 2
        if side_by_side:
            for pair in range(0, count, 2):
                at, to = start + pair * PAIR, start + pair * HASH
                others = trees if pair + 1 < count else 0
                hash_both(
                    nodes, at, stride, trees, at + PAIR, others, PAIR, INNER, nodes, to, stride, to + HASH
                )  # fmt: skip
        else:
            for tree in range(trees):
                for pair in range(0, count, 16):
                    at, to = start + tree * stride + pair * PAIR, start + tree * stride + pair * HASH
                    hash_both(
                        nodes, at, PAIR, min(8, count - pair), at + 8 * PAIR, min(8, count - pair - 8), PAIR, INNER,
                        nodes, to, HASH, to + 8 * HASH,
                    )  # fmt: skip
