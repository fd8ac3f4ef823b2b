"""Reads a compiled module: the binary format, versions 6 and 7, of the Move compiler of Sui."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import TypeVar

from localnet.sui_double.move.code import ENUM_VERSION, INDEX_LIMIT, VARIANT_LIMIT, read_code
from localnet.sui_double.move.errors import BadBytecode, BadBytes
from localnet.sui_double.move.module import (
    CompiledModule,
    Constant,
    DatatypeHandle,
    EnumDefinition,
    Field,
    FunctionDefinition,
    FunctionHandle,
    JumpTable,
    StructDefinition,
    TypeParameter,
    Variant,
    Visibility,
)
from localnet.sui_double.move.reader import Reader
from localnet.sui_double.move.types import (
    ADDRESS_BYTES,
    Abilities,
    Datatype,
    ModuleId,
    Parameter,
    Reference,
    Scalar,
    Type,
    Vector,
)

MAGIC = bytes.fromhex("a11ceb0b")
OLDEST_VERSION, NEWEST_VERSION = 6, 7
UNPUBLISHED = bytes(ADDRESS_BYTES)
"""The address that a module has of itself until it is published."""

_SUI_FLAVOR = 5
_COUNT_LIMIT = 255
_TYPE_DEPTH_LIMIT = 256
_FIELDS_DECLARED = 2
_FULL_JUMP_TABLE = 1
_ENTRY, _NATIVE = 4, 2
_IDENTIFIER = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9_]*|_[a-zA-Z0-9_]+|<SELF>)")


class _Table(enum.IntEnum):
    """The kinds of tables."""

    MODULE_HANDLES = 0x1
    DATATYPE_HANDLES = 0x2
    FUNCTION_HANDLES = 0x3
    FUNCTION_INSTANCES = 0x4
    SIGNATURES = 0x5
    CONSTANTS = 0x6
    IDENTIFIERS = 0x7
    ADDRESSES = 0x8
    STRUCTS = 0xA
    STRUCT_INSTANCES = 0xB
    FUNCTIONS = 0xC
    FIELD_HANDLES = 0xD
    FIELD_INSTANCES = 0xE
    FRIENDS = 0xF
    METADATA = 0x10
    ENUMS = 0x11
    ENUM_INSTANCES = 0x12
    VARIANT_HANDLES = 0x13
    VARIANT_INSTANCES = 0x14


_ENUM_TABLES = (_Table.ENUMS, _Table.ENUM_INSTANCES, _Table.VARIANT_HANDLES, _Table.VARIANT_INSTANCES)

_SCALAR_TOKENS = {
    0x1: Scalar.BOOL,
    0x2: Scalar.U8,
    0x3: Scalar.U64,
    0x4: Scalar.U128,
    0x5: Scalar.ADDRESS,
    0xC: Scalar.SIGNER,
    0xD: Scalar.U16,
    0xE: Scalar.U32,
    0xF: Scalar.U256,
}
_REFERENCE, _MUTABLE_REFERENCE, _DATATYPE, _PARAMETER, _VECTOR, _DATATYPE_INSTANCE = 6, 7, 8, 9, 0xA, 0xB

_T = TypeVar("_T")


def read_module(data: bytes, published_at: bytes | None = None) -> CompiledModule:
    """Return the module of these bytes. Raises `BadBytecode`.

    With `published_at` the module's own address, which must be zero, is replaced by that one.
    """
    try:
        return _ModuleReader(data, published_at).read()
    except BadBytes as error:
        raise BadBytecode(f"no Move module: {error}") from None


class _ModuleReader:
    """Reads the tables in the order of their dependence: names, handles, types, definitions, code."""

    def __init__(self, data: bytes, published_at: bytes | None) -> None:
        self._data = data
        self._published_at = published_at
        reader = Reader(data)
        if reader.take(len(MAGIC)) != MAGIC:
            raise BadBytes("the bytes do not begin as a module does")
        self._version = _version(reader.integer(4))
        self._tables = self._find_tables(reader)

    def read(self) -> CompiledModule:
        self._identifiers = self._table(_Table.IDENTIFIERS, _identifier)
        self._addresses = self._table(_Table.ADDRESSES, lambda reader: reader.take(ADDRESS_BYTES))
        handles = self._table(_Table.MODULE_HANDLES, lambda reader: (_index(reader), _index(reader)))
        own = self._item(handles, Reader(self._data, self._body_end))
        self._item_at(self._addresses, own[0])
        if self._published_at is not None:
            if self._addresses[own[0]] != UNPUBLISHED:
                raise BadBytes(f"a module of {self._addresses[own[0]].hex()}, which is published already")
            self._addresses[own[0]] = self._published_at
        self._modules = [
            ModuleId(self._item_at(self._addresses, address), self._item_at(self._identifiers, name))
            for address, name in handles
        ]
        module = CompiledModule(self._item_at(self._modules, handles.index(own)), self._version)
        self._datatypes = self._table(_Table.DATATYPE_HANDLES, self._datatype_handle)
        self._module = module
        module.signatures = self._table(_Table.SIGNATURES, self._types)
        module.function_handles = self._table(_Table.FUNCTION_HANDLES, self._function_handle)
        module.constants = self._table(_Table.CONSTANTS, self._constant)
        self._read_definitions(module)
        module.friends = frozenset(self._table(_Table.FRIENDS, self._friend))
        module.functions = self._table(_Table.FUNCTIONS, self._function)
        return module

    def _read_definitions(self, module: CompiledModule) -> None:
        module.structs = self._table(_Table.STRUCTS, self._struct)
        module.enums = self._table(_Table.ENUMS, self._enum)
        module.field_handles = self._table(_Table.FIELD_HANDLES, self._field_handle)
        module.variant_handles = self._table(_Table.VARIANT_HANDLES, self._variant_handle)
        module.function_instances = self._table(
            _Table.FUNCTION_INSTANCES,
            lambda reader: (self._item(module.function_handles, reader), self._signature(reader)),
        )
        module.struct_instances = self._table(
            _Table.STRUCT_INSTANCES,
            lambda reader: (self._item(module.structs, reader), self._signature(reader)),
        )
        module.field_instances = self._table(
            _Table.FIELD_INSTANCES,
            lambda reader: (*self._item(module.field_handles, reader), self._signature(reader)),
        )
        self._enum_instances = self._table(
            _Table.ENUM_INSTANCES, lambda reader: (self._item(module.enums, reader), self._signature(reader))
        )
        module.variant_instances = self._table(_Table.VARIANT_INSTANCES, self._variant_instance)

    def _find_tables(self, reader: Reader) -> dict[_Table, tuple[int, int]]:
        """Return where each table begins and ends. The tables lie behind their headers, without gaps or overlaps."""
        headers: list[tuple[int, int, _Table]] = []
        for _ in range(reader.uleb(_COUNT_LIMIT)):
            number = reader.byte()
            try:
                kind = _Table(number)
            except ValueError:
                raise BadBytes(f"unknown table {number:#04x}") from None
            if kind in _ENUM_TABLES and self._version < ENUM_VERSION:
                raise BadBytes(f"enums in version {self._version} of the format")
            headers.append((reader.uleb(), reader.uleb(), kind))
        base, expected = reader.position, 0
        tables: dict[_Table, tuple[int, int]] = {}
        for offset, length, kind in sorted(headers):
            if offset != expected or length == 0 or kind in tables:
                raise BadBytes(f"table {kind.name} is empty, twice there, or not where it must begin")
            tables[kind] = (base + offset, base + offset + length)
            expected += length
        self._body_end = base + expected
        return tables

    def _table(self, kind: _Table, read: Callable[[Reader], _T]) -> list[_T]:
        if kind not in self._tables:
            return []
        start, end = self._tables[kind]
        reader = Reader(self._data, start, end)
        items: list[_T] = []
        while not reader.at_end:
            items.append(read(reader))
        return items

    def _item(self, table: list[_T], reader: Reader) -> _T:
        return self._item_at(table, _index(reader))

    def _item_at(self, table: list[_T], index: int) -> _T:
        if index >= len(table):
            raise BadBytes(f"index {index} into a table of {len(table)}")
        return table[index]

    def _signature(self, reader: Reader) -> tuple[Type, ...]:
        return self._item(self._module.signatures, reader)

    def _name(self, reader: Reader) -> str:
        return self._item(self._identifiers, reader)

    def _friend(self, reader: Reader) -> ModuleId:
        return ModuleId(self._item(self._addresses, reader), self._name(reader))

    def _types(self, reader: Reader) -> tuple[Type, ...]:
        return tuple(self._type(reader) for _ in range(reader.uleb(_COUNT_LIMIT)))

    def _type(self, reader: Reader, depth: int = 0) -> Type:
        if depth >= _TYPE_DEPTH_LIMIT:
            raise BadBytes("a type that is nested too deeply")
        token = reader.byte()
        if token in _SCALAR_TOKENS:
            return _SCALAR_TOKENS[token]
        if token == _VECTOR:
            return Vector(self._type(reader, depth + 1))
        if token in (_REFERENCE, _MUTABLE_REFERENCE):
            return Reference(token == _MUTABLE_REFERENCE, self._type(reader, depth + 1))
        if token == _PARAMETER:
            return Parameter(reader.uleb(INDEX_LIMIT))
        if token not in (_DATATYPE, _DATATYPE_INSTANCE):
            raise BadBytes(f"unknown type {token:#04x}")
        handle = self._item(self._datatypes, reader)
        count = reader.uleb(_COUNT_LIMIT) if token == _DATATYPE_INSTANCE else 0
        if count != len(handle.type_parameters):
            raise BadBytes(
                f"{handle.module}::{handle.name} takes {len(handle.type_parameters)} types, not {count}"
            )
        arguments = tuple(self._type(reader, depth + 1) for _ in range(count))
        return Datatype(handle.module, handle.name, arguments)

    def _datatype_handle(self, reader: Reader) -> DatatypeHandle:
        return DatatypeHandle(
            self._item(self._modules, reader),
            self._name(reader),
            _abilities(reader),
            tuple(TypeParameter(_abilities(reader), _flag(reader)) for _ in range(reader.uleb(_COUNT_LIMIT))),
        )

    def _function_handle(self, reader: Reader) -> FunctionHandle:
        return FunctionHandle(
            self._item(self._modules, reader),
            self._name(reader),
            self._signature(reader),
            self._signature(reader),
            tuple(_abilities(reader) for _ in range(reader.uleb(_COUNT_LIMIT))),
        )

    def _constant(self, reader: Reader) -> Constant:
        return Constant(self._type(reader), reader.take(reader.uleb(INDEX_LIMIT)))

    def _fields(self, reader: Reader) -> tuple[Field, ...]:
        return tuple(Field(self._name(reader), self._type(reader)) for _ in range(reader.uleb(_COUNT_LIMIT)))

    def _own_datatype(self, reader: Reader) -> DatatypeHandle:
        handle = self._item(self._datatypes, reader)
        if handle.module != self._module.id:
            raise BadBytes(f"{self._module.id} defines {handle.module}::{handle.name}")
        if reader.byte() != _FIELDS_DECLARED:
            raise BadBytes(f"{handle.name} is a native datatype, or none")
        return handle

    def _struct(self, reader: Reader) -> StructDefinition:
        return StructDefinition(self._own_datatype(reader), self._fields(reader))

    def _enum(self, reader: Reader) -> EnumDefinition:
        handle = self._own_datatype(reader)
        count = reader.uleb(VARIANT_LIMIT)
        if count == 0:
            raise BadBytes(f"enum {handle.name} has no variant")
        return EnumDefinition(
            handle, tuple(Variant(self._name(reader), self._fields(reader)) for _ in range(count))
        )

    def _field_handle(self, reader: Reader) -> tuple[StructDefinition, int]:
        struct = self._item(self._module.structs, reader)
        place = reader.uleb(_COUNT_LIMIT)
        self._item_at(list(struct.fields), place)
        return struct, place

    def _variant_handle(self, reader: Reader) -> tuple[EnumDefinition, int]:
        return _variant_of(self._item(self._module.enums, reader), reader)

    def _variant_instance(self, reader: Reader) -> tuple[EnumDefinition, int, tuple[Type, ...]]:
        definition, arguments = self._item(self._enum_instances, reader)
        return (*_variant_of(definition, reader), arguments)

    def _function(self, reader: Reader) -> FunctionDefinition:
        handle = self._item(self._module.function_handles, reader)
        if handle.module != self._module.id:
            raise BadBytes(f"{self._module.id} defines {handle}")
        visibility, flags = reader.byte(), reader.byte()
        if visibility not in tuple(Visibility) or flags & ~(_ENTRY | _NATIVE):
            raise BadBytes(f"{handle} has an unknown visibility or flag")
        if reader.uleb(_COUNT_LIMIT):
            raise BadBytes(f"{handle} acquires global storage, which Sui's Move does not have")
        is_entry = bool(flags & _ENTRY)
        if flags & _NATIVE:
            return FunctionDefinition(handle, Visibility(visibility), is_entry)
        return FunctionDefinition(
            handle,
            Visibility(visibility),
            is_entry,
            self._signature(reader),
            read_code(reader, self._version),
            self._jump_tables(reader) if self._version >= ENUM_VERSION else (),
        )

    def _jump_tables(self, reader: Reader) -> tuple[JumpTable, ...]:
        return tuple(self._jump_table(reader) for _ in range(reader.uleb(VARIANT_LIMIT)))

    def _jump_table(self, reader: Reader) -> JumpTable:
        definition = self._item(self._module.enums, reader)
        count = reader.uleb(VARIANT_LIMIT)
        if reader.byte() != _FULL_JUMP_TABLE or count != len(definition.variants):
            raise BadBytes(f"a jump table that does not name every variant of {definition.handle.name}")
        return JumpTable(definition, tuple(reader.uleb(INDEX_LIMIT) for _ in range(count)))


def _version(number: int) -> int:
    """Return the format's version. From version 7 the highest byte of the number is the flavor, Sui's."""
    version, flavor = number & 0xFFFFFF, number >> 24
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        raise BadBytes(f"version {version} of the format, and {OLDEST_VERSION} to {NEWEST_VERSION} are read")
    if flavor != (_SUI_FLAVOR if version >= ENUM_VERSION else 0):
        raise BadBytes(f"flavor {flavor} of the format, which is not Sui's")
    return version


def _index(reader: Reader) -> int:
    return reader.uleb(INDEX_LIMIT)


def _identifier(reader: Reader) -> str:
    raw = reader.take(reader.uleb(INDEX_LIMIT))
    name = raw.decode("ascii", errors="replace")
    if not _IDENTIFIER.fullmatch(name):
        raise BadBytes(f"{name!r} is no identifier")
    return name


def _abilities(reader: Reader) -> Abilities:
    number = reader.byte()
    if number > sum(Abilities):
        raise BadBytes(f"unknown abilities {number:#04x}")
    return Abilities(number)


def _flag(reader: Reader) -> bool:
    number = reader.byte()
    if number > 1:
        raise BadBytes(f"{number} where a flag is expected")
    return bool(number)


def _variant_of(definition: EnumDefinition, reader: Reader) -> tuple[EnumDefinition, int]:
    tag = reader.uleb(VARIANT_LIMIT)
    if tag >= len(definition.variants):
        raise BadBytes(f"enum {definition.handle.name} has no variant {tag}")
    return definition, tag
