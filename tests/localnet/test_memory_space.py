"""Reservations, and blobs that change their owner, told to the contracts and to the chain in memory."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from committee.ledger import MEBIBYTE
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S
from tests.memory_chain.space import NOBODY

if TYPE_CHECKING:
    from committee.ledger.evm import EvmLedger
    from tests.localnet.twins import BothLedgers, Twins

ROOT = bytes(range(32))
LENGTH = 1000


class Owner:
    """An account that does with space what it may, and what it may not; `None` is for what both chains did."""

    def __init__(self, twins: Twins, account: EvmLedger) -> None:
        self.twins = twins
        self.account = account

    async def __call__(self, method: str, *arguments: Any, **options: Any) -> str | None:
        def telling(ledger: BothLedgers) -> Awaitable[Any]:
            told: Awaitable[Any] = getattr(ledger, method)(*arguments, **options)
            return told

        return await self.twins.tell(self.account, telling)


async def owners(twins: Twins) -> tuple[Owner, Owner]:
    return Owner(twins, await twins.writer()), Owner(twins, await twins.writer())


async def test_space_is_reserved_split_and_joined(twins: Twins) -> None:
    owner, other = await owners(twins)
    assert await owner("reserve_space", 5, 1) == "NoEpochYet"
    await twins.next_epoch()
    assert await owner("reserve_space", 0, 1) == "InvalidSize"
    assert await owner("reserve_space", 5, 0) == "InvalidPeriod"
    assert await owner("reserve_space", 5, 54) == "InvalidPeriod"
    assert await owner("reserve_space", 2 * MEBIBYTE + 5, 4) is None
    for size, outcome in ((0, "InvalidSize"), (3, "InvalidSize"), (1, None)):
        assert await owner("split_reservation_by_size", 1, size * MEBIBYTE) == outcome
    assert await owner("split_reservation_by_size", 2, MEBIBYTE + 1) == "InvalidSize"
    for period, outcome in ((1, "NotWithin"), (5, "NotWithin"), (3, None)):
        assert await owner("split_reservation_by_period", 1, period) == outcome
    assert await other("split_reservation_by_size", 2, MEBIBYTE) == "NotOwner"
    assert await owner("merge_reservations", 1, 2) == "NotAdjoining"
    assert await owner("merge_reservations", 1, 1) == "NotAdjoining"
    assert await owner("merge_reservations", 1, 9) == "UnknownReservation"
    assert await owner("merge_reservations", 3, 1) is None
    assert await owner("merge_reservations", 2, 3) is None
    (left,) = twins.chain.contracts.reservations.values()
    assert (left.resource_id, left.size_bytes, left.start_period, left.end_period) == (2, 3 * MEBIBYTE, 1, 5)
    assert await owner("split_reservation_by_period", 2, 4) is None
    for _ in range(3):
        await twins.next_epoch()
    assert await owner("merge_reservations", 2, 4) == "Expired"


async def test_blobs_and_reservations_change_their_owner(twins: Twins) -> None:
    owner, other = await owners(twins)
    await twins.next_epoch()
    assert await owner("reserve_space", MEBIBYTE, 5) is None
    assert await other("transfer_reservation", 1, other.account.account) == "NotOwner"
    assert await owner("transfer_reservation", 1, NOBODY) == "InvalidOwner"
    assert await owner("transfer_reservation", 1, other.account.account) is None
    assert await owner("register_blob_in", 1, ROOT, LENGTH, True) == "NotOwner"
    assert await other("register_blob_in", 1, ROOT, LENGTH, True) is None
    assert await owner("transfer_blob", 1, owner.account.account) == "NotOwner"
    assert await other("transfer_blob", 1, NOBODY) == "InvalidOwner"
    assert await other("transfer_blob", 1, owner.account.account) is None
    assert await other("delete_blob", 1) == "NotOwner"
    assert await owner("delete_blob", 1) is None
    assert await owner("transfer_blob", 1, owner.account.account) == "UnknownObject"
    assert [one.owner for one in twins.chain.contracts.reservations.values()] == [owner.account.account]
    assert await owner("register_blob", ROOT, LENGTH, 1) is None
    await twins.next_epoch()
    assert await owner("transfer_blob", 2, other.account.account) == "Expired"


async def test_a_blob_is_registered_in_a_reservation_and_extended_with_another(twins: Twins) -> None:
    owner, other = await owners(twins)
    await twins.next_epoch()
    for size, periods in ((2 * MEBIBYTE, 3), (2 * MEBIBYTE, 6), (MEBIBYTE, 6), (2 * MEBIBYTE, 3)):
        assert await owner("reserve_space", size, periods) is None
    assert await owner("register_blob_in", 9, ROOT, LENGTH) == "UnknownReservation"
    assert await owner("register_blob_in", 1, ROOT, 10**6) == "ReservationTooSmall"
    assert await owner("register_blob_in", 1, ROOT, 10**12) == "BlobTooLong"
    assert await owner("register_blob_in", 1, ROOT, LENGTH) is None
    meanwhile = await owner("register_blob_in", 2, ROOT, LENGTH, known_up_to=0)
    assert meanwhile == "RegisteredMeanwhile", "and the reservation is left"
    assert await owner("extend_blob_with", 1, 2) == "NotCertified"
    assert await twins.certify(1) is None
    assert await other("extend_blob_with", 1, 2) == "NotOwner"
    assert await owner("extend_blob_with", 1, 1) == "UnknownReservation"
    assert await owner("extend_blob_with", 1, 3) == "NotAdjoining"
    assert await owner("extend_blob_with", 1, 4) == "NotAdjoining"
    assert await owner("split_reservation_by_period", 2, 6) is None
    assert await owner("extend_blob_with", 1, 5) == "NotAdjoining"
    assert await owner("register_blob_in", 5, ROOT, LENGTH) == "NotBegun"
    assert await owner("extend_blob_with", 1, 2) is None, "the part before the blob's end stays"
    assert await owner("extend_blob_with", 1, 5) is None, "all of it is used"
    assert twins.chain.records[1].end_period == 7
    assert sorted(twins.chain.contracts.reservations) == [2, 3, 4]


async def test_nothing_is_sold_and_no_reservation_used_at_a_standstill(twins: Twins) -> None:
    owner, _ = await owners(twins)
    await twins.next_epoch()
    assert await owner("reserve_space", MEBIBYTE, 6) is None
    assert await owner("register_blob", ROOT, LENGTH, 2) is None
    assert await twins.certify(1) is None
    await twins.network.chain.increase_time(4 * (EPOCH_S + DEADLINE_S) + 1)
    assert await owner("reserve_space", MEBIBYTE, 6) == "Stalled"
    assert await owner("register_blob", ROOT, LENGTH, 2) == "Stalled"
    assert await owner("register_blob_in", 1, ROOT, LENGTH) == "Stalled"
    assert await owner("extend_blob", 1, 2) == "Stalled"
    assert await owner("extend_blob_with", 1, 1) == "Stalled"
    assert await owner("split_reservation_by_period", 1, 3) is None
