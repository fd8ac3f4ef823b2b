"""Leaves and trees by the eight-lane Blake2b (PROTOCOL section 1, "Hashes")."""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from storage.redstuff.kernels.blake2b import hash_long, hash_short

Bytes = NDArray[np.uint8]
HASH = 32
LEAF, INNER = 0, 1


@register_jitable
def _hash_short(
    data: Bytes,
    start: int,
    stride: int,
    count: int,
    size: int,
    mark: int,
    out: Bytes,
    to: int,
    out_stride: int,
) -> None:
    hash_short(data, start, stride, count, size, mark, out, to, out_stride)


@register_jitable
def _hash_long(
    data: Bytes,
    start: int,
    stride: int,
    count: int,
    size: int,
    mark: int,
    out: Bytes,
    to: int,
    out_stride: int,
) -> None:
    hash_long(data, start, stride, count, size, mark, out, to, out_stride)


@register_jitable
def hash_leaves(
    data: Bytes, start: int, stride: int, count: int, size: int, out: Bytes, to: int, out_stride: int
) -> None:
    """Leaf nodes of `count` messages of `size` bytes, the first at `start`, `stride` bytes apart.

    The nodes go to
    `out`, from `to` on, `out_stride` apart. `data` has 1 byte before the first message and 127 after the last
    one.
    """
    for lane in range(0, count, 8):
        lanes = min(8, count - lane)
        if size <= 71:
            _hash_short(
                data,
                start + lane * stride,
                stride,
                lanes,
                size,
                LEAF,
                out,
                to + lane * out_stride,
                out_stride,
            )
        else:
            _hash_long(
                data,
                start + lane * stride,
                stride,
                lanes,
                size,
                LEAF,
                out,
                to + lane * out_stride,
                out_stride,
            )


@register_jitable
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
            for pair in range(count):
                at = start + pair * 2 * HASH
                _hash_short(nodes, at, stride, trees, 2 * HASH, INNER, nodes, start + pair * HASH, stride)
        else:
            for tree in range(trees):
                for pair in range(0, count, 8):
                    lanes = min(8, count - pair)
                    at = start + tree * stride + pair * 2 * HASH
                    to = start + tree * stride + pair * HASH
                    _hash_short(nodes, at, 2 * HASH, lanes, 2 * HASH, INNER, nodes, to, HASH)
