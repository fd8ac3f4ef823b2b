"""Which symbols a member is to open: positions drawn by a block's hash that nobody knew before (PROTOCOL section 8).

A member's positions are the bytes that it stores, numbered from 0: shard after shard in the committee's order; in a
shard the first symbols of all blobs' pairs, then the second ones, and so on; among these blob after blob by the
inventory. So each byte is as likely as any other. A place is the number of a drawn position among those of one draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storage.redstuff import Axis, Parameters
from storage.redstuff.merkle import blake2b_256

TAG = b"haulout proof"
PLACES_FOR_FELLOWS = 640
"""Places that a member opens to its fellows: a member that lacks 1 % of the bytes is found with 99.8 %. The first
`PLACES_ON_CHAIN` of them, which it opens on chain when too few fellows sign, find it with 15 %."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a position names: a symbol of the sliver pair of one blob in one shard."""

    shard_number: int
    """The shard's number in the committee's list of the member's shards."""
    symbol: int
    """The symbol's number in the pair: the `s` of the primary sliver first, then the `p` of the secondary one."""
    offset: int
    """A number below the inventory's weight, which names the blob (`Entry.covers`)."""


def symbols_in_pair(grid: Parameters) -> int:
    """Return how many symbols of a sliver pair are stored: `s + p`."""
    return grid.s + grid.p


def sliver_of_symbol(grid: Parameters, symbol: int) -> tuple[Axis, int]:
    """Return the sliver of the pair that its symbol is in, and the symbol's number there."""
    return (Axis.PRIMARY, symbol) if symbol < grid.s else (Axis.SECONDARY, symbol - grid.s)


def position_count(grid: Parameters, shards: int, weight: int) -> int:
    """Return how many positions a member with so many shards has, for an inventory of this weight."""
    return shards * symbols_in_pair(grid) * weight


def position_at(grid: Parameters, weight: int, number: int) -> Position:
    """Return the position of a number, which must be below `position_count`."""
    of_pair, offset = divmod(number, weight)
    return Position(*divmod(of_pair, symbols_in_pair(grid)), offset)


def number_of(grid: Parameters, weight: int, position: Position) -> int:
    """Return the number of a position: the inverse of `position_at`."""
    return (position.shard_number * symbols_in_pair(grid) + position.symbol) * weight + position.offset


def drawn_position(draw: bytes, node_id: int, place: int, count: int) -> int:
    """Return the number of the position that is drawn at a place, for a member with `count` positions.

    It is H(TAG ‖ draw ‖ node id u32 LE ‖ place u16 LE) as a big-endian number, modulo `count`; `draw` is the hash of
    the block that draws.
    """
    ticket = TAG + draw + node_id.to_bytes(4, "little") + place.to_bytes(2, "little")
    return int.from_bytes(blake2b_256(ticket), "big") % count


def positions(grid: Parameters, draw: bytes, node_id: int, shards: int, weight: int) -> Iterator[Position]:
    """Yield the positions that a member is to open to its fellows: those drawn at PLACES_FOR_FELLOWS, in their order.

    `shards` is how many it has, `weight` that of the inventory; both are at least 1.
    """
    count = position_count(grid, shards, weight)
    for place in range(PLACES_FOR_FELLOWS):
        yield position_at(grid, weight, drawn_position(draw, node_id, place, count))
