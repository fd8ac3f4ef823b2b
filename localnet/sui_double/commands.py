"""Executes the commands of a programmable transaction, one after the other."""

from __future__ import annotations

from localnet.sui_double.arguments import ARGUMENT_ERROR, Arguments, Slot
from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.host import TransactionHost
from localnet.sui_double.move.errors import LinkError
from localnet.sui_double.move.machine import Machine
from localnet.sui_double.move.module import Visibility
from localnet.sui_double.move.modules import Function
from localnet.sui_double.move.natives.objects import object_id
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import (
    Abilities,
    Datatype,
    ModuleId,
    Reference,
    Scalar,
    Type,
    Vector,
    substitute_all,
    type_name,
)
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.move.vector_steps import make_vector
from localnet.sui_double.packages import Package, initializers, is_context, link_package, read_package
from localnet.sui_double.stored import GAS_COIN
from localnet.sui_double.transactions import (
    Argument,
    Command,
    MakeMoveVector,
    MergeCoins,
    MoveCall,
    Publish,
    SplitCoins,
    TransferObjects,
)

UPGRADE_CAP = Datatype(ModuleId(SUI, "package"), "UpgradeCap")
MODULE_ONLY = {
    ModuleId(SUI, "transfer"): {
        "transfer",
        "party_transfer",
        "freeze_object",
        "share_object",
        "receive",
    },
    ModuleId(SUI, "event"): {"emit", "emit_authenticated"},
}
"""Functions that only the module which defines the object's or event's type may call, and so no transaction."""
COIN_LIMIT = 2**64 - 1


class Executor:
    """Executes commands; what they did is in `host`, `arguments` and `published` afterwards."""

    def __init__(self, machine: Machine, host: TransactionHost, arguments: Arguments) -> None:
        self.machine = machine
        self.host = host
        self.arguments = arguments
        self.published: list[Package] = []
        context = host.context
        self._context: list[Value] = [
            [context.sender, bytearray(context.digest), context.epoch, context.epoch_start_ms, 0]
        ]

    def execute(self, command: Command) -> None:
        """Execute a command and keep its results. Raises `CommandFailure`, or what `Machine.call` raises."""
        self.arguments.begin_command()
        self.arguments.results.append(self._results(command))

    def finish(self) -> None:
        """Raise `CommandFailure` when a result that must not be dropped was not used."""
        for results in self.arguments.results:
            for slot in results:
                if slot.place and not self._abilities(slot.type) & Abilities.DROP:
                    raise CommandFailure(
                        "UNUSED_VALUE_WITHOUT_DROP", f"a result of type {type_name(slot.type)} was not used"
                    )

    def _results(self, command: Command) -> list[Slot]:
        if isinstance(command, MoveCall):
            return self._call(command)
        if isinstance(command, TransferObjects):
            return self._transfer(command)
        if isinstance(command, SplitCoins):
            return self._split(command)
        if isinstance(command, MergeCoins):
            return self._merge(command)
        if isinstance(command, Publish):
            return self._publish(command)
        return self._make_vector(command)

    def _call(self, command: MoveCall) -> list[Slot]:
        function = self._callable(command)
        modules, types = self.machine.modules, command.types
        try:
            modules.check_arguments(types, function.handle.type_parameters, str(function))
        except LinkError as error:
            raise CommandFailure("TYPE_ARGUMENT_ERROR", str(error)) from None
        parameters = substitute_all(function.handle.parameters, types)
        returns = substitute_all(function.handle.returns, types)
        if any(isinstance(type_, Reference) for type_ in returns):
            raise CommandFailure("INVALID_PUBLIC_FUNCTION_RETURN_TYPE", f"{function} returns a reference")
        context = [Ref(self._context, 0)] if parameters and is_context(parameters[-1]) else []
        expected = parameters[: len(parameters) - len(context)]
        if len(expected) != len(command.arguments):
            raise CommandFailure(
                "ARITY_MISMATCH", f"{function} takes {len(expected)} arguments, not {len(command.arguments)}"
            )
        values = [
            self.arguments.get(argument, parameter)
            for argument, parameter in zip(command.arguments, expected, strict=True)
        ]
        results = self.machine.call(function, types, values + context)
        return [Slot(type_, [value]) for type_, value in zip(returns, results, strict=True)]

    def _callable(self, command: MoveCall) -> Function:
        """Return the function of a command if a transaction may call it. Raises `CommandFailure`."""
        module = ModuleId(command.package, command.module)
        try:
            function = self.machine.modules.function(module, command.function)
        except LinkError as error:
            raise CommandFailure("FUNCTION_NOT_FOUND", str(error)) from None
        is_open = function.definition.visibility is Visibility.PUBLIC or function.definition.is_entry
        if not is_open or command.function in MODULE_ONLY.get(module, ()):
            raise CommandFailure("NON_ENTRY_FUNCTION_INVOKED", f"{function} is not for transactions to call")
        return function

    def _transfer(self, command: TransferObjects) -> list[Slot]:
        recipient = self.arguments.get(command.recipient, Scalar.ADDRESS)
        for argument in command.objects:
            type_, value = self.arguments.take_object(argument)
            if not self._abilities(type_) & Abilities.STORE:
                raise CommandFailure("INVALID_TRANSFER_OBJECT", f"{type_name(type_)} has no ability `store`")
            self.host.transfer(type_, value, recipient)
        return []

    def _split(self, command: SplitCoins) -> list[Slot]:
        type_ = self._coin_type(command.coin)
        amounts = [self.arguments.get(amount, Scalar.U64) for amount in command.amounts]
        coin = self.arguments.get(command.coin, Reference(True, type_)).get()
        if sum(amounts) > coin[1][0]:
            raise CommandFailure("INSUFFICIENT_COIN_BALANCE", f"{sum(amounts)} out of a coin of {coin[1][0]}")
        coin[1][0] -= sum(amounts)
        return [Slot(type_, [[[[self.host.fresh_id()]], [amount]]]) for amount in amounts]

    def _merge(self, command: MergeCoins) -> list[Slot]:
        type_ = self._coin_type(command.target)
        coin = self.arguments.get(command.target, Reference(True, type_)).get()
        for argument in command.sources:
            source = self.arguments.get(argument, type_)
            if coin[1][0] + source[1][0] > COIN_LIMIT:
                raise CommandFailure("COIN_BALANCE_OVERFLOW", f"a coin of more than {COIN_LIMIT}")
            coin[1][0] += source[1][0]
            self.host.note_deleted_id(object_id(source))
        return []

    def _coin_type(self, argument: Argument) -> Datatype:
        slot = self.arguments.slot(argument)
        if isinstance(slot, Slot) and isinstance(slot.type, Datatype):
            type_ = slot.type
            if (type_.module, type_.name) == (GAS_COIN.module, GAS_COIN.name):
                return type_
        raise CommandFailure(ARGUMENT_ERROR, "an argument that must be a coin is none")

    def _make_vector(self, command: MakeMoveVector) -> list[Slot]:
        element = command.element or self._element_of(command)
        try:
            self.machine.modules.check_type(element)
        except LinkError as error:
            raise CommandFailure("TYPE_ARGUMENT_ERROR", str(error)) from None
        values = [self.arguments.get(argument, element) for argument in command.values]
        return [Slot(Vector(element), [make_vector(element, values)])]

    def _element_of(self, command: MakeMoveVector) -> Type:
        slot = self.arguments.slot(command.values[0]) if command.values else None
        if not isinstance(slot, Slot) or not self._abilities(slot.type) & Abilities.KEY:
            raise CommandFailure(ARGUMENT_ERROR, "a vector of no objects must tell its type")
        return slot.type

    def _publish(self, command: Publish) -> list[Slot]:
        package_id = self.host.fresh_id()
        self.host.created.discard(package_id)
        package = read_package(package_id, command.modules)
        modules = self.machine.modules
        link_package(modules, package, command.dependencies)
        names = [module.id.name for module in package]
        self.published.append(
            Package(package_id, dict(zip(names, command.modules, strict=True)), self.host.context.digest)
        )
        for function in initializers(modules, [module.id for module in package]):
            witness = [[True]] * (len(function.handle.parameters) - 1)
            self.machine.call(function, (), [*witness, Ref(self._context, 0)])
        cap: Value = [[[self.host.fresh_id()]], [package_id], 1, 0]
        return [Slot(UPGRADE_CAP, [cap])]

    def _abilities(self, type_: Type) -> Abilities:
        return self.machine.modules.abilities(type_)
