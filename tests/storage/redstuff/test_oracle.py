"""Against the code's closed form, spelled out in galois, which defines the field independently of our tables."""

from __future__ import annotations

from functools import cache
from typing import Any

import galois
import numpy as np
import pytest

from storage.redstuff import field
from storage.redstuff.engine import Engine
from storage.redstuff.kernels import KINDS, best_kind
from storage.redstuff.parameters import Axis, Parameters
from storage.redstuff.reed_solomon import code

HERE = KINDS[KINDS.index(best_kind()) :]


@cache
def gf() -> Any:
    """GF(2^16) by its polynomial."""
    return galois.GF(2**16, irreducible_poly=field.POLYNOMIAL, repr="int", primitive_element=2, verify=False)


def element(word: int) -> int:
    """The field element with these coordinates in the Cantor basis."""
    bits = (basis for bit, basis in enumerate(field.CANTOR_BASIS) if word >> bit & 1)
    return int(np.bitwise_xor.reduce(np.array([0, *bits])))


@cache
def words_by_element() -> dict[int, int]:
    return {element(word): word for word in range(2**16)}


def parity(k: int, r: int) -> Any:
    """G of PROTOCOL section 1: recovery `j` is `sum_i G[j, i]·original_i`."""
    a, b = 1 << (k - 1).bit_length(), 1 << (r - 1).bit_length()
    high = a > b or (a == b and k <= r)
    m = b if high else a
    x = gf()([element(word) for word in range(4 * max(a, b))])
    divisor = np.multiply.reduce(gf()([1, *x[1:m]]))
    if high:
        numerators = [np.multiply.reduce(x[m + i] + x[:m]) for i in range(k)]
        return gf()([[numerators[i] / (divisor * (x[m + i] + x[j])) for i in range(k)] for j in range(r)])
    numerators = [np.multiply.reduce(x[m + j] + x[:m]) for j in range(r)]
    return gf()([[numerators[j] / (divisor * (x[m + j] + x[i])) for i in range(k)] for j in range(r)])


def elements_of(symbol: bytes) -> Any:
    """A symbol shorter than 64 bytes: low bytes, then high bytes."""
    half = len(symbol) // 2
    return gf()([element(low | high << 8) for low, high in zip(symbol[:half], symbol[half:], strict=True)])


def symbol_of(elements: Any) -> bytes:
    words = [words_by_element()[int(one)] for one in elements]
    return bytes(word & 0xFF for word in words) + bytes(word >> 8 for word in words)


def test_tables_multiply_as_the_field() -> None:
    chance = np.random.default_rng(3)
    a, b = chance.integers(0, 2**16, (2, 500)).astype(np.uint16)
    expected = gf()([element(int(one)) for one in a]) * gf()([element(int(one)) for one in b])
    assert [element(int(one)) for one in field.multiply(a, b)] == [int(one) for one in expected]
    nonzero = a[a != 0]
    assert (field.multiply(nonzero, field.inverse(nonzero)) == 1).all()


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize("n", [4, 5, 6, 7, 10, 13, 31])
def test_expansion_is_the_closed_form(n: int, kind: str) -> None:
    shape = Parameters(n)
    engine, t = Engine(n, shape.p, shape.s, 1, kind), 6
    for axis in Axis:
        k = engine.code(axis).k
        sliver = np.random.default_rng(n).integers(0, 256, k * t).astype(np.uint8)
        originals = gf()([elements_of(one.tobytes()) for one in sliver.reshape(k, t)])
        expected = parity(k, n - k) @ originals
        found = engine.expanded(axis, sliver, t)
        assert [found[k + j].tobytes() for j in range(n - k)] == [symbol_of(row) for row in expected]


@pytest.mark.parametrize(("k", "n"), [(2, 4), (3, 4), (3, 5), (4, 10), (7, 10), (11, 31), (21, 31)])
def test_locators_are_the_products_they_stand_for(k: int, n: int) -> None:
    shape = code(k, n)
    known = tuple(np.random.default_rng(k).permutation(n)[:k].tolist())
    space = 1 << (shape.positions - 1).bit_length()
    zero = range(shape.m + k, space) if shape.high else range(k, shape.m)
    roots = {*shape.places[list(known)].tolist(), *zero}
    for position, factor in enumerate(shape.locators(known)[: shape.positions]):
        differences = gf()([1, *(element(position ^ root) for root in roots if root != position)])
        product = np.multiply.reduce(differences)
        assert element(int(factor)) == int(product**-1 if position in roots else product)
