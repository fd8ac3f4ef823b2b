"""The additive FFT, expansion and completion of codewords, on scratch whose row `i` is codeword position `i`.

`work` is uint8 `(positions, 2·W)`: each row W low bytes, then the W high bytes of the same words, so that
every operation works on all words of a row at once. `tables` holds a row for each constant (see `butterfly`).

In the Cantor basis the subspace polynomial of dimension `l` maps the point `x_i` to `x_(i >> l)`; so the
constant of the butterflies at distance `d` in a group that starts at position `i` is simply the word `i //
d`.

Sources: Lin, Chung, Han (FOCS 2014); Lin, Al-Naffouri, Han, "FFT Algorithm for Binary Extension Finite Fields
and Its Application to Reed-Solomon Codes" (2016).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.redstuff.kernels.butterfly import (
    add,
    forward2,
    forward4,
    inverse2,
    inverse4,
    multiply_add,
    scale,
)
from storage.redstuff.kernels.vector import compiled

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Tables = NDArray[np.uint64] | NDArray[np.uint8] | NDArray[np.uint32]


@compiled
def inverse_transform(work: Bytes, tables: Tables, first: int, m: int, count: int) -> None:
    """Replace the values at the `m` positions from `first` on by the coefficients of their polynomial.

    The rows from `first + count` on are zero on entry.
    """
    distance = 1
    while 4 * distance <= m:
        for group in range(0, count, 4 * distance):
            place = first + group
            inverse4(
                work, tables, place, distance, distance,
                place // distance, (place + 2 * distance) // distance, place // (2 * distance),
            )  # fmt: skip
        distance *= 4
    if distance < m:
        inverse2(work, tables, first, distance, distance, first // distance)


@compiled
def forward_transform(work: Bytes, tables: Tables, first: int, m: int, count: int) -> None:
    """Replace the `m` coefficients at `first` by the polynomial's values at these positions.

    Only the first `count` values are made; the other rows are undefined.
    """
    distance = m
    layers = 0
    while 1 << layers < m:
        layers += 1
    if layers % 2:
        distance //= 2
        forward2(work, tables, first, distance, distance, first // distance)
    while distance > 1:
        distance //= 4
        for group in range(0, count, 4 * distance):
            place = first + group
            forward4(
                work, tables, place, distance, distance,
                place // distance, (place + 2 * distance) // distance, place // (2 * distance),
            )  # fmt: skip


@compiled
def clear_rows(work: Bytes, first: int, count: int) -> None:
    """Set the `count` rows from `first` on to zero."""
    for row in range(first, first + count):
        for place in range(work.shape[1]):
            work[row, place] = 0


@compiled
def copy_rows(work: Bytes, target: int, source: int, count: int) -> None:
    """Copy the `count` rows from `source` on to the rows from `target` on; the two do not overlap."""
    for row in range(count):
        for place in range(work.shape[1]):
            work[target + row, place] = work[source + row, place]


@compiled
def expand(work: Bytes, tables: Tables, k: int, r: int, m: int, high: bool) -> None:
    """Make the `r` recovery symbols from the `k` originals (`reed_solomon.Code`); overwrites all other rows.

    LOW rate: the originals are in the first rows, and are, with zeros after them, the values of a polynomial at the
    first `m` points. Its values at the points behind these are the recovery symbols. HIGH rate, the dual: the originals
    are in the rows from `m` on, the recovery symbols in the first ones, such that the coefficients over all blocks of
    `m` points add up to zero.
    """
    if high:
        for block in range(m, m + k, m):
            count = min(m, m + k - block)
            clear_rows(work, block + count, m - count)
            inverse_transform(work, tables, block, m, count)
            if block == m:
                copy_rows(work, 0, m, m)
            else:
                add(work, tables, block, m, -block)
        forward_transform(work, tables, 0, m, r)
        return
    clear_rows(work, k, m - k)
    inverse_transform(work, tables, 0, m, k)
    for block in range(m, m + r, m):
        copy_rows(work, block, 0, m)
        forward_transform(work, tables, block, m, min(m, m + r - block))


@compiled
def add_derivative(work: Bytes, tables: Tables, target: int, source: int, m: int) -> None:
    """Add the formal derivative of the `m` coefficients at `source` to the coefficients at `target`.

    The basis polynomial `i` is the product of the subspace polynomials of the bits of `i`, whose derivatives
    are all 1: its derivative is the sum of the basis polynomials with one bit of `i` less.
    """
    bit = 1
    while bit < m:
        for group in range(bit, m, 2 * bit):
            add(work, tables, source + group, bit, target - source - bit)
        bit *= 2


@compiled
def complete(work: Bytes, tables: Tables, m: int, known: Bools, wanted: Bools, locators: Tables) -> None:
    """Make the `wanted` rows of a codeword from its `known` rows, by Lagrange interpolation.

    `known` and `wanted` have a flag for each position. The positions form blocks of `m`. `work` has two rows for each
    position: the upper half is scratch. All rows that are neither known nor wanted are overwritten.

    `f` is the codeword's polynomial, `x_i` the point of position `i`. Let A vanish at the known positions and at those
    that are zero by definition, and nowhere else. Row `i` of `locators` has position `i`'s factor: 1/A'(x_i) where it
    is known, A(x_i) where it is wanted. The rows behind the positions' have the inverses of the words 0 (unused), 1, 2…

    With `g = f/A'`, Lagrange says `f(x_e) = A(x_e) sum_i g_i/(x_e - x_i)`. The part of the sum in a block c is
    `P_c/Z_c`, where P_c interpolates `g` on the block and Z_c vanishes on it. On another block b, Z_c is the word
    `b ^ c` everywhere; on block c itself the quotient is the derivative of P_c, as that of Z_c is 1. So
    `f(x_e) = A(x_e)·FFT_b(P_b' + sum_(c≠b) P_c/(b ^ c))`. The upper half of `work` takes these sums.
    """
    positions = len(known)
    blocks = positions // m
    count = np.zeros((2, blocks), np.int64)
    for i in range(positions):
        if known[i]:
            scale(work, locators, i, 1, 0, i)
            count[0, i // m] = i % m + 1
        else:
            clear_rows(work, i, 1)
        if wanted[i]:
            count[1, i // m] = i % m + 1
    for c in range(blocks):
        if count[0, c]:
            inverse_transform(work, tables, c * m, m, count[0, c])
    for b in range(blocks):
        if count[1, b]:
            to = positions + b * m
            clear_rows(work, to, m)
            for c in range(blocks):
                if count[0, c] and c != b:
                    multiply_add(work, locators, c * m, m, to - c * m, positions + (b ^ c))
            if count[0, b]:
                add_derivative(work, tables, to, b * m, m)
    for i in range(positions):
        b = i // m
        if count[1, b]:
            if i % m == 0:
                copy_rows(work, i, positions + i, m)
                forward_transform(work, tables, i, m, count[1, b])
            if wanted[i]:
                scale(work, locators, i, 1, 0, i)
