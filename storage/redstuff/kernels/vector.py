"""Small helpers for writing LLVM vector code inside numba intrinsics: addresses, loads, stores, constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

BYTE = ir.IntType(8)
WORD64 = ir.IntType(64)


def compiled(function: Callable[..., Any]) -> Any:
    """Decorates what other compiled functions call. For each kind it is compiled once.

    numba would compile it anew for every literal number given to it, and for every way to compile its callers.
    """
    no_wrappers: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher: Any = njit(nogil=True, **no_wrappers)(function)
    get_call_template = dispatcher.get_call_template

    def without_literals(args: Any, kws: Any) -> Any:
        return get_call_template([types.unliteral(one) for one in args], kws)  # type: ignore[no-untyped-call]

    dispatcher.get_call_template = without_literals
    return dispatcher


def data_pointer(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value) -> ir.Value:
    """Return `i8*` to the first element of a numba array."""
    structure = context.make_array(array_type)(context, builder, array)
    return builder.bitcast(structure.data, BYTE.as_pointer())


def load(builder: ir.IRBuilder, kind: ir.Type, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Return a value of type `kind` from `base + offset` bytes, at any alignment."""
    address = builder.bitcast(builder.gep(base, [offset]), kind.as_pointer())
    return builder.load(address, align=1)


def store(builder: ir.IRBuilder, value: ir.Value, base: ir.Value, offset: ir.Value) -> None:
    """`value` to `base + offset` bytes, at any alignment."""
    address = builder.bitcast(builder.gep(base, [offset]), value.type.as_pointer())
    builder.store(value, address, align=1)


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """Return a vector of `lanes` copies of a scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    index = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, index(0))
    zeros = ir.Constant(ir.VectorType(index, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def constant(vector: ir.VectorType, number: int) -> ir.Constant:
    """Return a vector constant with the same number in all lanes."""
    return ir.Constant(vector, [number] * vector.count)


def call(builder: ir.IRBuilder, name: str, returns: ir.Type, args: list[ir.Value]) -> ir.Value:
    """Return a call of an LLVM (target) intrinsic."""
    kind = ir.FunctionType(returns, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)  # type: ignore[no-untyped-call]


def _mover(count: int) -> Any:
    """Return an intrinsic that copies `count` bytes from `source[s:]` to `target[t:]` with one load and one store."""
    kind = ir.IntType(8 * count) if count <= 8 else ir.VectorType(BYTE, count)

    @intrinsic
    def move(typing_context: Any, target: Any, t: Any, source: Any, s: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            to = data_pointer(context, builder, signature.args[0], args[0])
            origin = data_pointer(context, builder, signature.args[2], args[2])
            store(builder, load(builder, kind, origin, args[3]), to, args[1])
            return context.get_dummy_value()

        return types.void(target, types.intp, source, types.intp), generate

    return move


move1, move2, move4, move8, move16, move32 = (_mover(count) for count in (1, 2, 4, 8, 16, 32))
