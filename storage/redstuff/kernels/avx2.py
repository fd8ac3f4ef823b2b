"""GF(2^16) products by byte shuffle: a 16-entry table for each nibble of a word and each result byte.

Source: Plank, Greenan, Miller, "Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions" (FAST
2013).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from storage.redstuff.kernels.vector import BYTE, call, constant, load

TABLE_DTYPE = "uint8"


def table(products: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return `(c, 16)` products of `c` constants with the 16 basis words to `(c, 128)`.

    That is, per nibble of the word, lowest first, the products' 16 low bytes and 16 high bytes.
    """
    nibbles = np.arange(16, dtype=np.uint16)
    out = np.zeros((len(products), 4, 2, 16), np.uint8)
    for nibble in range(4):
        sums = np.zeros((len(products), 16), np.uint16)
        for bit in range(4):
            sums ^= products[:, 4 * nibble + bit, None] * (nibbles >> bit & 1)
        out[:, nibble, 0], out[:, nibble, 1] = sums & 0xFF, sums >> 8
    return out.reshape(len(products), 128)


class Multiplier:
    """Writes the product of a constant with vectors of low and of high bytes."""

    row_bytes = 128
    lanes = 32

    def __init__(self, features: frozenset[str]) -> None:
        del features

    def constants(self, builder: ir.IRBuilder, row: ir.Value) -> list[ir.Value]:
        """Return the eight tables at `row`, each in both halves of a vector (the shuffle works within halves)."""
        half = ir.VectorType(BYTE, 16)
        index = ir.VectorType(ir.IntType(32), 32)
        twice = ir.Constant(index, [*range(16), *range(16)])
        tables = [load(builder, half, row, ir.IntType(64)(16 * number)) for number in range(8)]
        return [builder.shuffle_vector(one, ir.Constant(half, ir.Undefined), twice) for one in tables]

    def multiply(
        self, builder: ir.IRBuilder, constants: list[ir.Value], low: ir.Value, high: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Return the low and high bytes of the product."""
        vector = ir.VectorType(BYTE, self.lanes)
        results: list[ir.Value] = []
        nibbles = [
            part
            for byte in (low, high)
            for part in (
                builder.and_(byte, constant(vector, 15)),
                builder.lshr(byte, constant(vector, 4)),
            )
        ]
        for result_byte in range(2):
            looked_up = [
                call(builder, "llvm.x86.avx2.pshuf.b", vector, [constants[2 * number + result_byte], nibble])
                for number, nibble in enumerate(nibbles)
            ]
            first, second = builder.xor(*looked_up[:2]), builder.xor(*looked_up[2:])
            results.append(builder.xor(first, second))
        return results[0], results[1]
