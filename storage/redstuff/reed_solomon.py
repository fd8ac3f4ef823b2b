"""The Reed-Solomon code of `reed-solomon-simd` 3.1 (Leopard): where symbols stand, how missing ones are found.

With `a = pow2ceil(k)`, `b = pow2ceil(r)`, the rate is HIGH if `a > b`, or `a == b` and `k <= r`; else LOW.
HIGH: blocks of `m = b` points, recovery `j` at position `j`, original `i` at `m + i`. LOW: `m = a`, original
`i` at `i`, recovery `j` at `m + j` (PROTOCOL section 1; Lin, Al-Naffouri, Han 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.redstuff import field, kernels
from storage.redstuff.field import Words

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Code:
    """`k` original symbols expanded to `n`."""

    k: int
    n: int

    @cached_property
    def shape(self) -> tuple[int, int, int, bool]:
        """What the kernels need to know of the code: `k, r, m, high`."""
        return self.k, self.n - self.k, self.m, self.high

    @cached_property
    def high(self) -> bool:
        """HIGH rate, or LOW."""
        a, b = _power_of_two(self.k), _power_of_two(self.n - self.k)
        return a > b or (a == b and self.k <= self.n - self.k)

    @cached_property
    def m(self) -> int:
        """Points in a block."""
        return _power_of_two(self.n - self.k if self.high else self.k)

    @cached_property
    def positions(self) -> int:
        """Positions of a codeword, in whole blocks."""
        beyond = self.k if self.high else self.n - self.k
        return self.m * (1 + -(-beyond // self.m))

    @cached_property
    def places(self) -> Ints:
        """The position of each of the `n` symbols, originals first."""
        originals, recoveries = np.arange(self.k), np.arange(self.n - self.k)
        return np.concatenate(
            (originals + self.m, recoveries) if self.high else (originals, recoveries + self.m)
        )

    @cached_property
    def crossing_sums(self) -> Ints:
        """For each position the logarithm of `Z`, which vanishes on the first `m` points (PROTOCOL section 1)."""
        vanishing = np.zeros(_power_of_two(self.positions), np.int64)
        vanishing[: self.m] = 1
        return _log_sums(vanishing)

    @cached_property
    def original_sums(self) -> Ints:
        """For each position `x` the logarithm of the product of `x - y` over some other positions `y`.

        These are the positions of the originals, and of the zeros behind them (`_zeros`).
        """
        vanishing = self._zeros()
        vanishing[self.places[: self.k]] = 1
        return _log_sums(vanishing)

    def _zeros(self) -> Ints:
        """Return 1 for each position behind the originals in their blocks, which hold zeros; 0 for all others."""
        zeros = np.zeros(_power_of_two(self.positions), np.int64)
        if self.high:
            zeros[self.m + self.k :] = 1
        else:
            zeros[self.k : self.m] = 1
        return zeros

    def locators(self, known: tuple[int, ...]) -> Words:
        """Return the factors for `complete_vectors` when the `k` symbols `known` are given.

        One word for each position, then the inverses of the words that number blocks (for 0: 0).

        Let A vanish at the known positions and at those that are zero by definition. The factor is 1/A'(x_i)
        where it vanishes and A(x_i) elsewhere: logarithms of products over differences, that is a convolution
        over xor, done by Walsh-Hadamard transforms (Lin, Al-Naffouri, Han 2016, section 4).
        """
        space = _power_of_two(self.positions)
        vanishing = self._zeros()
        vanishing[self.places[list(known)]] = 1
        product, (_, exp) = _log_sums(vanishing), field.tables()
        factors = exp[np.where(vanishing == 1, -product, product) % field.ORDER][: self.positions]
        inverses = field.inverse(np.arange(1, space // self.m, dtype=np.uint16))
        return np.concatenate((factors, np.zeros(1, np.uint16), inverses))


@cache
def code(k: int, n: int) -> Code:
    """Return the code from `k` to `n` symbols, made once."""
    return Code(k, n)


@dataclass(frozen=True)
class Completion:
    """All that filling in codewords needs beside the symbols, for one set of given ones."""

    known: Ints
    """The given symbols' indices."""
    given: Ints
    """For each position, the place of its symbol among the given ones, or -1."""
    missing: Ints
    """For each position, the index of its symbol if that is to be found, or -1."""
    locators: Any
    """Multiplication tables of `Code.locators`."""


@lru_cache(maxsize=64)
def completion(k: int, n: int, known: tuple[int, ...], kind: str) -> Completion:
    """Return what it takes to complete codewords of which the symbols `known` are given.

    Kept for the 64 sets of symbols asked for last: repairs that know the same symbols make it once.
    """
    of = code(k, n)
    indices = np.array(known)
    given, missing = np.full((2, of.positions), -1, np.int64)
    missing[of.places] = np.arange(n)
    missing[of.places[indices]] = -1
    given[of.places[indices]] = np.arange(k)
    return Completion(indices, given, missing, kernels.load(kind).tables_of(of.locators(known)))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _log_sums(vanishing: Ints) -> Ints:
    """Return for each position the sum of the logarithms of its differences to the other positions marked 1."""
    log, _ = field.tables()
    logarithms = log[: len(vanishing)].copy()
    logarithms[0] = 0
    return _walsh_hadamard(_walsh_hadamard(vanishing) * _walsh_hadamard(logarithms)) // len(vanishing)


def _walsh_hadamard(values: Ints) -> Ints:
    """Return the sums and differences over all bits of the index; exact in int64."""
    half = 1
    while half < len(values):
        pairs = values.reshape(-1, 2, half)
        values = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1)
        half *= 2
    return values
