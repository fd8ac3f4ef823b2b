"""Types of Move: how they are written, and their form in BCS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from committee import bcs

ADDRESS_BYTES = 32
STANDARD = bytes(31) + b"\x01"
SUI = bytes(31) + b"\x02"
"""The addresses of Sui's own packages `std` and `sui`."""
_VECTOR_TAG, _STRUCT_TAG = 6, 7
_ADDRESS = re.compile(r"\b0x([0-9a-fA-F]{1,64})(?=::)")
_SPACES = re.compile(r"\s")


class Scalar(Enum):
    """A type without parts. The value is its name, its number in a `TypeTag`, and its length in bytes."""

    BOOL = ("bool", 0, 1)
    U8 = ("u8", 1, 1)
    U64 = ("u64", 2, 8)
    U128 = ("u128", 3, 16)
    ADDRESS = ("address", 4, 32)
    U16 = ("u16", 8, 2)
    U32 = ("u32", 9, 4)
    U256 = ("u256", 10, 32)

    @property
    def size_bytes(self) -> int:
        """Length of a value."""
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Vector:
    """A list of elements of one type."""

    element: Type


@dataclass(frozen=True, slots=True)
class Parameter:
    """The type argument of this index of the datatype that it stands in."""

    index: int


@dataclass(frozen=True, slots=True)
class Datatype:
    """A struct or an enum of a module."""

    package: bytes
    module: str
    name: str
    arguments: tuple[Type, ...] = ()

    @property
    def place(self) -> tuple[bytes, str, str]:
        """What names its definition: package, module and name."""
        return self.package, self.module, self.name


Type: TypeAlias = Scalar | Vector | Parameter | Datatype


def type_text(type_: Type) -> str:
    """Return a type in the form of `normal_text`."""
    if isinstance(type_, Scalar):
        return type_.value[0]
    if isinstance(type_, Vector):
        return f"vector<{type_text(type_.element)}>"
    if isinstance(type_, Parameter):
        raise TypeError("a type parameter has no text")
    arguments = ",".join(map(type_text, type_.arguments))
    name = f"0x{type_.package.hex()}::{type_.module}::{type_.name}"
    return f"{name}<{arguments}>" if arguments else name


def normal_text(text: str) -> str:
    """Return a type's text with addresses of 64 digits and without spaces, however an endpoint has written it."""
    return _ADDRESS.sub(lambda found: f"0x{found[1].lower():0>64}", _SPACES.sub("", text))


def type_tag(type_: Type) -> bytes:
    """Return a type in BCS, Sui's `TypeTag`."""
    if isinstance(type_, Scalar):
        return bytes([type_.value[1]])
    if isinstance(type_, Vector):
        return bytes([_VECTOR_TAG]) + type_tag(type_.element)
    if isinstance(type_, Parameter):
        raise TypeError("a type parameter has no tag")
    names = bcs.text(type_.module) + bcs.text(type_.name)
    return bytes([_STRUCT_TAG]) + type_.package + names + bcs.listed([*map(type_tag, type_.arguments)])
