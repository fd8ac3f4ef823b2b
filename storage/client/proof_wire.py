"""Openings as members show them to their fellows, a page at a time (PROTOCOL section 8). All of it is ours.

page      the openings of PLACES_IN_PAGE places
opening   index u32 LE ‖ offset u64 LE ‖ blob root 32 ‖ blob length u64 LE ‖ other root 32 ‖ ULEB128 length ‖ symbol,
          then the paths to the inventory, the sliver, the blob and the commitment: each ULEB128 count ‖ nodes of 32
entry     index u32 LE ‖ the entry's leaf 42 ‖ the path to the inventory: ULEB128 count ‖ nodes of 32
"""

from __future__ import annotations

from collections.abc import Sequence

from committee.bcs import uleb128
from committee.opening import Opening
from storage.client.bodies import Bytes
from storage.proofs import ENTRY_BYTES, PLACES_FOR_FELLOWS, Entry, EntryProof
from storage.redstuff.bcs import Reader
from storage.redstuff.parameters import HASH_BYTES, MAX_SYMBOL_BYTES

PLACES_IN_PAGE = 40
PAGES = PLACES_FOR_FELLOWS // PLACES_IN_PAGE
MAX_PATH = 64
"""Nodes: a commitment's path has the depths of three trees, at most 11, 32 and 10."""
MAX_FRAME_BYTES = 4 + 8 + 8 + 2 * HASH_BYTES + 3 + 4 * (1 + MAX_PATH * HASH_BYTES)
"""Of an opening, without its symbol."""
MAX_OPENING_BYTES = MAX_FRAME_BYTES + MAX_SYMBOL_BYTES
MAX_ENTRY_BYTES = 4 + ENTRY_BYTES + 1 + MAX_PATH * HASH_BYTES
MAX_PAGE_BYTES = PLACES_IN_PAGE * MAX_OPENING_BYTES


def places_of(page: int) -> range:
    """Return the places that are on a page, one of PAGES."""
    return range(page * PLACES_IN_PAGE, (page + 1) * PLACES_IN_PAGE)


def page_to_bcs(openings: Sequence[Opening]) -> bytes:
    """Return the bytes of a page, of the openings of its places in their order."""
    return b"".join(map(opening_to_bcs, openings))


def page_from_bcs(encoded: Bytes) -> list[Opening]:
    """Read a page. Raises `InvalidEncoding`."""
    reader = Reader(encoded)
    openings = [_opening(reader) for _ in range(PLACES_IN_PAGE)]
    reader.end()
    return openings


def opening_from_bcs(encoded: Bytes) -> Opening:
    """Read a single opening. Raises `InvalidEncoding`."""
    reader = Reader(encoded)
    opening = _opening(reader)
    reader.end()
    return opening


def opening_to_bcs(opening: Opening) -> bytes:
    """Return the bytes of an opening."""
    parts = [
        opening.index.to_bytes(4, "little"),
        opening.offset.to_bytes(8, "little"),
        opening.blob_root,
        opening.blob_length.to_bytes(8, "little"),
        opening.other_root,
        *(uleb128(len(opening.symbol)), opening.symbol),
    ]
    for path in (opening.inventory_path, opening.sliver_path, opening.blob_path, opening.commitment_path):
        parts += [uleb128(len(path)), *path]
    return b"".join(parts)


def entry_proof_to_bcs(shown: EntryProof) -> bytes:
    """Return the bytes of a blob's place in an inventory."""
    path = shown.path
    return b"".join([shown.index.to_bytes(4, "little"), shown.entry.leaf(), uleb128(len(path)), *path])


def entry_proof_from_bcs(encoded: Bytes) -> EntryProof:
    """Read a blob's place in an inventory. Raises `InvalidEncoding`."""
    reader = Reader(encoded)
    index, leaf = reader.unsigned(4), reader.take(ENTRY_BYTES)
    shown = EntryProof(Entry.of_leaf(leaf), index, _path(reader))
    reader.end()
    return shown


def _opening(reader: Reader) -> Opening:
    return Opening(
        index=reader.unsigned(4),
        offset=reader.unsigned(8),
        blob_root=reader.take(HASH_BYTES),
        blob_length=reader.unsigned(8),
        other_root=reader.take(HASH_BYTES),
        symbol=reader.take(reader.uleb128(MAX_SYMBOL_BYTES)),
        inventory_path=_path(reader),
        sliver_path=_path(reader),
        blob_path=_path(reader),
        commitment_path=_path(reader),
    )


def _path(reader: Reader) -> tuple[bytes, ...]:
    return tuple(reader.take(HASH_BYTES) for _ in range(reader.uleb128(MAX_PATH)))
