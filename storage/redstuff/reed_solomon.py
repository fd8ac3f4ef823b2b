"""The Reed-Solomon code of `reed-solomon-simd` 3.1 (Leopard) as matrices over symbols (PROTOCOL section 1).

With `x_i` the element whose coordinates are the bits of `i`, `a = pow2ceil(k)`, `b = pow2ceil(r)`: recovery symbol `j`
is `sum_i G[j,i]·original_i`, where G is given in closed form for the HIGH and the LOW rate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from storage.redstuff import field
from storage.redstuff.field import Words

Bytes = NDArray[np.uint8]
BLOCK = 64
"""A symbol is read in blocks of 64 bytes: 32 low bytes, then 32 high bytes, of 32 words."""


def _product(elements: Words) -> int:
    result = 1
    for element in elements:
        result = int(field.multiply(result, int(element)))
    return result


@cache
def generator(k: int, n: int) -> Words:
    """`(n, k)` matrix that expands `k` original symbols to `n`: the identity above the recovery rows."""
    r = n - k
    a, b = 1 << (k - 1).bit_length(), 1 << (r - 1).bit_length()
    high = a > b or (a == b and k <= r)
    m = b if high else a
    below_m = np.arange(m, dtype=np.uint16)
    divisor = field.inverse(_product(below_m[1:]))

    def vanishing(points: Words) -> Words:
        values = np.ones(len(points), np.uint16)
        for point in below_m:
            values = field.multiply(values, points ^ point)
        return values

    originals, recoveries = np.arange(k, dtype=np.uint16), np.arange(r, dtype=np.uint16)
    if high:
        differences = (originals[None, :] + np.uint16(m)) ^ recoveries[:, None]
        numerator = vanishing(originals + np.uint16(m))[None, :]
    else:
        differences = (recoveries[:, None] + np.uint16(m)) ^ originals[None, :]
        numerator = vanishing(recoveries + np.uint16(m))[:, None]
    parity = field.multiply(field.multiply(numerator, divisor), field.inverse(differences))
    return np.concatenate((np.eye(k, dtype=np.uint16), parity))


@lru_cache(maxsize=256)
def decoder(k: int, n: int, known: tuple[int, ...]) -> Words:
    """`(k, k)` matrix from the codeword's symbols at the `k` places `known` to the originals."""
    return field.solve(generator(k, n)[list(known)], k)


def to_words(symbols: Bytes) -> Words:
    """`(…, t)` bytes to `(…, t/2)` words, out of the 64-byte blocks and the shorter tail."""
    *shape, t = symbols.shape
    whole = t - t % BLOCK
    half = (t - whole) // 2
    blocks = symbols[..., :whole].reshape(*shape, whole // BLOCK, 2, BLOCK // 2)
    low = np.concatenate(
        (blocks[..., 0, :].reshape(*shape, whole // 2), symbols[..., whole : whole + half]), -1
    )
    high = np.concatenate((blocks[..., 1, :].reshape(*shape, whole // 2), symbols[..., whole + half :]), -1)
    words: Words = low | high.astype(np.uint16) << 8
    return words


def to_bytes(words: Words) -> Bytes:
    """The way back from `to_words`."""
    *shape, count = words.shape
    whole = count - count % (BLOCK // 2)
    low, high = (words & 0xFF).astype(np.uint8), (words >> 8).astype(np.uint8)
    blocks = np.stack([plane[..., :whole].reshape(*shape, whole // 32, 32) for plane in (low, high)], axis=-2)
    return np.concatenate((blocks.reshape(*shape, 2 * whole), low[..., whole:], high[..., whole:]), axis=-1)


def combine(matrix: Words, words: Words) -> Words:
    """`matrix (r, k)` times `words (k, m, w)`: `(r, m, w)`, symbol by symbol."""
    r, k = matrix.shape
    flat = np.ascontiguousarray(words.reshape(k, -1))
    out = np.zeros((r, flat.shape[1]), np.uint16)
    _kernel()(np.ascontiguousarray(matrix), _byte_products(matrix), flat, out)
    return out.reshape(r, *words.shape[1:])


def _byte_products(matrix: Words) -> Words:
    """`(r·k, 512)`: products of each coefficient with every low byte, then with every high byte."""
    values = np.concatenate((np.arange(256), np.arange(256) << 8)).astype(np.uint16)
    return field.multiply(matrix.reshape(-1, 1), values[None, :])


@cache
def _kernel() -> Callable[..., None]:
    """The multiply-add, compiled on first use; it releases the interpreter lock."""
    from numba import njit

    @njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
    def multiply_add(matrix, products, words, out):  # type: ignore[no-untyped-def]
        r, k = matrix.shape
        w = words.shape[1]
        step = 4096
        for start in range(0, w, step):
            stop = min(start + step, w)
            for j in range(r):
                for i in range(k):
                    if matrix[j, i] == 0:
                        continue
                    if matrix[j, i] == 1:
                        for x in range(start, stop):
                            out[j, x] ^= words[i, x]
                        continue
                    table = products[j * k + i]
                    for x in range(start, stop):
                        word = words[i, x]
                        out[j, x] ^= table[word & 0xFF] ^ table[256 + (word >> 8)]

    return multiply_add  # type: ignore[no-any-return]
