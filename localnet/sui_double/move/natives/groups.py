"""Natives of `sui::group_ops` for BLS12-381: scalars, G1, G2 and G1 uncompressed.

Pairings are missing: their results are elements of GT, whose bytes no library here can make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from localnet.sui_double.move.errors import MoveAbort, UnsupportedNative
from localnet.sui_double.move.natives.registry import SUI, Natives
from localnet.sui_double.move.types import Type
from localnet.sui_double.move.values import Value

if TYPE_CHECKING:
    from localnet.sui_double.move.machine import Machine

NOT_SUPPORTED, INVALID_INPUT, INPUT_TOO_LONG = 0, 1, 2
"""Aborts of `group_ops`."""
SCALAR, G1, G2, GT, UNCOMPRESSED_G1 = 0, 1, 2, 3, 4
"""Numbers of the groups."""
GROUP_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
MULTIPLICATION_TERMS_LIMIT = 32
SUM_TERMS_LIMIT = 1200
UNCOMPRESSED_BYTES = 96
UNCOMPRESSED_IDENTITY = bytes([0x40]) + bytes(UNCOMPRESSED_BYTES - 1)
"""The point at infinity has a flag in its first byte; other points are their two coordinates."""
HASH_DOMAINS = {
    G1: b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_",
    G2: b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_",
}

_ops = Natives(SUI, "group_ops")
NATIVES = (_ops,)


class _Group(NamedTuple):
    """How a group's elements are read and written; `read` raises `ValueError`."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


def _read_scalar(data: bytes) -> int:
    number = int.from_bytes(data, "big")
    if len(data) != 32 or number >= GROUP_ORDER:
        raise ValueError("not a scalar")
    return number


def _read_uncompressed(data: bytes) -> G1Point:
    if data == UNCOMPRESSED_IDENTITY:
        return G1Point.identity()
    if len(data) != UNCOMPRESSED_BYTES or not any(data):
        raise ValueError("not an uncompressed point")
    return G1Point.from_xy_bytes_be(data)


def _write_uncompressed(point: G1Point) -> bytes:
    return UNCOMPRESSED_IDENTITY if point == G1Point.identity() else bytes(point.to_xy_bytes_be())


_GROUPS = {
    SCALAR: _Group(_read_scalar, lambda number: int(number).to_bytes(32, "big")),
    G1: _Group(G1Point.from_compressed_bytes, lambda point: bytes(point.to_compressed_bytes())),
    G2: _Group(G2Point.from_compressed_bytes, lambda point: bytes(point.to_compressed_bytes())),
    UNCOMPRESSED_G1: _Group(_read_uncompressed, _write_uncompressed),
}


def _group(number: int, *supported: int) -> _Group:
    """Return a group, one of those that an operation supports; else abort as Sui does."""
    if number not in supported:
        raise MoveAbort(NOT_SUPPORTED)
    return _GROUPS[number]


def _read(group: _Group, data: bytes | bytearray) -> Any:
    try:
        return group.read(bytes(data))
    except ValueError:
        raise MoveAbort(INVALID_INPUT) from None


@_ops("internal_validate")
def _validate(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, data = arguments
    group = _group(number, SCALAR, G1, G2)
    try:
        group.read(bytes(data.get()))
    except ValueError:
        return (False,)
    return (True,)


@_ops("internal_add")
def _add(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, first, second = arguments
    group = _group(number, SCALAR, G1, G2)
    total = _read(group, first.get()) + _read(group, second.get())
    return (bytearray(group.write(_reduced(number, total))),)


@_ops("internal_sub")
def _subtract(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, first, second = arguments
    group = _group(number, SCALAR, G1, G2)
    difference = _read(group, first.get()) - _read(group, second.get())
    return (bytearray(group.write(_reduced(number, difference))),)


@_ops("internal_mul")
def _multiply(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, scalar, element = arguments
    group = _group(number, SCALAR, G1, G2)
    factor, value = _read(_GROUPS[SCALAR], scalar.get()), _read(group, element.get())
    return (bytearray(group.write(_times(number, value, factor))),)


@_ops("internal_div")
def _divide(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, scalar, element = arguments
    group = _group(number, SCALAR, G1, G2)
    divisor, value = _read(_GROUPS[SCALAR], scalar.get()), _read(group, element.get())
    if divisor == 0:
        raise MoveAbort(INVALID_INPUT)
    return (bytearray(group.write(_times(number, value, pow(divisor, -1, GROUP_ORDER)))),)


@_ops("internal_hash_to")
def _hash_to(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    number, message = arguments[0], bytes(arguments[1].get())
    group = _group(number, G1, G2)
    if not message:
        raise MoveAbort(INVALID_INPUT)
    curve = G1Point if number == G1 else G2Point
    return (bytearray(group.write(curve.hash_to_curve(message, HASH_DOMAINS[number]))),)


@_ops("internal_multi_scalar_mul")
def _multi_multiply(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    """Return the sum of elements, each multiplied by its scalar; both come as one string of bytes after another."""
    number, scalars, elements = arguments[0], bytes(arguments[1].get()), bytes(arguments[2].get())
    group = _group(number, G1, G2)
    width = 48 if number == G1 else 96
    count = len(scalars) // 32
    if not scalars or len(scalars) % 32 or len(elements) != count * width:
        raise MoveAbort(INVALID_INPUT)
    if count > MULTIPLICATION_TERMS_LIMIT:
        raise MoveAbort(INPUT_TOO_LONG)
    total = (G1Point if number == G1 else G2Point).identity()
    for place in range(count):
        factor = _read(_GROUPS[SCALAR], scalars[32 * place : 32 * (place + 1)])
        total += _times(number, _read(group, elements[width * place : width * (place + 1)]), factor)
    return (bytearray(group.write(total)),)


@_ops("internal_convert")
def _convert(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    source, target, element = arguments
    if {source, target} != {G1, UNCOMPRESSED_G1}:
        raise MoveAbort(NOT_SUPPORTED)
    return (bytearray(_GROUPS[target].write(_read(_GROUPS[source], element.get()))),)


@_ops("internal_sum")
def _sum(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    group = _group(arguments[0], UNCOMPRESSED_G1)
    elements = arguments[1].get()
    if len(elements) > SUM_TERMS_LIMIT:
        raise MoveAbort(INPUT_TOO_LONG)
    total = G1Point.identity()
    for element in elements:
        total += _read(group, element)
    return (bytearray(group.write(total)),)


@_ops("internal_pairing")
def _pairing(_: Machine, _types: tuple[Type, ...], _arguments: list[Value]) -> Sequence[Value]:
    raise UnsupportedNative("the double has no pairings in Move: no library here writes elements of GT")


def _reduced(number: int, value: Any) -> Any:
    return value % GROUP_ORDER if number == SCALAR else value


def _times(number: int, value: Any, factor: int) -> Any:
    return value * factor % GROUP_ORDER if number == SCALAR else value * Scalar(factor)
