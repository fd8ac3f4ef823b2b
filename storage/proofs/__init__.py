"""Storage proofs: inventory → commitment → draw → openings → verdict. Pure rules; no I/O, no chain (section 8)."""

from storage.proofs.commitment import pair_nodes, salt_of
from storage.proofs.draw import Position, place_of, symbols_in_pair
from storage.proofs.inventory import ENTRY_BYTES, Entry, Inventory, entries_of
from storage.proofs.opening import Commitment, WrongOpening, judge

__all__ = [
    "ENTRY_BYTES",
    "Commitment",
    "Entry",
    "Inventory",
    "Position",
    "WrongOpening",
    "entries_of",
    "judge",
    "pair_nodes",
    "place_of",
    "salt_of",
    "symbols_in_pair",
]
