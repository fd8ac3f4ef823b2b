"""The values that a transaction's commands use: inputs, results, the gas coin."""

from __future__ import annotations

from dataclasses import dataclass, field

from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import (
    BYTES,
    Abilities,
    Datatype,
    ModuleId,
    Reference,
    Scalar,
    Type,
    Vector,
    type_name,
)
from localnet.sui_double.move.values import Ref, Value, copy_value
from localnet.sui_double.stored import StoredObject
from localnet.sui_double.transactions import Argument, GasCoin, InputAt

ARGUMENT_ERROR = "COMMAND_ARGUMENT_ERROR"
ID = Datatype(ModuleId(SUI, "object"), "ID")
STRING = Datatype(ModuleId(STANDARD, "string"), "String")
ASCII = Datatype(ModuleId(STANDARD, "ascii"), "String")
OPTION = ModuleId(STANDARD, "option")


@dataclass(slots=True)
class PureSlot:
    """An input in BCS: one value for each type that it is used as."""

    data: bytes
    places: dict[Type, list[Value]] = field(default_factory=dict)


@dataclass(slots=True)
class Slot:
    """A value: `place` holds it in a list of one, and is empty when it was moved away."""

    type: Type
    place: list[Value]
    stored: StoredObject | None = None
    """The object that it was loaded from, if it is an input."""
    may_move: bool = True
    may_change: bool = True
    is_gas: bool = False


class Arguments:
    """Gives values to commands, by value or by reference, as Sui's rules allow it."""

    def __init__(
        self,
        modules: Modules,
        codec: Codec,
        gas: Slot,
        inputs: list[Slot | PureSlot],
        taken: dict[bytes, StoredObject],
    ) -> None:
        """Take the values; inputs that are moved are noted in `taken`."""
        self.gas = gas
        self.inputs = inputs
        self.results: list[list[Slot]] = []
        self._modules = modules
        self._codec = codec
        self._taken = taken
        self._borrowed: list[tuple[list[Value], bool]] = []
        """Places that the present command has references to, and whether they are mutable."""

    def begin_command(self) -> None:
        """Forget the references of the command before."""
        self._borrowed.clear()

    def get(self, argument: Argument, parameter: Type) -> Value:
        """Return the value for a parameter of this type, moved, copied or borrowed. Raises `CommandFailure`."""
        slot = self.slot(argument)
        if isinstance(parameter, Reference):
            return self._borrow(slot, parameter)
        return self._take(slot, parameter)

    def slot(self, argument: Argument) -> Slot | PureSlot:
        """Return what an argument stands for. Raises `CommandFailure` when there is no such thing."""
        if isinstance(argument, GasCoin):
            return self.gas
        if isinstance(argument, InputAt):
            if argument.index >= len(self.inputs):
                raise CommandFailure(ARGUMENT_ERROR, f"there is no input {argument.index}")
            return self.inputs[argument.index]
        if argument.command >= len(self.results):
            raise CommandFailure(ARGUMENT_ERROR, f"command {argument.command} has not been executed yet")
        results = self.results[argument.command]
        if argument.place is None and len(results) != 1:
            raise CommandFailure(ARGUMENT_ERROR, f"command {argument.command} has {len(results)} results")
        place = argument.place or 0
        if place >= len(results):
            raise CommandFailure(ARGUMENT_ERROR, f"command {argument.command} has no result {place}")
        return results[place]

    def take_object(self, argument: Argument) -> tuple[Datatype, Value]:
        """Return the type and the value of an object that is moved. Raises `CommandFailure` when it is none."""
        slot = self.slot(argument)
        if isinstance(slot, PureSlot) or not self._abilities(slot.type) & Abilities.KEY:
            raise CommandFailure(ARGUMENT_ERROR, "an argument that must be an object is none")
        assert isinstance(slot.type, Datatype)  # noqa: S101 (no other type has the ability `key`)
        return slot.type, self._move(slot)

    def _take(self, slot: Slot | PureSlot, type_: Type) -> Value:
        if isinstance(slot, PureSlot):
            return copy_value(self._pure(slot, type_)[0])
        self._check(slot, type_)
        if self._abilities(slot.type) & Abilities.COPY:
            self._check_free(slot.place, is_mutable=False)
            return copy_value(slot.place[0])
        if slot.is_gas:
            raise CommandFailure(ARGUMENT_ERROR, "the gas coin can be moved by TransferObjects alone")
        return self._move(slot)

    def _move(self, slot: Slot) -> Value:
        self._check(slot, slot.type)
        self._check_free(slot.place, is_mutable=True)
        if not slot.may_move:
            raise CommandFailure(ARGUMENT_ERROR, "an object that is read only cannot be moved")
        if slot.stored is not None:
            self._taken[slot.stored.id] = slot.stored
        return slot.place.pop()

    def _borrow(self, slot: Slot | PureSlot, parameter: Reference) -> Value:
        if isinstance(slot, PureSlot):
            place = self._pure(slot, parameter.target)
        else:
            self._check(slot, parameter.target)
            place = slot.place
            if parameter.is_mutable and not slot.may_change:
                raise CommandFailure(ARGUMENT_ERROR, "an object that is read only cannot be changed")
        self._check_free(place, parameter.is_mutable)
        self._borrowed.append((place, parameter.is_mutable))
        return Ref(place, 0)

    def _check(self, slot: Slot, type_: Type) -> None:
        if slot.type != type_:
            raise CommandFailure(ARGUMENT_ERROR, f"{type_name(type_)} expected, not {type_name(slot.type)}")
        if not slot.place:
            raise CommandFailure(ARGUMENT_ERROR, f"a {type_name(type_)} is used that was moved away")

    def _check_free(self, place: list[Value], is_mutable: bool) -> None:
        for borrowed, borrowed_mutably in self._borrowed:
            if borrowed is place and (is_mutable or borrowed_mutably):
                raise CommandFailure(ARGUMENT_ERROR, "a value is used twice by a command that changes it")

    def _pure(self, slot: PureSlot, type_: Type) -> list[Value]:
        place = slot.places.get(type_)
        if place is None:
            if not may_be_pure(type_):
                raise CommandFailure(ARGUMENT_ERROR, f"a {type_name(type_)} cannot be passed as bytes")
            try:
                place = [self._codec.decode(type_, slot.data)]
            except BadBytes as error:
                raise CommandFailure(ARGUMENT_ERROR, f"no {type_name(type_)}: {error}") from None
            _check_texts(type_, place[0])
            slot.places[type_] = place
        return place

    def _abilities(self, type_: Type) -> Abilities:
        return self._modules.abilities(type_)


def may_be_pure(type_: Type) -> bool:
    """Return whether a transaction may pass a value as bytes: scalars, ids, texts, and options and vectors of them."""
    if isinstance(type_, Scalar):
        return type_ is not Scalar.SIGNER
    if isinstance(type_, Vector):
        return may_be_pure(type_.element)
    if isinstance(type_, Datatype) and (type_.module, type_.name) == (OPTION, "Option"):
        return may_be_pure(type_.arguments[0])
    return type_ in (ID, STRING, ASCII)


def _check_texts(type_: Type, value: Value) -> None:
    """Raise `CommandFailure` for a text that is none, and an option of two: their bytes alone do not exclude it."""
    if isinstance(type_, Vector) and type_ != BYTES:
        for element in value:
            _check_texts(type_.element, element)
    if not isinstance(type_, Datatype) or type_ == ID:
        return
    if type_.module == OPTION:
        if len(value[0]) > 1:
            raise CommandFailure(ARGUMENT_ERROR, f"an option of {len(value[0])} values")
        _check_texts(Vector(type_.arguments[0]), value[0])
        return
    try:
        bytes(value[0]).decode("utf-8" if type_ == STRING else "ascii")
    except UnicodeDecodeError:
        raise CommandFailure(ARGUMENT_ERROR, f"a {type_name(type_)} of other bytes than text") from None
