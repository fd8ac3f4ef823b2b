"""The types of Move: as signatures declare them (with parameters) and as code runs on them (without)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.reader import Reader, uleb_bytes

ADDRESS_BYTES = 32
TYPE_DEPTH_LIMIT = 16
"""Nesting of the types that a transaction names, and their number beside each other."""


class ModuleId(NamedTuple):
    """The address of a package and the name of a module in it."""

    address: bytes
    name: str

    def __str__(self) -> str:
        return f"{short_address(self.address)}::{self.name}"


class Scalar(enum.Enum):
    """The types without parts. The value is the name in Move."""

    BOOL = "bool"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    U128 = "u128"
    U256 = "u256"
    ADDRESS = "address"
    SIGNER = "signer"


INTEGER_BYTES = {
    Scalar.U8: 1,
    Scalar.U16: 2,
    Scalar.U32: 4,
    Scalar.U64: 8,
    Scalar.U128: 16,
    Scalar.U256: 32,
}
"""Width of each integer type."""


@dataclass(frozen=True, slots=True)
class Vector:
    """`vector<element>`."""

    element: Type


@dataclass(frozen=True, slots=True)
class Datatype:
    """A struct or an enum with its type arguments."""

    module: ModuleId
    name: str
    arguments: tuple[Type, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """`&target` or `&mut target`."""

    is_mutable: bool
    target: Type


@dataclass(frozen=True, slots=True)
class Parameter:
    """The type parameter of this index, of the function or datatype that declares it."""

    index: int


Type: TypeAlias = Scalar | Vector | Datatype | Reference | Parameter


class Abilities(enum.IntFlag):
    """A set of abilities, in the bits of the binary format."""

    NONE = 0
    COPY = 1
    DROP = 2
    STORE = 4
    KEY = 8


SCALAR_ABILITIES = Abilities.COPY | Abilities.DROP | Abilities.STORE
BYTES = Vector(Scalar.U8)


def substitute(type_: Type, arguments: Sequence[Type]) -> Type:
    """Return the type with each parameter replaced by its argument. Raises `IndexError` for a missing argument."""
    if isinstance(type_, Scalar):
        return type_
    if isinstance(type_, Parameter):
        return arguments[type_.index]
    if isinstance(type_, Vector):
        return Vector(substitute(type_.element, arguments))
    if isinstance(type_, Reference):
        return Reference(type_.is_mutable, substitute(type_.target, arguments))
    if not type_.arguments:
        return type_
    return Datatype(type_.module, type_.name, substitute_all(type_.arguments, arguments))


def substitute_all(types: Sequence[Type], arguments: Sequence[Type]) -> tuple[Type, ...]:
    """Return the types with each parameter replaced by its argument."""
    return tuple(substitute(type_, arguments) for type_ in types)


def has_parameter(type_: Type) -> bool:
    """Return whether the type holds a type parameter."""
    if isinstance(type_, Parameter):
        return True
    if isinstance(type_, Vector):
        return has_parameter(type_.element)
    if isinstance(type_, Reference):
        return has_parameter(type_.target)
    return isinstance(type_, Datatype) and any(map(has_parameter, type_.arguments))


def short_address(address: bytes) -> str:
    """Return an address as `0x…` without leading zeros."""
    return f"{int.from_bytes(address, 'big'):#x}"


def address_from_text(text: str) -> bytes:
    """Return the 32 bytes of `0x…`, of at most 64 digits. Raises `ValueError`."""
    if not text.startswith("0x"):
        raise ValueError(f"an address begins with 0x, and this is {text!r}")
    return int(text, 16).to_bytes(ADDRESS_BYTES, "big")


def type_name(type_: Type) -> str:
    """Return the type as an explorer shows it: `0x2::coin::Coin<0x2::sui::SUI>`."""
    if isinstance(type_, Scalar):
        return type_.value
    if isinstance(type_, Parameter):
        return f"T{type_.index}"
    if isinstance(type_, Vector):
        return f"vector<{type_name(type_.element)}>"
    if isinstance(type_, Reference):
        return f"&{'mut ' if type_.is_mutable else ''}{type_name(type_.target)}"
    arguments = f"<{', '.join(map(type_name, type_.arguments))}>" if type_.arguments else ""
    return f"{type_.module}::{type_.name}{arguments}"


def canonical_name(type_: Type) -> str:
    """Return the type as `std::type_name` gives it: addresses of 64 digits without 0x, no spaces."""
    if isinstance(type_, Vector):
        return f"vector<{canonical_name(type_.element)}>"
    if isinstance(type_, Datatype):
        arguments = f"<{','.join(map(canonical_name, type_.arguments))}>" if type_.arguments else ""
        return f"{type_.module.address.hex()}::{type_.module.name}::{type_.name}{arguments}"
    return type_name(type_)


_SCALAR_TAGS = {
    Scalar.BOOL: 0,
    Scalar.U8: 1,
    Scalar.U64: 2,
    Scalar.U128: 3,
    Scalar.ADDRESS: 4,
    Scalar.SIGNER: 5,
    Scalar.U16: 8,
    Scalar.U32: 9,
    Scalar.U256: 10,
}
_VECTOR_TAG = 6
_STRUCT_TAG = 7


def type_tag_bytes(type_: Type) -> bytes:
    """Return the BCS form of a type without parameters and references (Sui's `TypeTag`)."""
    if isinstance(type_, Scalar):
        return bytes([_SCALAR_TAGS[type_]])
    if isinstance(type_, Vector):
        return bytes([_VECTOR_TAG]) + type_tag_bytes(type_.element)
    if isinstance(type_, Datatype):
        names = (type_.module.name.encode(), type_.name.encode())
        return b"".join(
            [
                bytes([_STRUCT_TAG]),
                type_.module.address,
                *(uleb_bytes(len(name)) + name for name in names),
                uleb_bytes(len(type_.arguments)),
                *map(type_tag_bytes, type_.arguments),
            ]
        )
    raise TypeError(f"{type_name(type_)} has no type tag")


def read_type_tag(reader: Reader, depth: int = 0) -> Type:
    """Return the type of a `TypeTag` in BCS. Raises `BadBytes`."""
    if depth >= TYPE_DEPTH_LIMIT:
        raise BadBytes("a type that is nested too deeply")
    tag = reader.uleb()
    for scalar, number in _SCALAR_TAGS.items():
        if number == tag:
            return scalar
    if tag == _VECTOR_TAG:
        return Vector(read_type_tag(reader, depth + 1))
    if tag != _STRUCT_TAG:
        raise BadBytes(f"unknown type tag {tag}")
    address = reader.take(ADDRESS_BYTES)
    module, name = (reader.take(reader.uleb()).decode("ascii", errors="replace") for _ in range(2))
    arguments = tuple(read_type_tag(reader, depth + 1) for _ in range(reader.uleb(TYPE_DEPTH_LIMIT)))
    return Datatype(ModuleId(address, module), name, arguments)
