"""A chain with the package of these tests on it, and an account that uses it."""

from __future__ import annotations

from localnet.sui_double.chain import GAS_PRICE, Chain
from localnet.sui_double.effects import Change, Effects
from localnet.sui_double.execution import GAS_UNITS
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.stored import StoredObject
from localnet.sui_double.transactions import GasCoin, InputAt, ResultOf
from tests.localnet.sui_double.packages import shelf_modules
from tests.localnet.sui_double.wallet import Draft, Wallet, text

COST = GAS_UNITS * GAS_PRICE
"""What every transaction pays."""
OTHER = bytes([7]) * 32
"""Another account."""


class World:
    """A chain with the shelf published on it."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.chain = Chain(clock=lambda: self.now)
        self.wallet = Wallet(self.chain)
        draft = self.wallet.draft()
        draft.transfer(self.wallet.address, draft.publish(shelf_modules()))
        self.publication = self.wallet.succeed(draft)
        (package,) = self.publication.published
        self.package = package.id
        self.shelf = self.only(self.publication, "Shelf").id

    def only(self, effects: Effects, name: str) -> StoredObject:
        """Return the only object of this type that the effects wrote."""
        (found,) = (
            change.after
            for change in effects.changes
            if change.after is not None and change.after.type.name == name
        )
        return found

    def type(self, name: str) -> Datatype:
        return Datatype(ModuleId(self.package, "shelf"), name)

    def call(self, draft: Draft, name: str, *arguments: InputAt | ResultOf | GasCoin | bytes) -> ResultOf:
        return draft.call(self.package, f"shelf::{name}", *arguments)

    def note(self, content: bytes = b"text", owner: bytes | None = None) -> StoredObject:
        """Return a note that the wallet has made for itself or for another account."""
        draft = self.wallet.draft()
        draft.transfer(owner or self.wallet.address, self.call(draft, "write", text(content)))
        return self.only(self.wallet.succeed(draft), "Note")

    def get(self, id_: bytes) -> StoredObject:
        stored = self.chain.objects.get(id_)
        assert stored is not None
        return stored

    def count(self) -> int:
        return int.from_bytes(self.get(self.shelf).contents[32:], "little")


def kinds(effects: Effects) -> dict[str, str]:
    """Return what became of each object by the name of its type."""

    def kind(change: Change) -> str:
        if change.after is None:
            return "deleted" if change.is_deleted else "wrapped"
        if change.before is None:
            return "created" if change.is_created else "unwrapped"
        return "changed"

    return {
        stored.type.name: kind(change)
        for change in effects.changes
        for stored in [change.after or change.before]
        if stored is not None
    }
