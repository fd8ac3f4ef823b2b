"""The work on a whole grid, as the kernels that Python calls. All take flat uint8 arrays and places in them.

A *vector* is one codeword over symbols of `t` bytes: a row or a column of the grid. Symbol `i` of vector `v`
lies at `start + v·across + i·along`, which says rows, columns and lone slivers alike.

Arrays whose symbols are hashed need `SLACK` bytes before and after (see `blake2b`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.redstuff.kernels.hashing import HASH, LEAF, hash_both, hash_leaves, tree_roots
from storage.redstuff.kernels.symbols import copy, cut, from_planes, to_planes
from storage.redstuff.kernels.transform import Tables, complete, expand
from storage.redstuff.kernels.vector import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


Shape = tuple[int, int, int, bool]
"""One Reed-Solomon code: `k` originals, `r` recoveries, blocks of `m` points, HIGH rate or not."""
SLACK = 128
ROWS, COLUMNS, ROW_ROOTS, BLOB_ROOT = 1, 2, 4, 8


@compiled
def expand_vectors(
    source: Bytes, start: int, across: int, along: int, vectors: int, t: int, shape: Shape, tables: Tables, work: Bytes,
    target: Bytes, to: int, to_across: int, to_along: int,
) -> None:  # fmt: skip
    """Recovery symbols of `vectors` codewords, as many bytes at a time as a scratch row holds."""
    k, r, m, high = shape
    original, recovery = (m, 0) if high else (0, m)
    row_bytes = work.shape[1]
    plane, flat = row_bytes // 2, work.reshape(-1)
    fragments = np.empty((plane, 4), np.int64)
    vector, done = 0, 0
    while vector < vectors:
        count, vector, done = cut(fragments, vector, done, vectors, t, row_bytes, across, to_across)
        for i in range(k):
            row, symbol = (original + i) * row_bytes, start + i * along
            for f in range(count):
                size, place, offset = fragments[f, 0], fragments[f, 1], fragments[f, 2]
                to_planes(flat, row + place, plane, source, symbol + offset, size)
        expand(work, tables, k, r, m, high)
        for j in range(r):
            row, symbol = (recovery + j) * row_bytes, to + j * to_along
            for f in range(count):
                size, place, offset = fragments[f, 0], fragments[f, 1], fragments[f, 3]
                from_planes(target, symbol + offset, flat, row + place, plane, size)


@compiled
def complete_vectors(
    source: Bytes, start: int, across: int, along: int, given: Ints, vectors: int, t: int, m: int, tables: Tables,
    locators: Tables, work: Bytes, target: Bytes, to: int, to_across: int, to_along: int, wanted: Ints,
) -> None:  # fmt: skip
    """Symbols of codewords from others.

    `given[i]` is the number in `source` of the symbol at position `i` of a codeword, or -1, `wanted[i]` its
    number in `target`, or -1.
    """
    row_bytes = work.shape[1]
    plane, flat = row_bytes // 2, work.reshape(-1)
    fragments = np.empty((plane, 4), np.int64)
    vector, done = 0, 0
    while vector < vectors:
        count, vector, done = cut(fragments, vector, done, vectors, t, row_bytes, across, to_across)
        for i in range(len(given)):
            if given[i] >= 0:
                row, symbol = i * row_bytes, start + given[i] * along
                for f in range(count):
                    size, place, offset = fragments[f, 0], fragments[f, 1], fragments[f, 2]
                    to_planes(flat, row + place, plane, source, symbol + offset, size)
        complete(work, tables, m, given >= 0, wanted >= 0, locators)
        for i in range(len(wanted)):
            if wanted[i] >= 0:
                row, symbol = i * row_bytes, to + wanted[i] * to_along
                for f in range(count):
                    size, place, offset = fragments[f, 0], fragments[f, 1], fragments[f, 3]
                    from_planes(target, symbol + offset, flat, row + place, plane, size)


@compiled
def _leaves(
    data: Bytes,
    start: int,
    across: int,
    along: int,
    vectors: int,
    symbols: int,
    t: int,
    nodes: Bytes,
    to: int,
    tree: int,
) -> None:
    """Leaf nodes of `symbols` symbols of each of up to 8 vectors; `tree` bytes lie between the trees in `nodes`."""
    if symbols <= vectors * ((symbols + 7) // 8):
        for i in range(0, symbols, 2):
            at, others = start + i * along, vectors if i + 1 < symbols else 0
            hash_both(
                data, at, across, vectors, at + along, others, t, LEAF,
                nodes, to + i * HASH, tree, to + (i + 1) * HASH,
            )  # fmt: skip
    else:
        for v in range(vectors):
            hash_leaves(data, start + v * across, along, symbols, t, nodes, to + v * tree, HASH)


@compiled
def sliver_roots(
    slivers: Bytes, start: int, vectors: int, t: int, shape: Shape, tables: Tables, work: Bytes,
    target: Bytes, to: int, to_across: int, to_along: int, nodes: Bytes,
    leaves: Bytes, leaf: int, leaf_along: int, roots: Bytes, root: int, root_across: int,
) -> None:  # fmt: skip
    """Roots of up to 8 slivers that lie one after the other: expand, hash the leaves, hash the trees.

    The recovery symbols go to `target`. The leaf node of symbol `i` of sliver `v` also goes to `leaves[leaf +
    32·v + i·leaf_along]` unless `leaf_along` is 0, the root of sliver `v` to `roots[root + v·root_across]`.
    `nodes` holds `8·(n+1)·32` bytes after `SLACK`.
    """
    k, r, _, _ = shape
    tree = (k + r + 1) * HASH
    base = SLACK
    expand_vectors(
        slivers, start, k * t, t, vectors, t, shape, tables, work, target, to, to_across, to_along
    )  # fmt: skip
    _leaves(slivers, start, k * t, t, vectors, k, t, nodes, base, tree)
    _leaves(target, to, to_across, to_along, vectors, r, t, nodes, base + k * HASH, tree)
    if leaf_along:
        for i in range(k + r):
            for v in range(vectors):
                copy(leaves, leaf + v * HASH + i * leaf_along, nodes, base + v * tree + i * HASH, HASH)
    tree_roots(nodes, base, tree, vectors, k + r)
    for v in range(vectors):
        copy(roots, root + v * root_across, nodes, base + v * tree, HASH)


@compiled
def encode(
    stages: int, first: int, last: int, t: int, rows: Shape, columns: Shape, tables: Tables, work: Bytes,
    primary: Bytes, secondary: Bytes, staging: Bytes, nodes: Bytes, leaves: Bytes, roots: Bytes,
) -> None:  # fmt: skip
    """The stages of an encoding named in `stages`, in their order, each for rows or columns `first … last`.

    `primary` `(n, s·t)` holds the blob in its first `p` rows, `secondary` is `(n, p·t)`, `leaves` `(n, n+1,
    32)` and `roots` `(n, 2, 32)`, primary and secondary root by pair, then 32 bytes for the blob's root; all
    flat, between `SLACK`. ROWS fills secondary slivers from `s` on; COLUMNS the others, all other primaries,
    leaves and secondary roots; ROW_ROOTS the primary roots; BLOB_ROOT the last.
    """
    s, beyond, _, _ = rows
    p, n = columns[0], s + beyond
    row, column = s * t, p * t
    if stages & ROWS:
        expand_vectors(
            primary, SLACK + first * row, row, t, min(last, p) - first, t, rows, tables, work,
            secondary, SLACK + s * column + first * t, t, column,
        )  # fmt: skip
    if stages & COLUMNS:
        for c in range(first, last, 8):
            # Groups of eight columns, none of which reaches over the edge between the blob's and the others.
            for begin, end in ((c, min(c + 8, last, s)), (max(c, s), min(c + 8, last))):
                _encode_columns(
                    begin, end, t, p, s, n, columns, tables, work, primary, secondary, staging, nodes, leaves, roots
                )  # fmt: skip
    if stages & ROW_ROOTS:
        tree = (n + 1) * HASH
        for r in range(first, last, 8):
            tree_roots(leaves, SLACK + r * tree, tree, min(8, last - r), n)
            for i in range(r, min(r + 8, last)):
                copy(roots, SLACK + 2 * HASH * i, leaves, SLACK + i * tree, HASH)
    if stages & BLOB_ROOT:
        hash_leaves(roots, SLACK, 2 * HASH, n, 2 * HASH, nodes, SLACK, HASH)
        tree_roots(nodes, SLACK, 0, 1, n)
        copy(roots, SLACK + 2 * HASH * n, nodes, SLACK, HASH)


@compiled
def _encode_columns(
    begin: int, end: int, t: int, p: int, s: int, n: int, columns: Shape, tables: Tables, work: Bytes,
    primary: Bytes, secondary: Bytes, staging: Bytes, nodes: Bytes, leaves: Bytes, roots: Bytes,
) -> None:  # fmt: skip
    """Columns `begin … end`, all before `s` or none."""
    if begin >= end:
        return
    row, column, tree = s * t, p * t, (n + 1) * HASH
    if begin < s:
        for r in range(p):
            for c in range(begin, end):
                copy(secondary, SLACK + c * column + r * t, primary, SLACK + r * row + c * t, t)
        target, to, to_across, to_along = primary, SLACK + p * row + begin * t, t, row
    else:
        target, to, to_across, to_along = staging, SLACK, (n - p) * t, t
    sliver_roots(
        secondary, SLACK + begin * column, end - begin, t, columns, tables, work,
        target, to, to_across, to_along, nodes,
        leaves, SLACK + begin * HASH, tree, roots, SLACK + 2 * HASH * (n - 1 - begin) + HASH, -2 * HASH,
    )  # fmt: skip


@compiled
def symbols_roots(symbols: Bytes, count: int, n: int, t: int, nodes: Bytes, roots: Bytes) -> None:
    """Roots of `count` trees over `n` symbols each, which lie one after the other; `nodes` has room for 8 trees."""
    tree = (n + 1) * HASH
    for first in range(0, count, 8):
        trees = min(8, count - first)
        for i in range(trees):
            hash_leaves(symbols, SLACK + (first + i) * n * t, t, n, t, nodes, SLACK + i * tree, HASH)
        tree_roots(nodes, SLACK, tree, trees, n)
        for i in range(trees):
            for place in range(HASH):
                roots[(first + i) * HASH + place] = nodes[SLACK + i * tree + place]
