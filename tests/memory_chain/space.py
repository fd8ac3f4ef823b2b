"""The rules of reservations: `contracts/evm/src/Reservations.sol`. Space is free here and never short."""

from __future__ import annotations

from dataclasses import replace

from committee.ledger import MEBIBYTE, Reservation
from storage.redstuff import Parameters as Grid
from tests.memory_chain.contracts import Contracts, Outcome, Revert

MAX_PERIODS_AHEAD = 53
NOBODY = "0x" + 40 * "0"


def reserve(now: Contracts, account: str, size_bytes: int, periods: int) -> Outcome:
    """Reserve space for the account, from the current period on."""
    end_period = end_of(now, periods)
    if size_bytes == 0:
        raise Revert("InvalidSize")
    return kept(now, account, whole(size_bytes), now.state.period, end_period), ()


def transfer(now: Contracts, account: str, resource_id: int, to: str) -> Outcome:
    """Give a reservation of the account's to another owner."""
    space = own(now, account, resource_id)
    if to == NOBODY:
        raise Revert("InvalidOwner")
    return changed(now, replace(space, owner=to)), ()


def split_by_size(now: Contracts, account: str, resource_id: int, size_bytes: int) -> Outcome:
    """Split a reservation: it keeps a size, and the rest is a new one for the same periods."""
    space = own(now, account, resource_id)
    if not 0 < size_bytes < space.size_bytes or size_bytes % MEBIBYTE:
        raise Revert("InvalidSize")
    rest = space.size_bytes - size_bytes
    then = kept(now, account, rest, space.start_period, space.end_period)
    return changed(then, replace(space, size_bytes=size_bytes)), ()


def split_by_period(now: Contracts, account: str, resource_id: int, period: int) -> Outcome:
    """Split a reservation: it keeps the periods before `period`; that and the later ones are a new one."""
    space = own(now, account, resource_id)
    if not space.start_period < period < space.end_period:
        periods = {"startPeriod": space.start_period, "endPeriod": space.end_period}
        raise Revert("NotWithin", period=period, **periods)
    then = kept(now, account, space.size_bytes, period, space.end_period)
    return changed(then, replace(space, end_period=period)), ()


def merge(now: Contracts, account: str, resource_id: int, other_id: int) -> Outcome:
    """Join two reservations: for the same periods, or of one size and adjoining periods."""
    space, other = own(now, account, resource_id), own(now, account, other_id)
    if resource_id == other_id:
        raise Revert("NotAdjoining", resourceId=other_id)
    if (space.start_period, space.end_period) == (other.start_period, other.end_period):
        joined = replace(space, size_bytes=space.size_bytes + other.size_bytes)
    elif space.size_bytes == other.size_bytes and space.end_period == other.start_period:
        joined = replace(space, end_period=other.end_period)
    elif space.size_bytes == other.size_bytes and other.end_period == space.start_period:
        joined = replace(space, start_period=other.start_period)
    else:
        raise Revert("NotAdjoining", resourceId=other_id)
    return changed(gone(now, other_id), joined), ()


def shortened(now: Contracts, space: Reservation, end_period: int) -> Contracts:
    """Return the contracts with a reservation that ends sooner; without it where nothing is left."""
    if space.start_period == end_period:
        return gone(now, space.resource_id)
    return changed(now, replace(space, end_period=end_period))


def end_of(now: Contracts, periods: int) -> int:
    """Return the end period of space that is reserved now for `periods` periods."""
    period = now.state.period
    if period == 0:
        raise Revert("NoEpochYet")
    if now.is_late:
        raise Revert("Stalled")
    if not 1 <= periods <= MAX_PERIODS_AHEAD:
        raise Revert("InvalidPeriod", periodsAhead=periods, most=MAX_PERIODS_AHEAD)
    return period + periods


def own(now: Contracts, account: str, resource_id: int) -> Reservation:
    """Return the account's reservation without the periods that are past, of which something must be left."""
    space = now.reservations.get(resource_id)
    if space is None:
        raise Revert("UnknownReservation", resourceId=resource_id)
    if space.owner != account:
        raise Revert("NotOwner", owner=space.owner)
    if space.end_period <= now.state.period:
        raise Revert("Expired", endPeriod=space.end_period)
    return replace(space, start_period=max(space.start_period, now.state.period))


def kept(now: Contracts, owner: str, size_bytes: int, start_period: int, end_period: int) -> Contracts:
    """Return the contracts with a new reservation."""
    resource_id = now.reservation_count + 1
    space = Reservation(resource_id, owner, size_bytes, start_period, end_period)
    return changed(replace(now, reservation_count=resource_id), space)


def changed(now: Contracts, space: Reservation) -> Contracts:
    """Return the contracts with a reservation as it is now."""
    return replace(now, reservations={**now.reservations, space.resource_id: space})


def gone(now: Contracts, resource_id: int) -> Contracts:
    """Return the contracts without a reservation."""
    left = {number: one for number, one in now.reservations.items() if number != resource_id}
    return replace(now, reservations=left)


def whole(size_bytes: int) -> int:
    """Return the bytes that are reserved for a size: whole mebibytes."""
    return -(-size_bytes // MEBIBYTE) * MEBIBYTE


def needed(now: Contracts, length: int) -> int:
    """Return the encoded size of a blob, all slivers and metadata on all shards: `RedStuff.encodedSize`."""
    grid = Grid(now.parameters.n_shards)
    if length > grid.max_blob_bytes:
        raise Revert("BlobTooLong", length=length, largest=grid.max_blob_bytes)
    pair_bytes = (grid.p + grid.s) * grid.symbol_size(length)
    return grid.n_shards * (pair_bytes + 64 * grid.n_shards + 32)
