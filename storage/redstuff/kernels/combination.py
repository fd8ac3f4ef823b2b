"""Sums of symbols, each times a constant: for one symbol of a codeword, where its transform would make all.

Symbols stay as they lie, in blocks of 32 low and 32 high bytes (see `symbols`), so that each is read once and nothing
but the sum is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from storage.redstuff.kernels.butterfly import MODULES
from storage.redstuff.kernels.symbols import copy, from_planes
from storage.redstuff.kernels.transform import Tables
from storage.redstuff.kernels.vector import BYTE, compiled, data_pointer, load, store

Bytes = NDArray[np.uint8]
SIZE = ir.IntType(64)
BLOCK, HALF = 64, 32
FEATURES = frozenset({"avx2", "gfni"})
"""No wider vectors than half a block."""


def _product_adder(
    typing_context: Any,
    target: Any,
    to: Any,
    source: Any,
    s: Any,
    gap: Any,
    blocks: Any,
    tables: Any,
    row: Any,
) -> Any:
    """Add the constant at `row` times the blocks at `source[s]` to those at `target[to]`.

    In a block of the source a high byte lies `gap` bytes behind its low byte. In a tail these are fewer than HALF: what
    lies behind the tail is read too, and the sum's bytes from there on mean nothing.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        sum_base = data_pointer(context, builder, signature.args[0], args[0])
        base = data_pointer(context, builder, signature.args[2], args[2])
        table = data_pointer(context, builder, signature.args[6], args[6])
        _, to, _, s, gap, blocks, _, row = args
        multiplier = MODULES[str(signature.args[6].dtype)].Multiplier(FEATURES)
        at_row = builder.gep(table, [builder.mul(row, SIZE(multiplier.row_bytes))])
        constants = multiplier.constants(builder, at_row)
        vector = ir.VectorType(BYTE, multiplier.lanes)
        with cgutils.for_range(builder, blocks) as over_blocks:
            block = builder.mul(over_blocks.index, SIZE(BLOCK))
            for place in range(0, HALF, multiplier.lanes):
                low = builder.add(builder.add(s, block), SIZE(place))
                given = [load(builder, vector, base, at) for at in (low, builder.add(low, gap))]
                product = multiplier.multiply(builder, constants, *given)
                for half, part in zip((0, HALF), product, strict=True):
                    at = builder.add(builder.add(to, block), SIZE(place + half))
                    store(builder, builder.xor(load(builder, vector, sum_base, at), part), sum_base, at)
        return context.get_dummy_value()

    size = types.intp
    return types.void(target, size, source, size, size, size, tables, size), generate


_add_product: Any = intrinsic(_product_adder)


@compiled
def _add_symbol(
    work: Bytes, place: int, source: Bytes, s: int, blocks: int, tail: int, factors: Tables, i: int
) -> None:
    """Add factor `i` times `blocks` blocks and a tail, which takes a block of `work`."""
    _add_product(work, place, source, s, HALF, blocks, factors, i)
    if tail:
        _add_product(work, place + BLOCK * blocks, source, s + BLOCK * blocks, tail // 2, 1, factors, i)


@compiled
def combine_vectors(
    source: Bytes, rest: Bytes, start: int, across: int, along: int, k: int, vectors: int, t: int, factors: Tables,
    work: Bytes, target: Bytes,
) -> None:  # fmt: skip
    """One recovery symbol of each of `vectors` codewords, one after the other in `target`: a sum of their originals.

    Vectors are those of `grid`. Original `i` counts times the constant at row `i` of `factors`. Where `source` ends
    between two symbols, `rest` goes on. Behind both there are HALF bytes that may be read. `work` takes as much of the
    sums as it can hold at a time.
    """
    whole, room = len(source), len(work) // BLOCK - 1  # blocks of one part of a symbol, beside its tail
    blocks = t // BLOCK
    tail = t - BLOCK * blocks
    padded = BLOCK * (blocks + 1)
    together = max(1, len(work) // padded)
    for vector in range(0, vectors, together):
        count = min(together, vectors - vector)
        for block in range(0, max(1, blocks), room):
            some = min(room, blocks - block)
            end = tail if block + some == blocks else 0
            for place in range(len(work)):
                work[place] = 0
            for i in range(k):
                for v in range(count):
                    symbol = start + (vector + v) * across + i * along + BLOCK * block
                    if symbol < whole:
                        _add_symbol(work, v * padded, source, symbol, some, end, factors, i)
                    else:
                        _add_symbol(work, v * padded, rest, symbol - whole, some, end, factors, i)
            for v in range(count):
                to = (vector + v) * t + BLOCK * block
                copy(target, to, work, v * padded, BLOCK * some)
                from_planes(target, to + BLOCK * some, work, v * padded + BLOCK * some, HALF, end)
