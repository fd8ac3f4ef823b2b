"""The part of the EVM adapter for reservations of space, and for what users do with them."""

from __future__ import annotations

from typing import Any

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import answers, decode
from committee.ledger.evm.reader import PAGE_ITEMS
from committee.ledger.evm.writer import ANEW, CERTIFY_GAS, ENCODING_TYPE, Writer
from committee.ledger.records import MEBIBYTE, Reservation, Transaction

IDS_PER_PAGE = 10 * PAGE_ITEMS
"""Reservation ids that one call looks through for an account's: some 9 M gas, of the 50 M that nodes give a call."""
MOST_PAGES = 2_000
"""The most such calls for one account: an endpoint that makes up pages would go on for ever."""
MOST_RESERVATIONS = 100_000
"""The most reservations of one account that are returned."""


class SpaceWriter(Writer):
    """What owners of reservations ask and send."""

    async def reservations(self, owner: str) -> list[Reservation]:
        """Return an account's reservations that have not ended, by id, in the newest block."""
        block = (await self._reader.block("latest")).mark
        found: list[Reservation] = []
        cursor = 0

        def read_page(answer: tuple[list[dict[str, Any]], int]) -> tuple[list[Reservation], int]:
            page, following = answer
            if len(page) > IDS_PER_PAGE or following not in (0, max(cursor, 1) + IDS_PER_PAGE):
                raise answers.Unreadable(f"a page that does not lead on from reservation {cursor}")
            return [decode.reservation(one) for one in page], following

        for _ in range(MOST_PAGES):
            asked = owner, cursor, IDS_PER_PAGE
            page, cursor = await self._reader.call(
                self._reader.blobs, "reservationsOf", *asked, at=block, read=read_page
            )
            found.extend(page)
            if len(found) > MOST_RESERVATIONS:
                raise LedgerError(f"{owner} has more than {MOST_RESERVATIONS} reservations: too many to list")
            if cursor == 0:
                return found
        raise LedgerUnavailable(
            f"the chain's endpoint tells of more than {MOST_PAGES * IDS_PER_PAGE} reservations of all accounts, which "
            "are too many to look through: use another endpoint if there are fewer"
        )

    async def reserve_space(
        self, size_bytes: int, periods: int, *, max_cost: int | None = None
    ) -> tuple[int, Transaction]:
        """Reserve space, in mebibytes begun, from the current period on: (resource id, transaction)."""
        most = max_cost if max_cost is not None else await self._space_cost(size_bytes, periods)
        receipt = await self._pay("reserve", size_bytes, periods, most, cost=most)
        resource_id = int(self._told(receipt, self._reader.blobs, "ReservationChanged", "resourceId"))
        return resource_id, receipt.transaction

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
        """Register a blob in a reservation of the account's: (object id, transaction)."""
        most = max_cost if max_cost is not None else await self._cost("quote", length, 0)
        known = ANEW if known_up_to is None else known_up_to
        call = (resource_id, root, length, ENCODING_TYPE, deletable, known, most)
        receipt = await self._pay("register", *call, cost=most, spare_gas=CERTIFY_GAS)
        return int(self._told(receipt, self._reader.blobs, "BlobRegistered", "objectId")), receipt.transaction

    async def transfer_reservation(self, resource_id: int, to: str) -> Transaction:
        """Give a reservation of the account's to another account."""
        return (await self._send(self._reader.blobs, "transferReservation", resource_id, to)).transaction

    async def split_reservation_by_size(self, resource_id: int, size_bytes: int) -> tuple[int, Transaction]:
        """Split a reservation, which keeps `size_bytes`, whole mebibytes: (id of the rest's, transaction)."""
        return await self._split("splitBySize", resource_id, size_bytes)

    async def split_reservation_by_period(self, resource_id: int, period: int) -> tuple[int, Transaction]:
        """Split a reservation, which keeps the periods before `period`: (id of the later ones', transaction)."""
        return await self._split("splitByPeriod", resource_id, period)

    async def merge_reservations(self, resource_id: int, other_id: int) -> Transaction:
        """Join two reservations of the account's, of which the first stays."""
        return (await self._send(self._reader.blobs, "merge", resource_id, other_id)).transaction

    async def refund_reservation(self, resource_id: int) -> Transaction:
        """Get back, when epochs stand still for good, what was paid for a reservation behind the current period."""
        return (await self._send(self._reader.blobs, "refund", resource_id)).transaction

    async def transfer_blob(self, object_id: int, to: str) -> Transaction:
        """Give a blob object of the account's, while it lives, to another account."""
        return (await self._send(self._reader.blobs, "transferBlob", object_id, to)).transaction

    async def extend_blob(
        self, object_id: int, periods: int, *, known_end: int | None = None, max_cost: int | None = None
    ) -> Transaction:
        """Reserve and pay `periods` more periods, at most `max_cost`, for a certified blob, anybody's."""
        if known_end is None:
            known_end = await self._end_of(object_id)
        most = max_cost if max_cost is not None else await self._cost("extensionCost", object_id, periods)
        call = object_id, periods, known_end, most
        return (await self._pay("extend", *call, cost=most)).transaction

    async def extend_blob_with(self, object_id: int, resource_id: int) -> Transaction:
        """Extend a certified blob, anybody's, to the end of a reservation of the account's of the same size."""
        return (await self._send(self._reader.blobs, "extendWith", object_id, resource_id)).transaction

    async def _split(self, function: str, resource_id: int, where: int) -> tuple[int, Transaction]:
        """Split a reservation and return the id of the new part, which the contract tells of first."""
        receipt = await self._send(self._reader.blobs, function, resource_id, where)
        new_id = int(self._told(receipt, self._reader.blobs, "ReservationChanged", "resourceId"))
        return new_id, receipt.transaction

    async def _end_of(self, object_id: int) -> int:
        """Return the end of a blob object in the newest block; 0 for one that the contract will refuse to extend."""
        try:
            return int((await self._reader.call(self._reader.blobs, "blob", object_id))["endPeriod"])
        except LedgerRefused:
            return 0

    async def _space_cost(self, size_bytes: int, periods: int) -> int:
        """Return what a reservation costs now, by the prices of the newest block."""
        price, _, _ = await self._reader.call(self._reader.blobs, "terms")
        return -(-size_bytes // MEBIBYTE) * int(price) * periods
