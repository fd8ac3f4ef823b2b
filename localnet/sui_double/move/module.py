"""What a compiled module holds, with the indices of its tables resolved into names and types."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from localnet.sui_double.move.code import Instruction
from localnet.sui_double.move.types import Abilities, Datatype, ModuleId, Type


class Visibility(enum.IntEnum):
    """Who may call a function, in the numbers of the binary format."""

    PRIVATE = 0
    PUBLIC = 1
    FRIEND = 3
    """The modules that the declaring module names as friends; `public(package)` becomes this."""


@dataclass(frozen=True, slots=True)
class TypeParameter:
    """A datatype's type parameter: the abilities that its argument must have, and whether fields may not use it."""

    constraints: Abilities
    is_phantom: bool = False


@dataclass(frozen=True, slots=True)
class DatatypeHandle:
    """A datatype that a module declares or uses."""

    module: ModuleId
    name: str
    abilities: Abilities
    type_parameters: tuple[TypeParameter, ...]


@dataclass(frozen=True, slots=True)
class FunctionHandle:
    """A function that a module declares or calls, with the signature that the module expects of it."""

    module: ModuleId
    name: str
    parameters: tuple[Type, ...]
    returns: tuple[Type, ...]
    type_parameters: tuple[Abilities, ...]

    def __str__(self) -> str:
        return f"{self.module}::{self.name}"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct or of a variant; its type may hold the datatype's parameters."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of an enum; its tag is its place among the variants."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class StructDefinition:
    """A struct that the module declares."""

    handle: DatatypeHandle
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class EnumDefinition:
    """An enum that the module declares."""

    handle: DatatypeHandle
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class JumpTable:
    """The target of a `VariantSwitch` for each tag of the enum."""

    enum: EnumDefinition
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """A function that the module declares; `code` is None for a native one."""

    handle: FunctionHandle
    visibility: Visibility
    is_entry: bool
    locals: tuple[Type, ...] = ()
    """Types of the local variables that follow the parameters."""
    code: tuple[Instruction, ...] | None = None
    jump_tables: tuple[JumpTable, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant: its type, and its value in BCS."""

    type: Type
    data: bytes


@dataclass(slots=True)
class CompiledModule:
    """A module's tables, indexed as its instructions index them."""

    id: ModuleId
    version: int
    structs: list[StructDefinition] = field(default_factory=list)
    enums: list[EnumDefinition] = field(default_factory=list)
    function_handles: list[FunctionHandle] = field(default_factory=list)
    functions: list[FunctionDefinition] = field(default_factory=list)
    signatures: list[tuple[Type, ...]] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    field_handles: list[tuple[StructDefinition, int]] = field(default_factory=list)
    """Struct and place of the field in it."""
    variant_handles: list[tuple[EnumDefinition, int]] = field(default_factory=list)
    """Enum and tag."""
    function_instances: list[tuple[FunctionHandle, tuple[Type, ...]]] = field(default_factory=list)
    struct_instances: list[tuple[StructDefinition, tuple[Type, ...]]] = field(default_factory=list)
    field_instances: list[tuple[StructDefinition, int, tuple[Type, ...]]] = field(default_factory=list)
    variant_instances: list[tuple[EnumDefinition, int, tuple[Type, ...]]] = field(default_factory=list)
    friends: frozenset[ModuleId] = frozenset()

    def datatype(
        self, definition: StructDefinition | EnumDefinition, arguments: tuple[Type, ...]
    ) -> Datatype:
        """Return the type that a definition of this module makes with these arguments."""
        return Datatype(self.id, definition.handle.name, arguments)
