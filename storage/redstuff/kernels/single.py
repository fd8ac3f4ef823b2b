"""Single symbols of many codewords, each with symbols of its own: one multiplication for each word that goes in.

The transforms of `grid` make all symbols of codewords that lack the same ones. Of small symbols a node needs one from
each of many slivers, or a few from codewords that each lack others. Then the sums over logarithms are cheaper: those of
a word's products are `exp[log[word] + factor]`.

`log` and `exp` are the field's (`field.tables`), `sums` is `Code.base_sums`. Words lie in symbols as `symbols` says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.redstuff.kernels.grid import Shape
from storage.redstuff.kernels.symbols import copy
from storage.redstuff.kernels.vector import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Words = NDArray[np.uint16]
ORDER = 65535


@compiled
def _add_products(
    data: Bytes, start: int, count: int, t: int, factors: Ints, log: Words, exp: Words, out: Bytes, to: int
) -> None:
    """Write to `out[to:]` the sum of `count` symbols at `data[start:]`, each times its factor, given by logarithm."""
    for word in range(t // 2):
        block = word // 32
        first, half = 64 * block, min(32, (t - 64 * block) // 2)
        low = first + word - 32 * block
        high = low + half
        total = np.uint16(0)
        for i in range(count):
            place = start + i * t
            value = data[place + low] | (np.uint16(data[place + high]) << 8)
            if value:
                total ^= exp[log[value] + factors[i]]
        out[to + low] = total & 0xFF
        out[to + high] = total >> 8


@compiled
def crossing_symbols(
    slivers: Bytes,
    numbers: Ints,
    wanted: Ints,
    t: int,
    shape: Shape,
    log: Words,
    exp: Words,
    sums: Ints,
    out: Bytes,
) -> None:
    """Write the symbols `wanted[i]` of the codewords `numbers[i]`, whose `k` originals lie one after the other.

    Symbol `i` goes to `out[i·t]`. An original is copied.
    """
    k, _, m, high = shape
    factors = np.empty(k, np.int64)
    none = 0
    for v in range(1, m):
        none += log[v]
    for one in range(len(wanted)):
        start = numbers[one] * k * t
        if wanted[one] < k:
            copy(out, one * t, slivers, start + wanted[one] * t, t)
            continue
        recovery = wanted[one] - k
        for i in range(k):
            # G[j,i] = Z(x_outer) / (D (x_inner + x_outer)), where Z vanishes on the first m points.
            outer = m + i if high else m + recovery
            inner = recovery if high else i
            factors[i] = (sums[outer] - none - log[inner ^ outer]) % ORDER
        _add_products(slivers, start, k, t, factors, log, exp, out, one * t)


@compiled
def complete_each(
    symbols: Bytes, known: Ints, t: int, places: Ints, k: int, log: Words, exp: Words, sums: Ints, out: Bytes
) -> None:
    """Write the `k` originals of codewords, each given by any `k` of its symbols.

    `known` `(codewords, k)` are the given symbols' indices, ascending; the symbols have `t` bytes each, and lie one
    after the other, as the originals do in `out`. `places` are the positions of a codeword's symbols in the field, and
    `log` and `exp` the field's tables. Positions come in whole blocks; those left over behind the originals hold zeros.
    `sums[x]` is the sum of the logarithms of the differences between position `x` and each other position of an
    original or of such a zero.
    """
    is_known = np.empty(len(places), np.bool_)
    factors, own = np.empty(k, np.int64), np.empty(k, np.int64)
    lost, given = np.empty(k, np.int64), np.empty(k, np.int64)
    for one in range(len(known)):
        base = one * k * t
        is_known[:] = False
        extra = 0
        for i in range(k):
            index = known[one, i]
            is_known[index] = True
            if index < k:
                copy(out, base + index * t, symbols, base + i * t, t)
            else:
                given[extra] = places[index]
                extra += 1
        missing = 0
        for index in range(k):
            if not is_known[index]:
                lost[missing] = places[index]
                missing += 1
        if not missing:
            continue
        # Lagrange: f(x_e) = A(x_e) sum_i f_i / (A'(x_i) (x_e - x_i)), where A vanishes at what is known or zero.
        for i in range(k):
            own[i] = _exchanged(sums, log, places[known[one, i]], lost, given, missing)
        number = 0
        for index in range(k):
            if is_known[index]:
                continue
            place = lost[number]
            whole = _exchanged(sums, log, place, lost, given, missing)
            for i in range(k):
                factors[i] = (whole - own[i] - log[place ^ places[known[one, i]]]) % ORDER
            _add_products(symbols, base, k, t, factors, log, exp, out, base + index * t)
            number += 1


@compiled
def _exchanged(sums: Ints, log: Words, place: int, lost: Ints, given: Ints, count: int) -> int:
    """Return `sums[place]` as it is when `count` positions of originals are exchanged for others."""
    total: int = sums[place]
    for i in range(count):
        total += log[place ^ given[i]]
        total -= log[place ^ lost[i]]
    return total
