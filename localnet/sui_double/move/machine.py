"""Runs Move functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.errors import LimitFailure, Location, MoveFailure, StepsExhausted
from localnet.sui_double.move.frame import Frame, Returned
from localnet.sui_double.move.modules import Function, Modules
from localnet.sui_double.move.types import Type
from localnet.sui_double.move.values import Ref, Value


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an execution may use."""

    steps: int = 50_000_000
    """Instructions in all."""
    call_depth: int = 1023
    """Functions active at once, as in Sui's Move VM."""


class Host(Protocol):
    """What native functions ask of the transaction in which code runs: `objects.Transaction` is the chain's."""

    @property
    def sender(self) -> bytes:
        """Return the account that sent the transaction."""

    @property
    def epoch(self) -> int:
        """Return the chain's epoch."""

    @property
    def epoch_start_ms(self) -> int:
        """Return when the epoch began, in milliseconds since 1970."""

    @property
    def gas_price(self) -> int:
        """Return the price of a unit of gas, in MIST."""

    @property
    def gas_budget(self) -> int:
        """Return the most gas that the sender pays, in MIST."""

    @property
    def sponsor(self) -> bytes | None:
        """Return the account that pays the gas if it is not the sender."""

    @property
    def ids_created(self) -> int:
        """Return how many object ids the transaction has made."""

    def fresh_id(self) -> bytes:
        """Return an object id that was never given before."""

    def note_new_id(self, id_: bytes) -> None:
        """Take note that an object with this id begins to exist."""

    def note_deleted_id(self, id_: bytes) -> None:
        """Take note that the object with this id ends."""

    def transfer(self, type_: Type, value: Value, recipient: bytes) -> None:
        """Give an object to an address."""

    def share(self, type_: Type, value: Value) -> None:
        """Make an object shared. Raises `MoveAbort` when the transaction has not made it."""

    def freeze(self, type_: Type, value: Value) -> None:
        """Make an object immutable."""

    def emit(self, type_: Type, value: Value) -> None:
        """Emit an event."""

    def add_child(self, parent: bytes, type_: Type, value: Value) -> None:
        """Make an object the child of another. Raises `MoveAbort` when the parent has a child of this id."""

    def child(self, parent: bytes, id_: bytes, type_: Type, is_mutable: bool) -> Ref:
        """Return a reference to a child. Raises `MoveAbort` when it is missing or of another type."""

    def remove_child(self, parent: bytes, id_: bytes, type_: Type) -> Value:
        """Take a child from its parent. Raises `MoveAbort` when it is missing or of another type."""

    def child_type(self, parent: bytes, id_: bytes) -> Type | None:
        """Return the type of a child, and None when the parent has no child of this id."""


class Machine:
    """Runs functions against a host. One machine executes one transaction; its steps are counted together."""

    def __init__(self, modules: Modules, codec: Codec, host: Host, limits: Limits | None = None) -> None:
        self.modules = modules
        self.codec = codec
        self.host = host
        self.limits = limits or Limits()
        self.steps = 0
        """Instructions executed so far."""

    def call(self, function: Function, types: tuple[Type, ...], arguments: list[Value]) -> list[Value]:
        """Return the results of a function. The arguments are moved into it.

        Raises `MoveFailure` with its location when the code fails, and `UnsupportedNative`, `LinkError` or
        `BadBytecode` when it cannot be executed. Neither visibility nor the arguments' types are checked here.
        """
        expected = len(function.handle.parameters)
        if len(arguments) != expected or len(types) != len(function.handle.type_parameters):
            raise TypeError(f"{function} takes {expected} arguments, not {len(arguments)}, or other types")
        if function.is_native:
            return list(self.call_native(function, types, arguments))
        return self._run(Frame(self, function, types, list(arguments)))

    def call_native(self, function: Function, types: tuple[Type, ...], arguments: list[Value]) -> list[Value]:
        """Return the results of a native function. A failure's location is the native function itself."""
        native = function.native()
        try:
            return list(native(self, types, arguments))
        except MoveFailure as failure:
            if failure.location is None:
                failure.location = Location(*function.module.id, function.handle.name, 0)
            raise

    def _run(self, frame: Frame) -> list[Value]:
        callers: list[Frame] = []
        steps, limit, depth_limit = self.steps, self.limits.steps, self.limits.call_depth
        try:
            while True:
                step = frame.code[frame.next]
                frame.next += 1
                steps += 1
                if steps > limit:
                    raise StepsExhausted(f"more than {limit} instructions")
                change = step(frame)
                if change is None:
                    continue
                if isinstance(change, Returned):
                    results = frame.stack
                    if not callers:
                        return results
                    frame = callers.pop()
                    frame.stack.extend(results)
                else:
                    if len(callers) + 2 > depth_limit:
                        raise LimitFailure(f"calls nested deeper than {depth_limit}")
                    callers.append(frame)
                    frame = change
        except MoveFailure as failure:
            if failure.location is None:
                function = frame.function
                failure.location = Location(*function.module.id, function.handle.name, frame.next - 1)
            raise
        finally:
            self.steps = steps
