"""The openings that a member shows its fellows after a draw: pages, made once and kept in files (PROTOCOL section 8).

A page that is in its file is not made again: it goes to each fellow as it is, also after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from committee.files import NotRegular, clear_away, write_whole
from committee.opening import Opening
from storage.client import proof_wire
from storage.node.fail_points import fail_point
from storage.node.proving.proving import Incomplete, Proving
from storage.node.proving.term import Term
from storage.node.proving.unreadable import opened_to_read
from storage.node.sqlite import told
from storage.proofs import Position
from storage.redstuff.merkle import blake2b_256
from storage.redstuff.parameters import HASH_BYTES


class OpeningPages:
    """The pages of one node. Every method blocks; not for the event loop's thread. Raises `StoreError`."""

    def __init__(self, proving: Proving) -> None:
        self._proving = proving

    def make(
        self,
        term: Term,
        commitment: bytes,
        draw: bytes,
        places: list[Position],
        is_to_end: Callable[[], bool],
    ) -> None:
        """Make the pages that are not there yet, for a commitment as the chain keeps it, of all drawn `places`.

        Raises `Incomplete` when a sliver is missing or damaged, soon also once `is_to_end`.
        """
        for number in range(proof_wire.PAGES):
            if self.page(term, draw, number) is not None:
                continue
            openings: list[Opening] = []
            for place in proof_wire.places_of(number):
                if is_to_end():
                    raise Incomplete("the openings are not wanted any more")
                openings.append(self._proving.opening(term, commitment, places[place]))
            path = self._path(term, draw, number)
            with told(f"cannot keep openings in {path.parent}"):
                page = proof_wire.page_to_bcs(openings)
                write_whole(path, blake2b_256(page) + page)
            fail_point("proofs.page-made")

    def page(self, term: Term, draw: bytes, number: int) -> bytes | None:
        """Return one page of PAGES; None while it is not made. A damaged file is deleted."""
        path = self._path(term, draw, number)
        with told(f"cannot read {path}"):
            try:
                with opened_to_read(path) as file:
                    kept = file.read(HASH_BYTES + proof_wire.MAX_PAGE_BYTES)
            except (FileNotFoundError, ValueError):
                return None
            except NotRegular:
                kept = b""
            page = kept[HASH_BYTES:]
            if page and blake2b_256(page) == kept[:HASH_BYTES]:
                return page
            clear_away(path)
            return None

    def size_bytes(self, term: Term, draw: bytes, number: int) -> int:
        """Return the bytes of a page; 0 while it is not made."""
        try:
            return max(0, self._path(term, draw, number).lstat().st_size - HASH_BYTES)
        except OSError:
            return 0

    def _path(self, term: Term, draw: bytes, number: int) -> Path:
        return self._proving.folder_of(term) / f"{draw.hex()}-{number}.openings"
