"""Executes a transaction against the objects of a chain, and says what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localnet.sui_double.arguments import Arguments, PureSlot, Slot
from localnet.sui_double.changes import Writer, changes_of
from localnet.sui_double.commands import Executor
from localnet.sui_double.effects import Change, Effects, Failure
from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.host import TransactionContext, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.errors import MoveAbort, MoveError, MoveFailure, StepsExhausted
from localnet.sui_double.move.machine import Limits, Machine
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.values import Value
from localnet.sui_double.stored import GAS_COIN, Objects, OwnerKind, StoredObject
from localnet.sui_double.transactions import SharedInput, Transaction

GAS_UNITS = 1000
"""What every transaction uses: the double has no table of costs, and 1000 is Sui's least."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a chain gives to the execution of a transaction."""

    modules: Modules
    codec: Codec
    objects: Objects
    epoch: int
    epoch_start_ms: int
    limits: Limits


class Execution:
    """One execution of a transaction whose inputs are valid.

    Modules that it publishes stay in the environment's when it succeeds, and in no other case.
    """

    def __init__(
        self,
        environment: Environment,
        transaction: Transaction,
        coins: Sequence[StoredObject],
        inputs: Sequence[StoredObject | bytes],
    ) -> None:
        """Take what the transaction names: the coins that pay, each object input, the bytes of each pure one."""
        self._environment = environment
        self._transaction = transaction
        self._coins = coins
        self._inputs = inputs
        self._gas_used = GAS_UNITS * transaction.gas.price
        self._coins_total = sum(
            environment.codec.decode(GAS_COIN, coin.contents)[1][0] for coin in self._coins
        )
        known = [stored for stored in (*coins, *inputs) if isinstance(stored, StoredObject)]
        version = 1 + max(stored.version for stored in known)
        self._writer = Writer(environment.modules, environment.codec, version, transaction.digest)

    def run(self) -> Effects:
        """Execute the transaction, and return its effects whether it succeeds or fails.

        Raises `UnsupportedNative` or `BadBytecode` when the double cannot execute it.
        """
        environment, transaction = self._environment, self._transaction
        host = TransactionHost(environment.objects, environment.codec, self._context())
        budget = transaction.gas.budget
        gas_value: Value = [[[self._coins[0].id]], [self._coins_total - budget]]
        gas = Slot(GAS_COIN, [gas_value], self._coins[0], is_gas=True)
        slots = [self._slot(index) for index in range(len(self._inputs))]
        arguments = Arguments(environment.modules, environment.codec, gas, slots, host.taken)
        machine = Machine(environment.modules, environment.codec, host, environment.limits)
        executor = Executor(machine, host, arguments)
        try:
            self._execute(executor)
            gas_value[1][0] += budget - self._gas_used
            objects = [gas, *(slot for slot in slots if isinstance(slot, Slot))]
            changes = tuple(changes_of(self._writer, host, objects, self._coins[1:]))
        except (MoveFailure, CommandFailure) as error:
            self._unpublish(executor)
            failed = len(arguments.results) if len(arguments.results) < len(transaction.commands) else None
            return self._effects(_failure(error, failed), tuple(self._changes_of_failure()), None)
        except MoveError:
            self._unpublish(executor)
            raise
        return self._effects(None, changes, executor)

    def _execute(self, executor: Executor) -> None:
        for command in self._transaction.commands:
            executor.execute(command)
        executor.finish()

    def _context(self) -> TransactionContext:
        transaction, environment = self._transaction, self._environment
        return TransactionContext(
            transaction.digest,
            transaction.sender,
            environment.epoch,
            environment.epoch_start_ms,
            transaction.gas.price,
            transaction.gas.budget,
            None if transaction.gas.owner == transaction.sender else transaction.gas.owner,
        )

    def _slot(self, index: int) -> Slot | PureSlot:
        stored = self._inputs[index]
        if isinstance(stored, bytes):
            return PureSlot(stored)
        value = self._environment.codec.decode(stored.type, stored.contents)
        may_change = self._may_change(index, stored)
        return Slot(stored.type, [value], stored, may_move=may_change, may_change=may_change)

    def _may_change(self, index: int, stored: StoredObject) -> bool:
        given = self._transaction.inputs[index]
        if isinstance(given, SharedInput):
            return given.is_mutable
        return stored.owner.kind is not OwnerKind.IMMUTABLE

    def _changes_of_failure(self) -> list[Change]:
        """Return what a failed transaction changes: its gas is paid, and its inputs have new versions."""
        coin, *merged = self._coins
        left: Value = [[[coin.id]], [self._coins_total - self._gas_used]]
        changes = [Change(coin.id, coin, self._writer.write(GAS_COIN, left, coin.owner))]
        changes += [Change(source.id, source, None, is_deleted=True) for source in merged]
        for index, stored in enumerate(self._inputs):
            if isinstance(stored, StoredObject) and self._may_change(index, stored):
                value = self._environment.codec.decode(stored.type, stored.contents)
                changes.append(
                    Change(stored.id, stored, self._writer.write(stored.type, value, stored.owner))
                )
        return changes

    def _effects(
        self, failure: Failure | None, changes: tuple[Change, ...], executor: Executor | None
    ) -> Effects:
        return Effects(
            transaction=self._transaction,
            failure=failure,
            version=self._writer.version,
            epoch=self._environment.epoch,
            gas_used=self._gas_used,
            gas_object=self._coins[0].id,
            changes=changes,
            published=tuple(executor.published) if executor else (),
            events=tuple(executor.host.events) if executor else (),
            read_shared=tuple(
                stored
                for given, stored in zip(self._transaction.inputs, self._inputs, strict=True)
                if isinstance(given, SharedInput)
                and not given.is_mutable
                and isinstance(stored, StoredObject)
            ),
        )

    def _unpublish(self, executor: Executor) -> None:
        for package in executor.published:
            self._environment.modules.remove_package(package.id)


def _failure(error: MoveFailure | CommandFailure, command: int | None) -> Failure:
    """Return what the effects tell of an error; `command` is the index of the one that failed."""
    if isinstance(error, CommandFailure):
        return Failure(error.kind, str(error), command)
    if isinstance(error, MoveAbort):
        return Failure("MOVE_ABORT", str(error), command, error.location, error.code)
    kind = "INSUFFICIENT_GAS" if isinstance(error, StepsExhausted) else "MOVE_PRIMITIVE_RUNTIME_ERROR"
    return Failure(kind, str(error), command, error.location)
