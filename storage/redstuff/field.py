"""GF(2^16) as Leopard writes it: polynomial 0x1002D, elements in the Cantor basis (PROTOCOL section 1).

A word of 16 bits is an element's coordinates in the Cantor basis; addition is xor, and multiplication goes
through logarithms. Tables are made on first use, not at import.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint16]

POLYNOMIAL = 0x1002D
ORDER = 65535
CANTOR_BASIS = (
    *(0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012),
    *(0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E),
)


@cache
def tables() -> tuple[NDArray[np.int64], Words]:
    """Return (logarithm by word, word by exponent up to 2·65534); the logarithm of 0 is not to be used."""
    polynomial_log = np.zeros(ORDER + 1, np.int64)
    element = 1
    for exponent in range(ORDER):
        polynomial_log[element] = exponent
        element <<= 1
        if element >> 16:
            element ^= POLYNOMIAL
    words = np.arange(ORDER + 1)
    element_of = np.zeros(ORDER + 1, np.int64)
    for bit, basis in enumerate(CANTOR_BASIS):
        element_of ^= (words >> bit & 1) * basis
    log = polynomial_log[element_of]
    exp = np.zeros(2 * ORDER, np.uint16)
    exp[log[1:]] = words[1:]
    exp[ORDER:] = exp[:ORDER]
    return log, exp


@cache
def short_tables() -> tuple[Words, Words]:
    """Return `tables` as 16-bit words, which fit into a cache, for kernels. The logarithm of 0 stands as 0."""
    log, exp = tables()
    return log.astype(np.uint16), exp


def multiply(a: NDArray[np.integer] | int, b: NDArray[np.integer] | int) -> Words:
    """Return the products, element by element; broadcasts."""
    log, exp = tables()
    product: Words = np.where((np.asarray(a) == 0) | (np.asarray(b) == 0), 0, exp[log[a] + log[b]])
    return product.astype(np.uint16)


def inverse(a: NDArray[np.integer] | int) -> Words:
    """Return 1/a for nonzero elements."""
    log, exp = tables()
    result: Words = exp[ORDER - log[a]]
    return result
