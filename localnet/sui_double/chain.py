"""The chain: accepts transactions, executes each at once, keeps its objects, and puts it into a checkpoint."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from localnet.sui_double.checkpoints import Checkpoint, Executed, Ledger
from localnet.sui_double.effects import Effects
from localnet.sui_double.errors import InvalidTransaction, ObjectConflict
from localnet.sui_double.execution import GAS_UNITS, Environment, Execution
from localnet.sui_double.framework import framework
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.machine import Limits
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import ADDRESS_BYTES, Datatype, ModuleId
from localnet.sui_double.move.values import Value
from localnet.sui_double.objects import ObjectStore
from localnet.sui_double.packages import Package
from localnet.sui_double.randomness import RANDOM_ID, check_commands, renew, uses_randomness
from localnet.sui_double.signatures import check_signatures
from localnet.sui_double.stored import GAS_COIN, GENESIS, Owner, OwnerKind, StoredObject
from localnet.sui_double.transactions import (
    ObjectRef,
    OwnedInput,
    PureInput,
    SharedInput,
    Transaction,
    check_limits,
    read_transaction,
)

CLOCK_ID = (6).to_bytes(ADDRESS_BYTES, "big")
CLOCK = Datatype(ModuleId(SUI, "clock"), "Clock")
GAS_PRICE = 1000
"""The reference price of a unit of gas, in MIST, and the only one that the double takes."""
BUDGET_LIMIT = 50_000_000_000
MIST_PER_SUI = 10**9


def random_bytes() -> bytes:
    """Return 32 bytes that nobody knew before."""
    return secrets.token_bytes(32)


def wall_clock_ms() -> int:
    """Return the time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Chain:
    """A chain with Sui's own packages, a clock and randomness; each transaction is a checkpoint of its own.

    `clock` gives the time that the chain's clock has; the chain's own never goes back. `entropy` gives the bytes of the
    source of randomness, which are others for each transaction that takes it.
    """

    clock: Callable[[], int] = wall_clock_ms
    entropy: Callable[[], bytes] = random_bytes
    limits: Limits = field(default_factory=Limits)
    objects: ObjectStore = field(init=False, default_factory=ObjectStore)
    ledger: Ledger = field(init=False, default_factory=Ledger)
    packages: dict[bytes, Package] = field(init=False, default_factory=dict)
    """Packages that transactions have published."""
    epoch: int = field(init=False, default=0)
    epoch_start_ms: int = field(init=False)
    modules: Modules = field(init=False)
    codec: Codec = field(init=False)
    _time_ms: int = field(init=False, default=0)
    _funded: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Make the genesis. Raises `NoFramework` where Sui's packages are not installed."""
        self.modules = Modules(all_natives(), framework())
        self.codec = Codec(self.modules)
        self._tick()
        renew(self.objects, self.codec, self.epoch, self.entropy())
        self.epoch_start_ms = self._time_ms
        self.ledger.append((), self.epoch, self._time_ms)

    @property
    def id(self) -> bytes:
        """Return the chain's id: the digest of its first checkpoint."""
        return self.ledger.checkpoints[0].digest

    def fund(self, address: bytes, mist: int = 1000 * MIST_PER_SUI) -> StoredObject:
        """Give an account a new coin out of nothing, without a transaction; return it."""
        self._funded += 1
        id_ = blake2b(b"fund" + self._funded.to_bytes(8, "little"))
        value: Value = [[[id_]], [mist]]
        owner = Owner(OwnerKind.ADDRESS, address)
        coin = StoredObject(id_, 1, GAS_COIN, self.codec.encode(GAS_COIN, value), owner, GENESIS)
        self.objects.put(coin)
        return coin

    def submit(self, data: bytes, signatures: list[bytes]) -> Executed:
        """Execute a signed transaction, given in BCS, and return it with its effects and its checkpoint.

        A transaction that was executed before is not executed again: its first effects are returned. Raises
        `ChainRefusal`.
        """
        transaction = read_transaction(data)
        check_signatures(data, signatures, {transaction.sender, transaction.gas.owner})
        return self.execute(transaction, data, tuple(signatures))

    def execute(
        self, transaction: Transaction, data: bytes = b"", signatures: tuple[bytes, ...] = ()
    ) -> Executed:
        """Execute a transaction whose signatures are checked already, or that needs none because a test made it."""
        known = self.ledger.transactions.get(transaction.digest)
        if known is not None:
            return known
        self._tick()
        if uses_randomness(transaction):
            renew(self.objects, self.codec, self.epoch, self.entropy())
        effects = self._effects_of(transaction)
        self._commit(effects)
        return self.ledger.append_transaction(effects, data, signatures, self.epoch, self._time_ms)

    def simulate(self, transaction: Transaction) -> Effects:
        """Return the effects that a transaction would have now. Raises `ChainRefusal`."""
        self._tick()
        effects = self._effects_of(transaction)
        for package in effects.published:
            self.modules.remove_package(package.id)
        return effects

    def advance_epoch(self) -> Checkpoint:
        """End the epoch with a checkpoint of its own, and begin the next."""
        self._tick()
        last = self.ledger.append((), self.epoch, self._time_ms, ends_epoch=True)
        self.epoch += 1
        self.epoch_start_ms = self._time_ms
        return last

    def _effects_of(self, transaction: Transaction) -> Effects:
        check_limits(transaction)
        check_commands(transaction)
        if transaction.last_epoch is not None and transaction.last_epoch < self.epoch:
            raise InvalidTransaction(f"the transaction was valid until epoch {transaction.last_epoch}")
        coins = [self._owned(ref, transaction.gas.owner) for ref in transaction.gas.coins]
        self._check_gas(transaction, coins)
        inputs = [self._input(given, transaction.sender) for given in transaction.inputs]
        ids = [stored.id for stored in (*coins, *inputs) if isinstance(stored, StoredObject)]
        if len(set(ids)) != len(ids):
            raise InvalidTransaction("the transaction names an object twice")
        environment = Environment(
            self.modules, self.codec, self.objects, self.epoch, self.epoch_start_ms, self.limits
        )
        return Execution(environment, transaction, coins, inputs).run()

    def _check_gas(self, transaction: Transaction, coins: Sequence[StoredObject]) -> None:
        gas = transaction.gas
        if not coins or any(coin.type != GAS_COIN for coin in coins):
            raise InvalidTransaction("gas is paid by coins of SUI that the payer owns, one at least")
        if gas.price != GAS_PRICE:
            raise InvalidTransaction(f"gas price {gas.price}: the reference price is {GAS_PRICE}")
        if not GAS_UNITS * GAS_PRICE <= gas.budget <= BUDGET_LIMIT:
            raise InvalidTransaction(
                f"gas budget {gas.budget}: it must be {GAS_UNITS * GAS_PRICE} to {BUDGET_LIMIT}"
            )
        balance = sum(self.codec.decode(GAS_COIN, coin.contents)[1][0] for coin in coins)
        if balance < gas.budget:
            raise InvalidTransaction(f"the gas coins hold {balance} MIST, and the budget is {gas.budget}")

    def _input(self, given: PureInput | OwnedInput | SharedInput, sender: bytes) -> StoredObject | bytes:
        if isinstance(given, PureInput):
            return given.data
        if isinstance(given, OwnedInput):
            return self._owned(given.ref, sender)
        stored = self._existing(given.id)
        if stored.owner.kind is not OwnerKind.SHARED or stored.owner.since != given.since:
            raise InvalidTransaction(f"object 0x{given.id.hex()} is not shared since version {given.since}")
        if given.id in (CLOCK_ID, RANDOM_ID) and given.is_mutable:
            raise InvalidTransaction("no transaction may change the clock or the source of randomness")
        return stored

    def _owned(self, ref: ObjectRef, account: bytes) -> StoredObject:
        """Return an immutable object, or one of the account's, in its newest version."""
        stored = self._existing(ref.id)
        if stored.owner.kind is OwnerKind.ADDRESS and stored.owner.id != account:
            raise InvalidTransaction(f"object 0x{ref.id.hex()} is not the account's 0x{account.hex()}")
        if stored.owner.kind not in (OwnerKind.ADDRESS, OwnerKind.IMMUTABLE):
            raise InvalidTransaction(f"object 0x{ref.id.hex()} is shared, or the child of another object")
        if (stored.version, stored.digest) != (ref.version, ref.digest):
            raise ObjectConflict(
                f"the transaction names version {ref.version} of object 0x{ref.id.hex()}, which is at {stored.version}"
            )
        return stored

    def _existing(self, id_: bytes) -> StoredObject:
        stored = self.objects.get(id_)
        if stored is None:
            if self.objects.was_there(id_):
                raise ObjectConflict(f"object 0x{id_.hex()} is deleted, or wrapped in another")
            raise InvalidTransaction(f"there is no object 0x{id_.hex()}")
        return stored

    def _commit(self, effects: Effects) -> None:
        for change in effects.changes:
            if change.after is not None:
                self.objects.put(change.after)
            else:
                self.objects.remove(change.id)
        for package in effects.published:
            self.packages[package.id] = package

    def _tick(self) -> None:
        """Set the clock object to the time."""
        self._time_ms = max(self._time_ms, self.clock())
        earlier = self.objects.get(CLOCK_ID)
        contents = self.codec.encode(CLOCK, [[[CLOCK_ID]], self._time_ms])
        if earlier is None or earlier.contents != contents:
            version = 1 if earlier is None else earlier.version + 1
            owner = Owner(OwnerKind.SHARED, since=1)
            self.objects.put(StoredObject(CLOCK_ID, version, CLOCK, contents, owner, GENESIS, False))
