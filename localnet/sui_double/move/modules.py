"""All modules that code can link to, and what their datatypes consist of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from localnet.sui_double.move.errors import BadBytecode, LinkError, UnsupportedNative
from localnet.sui_double.move.module import (
    CompiledModule,
    EnumDefinition,
    FunctionDefinition,
    FunctionHandle,
    StructDefinition,
    Visibility,
)
from localnet.sui_double.move.translate import translate
from localnet.sui_double.move.types import (
    SCALAR_ABILITIES,
    Abilities,
    Datatype,
    ModuleId,
    Parameter,
    Reference,
    Scalar,
    Type,
    Vector,
    substitute_all,
    type_name,
)
from localnet.sui_double.move.values import Value

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Step
    from localnet.sui_double.move.machine import Machine

Native: TypeAlias = "Callable[[Machine, tuple[Type, ...], list[Value]], Sequence[Value]]"
"""A native function: takes type arguments and arguments, returns the results."""
NativeName: TypeAlias = tuple[ModuleId, str]
"""Module and name of a native function."""


class Function:
    """A function that can be called: its definition, and its steps or its native implementation.

    Bytecode is checked and turned into steps at the first call.
    """

    def __init__(self, modules: Modules, module: CompiledModule, definition: FunctionDefinition) -> None:
        self.modules = modules
        self.module = module
        self.definition = definition
        self.handle = definition.handle
        self.is_native = definition.code is None
        self.local_count = len(definition.locals)
        self._steps: list[Step] | None = None

    @property
    def steps(self) -> list[Step]:
        """Return one step for each instruction. Raises `BadBytecode`."""
        if self._steps is None:
            self._steps = translate(self.modules, self.module, self.definition)
        return self._steps

    def native(self) -> Native:
        """Return the implementation of a native function. Raises `UnsupportedNative`."""
        found = self.modules.natives.get((self.module.id, self.handle.name))
        if found is None:
            raise UnsupportedNative(f"the double has no native function {self.handle}")
        return found

    def __str__(self) -> str:
        return str(self.handle)


class _Entry(NamedTuple):
    """A module with its functions and datatypes by name."""

    module: CompiledModule
    functions: dict[str, Function]
    datatypes: dict[str, StructDefinition | EnumDefinition]


class Modules:
    """The modules of published packages, which are immutable: a module is added once.

    Those of `base` belong to them, and its modules link to each other alone.
    """

    def __init__(self, natives: dict[NativeName, Native], base: Modules | None = None) -> None:
        self.natives = natives
        self._base = base
        self._entries: dict[ModuleId, _Entry] = {}
        self._fields: dict[Datatype, tuple[Type, ...]] = {}
        self._variants: dict[Datatype, tuple[tuple[Type, ...], ...]] = {}

    def add(self, modules: Iterable[CompiledModule]) -> None:
        """Add modules, all or none.

        Raises `BadBytecode` when a module declares a name twice, `LinkError` when there is a module of its name.
        """
        added: dict[ModuleId, _Entry] = {}
        for module in modules:
            if module.id in added or self._find(module.id) is not None:
                raise LinkError(f"module {module.id} is published already")
            functions = {
                definition.handle.name: Function(self, module, definition) for definition in module.functions
            }
            definitions: list[StructDefinition | EnumDefinition] = [*module.structs, *module.enums]
            datatypes = {definition.handle.name: definition for definition in definitions}
            if len(functions) != len(module.functions) or len(datatypes) != len(definitions):
                raise BadBytecode(f"{module.id} declares a name twice")
            added[module.id] = _Entry(module, functions, datatypes)
        self._entries |= added

    def remove(self, ids: Iterable[ModuleId]) -> None:
        """Remove modules whose publication failed, and which therefore no other module links to."""
        gone = {id_ for id_ in ids if self._entries.pop(id_, None) is not None}
        for known in (self._fields, self._variants):
            for type_ in [type_ for type_ in known if type_.module in gone]:
                del known[type_]

    def remove_package(self, address: bytes) -> None:
        """Remove all modules of a package whose publication failed."""
        self.remove([id_ for id_ in self._entries if id_.address == address])

    def check(self, id_: ModuleId) -> None:
        """Check all code of a module and what it links to. Raises `BadBytecode` or `LinkError`."""
        entry = self._entry(id_)
        for function in entry.functions.values():
            if not function.is_native:
                _ = function.steps
        for handle in entry.module.function_handles:
            self.link(id_, handle)

    def module(self, id_: ModuleId) -> CompiledModule:
        """Return a module. Raises `LinkError`."""
        return self._entry(id_).module

    def function(self, id_: ModuleId, name: str) -> Function:
        """Return a function, whatever its visibility. Raises `LinkError`."""
        try:
            return self._entry(id_).functions[name]
        except KeyError:
            raise LinkError(f"there is no function {id_}::{name}") from None

    def link(self, caller: ModuleId, handle: FunctionHandle) -> Function:
        """Return the function that a module calls by this handle.

        Raises `LinkError` when it is missing, not visible to the caller, or of another signature.
        """
        function = self.function(handle.module, handle.name)
        if function.handle != handle:
            raise LinkError(f"{handle} is not declared as {caller} calls it")
        visibility = function.definition.visibility
        is_friend = visibility is Visibility.FRIEND and caller in function.module.friends
        if caller != handle.module and visibility is not Visibility.PUBLIC and not is_friend:
            raise LinkError(f"{handle} is not visible to {caller}")
        return function

    def datatype(self, type_: Datatype) -> StructDefinition | EnumDefinition:
        """Return the definition of a datatype. Raises `LinkError`."""
        try:
            definition = self._entry(type_.module).datatypes[type_.name]
        except KeyError:
            raise LinkError(f"there is no datatype {type_.module}::{type_.name}") from None
        if len(definition.handle.type_parameters) != len(type_.arguments):
            raise LinkError(f"{type_name(type_)} has the wrong number of type arguments")
        return definition

    def is_enum(self, type_: Datatype) -> bool:
        """Return whether a datatype is an enum."""
        return isinstance(self.datatype(type_), EnumDefinition)

    def fields(self, struct: Datatype) -> tuple[Type, ...]:
        """Return the types of a struct's fields. Raises `LinkError` also for an enum."""
        found = self._fields.get(struct)
        if found is None:
            definition = self.datatype(struct)
            if isinstance(definition, EnumDefinition):
                raise LinkError(f"{type_name(struct)} is an enum")
            found = substitute_all([field.type for field in definition.fields], struct.arguments)
            self._fields[struct] = found
        return found

    def variants(self, enum: Datatype) -> tuple[tuple[Type, ...], ...]:
        """Return the types of the fields of each of an enum's variants. Raises `LinkError` also for a struct."""
        found = self._variants.get(enum)
        if found is None:
            definition = self.datatype(enum)
            if isinstance(definition, StructDefinition):
                raise LinkError(f"{type_name(enum)} is a struct")
            found = tuple(
                substitute_all([field.type for field in variant.fields], enum.arguments)
                for variant in definition.variants
            )
            self._variants[enum] = found
        return found

    def abilities(self, type_: Type, parameters: Sequence[Abilities] = ()) -> Abilities:
        """Return the abilities of a type; `parameters` are those of the type parameters in it."""
        if isinstance(type_, Scalar):
            return Abilities.DROP if type_ is Scalar.SIGNER else SCALAR_ABILITIES
        if isinstance(type_, Reference):
            return Abilities.COPY | Abilities.DROP
        if isinstance(type_, Parameter):
            if type_.index >= len(parameters):
                raise LinkError(f"type parameter {type_.index} of {len(parameters)}")
            return parameters[type_.index]
        if isinstance(type_, Vector):
            return SCALAR_ABILITIES & self.abilities(type_.element, parameters)
        handle = self.datatype(type_).handle
        abilities = handle.abilities
        for parameter, argument in zip(handle.type_parameters, type_.arguments, strict=True):
            if not parameter.is_phantom:
                abilities &= _with_key(self.abilities(argument, parameters))
        return abilities

    def check_arguments(
        self,
        arguments: Sequence[Type],
        constraints: Sequence[Abilities],
        user: str,
        parameters: Sequence[Abilities] = (),
    ) -> None:
        """Raise `LinkError` unless there is one type argument for each constraint, and it has those abilities.

        `user` is what takes the arguments; `parameters` are the abilities of the type parameters in them.
        """
        if len(arguments) != len(constraints):
            raise LinkError(f"{user} takes {len(constraints)} type arguments, not {len(arguments)}")
        for argument, constraint in zip(arguments, constraints, strict=True):
            self.check_type(argument, parameters)
            if constraint & ~self.abilities(argument, parameters):
                raise LinkError(f"{user} does not take {type_name(argument)}: it lacks an ability")

    def check_type(self, type_: Type, parameters: Sequence[Abilities] = ()) -> None:
        """Raise `LinkError` unless all datatypes of the type exist and their arguments have the abilities they must."""
        if isinstance(type_, Vector):
            self.check_type(type_.element, parameters)
        elif isinstance(type_, Datatype):
            declared = self.datatype(type_).handle.type_parameters
            constraints = [parameter.constraints for parameter in declared]
            self.check_arguments(type_.arguments, constraints, type_name(type_), parameters)
        elif isinstance(type_, Reference):
            raise LinkError(f"{type_name(type_)} as a type argument")

    def _find(self, id_: ModuleId) -> _Entry | None:
        found = self._entries.get(id_)
        return self._base._find(id_) if found is None and self._base is not None else found

    def _entry(self, id_: ModuleId) -> _Entry:
        found = self._find(id_)
        if found is None:
            raise LinkError(f"there is no module {id_}")
        return found


def _with_key(argument: Abilities) -> Abilities:
    """Return what a datatype keeps of its abilities beside an argument: `key` needs `store` of what it holds."""
    kept = argument & SCALAR_ABILITIES
    return kept | Abilities.KEY if argument & Abilities.STORE else kept
