"""The part of the chain's face for one account that is about its reservations of space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from committee.errors import LedgerError
from committee.ledger import Reservation, Transaction
from tests.memory_chain import blobs, space

if TYPE_CHECKING:
    from tests.memory_chain.chain import MemoryChain


class AccountsSpace:
    """A `MemoryChain` as one account sees it; None can only read. Every method is as in `Ledger`."""

    def __init__(self, chain: MemoryChain, account: str | None) -> None:
        self.chain = chain
        self.account = account

    async def reservations(self, owner: str) -> list[Reservation]:
        """As `Ledger.reservations`."""
        now = self.chain.contracts
        found = [one for one in now.reservations.values() if one.owner == owner]
        live = [one for one in found if one.end_period > now.state.period]
        return sorted(live, key=lambda one: one.resource_id)

    async def reserve_space(
        self, size_bytes: int, periods: int, *, max_cost: int | None = None
    ) -> tuple[int, Transaction]:
        """As `Ledger.reserve_space`; space is free."""
        sent = self._sender(), size_bytes, periods
        return self._new_space(self.chain.send("Blobs.reserve", space.reserve, *sent))

    async def register_blob_in(
        self,
        resource_id: int,
        root: bytes,
        length: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
        max_cost: int | None = None,
    ) -> tuple[int, Transaction]:
        """As `Ledger.register_blob_in`."""
        sent = self._sender(), resource_id, root, length, deletable, known_up_to
        transaction = self.chain.send("Blobs.register", blobs.register_in, *sent)
        return max(self.chain.records), transaction

    async def transfer_reservation(self, resource_id: int, to: str) -> Transaction:
        """As `Ledger.transfer_reservation`."""
        return self.chain.send("Blobs.transferReservation", space.transfer, self._sender(), resource_id, to)

    async def split_reservation_by_size(self, resource_id: int, size_bytes: int) -> tuple[int, Transaction]:
        """As `Ledger.split_reservation_by_size`."""
        sent = self._sender(), resource_id, size_bytes
        return self._new_space(self.chain.send("Blobs.splitBySize", space.split_by_size, *sent))

    async def split_reservation_by_period(self, resource_id: int, period: int) -> tuple[int, Transaction]:
        """As `Ledger.split_reservation_by_period`."""
        sent = self._sender(), resource_id, period
        return self._new_space(self.chain.send("Blobs.splitByPeriod", space.split_by_period, *sent))

    async def merge_reservations(self, resource_id: int, other_id: int) -> Transaction:
        """As `Ledger.merge_reservations`."""
        return self.chain.send("Blobs.merge", space.merge, self._sender(), resource_id, other_id)

    # how

    def _new_space(self, transaction: Transaction) -> tuple[int, Transaction]:
        return self.chain.contracts.reservation_count, transaction

    def _sender(self) -> str:
        if self.account is None:
            raise LedgerError("this ledger has no account: it can only read")
        return self.account
