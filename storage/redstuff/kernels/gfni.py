"""GF(2^16) products by GF2P8AFFINEQB: a constant is a 16×16 bit matrix, four 8×8 blocks of it at a time.

Source: Intel's architecture manual, GF2P8AFFINEQB ("affine transformation over GF(2)"): bit `i` of a result
byte is the parity of `byte & row`, where row `i` is byte `7-i` of the 64-bit matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from storage.redstuff.kernels.vector import BYTE, WORD64, call, load, splat

TABLE_DTYPE = "uint64"


def table(products: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """Return `(c, 16)` products of `c` constants with the 16 basis words to `(c, 4)` matrices.

    They take low → low, high →
    low, low → high, high → high byte.
    """
    rows = np.zeros((len(products), 4, 8), np.uint8)
    for block, (result_byte, source_byte) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        for bit in range(8):
            set_bits = (products[:, 8 * source_byte : 8 * source_byte + 8] >> (8 * result_byte + bit)) & 1
            rows[:, block, 7 - bit] = np.packbits(set_bits.astype(np.uint8), axis=1, bitorder="little")[:, 0]
    return rows.view("<u8")[:, :, 0].astype(np.uint64)


class Multiplier:
    """Writes the product of a constant with vectors of low and of high bytes."""

    row_bytes = 32

    def __init__(self, features: frozenset[str]) -> None:
        self.lanes = 64 if {"avx512f", "avx512bw"} <= features else 32

    def constants(self, builder: ir.IRBuilder, row: ir.Value) -> list[ir.Value]:
        """The four matrices at `row`, each in every 64 bits of a vector."""
        vector = ir.VectorType(BYTE, self.lanes)
        words = [load(builder, WORD64, row, ir.IntType(64)(8 * block)) for block in range(4)]
        return [builder.bitcast(splat(builder, word, self.lanes // 8), vector) for word in words]

    def multiply(
        self, builder: ir.IRBuilder, constants: list[ir.Value], low: ir.Value, high: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Return the low and high bytes of the product."""

        def affine(source: ir.Value, matrix: ir.Value) -> Any:
            name = f"llvm.x86.vgf2p8affineqb.{8 * self.lanes}"
            return call(builder, name, source.type, [source, matrix, BYTE(0)])

        low_low, high_low, low_high, high_high = constants
        return (
            builder.xor(affine(low, low_low), affine(high, high_low)),
            builder.xor(affine(low, low_high), affine(high, high_high)),
        )
