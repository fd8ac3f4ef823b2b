"""The structs and enums of a compiled module: their fields' names and types, out of the Move binary format.

So what the contracts keep is decoded by the names of fields, and nothing here depends on the fields' order. Only the
tables that definitions need are read; modules come out of the committed artifact and are not hostile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from committee.bcs import Reader
from committee.ledger.sui.types import ADDRESS_BYTES, Datatype, Parameter, Scalar, Type, Vector

MAGIC = bytes.fromhex("a11ceb0b")
_MODULE_HANDLES, _DATATYPE_HANDLES, _IDENTIFIERS, _ADDRESSES, _STRUCTS, _ENUMS = 1, 2, 7, 8, 0xA, 0x11
"""Kinds of tables."""
_SCALARS = {
    0x1: Scalar.BOOL,
    0x2: Scalar.U8,
    0x3: Scalar.U64,
    0x4: Scalar.U128,
    0x5: Scalar.ADDRESS,
    0xD: Scalar.U16,
    0xE: Scalar.U32,
    0xF: Scalar.U256,
}
_DATATYPE, _PARAMETER, _VECTOR, _DATATYPE_WITH_ARGUMENTS = 8, 9, 0xA, 0xB

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct's fields, or those of an enum's variant, in the order in which values have them."""

    fields: tuple[tuple[str, Type], ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """An enum's variants, in the order of their numbers."""

    variants: tuple[tuple[str, Struct], ...]


def layouts_of(module: bytes, package: bytes) -> dict[tuple[bytes, str, str], Struct | Variants]:
    """Return (package, module, name) → definition, of what a module defines that is published as `package`."""
    return _Module(module, package).layouts()


class _Module:
    """The tables of one module. The address that is 0 in it is its package's."""

    def __init__(self, data: bytes, package: bytes) -> None:
        reader = Reader(data)
        if reader.take(len(MAGIC)) != MAGIC:
            raise ValueError("no compiled module of Move")
        reader.take(4)  # the format's version
        headers = []
        for _ in range(reader.uleb128()):
            (kind,) = reader.take(1)
            headers.append((kind, reader.uleb128(), reader.uleb128()))
        base = len(data) - reader.left_bytes
        self._tables = {kind: data[base + offset : base + offset + size] for kind, offset, size in headers}
        self._names = self._table(_IDENTIFIERS, lambda table: table.take(table.uleb128()).decode())
        addresses = self._table(_ADDRESSES, lambda table: table.take(ADDRESS_BYTES))
        self._addresses = [address if any(address) else package for address in addresses]
        self._modules = self._table(
            _MODULE_HANDLES, lambda table: (self._addresses[table.uleb128()], self._names[table.uleb128()])
        )
        self._datatypes = self._table(_DATATYPE_HANDLES, self._handle)

    def layouts(self) -> dict[tuple[bytes, str, str], Struct | Variants]:
        """Return the definitions."""
        found: list[tuple[Datatype, Struct | Variants]] = []
        found += self._table(_STRUCTS, lambda table: (self._own(table), self._fields(table)))
        found += self._table(_ENUMS, lambda table: (self._own(table), self._variants(table)))
        return {datatype.place: definition for datatype, definition in found}

    def _table(self, kind: int, read: Callable[[Reader], Item]) -> list[Item]:
        reader, items = Reader(self._tables.get(kind, b"")), []
        while reader.left_bytes:
            items.append(read(reader))
        return items

    def _handle(self, table: Reader) -> Datatype:
        module, name = self._modules[table.uleb128()], self._names[table.uleb128()]
        table.take(1)  # abilities
        for _ in range(table.uleb128()):
            table.take(2)  # a type parameter's abilities, and whether it is a phantom
        return Datatype(*module, name)

    def _own(self, table: Reader) -> Datatype:
        datatype = self._datatypes[table.uleb128()]
        table.take(1)  # that the fields follow
        return datatype

    def _fields(self, table: Reader) -> Struct:
        return Struct(
            tuple((self._names[table.uleb128()], self._type(table)) for _ in range(table.uleb128()))
        )

    def _variants(self, table: Reader) -> Variants:
        return Variants(
            tuple((self._names[table.uleb128()], self._fields(table)) for _ in range(table.uleb128()))
        )

    def _type(self, table: Reader) -> Type:
        (token,) = table.take(1)
        if token in _SCALARS:
            return _SCALARS[token]
        if token == _VECTOR:
            return Vector(self._type(table))
        if token == _PARAMETER:
            return Parameter(table.uleb128())
        if token not in (_DATATYPE, _DATATYPE_WITH_ARGUMENTS):
            raise ValueError(f"a field of the unknown type {token:#04x}")
        plain = self._datatypes[table.uleb128()]
        count = table.uleb128() if token == _DATATYPE_WITH_ARGUMENTS else 0
        return Datatype(*plain.place, tuple(self._type(table) for _ in range(count)))
