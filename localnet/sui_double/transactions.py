"""A programmable transaction: its inputs, its commands, who pays; and its form in BCS (Sui's `TransactionData`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.reader import Reader
from localnet.sui_double.move.types import ADDRESS_BYTES, Type, read_type_tag

PURE_BYTES_LIMIT = 16 * 1024
ARGUMENTS_LIMIT = 512
COMMANDS_LIMIT = 1024
INPUTS_LIMIT = 2048
TRANSACTION_BYTES_LIMIT = 128 * 1024
DIGEST_BYTES = 32
DIGEST_SALT = b"TransactionData::"

_T = TypeVar("_T")


class ObjectRef(NamedTuple):
    """One version of an object."""

    id: bytes
    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PureInput:
    """A value in BCS, whose type is that of the parameter it is used for."""

    data: bytes


@dataclass(frozen=True, slots=True)
class OwnedInput:
    """An object of the sender's, or an immutable one, in the version that the sender knows."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class SharedInput:
    """A shared object in its newest version; `since` is the version at which it became shared."""

    id: bytes
    since: int
    is_mutable: bool


Input: TypeAlias = PureInput | OwnedInput | SharedInput


@dataclass(frozen=True, slots=True)
class GasCoin:
    """The coin that pays, as an argument."""


@dataclass(frozen=True, slots=True)
class InputAt:
    """The input of this index, as an argument."""

    index: int


@dataclass(frozen=True, slots=True)
class ResultOf:
    """A result of an earlier command, as an argument; `place` None stands for its only one."""

    command: int
    place: int | None = None


Argument: TypeAlias = GasCoin | InputAt | ResultOf


@dataclass(frozen=True, slots=True)
class MoveCall:
    """Call a function of a package."""

    package: bytes
    module: str
    function: str
    types: tuple[Type, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class TransferObjects:
    """Give objects to an address."""

    objects: tuple[Argument, ...]
    recipient: Argument


@dataclass(frozen=True, slots=True)
class SplitCoins:
    """Make coins of these amounts out of one."""

    coin: Argument
    amounts: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class MergeCoins:
    """Put coins into one."""

    target: Argument
    sources: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a package; the result is its `UpgradeCap`."""

    modules: tuple[bytes, ...]
    dependencies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MakeMoveVector:
    """Make a vector of values; `element` None stands for the type of the first object."""

    element: Type | None
    values: tuple[Argument, ...]


Command: TypeAlias = MoveCall | TransferObjects | SplitCoins | MergeCoins | Publish | MakeMoveVector


@dataclass(frozen=True, slots=True)
class Gas:
    """Who pays for a transaction, out of which coins, and how much at most."""

    coins: tuple[ObjectRef, ...]
    owner: bytes
    price: int
    budget: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A programmable transaction. `last_epoch` is the last one in which it is valid, None any."""

    digest: bytes
    sender: bytes
    inputs: tuple[Input, ...]
    commands: tuple[Command, ...]
    gas: Gas
    last_epoch: int | None = None


def transaction_digest(data: bytes) -> bytes:
    """Return the name of the transaction of these bytes."""
    return blake2b(DIGEST_SALT + data)


def read_transaction(data: bytes) -> Transaction:
    """Return the transaction of these bytes. Raises `InvalidTransaction`, also where it is beyond Sui's limits."""
    if len(data) > TRANSACTION_BYTES_LIMIT:
        raise InvalidTransaction(
            f"a transaction of {len(data)} bytes, {TRANSACTION_BYTES_LIMIT} are the most"
        )
    reader = Reader(data)
    try:
        _only(reader, "transaction data", 0)
        _only(reader, "transaction kind", 0)
        inputs = _list(reader, _input)
        commands = _list(reader, _command)
        sender = reader.take(ADDRESS_BYTES)
        coins = _list(reader, _ref)
        gas = Gas(coins, reader.take(ADDRESS_BYTES), reader.integer(8), reader.integer(8))
        last_epoch = reader.integer(8) if _choice(reader, "expiration", 2) else None
    except (BadBytes, UnicodeDecodeError) as error:
        raise InvalidTransaction(f"malformed transaction: {error}") from None
    if not reader.at_end:
        raise InvalidTransaction("malformed transaction: bytes follow it")
    transaction = Transaction(transaction_digest(data), sender, inputs, commands, gas, last_epoch)
    check_limits(transaction)
    return transaction


def check_limits(transaction: Transaction) -> None:
    """Raise `InvalidTransaction` when a transaction has more of something than Sui allows."""
    counts = [
        ("inputs", len(transaction.inputs) + len(transaction.gas.coins), INPUTS_LIMIT),
        ("commands", len(transaction.commands), COMMANDS_LIMIT),
    ]
    counts += [("arguments", argument_count(command), ARGUMENTS_LIMIT) for command in transaction.commands]
    counts += [
        ("bytes in a pure input", len(given.data), PURE_BYTES_LIMIT)
        for given in transaction.inputs
        if isinstance(given, PureInput)
    ]
    for name, count, limit in counts:
        if count > limit:
            raise InvalidTransaction(f"{count} {name}, and {limit} are the most")


def argument_count(command: Command) -> int:
    """Return how many arguments a command has, as Sui limits them."""
    if isinstance(command, MoveCall):
        return len(command.arguments)
    if isinstance(command, TransferObjects):
        return len(command.objects)
    if isinstance(command, SplitCoins):
        return len(command.amounts)
    if isinstance(command, MergeCoins):
        return len(command.sources)
    return len(command.values) if isinstance(command, MakeMoveVector) else 0


def _list(reader: Reader, read: Callable[[Reader], _T]) -> tuple[_T, ...]:
    return tuple(read(reader) for _ in range(reader.uleb()))


def _choice(reader: Reader, name: str, count: int) -> int:
    found = reader.uleb()
    if found >= count:
        raise BadBytes(f"the double knows no {name} {found}")
    return found


def _only(reader: Reader, name: str, expected: int) -> None:
    if _choice(reader, name, expected + 1) != expected:
        raise BadBytes(f"the double knows no other {name} than {expected}")


def _bytes(reader: Reader) -> bytes:
    return reader.take(reader.uleb())


def _text(reader: Reader) -> str:
    return _bytes(reader).decode("ascii")


def _address(reader: Reader) -> bytes:
    return reader.take(ADDRESS_BYTES)


def _ref(reader: Reader) -> ObjectRef:
    id_, version, digest = reader.take(ADDRESS_BYTES), reader.integer(8), _bytes(reader)
    if len(digest) != DIGEST_BYTES:
        raise BadBytes(f"a digest of {len(digest)} bytes")
    return ObjectRef(id_, version, digest)


def _input(reader: Reader) -> Input:
    if _choice(reader, "input", 2) == 0:
        return PureInput(_bytes(reader))
    if _choice(reader, "object input", 2) == 0:
        return OwnedInput(_ref(reader))
    return SharedInput(reader.take(ADDRESS_BYTES), reader.integer(8), bool(_choice(reader, "mutability", 2)))


def _argument(reader: Reader) -> Argument:
    kind = _choice(reader, "argument", 4)
    if kind == 0:
        return GasCoin()
    index = reader.integer(2)
    if kind == 1:
        return InputAt(index)
    return ResultOf(index, reader.integer(2) if kind == 3 else None)


def _command(reader: Reader) -> Command:
    kind = _choice(reader, "command", 6)
    if kind == 0:
        package, module, function = _address(reader), _text(reader), _text(reader)
        return MoveCall(package, module, function, _list(reader, read_type_tag), _list(reader, _argument))
    if kind == 1:
        return TransferObjects(_list(reader, _argument), _argument(reader))
    if kind == 2:
        return SplitCoins(_argument(reader), _list(reader, _argument))
    if kind == 3:
        return MergeCoins(_argument(reader), _list(reader, _argument))
    if kind == 4:
        return Publish(_list(reader, _bytes), _list(reader, _address))
    element = read_type_tag(reader) if _choice(reader, "option", 2) else None
    return MakeMoveVector(element, _list(reader, _argument))
