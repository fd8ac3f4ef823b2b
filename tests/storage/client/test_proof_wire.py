"""Pages of openings: read as they were written, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.opening import Opening
from storage.client.proof_wire import (
    MAX_ENTRY_BYTES,
    MAX_OPENING_BYTES,
    MAX_PATH,
    PAGES,
    PLACES_IN_PAGE,
    entry_proof_from_bcs,
    entry_proof_to_bcs,
    page_from_bcs,
    page_to_bcs,
    places_of,
)
from storage.proofs import PLACES_FOR_FELLOWS, Entry, EntryProof
from storage.redstuff import InvalidEncoding
from storage.redstuff.parameters import MAX_SYMBOL_BYTES

hashes = st.binary(min_size=32, max_size=32)
paths = st.lists(hashes, max_size=MAX_PATH).map(tuple)
openings = st.builds(
    Opening,
    index=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 2**64 - 1),
    blob_root=hashes,
    blob_length=st.integers(0, 2**64 - 1),
    inventory_path=paths,
    symbol=st.binary(max_size=200),
    sliver_path=paths,
    other_root=hashes,
    blob_path=paths,
    commitment_path=paths,
)


def largest(symbol: bytes = bytes(MAX_SYMBOL_BYTES), nodes: int = MAX_PATH) -> Opening:
    """An opening at its limits, or beyond."""
    path = (bytes(32),) * nodes
    return Opening(0, 0, bytes(32), 0, path, symbol, path, bytes(32), path, path)


@given(openings, openings)
def test_a_page_is_read_as_it_was_written(one: Opening, other: Opening) -> None:
    page = [one, *[other] * (PLACES_IN_PAGE - 1)]
    encoded = page_to_bcs(page)
    assert page_from_bcs(encoded) == page
    for damaged in (encoded[:-1], encoded + b"\0", b""):
        with pytest.raises(InvalidEncoding):
            page_from_bcs(damaged)


def test_the_largest_opening_has_the_size_that_is_told() -> None:
    assert len(page_to_bcs([largest()])) == MAX_OPENING_BYTES


@pytest.mark.parametrize(
    "beyond", [largest(bytes(MAX_SYMBOL_BYTES + 1)), largest(nodes=MAX_PATH + 1)], ids=["symbol", "path"]
)
def test_an_opening_beyond_the_limits_is_not_read(beyond: Opening) -> None:
    with pytest.raises(InvalidEncoding):
        page_from_bcs(page_to_bcs([beyond] * PLACES_IN_PAGE))


@given(
    st.builds(
        EntryProof,
        st.builds(Entry, hashes, st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1)),
        st.integers(0, 2**32 - 1),
        paths,
    )
)
def test_an_entry_is_read_as_it_was_written(shown: EntryProof) -> None:
    encoded = entry_proof_to_bcs(shown)
    assert len(encoded) <= MAX_ENTRY_BYTES
    assert entry_proof_from_bcs(encoded) == shown
    for damaged in (encoded[:-1], encoded + b"\0", b""):
        with pytest.raises(InvalidEncoding):
            entry_proof_from_bcs(damaged)


def test_every_place_is_on_one_page() -> None:
    assert [place for page in range(PAGES) for place in places_of(page)] == list(range(PLACES_FOR_FELLOWS))
