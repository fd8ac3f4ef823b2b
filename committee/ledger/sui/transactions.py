"""A programmable transaction: what it calls, and its bytes (Sui's `TransactionData`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from committee import bcs
from committee.ledger.sui.types import ADDRESS_BYTES, Type, type_tag

DIGEST_SALT = b"TransactionData::"
GAS_COIN = b"\x00"
"""The coin that pays, as an argument in BCS."""


class Version(NamedTuple):
    """One version of an object that an account owns, or of an immutable one."""

    id: bytes
    version: int
    digest: bytes

    def to_bytes(self) -> bytes:
        """Return it in BCS, Sui's `ObjectRef`."""
        return self.id + bcs.u64(self.version) + bcs.sequence(self.digest)


@dataclass(frozen=True, slots=True)
class Pure:
    """A value in BCS."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Owned:
    """An object of the sender's, in whatever version is the newest when the transaction is sent."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Shared:
    """A shared object. Transactions that take it immutable do not wait for each other."""

    id: bytes
    is_mutable: bool


Input: TypeAlias = Pure | Owned | Shared


class Result(NamedTuple):
    """A result of an earlier command."""

    command: int
    place: int


Argument: TypeAlias = Input | Result | bytes
"""What a command takes; bytes are an argument in BCS, as `GAS_COIN`."""


@dataclass(frozen=True, slots=True)
class Gas:
    """What pays for a transaction: coins of the sender's, and how much at most, in MIST."""

    coins: Sequence[Version]
    price: int
    budget: int


class Draft:
    """A transaction that is put together: commands that are all executed, or none."""

    def __init__(self) -> None:
        self._inputs: list[Input] = []
        self._commands: list[bytes] = []

    @property
    def owned(self) -> tuple[bytes, ...]:
        """The ids of the sender's objects that it uses."""
        return tuple(given.id for given in self._inputs if isinstance(given, Owned))

    @property
    def shared(self) -> tuple[bytes, ...]:
        """The ids of the shared objects that it uses."""
        return tuple(given.id for given in self._inputs if isinstance(given, Shared))

    def call(
        self, package: bytes, function: str, *arguments: Argument, types: Sequence[Type] = ()
    ) -> tuple[Result, Result]:
        """Call `module::function`; return its first two results, of as many as it has."""
        module, _, name = function.partition("::")
        tags, given = bcs.listed([*map(type_tag, types)]), self._arguments(arguments)
        return self._add(b"\x00" + package + bcs.text(module) + bcs.text(name) + tags + given)

    def transfer(self, recipient: bytes, *objects: Argument) -> None:
        """Give objects to an account."""
        self._add(b"\x01" + self._arguments(objects) + self._argument(Pure(recipient)))

    def split(self, coin: Argument, amount: int) -> Result:
        """Return a coin of this amount out of another one."""
        amounts = self._arguments([Pure(bcs.u64(amount))])
        return self._add(b"\x02" + self._argument(coin) + amounts)[0]

    def to_bytes(
        self,
        sender: bytes,
        owned: Mapping[bytes, Version],
        shared_since: Mapping[bytes, int],
        gas: Gas,
        last_epoch: int,
    ) -> bytes:
        """Return the transaction's bytes, valid up to an epoch of the chain.

        `owned` has the versions of the sender's objects, `shared_since` the version in which each shared object became
        shared.
        """
        inputs = [_input_bytes(given, owned, shared_since) for given in self._inputs]
        coins = bcs.listed([coin.to_bytes() for coin in gas.coins])
        parts = [
            b"\x00",  # the first version of a transaction's form
            b"\x00",  # a programmable one
            bcs.listed(inputs),
            bcs.listed(self._commands),
            sender,
            coins,
            sender,  # pays
            bcs.u64(gas.price),
            bcs.u64(gas.budget),
            b"\x01" + bcs.u64(last_epoch),
        ]
        return b"".join(parts)

    def _add(self, command: bytes) -> tuple[Result, Result]:
        self._commands.append(command)
        number = len(self._commands) - 1
        return Result(number, 0), Result(number, 1)

    def _arguments(self, arguments: Sequence[Argument]) -> bytes:
        return bcs.listed([self._argument(argument) for argument in arguments])

    def _argument(self, argument: Argument) -> bytes:
        if isinstance(argument, bytes):
            return argument
        if isinstance(argument, Result):
            return b"\x03" + bcs.u16(argument.command) + bcs.u16(argument.place)
        return b"\x01" + bcs.u16(self._place_of(argument))

    def _place_of(self, given: Input) -> int:
        """Return the number of an input: an object is one input however often it is used, mutable if it is once."""
        for place, known in enumerate(self._inputs):
            if isinstance(given, Shared) and isinstance(known, Shared) and known.id == given.id:
                self._inputs[place] = Shared(given.id, known.is_mutable or given.is_mutable)
                return place
            if known == given:
                return place
        self._inputs.append(given)
        return len(self._inputs) - 1


def transaction_digest(data: bytes) -> bytes:
    """Return the digest that names the transaction of these bytes."""
    return blake2b(DIGEST_SALT + data, digest_size=ADDRESS_BYTES).digest()


def _input_bytes(given: Input, owned: Mapping[bytes, Version], shared_since: Mapping[bytes, int]) -> bytes:
    if isinstance(given, Pure):
        return b"\x00" + bcs.sequence(given.data)
    if isinstance(given, Owned):
        return b"\x01\x00" + owned[given.id].to_bytes()
    return b"\x01\x01" + given.id + bcs.u64(shared_since[given.id]) + bytes([given.is_mutable])
