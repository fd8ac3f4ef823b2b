"""Makes and executes transactions on the chain of the double, without keys and without bytes."""

from __future__ import annotations

from itertools import count
from typing import Any

from localnet.sui_double.chain import GAS_PRICE, Chain
from localnet.sui_double.checkpoints import Executed
from localnet.sui_double.effects import Effects
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.reader import uleb_bytes
from localnet.sui_double.move.types import Type
from localnet.sui_double.stored import OwnerKind, StoredObject
from localnet.sui_double.transactions import (
    Argument,
    Command,
    Gas,
    GasCoin,
    Input,
    InputAt,
    MakeMoveVector,
    MergeCoins,
    MoveCall,
    ObjectRef,
    OwnedInput,
    Publish,
    PureInput,
    ResultOf,
    SharedInput,
    SplitCoins,
    Transaction,
    TransferObjects,
)

BUDGET = 100_000_000
_numbers = count(1)


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def text(data: bytes) -> bytes:
    """Return a vector of bytes in BCS."""
    return uleb_bytes(len(data)) + data


def ref_of(stored: StoredObject) -> ObjectRef:
    return ObjectRef(stored.id, stored.version, stored.digest)


class Draft:
    """A transaction that is being put together."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.inputs: list[Input] = []
        self.commands: list[Command] = []

    def pure(self, data: bytes) -> InputAt:
        return self._input(PureInput(data))

    def object(self, id_: bytes, is_mutable: bool = True) -> InputAt:
        """Add an object as it is now; of one that exists no more, its id in version 1."""
        stored = self.chain.objects.get(id_)
        if stored is None:
            return self._input(OwnedInput(ObjectRef(id_, 1, bytes(32))))
        if stored.owner.kind is OwnerKind.SHARED:
            return self._input(SharedInput(id_, stored.owner.since, is_mutable))
        return self._input(OwnedInput(ref_of(stored)))

    def call(
        self, package: bytes, target: str, *arguments: Argument | bytes, types: tuple[Type, ...] = ()
    ) -> ResultOf:
        """Add a call of `module::function`; bytes among the arguments become pure inputs."""
        module, function = target.split("::")
        return self.add(MoveCall(package, module, function, types, self._arguments(arguments)))

    def transfer(self, recipient: bytes, *objects: Argument) -> ResultOf:
        return self.add(TransferObjects(objects, self.pure(recipient)))

    def split(self, coin: Argument, *amounts: int) -> ResultOf:
        return self.add(SplitCoins(coin, tuple(self.pure(u64(amount)) for amount in amounts)))

    def merge(self, target: Argument, *sources: Argument) -> ResultOf:
        return self.add(MergeCoins(target, sources))

    def publish(
        self, modules: tuple[bytes, ...], dependencies: tuple[bytes, ...] = (STANDARD, SUI)
    ) -> ResultOf:
        return self.add(Publish(modules, dependencies))

    def vector(self, element: Type | None, *values: Argument | bytes) -> ResultOf:
        return self.add(MakeMoveVector(element, self._arguments(values)))

    def add(self, command: Command) -> ResultOf:
        self.commands.append(command)
        return ResultOf(len(self.commands) - 1)

    def _arguments(self, arguments: tuple[Argument | bytes, ...]) -> tuple[Argument, ...]:
        return tuple(
            self.pure(argument) if isinstance(argument, bytes) else argument for argument in arguments
        )

    def _input(self, one: Input) -> InputAt:
        if one not in self.inputs:
            self.inputs.append(one)
        return InputAt(self.inputs.index(one))


class Wallet:
    """An account with a coin that pays."""

    def __init__(self, chain: Chain, name: str = "wallet") -> None:
        self.chain = chain
        self.address = blake2b(name.encode())
        self.gas_id = chain.fund(self.address).id

    def draft(self) -> Draft:
        return Draft(self.chain)

    def transaction(self, draft: Draft, **changes: Any) -> Transaction:
        """Return the transaction of a draft, paid by the account's coin; `changes` are of its gas."""
        coin = self.chain.objects.get(self.gas_id)
        assert coin is not None
        gas: dict[str, Any] = {
            "coins": (ref_of(coin),),
            "owner": self.address,
            "price": GAS_PRICE,
            "budget": BUDGET,
        }
        digest = blake2b(b"test" + u64(next(_numbers)))
        return Transaction(
            digest, self.address, tuple(draft.inputs), tuple(draft.commands), Gas(**(gas | changes))
        )

    def execute(self, draft: Draft, **changes: Any) -> Executed:
        return self.chain.execute(self.transaction(draft, **changes))

    def succeed(self, draft: Draft, **changes: Any) -> Effects:
        """Execute a draft, which must succeed."""
        effects = self.execute(draft, **changes).effects
        assert effects.succeeded, effects.failure
        return effects

    def fail(self, draft: Draft, kind: str, **changes: Any) -> Effects:
        """Execute a draft, which must fail in this way."""
        effects = self.execute(draft, **changes).effects
        assert effects.failure is not None, "the transaction succeeded"
        assert effects.failure.kind == kind, effects.failure
        return effects

    def mist(self) -> int:
        """Return what the account's coin holds."""
        coin = self.chain.objects.get(self.gas_id)
        assert coin is not None
        return int.from_bytes(coin.contents[32:], "little")


GAS = GasCoin()
