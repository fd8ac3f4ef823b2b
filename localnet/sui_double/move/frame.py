"""A function's activation, and the steps that work on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from localnet.sui_double.move.types import Type
from localnet.sui_double.move.values import Value

if TYPE_CHECKING:
    from localnet.sui_double.move.machine import Machine
    from localnet.sui_double.move.modules import Function

MOVED: Final = None
"""In the place of a local variable that holds no value: not yet assigned, or moved away."""


class Frame:
    """The locals, the operands and the next instruction of one call."""

    __slots__ = ("code", "function", "locals", "machine", "next", "stack", "types")

    def __init__(
        self, machine: Machine, function: Function, types: tuple[Type, ...], arguments: list[Value]
    ) -> None:
        """Begin a call of a function that is not native; `arguments` becomes part of the frame."""
        arguments.extend([MOVED] * function.local_count)
        self.machine = machine
        self.function = function
        self.types = types
        self.locals = arguments
        self.stack: list[Value] = []
        self.code = function.steps
        self.next = 0


class Returned:
    """Tells that a call has ended: its results are what is on its stack."""


RETURNED: Final = Returned()

Step: TypeAlias = "Callable[[Frame], Frame | Returned | None]"
"""Executes one instruction; returns the frame of a call that it begins, `RETURNED`, or None to go on."""
