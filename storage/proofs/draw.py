"""Which symbols a member is to open: positions drawn by a block's hash that nobody knew before (PROTOCOL section 8).

A member's symbols stand in one line: shard after shard in the committee's order; in a shard the first symbols of all
blobs' pairs, then the second ones, and so on; among these blob after blob by the inventory. A position is a byte of
that line. So each byte that the member stores is as likely as any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from committee.opening import PLACES_ON_CHAIN
from storage.redstuff import Axis, Parameters
from storage.redstuff.merkle import blake2b_256

TAG = b"haulout proof"
FOR_FELLOWS = 640
"""Positions that a member opens to its fellows: who lacks 1 % of the bytes is found with 99.8 %."""
ON_CHAIN = PLACES_ON_CHAIN
"""Positions that a member opens on chain when too few fellows sign, the first of the same: they find it with 15 %."""


@dataclass(frozen=True, slots=True)
class Position:
    """What is to be opened: a symbol of the sliver pair of one blob in one shard."""

    shard_number: int
    """The shard's number in the committee's list of the member's shards."""
    symbol: int
    """The symbol's number in the pair: the `s` of the primary sliver first, then the `p` of the secondary one."""
    offset: int
    """Names the blob, in the inventory."""


def symbols_in_pair(grid: Parameters) -> int:
    """Return how many symbols of a sliver pair are stored: `s + p`."""
    return grid.s + grid.p


def place_of(grid: Parameters, symbol: int) -> tuple[Axis, int]:
    """Return the sliver that a pair's symbol is in, and its number there."""
    return (Axis.PRIMARY, symbol) if symbol < grid.s else (Axis.SECONDARY, symbol - grid.s)


def line_length(grid: Parameters, shards: int, weight: int) -> int:
    """Return the number of positions of a member with so many shards: of bytes that it stores."""
    return shards * symbols_in_pair(grid) * weight


def position_at(grid: Parameters, weight: int, place: int) -> Position:
    """Return the position at a place of the line, which must be below `line_length`."""
    of_pair, offset = divmod(place, weight)
    return Position(*divmod(of_pair, symbols_in_pair(grid)), offset)


def place_in_line(grid: Parameters, weight: int, position: Position) -> int:
    """Return the place of a position in the line: the inverse of `position_at`."""
    return (position.shard_number * symbols_in_pair(grid) + position.symbol) * weight + position.offset


def drawn_place(draw: bytes, node_id: int, number: int, length: int) -> int:
    """Return the place that is drawn `number`-th for a member, below `length`, that of the line.

    It is H(TAG ‖ draw ‖ node id u32 LE ‖ number u16 LE) as a big-endian number, modulo `length`; `draw` is the hash of
    the block that draws.
    """
    ticket = TAG + draw + node_id.to_bytes(4, "little") + number.to_bytes(2, "little")
    return int.from_bytes(blake2b_256(ticket), "big") % length


def positions(grid: Parameters, draw: bytes, node_id: int, shards: int, weight: int) -> Iterator[Position]:
    """Yield the positions that a member is to open to its fellows, FOR_FELLOWS in their order.

    `shards` is how many it has, `weight` that of the inventory; both are at least 1.
    """
    length = line_length(grid, shards, weight)
    for number in range(FOR_FELLOWS):
        yield position_at(grid, weight, drawn_place(draw, node_id, number, length))
