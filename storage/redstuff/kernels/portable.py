"""GF(2^16) products in vector code for any processor.

For each of a word's 16 bits a mask picks the constant's product with that bit, and the products are added up.

Source: multiplication by a constant is linear over GF(2); the columns of its matrix are the 16 products.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from storage.redstuff.kernels.vector import BYTE, constant, load

TABLE_DTYPE = "uint32"


def table(products: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """Return `(c, 16)` products of `c` constants with the 16 basis words to `(c, 128)`.

    That is, per basis word the product's
    low byte 16 times, then its high byte 16 times, ready to be loaded as vectors.
    """
    pairs = np.stack((products & 0xFF, products >> 8), axis=-1).astype(np.uint8)
    repeated = np.repeat(pairs.reshape(len(products), 32), 16, axis=1)
    return np.ascontiguousarray(repeated).view(np.uint32)


class Multiplier:
    """Writes the product of a constant with vectors of low and of high bytes."""

    row_bytes = 512
    lanes = 16

    def __init__(self, features: frozenset[str]) -> None:
        del features

    def constants(self, builder: ir.IRBuilder, row: ir.Value) -> list[ir.Value]:
        """Return the 32 vectors at `row`."""
        vector = ir.VectorType(BYTE, self.lanes)
        return [load(builder, vector, row, ir.IntType(64)(16 * number)) for number in range(32)]

    def multiply(
        self, builder: ir.IRBuilder, constants: list[ir.Value], low: ir.Value, high: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Return the low and high bytes of the product."""
        vector = ir.VectorType(BYTE, self.lanes)
        results = [constant(vector, 0), constant(vector, 0)]
        for number in range(16):
            bit = constant(vector, 1 << number % 8)
            source = low if number < 8 else high
            mask = builder.sext(builder.icmp_signed("==", builder.and_(source, bit), bit), vector)
            for half in range(2):
                product = builder.and_(mask, constants[2 * number + half])
                results[half] = builder.xor(results[half], product)
        return results[0], results[1]
