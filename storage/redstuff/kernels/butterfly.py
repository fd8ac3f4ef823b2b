"""The butterflies of the additive FFT over rows of scratch, as numba intrinsics.

A scratch row holds `W` low bytes, then the `W` high bytes of the same words; `W` is a multiple of 64. A
constant is the number of its row in `tables`; which kernel kind works is told by the dtype of `tables` (see
`gfni`, `avx2`, `portable`), so that numba keeps the kinds apart by type.

Source: Lin, Chung, Han, "Novel Polynomial Basis and Its Application to Reed-Solomon Erasure Codes" (FOCS
2014), two layers at once so that each row is loaded and stored half as often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from storage.redstuff.kernels import avx2, cpu, gfni, portable
from storage.redstuff.kernels.vector import BYTE, data_pointer, load, store

KIND_MODULES = (gfni, avx2, portable)
MODULES = {module.TABLE_DTYPE: module for module in KIND_MODULES}
SIZE = ir.IntType(64)
Row = tuple[ir.Value, ir.Value]
"""Vectors of the low and of the high bytes of the same words of one row."""


class Body:
    """What a butterfly does with one vector from each of its rows."""

    def __init__(
        self, builder: ir.IRBuilder, multiplier: Any, constants: list[list[ir.Value]], zero: frozenset[int]
    ) -> None:
        self.builder, self.multiplier, self.constants, self.zero = builder, multiplier, constants, zero

    def add(self, target: Row, source: Row) -> Row:
        """Return `target + source`, which is xor."""
        return self.builder.xor(target[0], source[0]), self.builder.xor(target[1], source[1])

    def multiply_add(self, target: Row, source: Row, which: int) -> Row:
        """Return `target + constants[which]·source`, which costs nothing for a constant in `zero`."""
        if which in self.zero:
            return target
        return self.add(target, self.multiplier.multiply(self.builder, self.constants[which], *source))

    def inverse(self, x: Row, y: Row, which: int) -> tuple[Row, Row]:
        """One butterfly of the inverse transform."""
        y = self.add(y, x)
        return self.multiply_add(x, y, which), y

    def forward(self, x: Row, y: Row, which: int) -> tuple[Row, Row]:
        """One butterfly of the forward transform."""
        x = self.multiply_add(x, y, which)
        return x, self.add(y, x)


def _inverse4(body: Body, rows: list[Row]) -> list[Row]:
    a, b, c, d = rows
    a, b = body.inverse(a, b, 0)
    c, d = body.inverse(c, d, 1)
    a, c = body.inverse(a, c, 2)
    b, d = body.inverse(b, d, 2)
    return [a, b, c, d]


def _forward4(body: Body, rows: list[Row]) -> list[Row]:
    a, b, c, d = rows
    a, c = body.forward(a, c, 2)
    b, d = body.forward(b, d, 2)
    a, b = body.forward(a, b, 0)
    c, d = body.forward(c, d, 1)
    return [a, b, c, d]


def _write_loops(
    builder: ir.IRBuilder,
    n_rows: int,
    apply: Callable[[Body, list[Row]], list[Row]],
    base: ir.Value,
    row_bytes: ir.Value,
    body: Body,
    span: list[ir.Value],
) -> None:
    """Write the loops over rows and their width that apply `apply` in place; `span` is (first, count, distance)."""
    first, count, distance = span
    plane, lanes = builder.lshr(row_bytes, SIZE(1)), body.multiplier.lanes
    vector, steps = ir.VectorType(BYTE, lanes), builder.udiv(plane, SIZE(lanes))
    with cgutils.for_range(builder, count) as over_rows:
        row = builder.mul(builder.add(first, over_rows.index), row_bytes)
        starts = [
            builder.add(row, builder.mul(builder.mul(distance, SIZE(number)), row_bytes))
            for number in range(n_rows)
        ]
        with cgutils.for_range(builder, steps) as over_width:
            place = builder.mul(over_width.index, SIZE(lanes))
            lows = [builder.add(start, place) for start in starts]
            highs = [builder.add(low, plane) for low in lows]
            rows = [
                (load(builder, vector, base, low), load(builder, vector, base, high))
                for low, high in zip(lows, highs, strict=True)
            ]
            for low, high, result in zip(lows, highs, apply(body, rows), strict=True):
                store(builder, result[0], base, low)
                store(builder, result[1], base, high)


def _rows_intrinsic(
    n_rows: int,
    n_constants: int,
    apply: Callable[[Body, list[Row]], list[Row]],
    zero: frozenset[int] = frozenset(),
) -> Any:
    """Return an intrinsic `(work, tables, first, count, distance, *constants)` that applies `apply` in place.

    For each of `count` rows from row `first` on, it applies it to it and to the rows `distance`,
    `2·distance`… after it. The constants numbered in `zero` are all zero when the first constant is, as in a
    transform's first group at position 0.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        work, tables, *span = args[:5]
        numbers = args[5:]
        base = data_pointer(context, builder, signature.args[0], work)
        table = data_pointer(context, builder, signature.args[1], tables)
        array = context.make_array(signature.args[0])(context, builder, work)
        row_bytes = builder.extract_value(array.strides, 0)
        multiplier = MODULES[str(signature.args[1].dtype)].Multiplier(cpu.features())

        def write(zero: frozenset[int]) -> None:
            rows = [builder.mul(number, SIZE(multiplier.row_bytes)) for number in numbers]
            constants = [multiplier.constants(builder, builder.gep(table, [row])) for row in rows]
            body = Body(builder, multiplier, constants, zero)
            _write_loops(builder, n_rows, apply, base, row_bytes, body, span)

        if not zero:
            write(zero)
            return context.get_dummy_value()
        with builder.if_else(builder.icmp_signed("==", numbers[0], SIZE(0))) as (at_zero, elsewhere):
            with at_zero:
                write(zero)
            with elsewhere:
                write(frozenset())
        return context.get_dummy_value()

    return _declared(n_constants, generate)


def _declared(n_constants: int, generate: Callable[..., Any]) -> Any:
    """Return the intrinsic of this many constants whose code `generate` writes: numba wants each parameter named."""
    sizes = [types.intp] * (3 + n_constants)
    if n_constants == 3:

        @intrinsic
        def three(
            typing_context: Any, work: Any, tables: Any, f: Any, n: Any, d: Any, c0: Any, c1: Any, c2: Any
        ) -> Any:
            return types.void(work, tables, *sizes), generate

        return three
    if n_constants == 0:

        @intrinsic
        def none(typing_context: Any, work: Any, tables: Any, f: Any, n: Any, d: Any) -> Any:
            return types.void(work, tables, *sizes), generate

        return none

    @intrinsic
    def one(typing_context: Any, work: Any, tables: Any, f: Any, n: Any, d: Any, c0: Any) -> Any:
        return types.void(work, tables, *sizes), generate

    return one


inverse4 = _rows_intrinsic(4, 3, _inverse4, zero=frozenset({0, 2}))
"""Two layers of the inverse transform; constants: lower pair, upper pair, second layer."""
inverse2 = _rows_intrinsic(
    2, 1, lambda body, rows: list(body.inverse(rows[0], rows[1], 0)), zero=frozenset({0})
)
forward4 = _rows_intrinsic(4, 3, _forward4, zero=frozenset({0, 2}))
"""Two layers of the forward transform; constants as for `inverse4`."""
forward2 = _rows_intrinsic(
    2, 1, lambda body, rows: list(body.forward(rows[0], rows[1], 0)), zero=frozenset({0})
)
scale = _rows_intrinsic(
    1, 1, lambda body, rows: [body.multiplier.multiply(body.builder, body.constants[0], *rows[0])]
)
"""Rows times a constant."""
multiply_add = _rows_intrinsic(2, 1, lambda body, rows: [rows[0], body.multiply_add(rows[1], rows[0], 0)])
"""Rows times a constant added to the rows `distance` after them."""
add = _rows_intrinsic(2, 0, lambda body, rows: [rows[0], body.add(rows[1], rows[0])])
"""Rows added to the rows `distance` after them."""
