"""The types of a function's operands while its instructions are turned into steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from localnet.sui_double.move.code import Instruction
from localnet.sui_double.move.types import Abilities, Reference, Type, type_name

if TYPE_CHECKING:
    from localnet.sui_double.move.frame import Step
    from localnet.sui_double.move.module import CompiledModule, FunctionDefinition
    from localnet.sui_double.move.modules import Modules

Maker: TypeAlias = "Callable[[Operands, Instruction], Step]"
"""Takes an instruction's operands off the stack of types, puts its results there, and returns its step."""


class IllTyped(Exception):
    """An instruction does not fit its operands."""


class Operands:
    """The stack of types at one instruction of a function, and the function around it."""

    def __init__(self, modules: Modules, module: CompiledModule, definition: FunctionDefinition) -> None:
        self.modules = modules
        self.module = module
        self.definition = definition
        self.handle = definition.handle
        self.locals: tuple[Type, ...] = (*definition.handle.parameters, *definition.locals)
        self.stack: list[Type] = []

    def pop(self) -> Type:
        """Take the type of the topmost operand."""
        if not self.stack:
            raise IllTyped("an operand is missing")
        return self.stack.pop()

    def expect(self, expected: Type) -> None:
        """Take the topmost operand, which must be of this type."""
        found = self.pop()
        if found != expected:
            raise IllTyped(f"{type_name(expected)} expected, and this is {type_name(found)}")

    def expect_all(self, expected: tuple[Type, ...]) -> None:
        """Take as many operands, the last of which is the topmost."""
        for type_ in reversed(expected):
            self.expect(type_)

    def push(self, *types: Type) -> None:
        """Put results onto the stack."""
        self.stack.extend(types)

    def pop_reference(self, is_mutable: bool = False) -> Reference:
        """Take a reference; with `is_mutable` it must be a mutable one."""
        found = self.pop()
        if not isinstance(found, Reference) or (is_mutable and not found.is_mutable):
            raise IllTyped(f"{'a mutable' if is_mutable else 'a'} reference expected, not {type_name(found)}")
        return found

    def expect_reference(self, target: Type, is_mutable: bool = False) -> None:
        """Take a reference to this type; with `is_mutable` it must be a mutable one."""
        found = self.pop_reference(is_mutable)
        if found.target != target:
            raise IllTyped(f"a reference to {type_name(target)} expected, not to {type_name(found.target)}")

    def check_arguments(
        self, arguments: tuple[Type, ...], constraints: Sequence[Abilities], user: str
    ) -> None:
        """Raise `LinkError` unless the type arguments are what a function or datatype takes."""
        self.modules.check_arguments(arguments, constraints, user, self.handle.type_parameters)

    def require(self, type_: Type, ability: Abilities) -> None:
        """Raise unless the type has the ability."""
        if not ability & self.modules.abilities(type_, self.handle.type_parameters):
            raise IllTyped(f"{type_name(type_)} has no ability {ability.name}")
