"""Storage proofs: inventory → commitment → draw → openings → verdict. Pure rules; no I/O, no chain (section 8)."""

from storage.proofs.commitment import pair_nodes, salt_of
from storage.proofs.draw import (
    PLACES_FOR_FELLOWS,
    Position,
    position_at,
    position_count,
    positions,
    sliver_of_symbol,
    symbols_in_pair,
)
from storage.proofs.inventory import ENTRY_BYTES, Entry, EntryProof, Inventory, entries_of
from storage.proofs.opening import Commitment, WrongOpening, judge, judge_demanded, require_entry

__all__ = [
    "ENTRY_BYTES",
    "PLACES_FOR_FELLOWS",
    "Commitment",
    "Entry",
    "EntryProof",
    "Inventory",
    "Position",
    "WrongOpening",
    "entries_of",
    "judge",
    "judge_demanded",
    "pair_nodes",
    "position_at",
    "position_count",
    "positions",
    "require_entry",
    "salt_of",
    "sliver_of_symbol",
    "symbols_in_pair",
]
