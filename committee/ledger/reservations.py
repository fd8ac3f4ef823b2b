"""What Haulout asks of a chain about reservations of space: the part of `Ledger` for their owners."""

from __future__ import annotations

from typing import Protocol

from committee.ledger.records import Reservation, Transaction


class SpaceLedger(Protocol):
    """Reservations of a chain, seen from one account; errors as those of `Ledger`."""

    async def reservations(self, owner: str) -> list[Reservation]:
        """Return an account's reservations that have not ended, by id, in the newest block.

        Raises `LedgerError` when the account has more than an adapter's limit, 100 000.
        """

    async def reserve_space(
        self, size_bytes: int, periods: int, *, max_cost: int | None = None
    ) -> tuple[int, Transaction]:
        """Reserve space, in mebibytes begun, from the current period on: (resource id, transaction)."""

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
        """Register a blob in a reservation of the account's: (object id, transaction). The account pays for writing.

        `known_up_to` and `max_cost` are as for `register_blob`, and as much gas is kept for the certificate.
        """

    async def transfer_reservation(self, resource_id: int, to: str) -> Transaction:
        """Give a reservation of the account's to another account."""

    async def split_reservation_by_size(self, resource_id: int, size_bytes: int) -> tuple[int, Transaction]:
        """Split a reservation, which keeps `size_bytes`, whole mebibytes: (id of the rest's, transaction)."""

    async def split_reservation_by_period(self, resource_id: int, period: int) -> tuple[int, Transaction]:
        """Split a reservation, which keeps the periods before `period`: (id of the later ones', transaction)."""

    async def merge_reservations(self, resource_id: int, other_id: int) -> Transaction:
        """Join two reservations of the account's, of which the first stays.

        They have one size and adjoining periods, or the same periods.
        """
