"""Storage proofs: inventory → commitment → draw → openings → verdict. Pure rules; no I/O, no chain (section 8)."""

from storage.proofs.commitment import pair_nodes, salt_of
from storage.proofs.draw import (
    FOR_FELLOWS,
    Position,
    line_length,
    place_of,
    position_at,
    positions,
    symbols_in_pair,
)
from storage.proofs.inventory import ENTRY_BYTES, Entry, Inventory, entries_of
from storage.proofs.opening import Commitment, WrongOpening, judge

__all__ = [
    "ENTRY_BYTES",
    "FOR_FELLOWS",
    "Commitment",
    "Entry",
    "Inventory",
    "Position",
    "WrongOpening",
    "entries_of",
    "judge",
    "line_length",
    "pair_nodes",
    "place_of",
    "position_at",
    "positions",
    "salt_of",
    "symbols_in_pair",
]
