"""Natives of the standard library: BCS, hashes, strings, type names, vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from localnet.sui_double.move.errors import MoveAbort, VectorFailure
from localnet.sui_double.move.natives.registry import STANDARD, Natives
from localnet.sui_double.move.types import Datatype, Type, canonical_name
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.move.vector_steps import check_index, make_vector

if TYPE_CHECKING:
    from localnet.sui_double.move.machine import Machine

NOT_A_DATATYPE = 0
"""Abort of `type_name` for a type that no module defines."""

_bcs = Natives(STANDARD, "bcs")
_hash = Natives(STANDARD, "hash")
_string = Natives(STANDARD, "string")
_type_name = Natives(STANDARD, "type_name")
_vector = Natives(STANDARD, "vector")
_debug = Natives(STANDARD, "debug")
NATIVES = (_bcs, _hash, _string, _type_name, _vector, _debug)


@_bcs("to_bytes")
def _to_bytes(machine: Machine, types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (bytearray(machine.codec.encode(types[0], arguments[0].get())),)


@_hash("sha2_256")
def _sha2_256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (bytearray(hashlib.sha256(arguments[0]).digest()),)


@_hash("sha3_256")
def _sha3_256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (bytearray(hashlib.sha3_256(arguments[0]).digest()),)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@_string("internal_check_utf8")
def _check_utf8(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (_is_utf8(arguments[0].get()),)


@_string("internal_is_char_boundary")
def _is_char_boundary(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    text, index = arguments[0].get(), arguments[1]
    return (index == len(text) or (index < len(text) and text[index] & 0xC0 != 0x80),)


@_string("internal_sub_string")
def _sub_string(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    text, start, end = arguments
    return (bytearray(text.get()[start:end]),)


@_string("internal_index_of")
def _index_of(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    text, part = arguments[0].get(), arguments[1].get()
    found = text.find(part)
    return (len(text) if found < 0 else found,)


def _name(_: Machine, types: tuple[Type, ...], _arguments: list[Value]) -> Sequence[Value]:
    """Return a `TypeName`, whose only field is an `ascii::String`."""
    return ([[bytearray(canonical_name(types[0]).encode())]],)


def _address(_: Machine, types: tuple[Type, ...], _arguments: list[Value]) -> Sequence[Value]:
    if not isinstance(types[0], Datatype):
        raise MoveAbort(NOT_A_DATATYPE)
    return (types[0].module.address,)


# No package of the double is ever upgraded, so the two kinds of ids are the same.
_type_name("with_defining_ids")(_name)
_type_name("with_original_ids")(_name)
_type_name("defining_id")(_address)
_type_name("original_id")(_address)


# The compiler makes instructions of these; they are called only by a transaction's own command.
@_vector("empty")
def _empty(_: Machine, types: tuple[Type, ...], _arguments: list[Value]) -> Sequence[Value]:
    return (make_vector(types[0], []),)


@_vector("length")
def _length(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (len(arguments[0].get()),)


@_vector("push_back")
def _push_back(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    arguments[0].get().append(arguments[1])
    return ()


@_vector("pop_back")
def _pop_back(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    values = arguments[0].get()
    if not values:
        raise VectorFailure("an empty vector popped", VectorFailure.POP_FROM_EMPTY)
    return (values.pop(),)


@_vector("destroy_empty")
def _destroy_empty(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    if arguments[0]:
        raise VectorFailure("a vector destroyed that is not empty", VectorFailure.UNPACK_LENGTH)
    return ()


@_vector("swap")
def _swap(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    values, first, second = arguments[0].get(), arguments[1], arguments[2]
    check_index(first, len(values))
    check_index(second, len(values))
    values[first], values[second] = values[second], values[first]
    return ()


@_vector("borrow")
def _borrow(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    values = arguments[0].get()
    check_index(arguments[1], len(values))
    return (Ref(values, arguments[1]),)


_vector("borrow_mut")(_borrow)


@_debug("print")
def _print(_: Machine, _types: tuple[Type, ...], _arguments: list[Value]) -> Sequence[Value]:
    """Nothing: as on a Sui network, where this native prints nothing either."""
    return ()


_debug("print_stack_trace")(_print)
