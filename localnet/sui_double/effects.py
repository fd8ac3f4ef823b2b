"""What a transaction has done: its effects and its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from localnet.sui_double.move.errors import Location
from localnet.sui_double.move.natives.objects import blake2b

if TYPE_CHECKING:
    from localnet.sui_double.host import Event
    from localnet.sui_double.packages import Package
    from localnet.sui_double.stored import StoredObject
    from localnet.sui_double.transactions import Transaction

DIGEST_SALT = b"TransactionEffects::"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction failed. `kind` is Sui's name for it, `command` the index of the command that failed."""

    kind: str
    message: str
    command: int | None = None
    location: Location | None = None
    abort_code: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an object: `before` None when it did not exist, `after` None when it exists no more.

    An object that is wrapped in another exists no more although it is not `is_deleted`, and when it comes out again, it
    is not `is_created`.
    """

    id: bytes
    before: StoredObject | None
    after: StoredObject | None
    is_created: bool = False
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects of a transaction that was executed, successfully or not."""

    transaction: Transaction
    failure: Failure | None
    version: int
    """Of every object that it wrote."""
    epoch: int
    gas_used: int
    """In MIST, paid by the gas coin."""
    gas_object: bytes
    changes: tuple[Change, ...]
    published: tuple[Package, ...]
    events: tuple[Event, ...]
    read_shared: tuple[StoredObject, ...]
    """Shared objects that it read only."""

    @property
    def succeeded(self) -> bool:
        """Return whether the transaction did what it was to do."""
        return self.failure is None

    @property
    def digest(self) -> bytes:
        """Return a hash of the effects: the double's own, for Sui's covers other bytes."""
        parts = [DIGEST_SALT, self.transaction.digest, repr(self.failure).encode()]
        for change in self.changes:
            parts += [change.id, change.after.digest if change.after else b"-"]
        parts += [package.digest for package in self.published]
        return blake2b(b"".join(parts))

    @property
    def events_digest(self) -> bytes:
        """Return a hash of the events: the double's own."""
        return blake2b(b"".join(event.contents for event in self.events))
