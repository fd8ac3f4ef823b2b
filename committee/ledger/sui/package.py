"""The package as it was published: its types, its values decoded by the names of fields, and its errors' names.

A value is decoded to a number or a boolean; an address, an id and a `vector<u8>` to `bytes`, any other vector to a
list; a text to `str`, with U+FFFD for what is not UTF-8; an `Option` to what is in it, or None; a table to `Keyed`; a
`Balance` to its number; any other struct to a `dict` by its fields' names; an enum to (the variant's name, its fields).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib import resources
from typing import Any

from committee.bcs import InvalidBcs, Reader, u64
from committee.ledger.sui.layouts import Struct, Variants, layouts_of
from committee.ledger.sui.types import (
    ADDRESS_BYTES,
    STANDARD,
    SUI,
    Datatype,
    Parameter,
    Scalar,
    Type,
    Vector,
    type_tag,
)

CHILD_ID_SCOPE = b"\xf0"
"""Precedes what a dynamic field's id is the hash of."""
BYTES = Vector(Scalar.U8)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A table on chain: its entries are the dynamic fields of this id."""

    id: bytes
    size: int


class Package:
    """The package `haulout` under the id at which it was published first."""

    def __init__(self, id_: bytes) -> None:
        artifact = _artifact()
        self.id = id_
        self.errors: Mapping[int, str] = {
            int(code): name.removeprefix("E") for code, name in artifact["errors"].items()
        }
        """Abort code → the error's name, without the E that constants of errors begin with."""
        self._layouts: dict[tuple[bytes, str, str], Struct | Variants] = {}
        for module in artifact["modules"].values():
            self._layouts |= layouts_of(base64.b64decode(module), id_)

    def type(self, module: str, name: str, *arguments: Type) -> Datatype:
        """Return a type of the package."""
        return Datatype(self.id, module, name, arguments)

    def defines(self, type_: Datatype) -> bool:
        """Return whether a type is one of the package's."""
        return type_.place in self._layouts

    def decode(self, type_: Type, data: bytes) -> Any:
        """Return the value of a type. Raises `InvalidBcs`, a `ValueError`."""
        reader = Reader(data)
        value = self._decode(type_, reader)
        reader.end()
        return value

    def decode_field(self, key: Type, value: Type, data: bytes) -> tuple[Any, Any]:
        """Return (key, value) of the object that holds a dynamic field. Raises `InvalidBcs`."""
        reader = Reader(data)
        reader.take(ADDRESS_BYTES)
        found = self._decode(key, reader), self._decode(value, reader)
        reader.end()
        return found

    def _decode(self, type_: Type, reader: Reader) -> Any:
        if isinstance(type_, Scalar):
            return _scalar(type_, reader)
        if isinstance(type_, Vector):
            if type_ == BYTES:
                return reader.take(reader.uleb128())
            return [self._decode(type_.element, reader) for _ in range(_count(reader))]
        if isinstance(type_, Parameter):
            raise TypeError("a type parameter has no values")
        if type_.place in _FRAMEWORK:
            return _FRAMEWORK[type_.place](self, type_, reader)
        layout = self._layouts.get(type_.place)
        if layout is None:
            raise TypeError(f"the package has no {type_.module}::{type_.name}")
        if isinstance(layout, Struct):
            return self._fields(layout, type_.arguments, reader)
        number = reader.uleb128()
        if number >= len(layout.variants):
            raise InvalidBcs(f"{type_.name} has no variant {number}")
        name, fields = layout.variants[number]
        return name, self._fields(fields, type_.arguments, reader)

    def _fields(self, layout: Struct, arguments: tuple[Type, ...], reader: Reader) -> dict[str, Any]:
        if not layout.fields:  # the compiler gives a struct without fields one
            reader.take(1)
        return {name: self._decode(_with(type_, arguments), reader) for name, type_ in layout.fields}


def field_id(parent: bytes, key_type: Type, key: bytes) -> bytes:
    """Return the id of the object that holds a dynamic field; `key` is in BCS."""
    content = CHILD_ID_SCOPE + parent + u64(len(key)) + key + type_tag(key_type)
    return blake2b(content, digest_size=ADDRESS_BYTES).digest()


def _count(reader: Reader) -> int:
    """Return a vector's length, which is no more than bytes follow: every value has one at least."""
    count = reader.uleb128()
    if count > reader.left_bytes:
        raise InvalidBcs(f"{count} elements are to follow, in {reader.left_bytes} bytes")
    return count


def _scalar(type_: Scalar, reader: Reader) -> Any:
    if type_ is Scalar.ADDRESS:
        return reader.take(ADDRESS_BYTES)
    value = reader.unsigned(type_.size_bytes)
    if type_ is not Scalar.BOOL:
        return value
    if value > 1:
        raise InvalidBcs(f"a boolean of {value}")
    return bool(value)


def _with(type_: Type, arguments: tuple[Type, ...]) -> Type:
    """Return a field's type in a datatype with these type arguments."""
    if isinstance(type_, Parameter):
        return arguments[type_.index]
    if isinstance(type_, Vector):
        return Vector(_with(type_.element, arguments))
    if isinstance(type_, Datatype) and type_.arguments:
        return Datatype(*type_.place, tuple(_with(argument, arguments) for argument in type_.arguments))
    return type_


def _text(_: Package, _type: Datatype, reader: Reader) -> str:
    return reader.take(reader.uleb128()).decode("utf-8", errors="replace")


def _option(package: Package, type_: Datatype, reader: Reader) -> Any:
    count = reader.uleb128()
    if count > 1:
        raise InvalidBcs(f"an Option of {count} values")
    return package._decode(type_.arguments[0], reader) if count else None


def _id(_: Package, _type: Datatype, reader: Reader) -> bytes:
    return reader.take(ADDRESS_BYTES)


def _number(_: Package, _type: Datatype, reader: Reader) -> int:
    return reader.unsigned(8)


def _table(_: Package, _type: Datatype, reader: Reader) -> Keyed:
    return Keyed(reader.take(ADDRESS_BYTES), reader.unsigned(8))


def _element(_: Package, _type: Datatype, reader: Reader) -> bytes:
    return reader.take(reader.uleb128())


_FRAMEWORK: dict[tuple[bytes, str, str], Callable[[Package, Datatype, Reader], Any]] = {
    (STANDARD, "option", "Option"): _option,
    (STANDARD, "string", "String"): _text,
    (SUI, "balance", "Balance"): _number,
    (SUI, "balance", "Supply"): _number,
    (SUI, "group_ops", "Element"): _element,
    (SUI, "object", "ID"): _id,
    (SUI, "object", "UID"): _id,
    (SUI, "table", "Table"): _table,
}
"""The types of Sui's own packages that the package's values are made of."""


@lru_cache(maxsize=1)
def _artifact() -> dict[str, Any]:
    path = resources.files("contracts") / "sui" / "artifacts" / "haulout.json"
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
