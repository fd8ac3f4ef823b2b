"""The inventory: its order, its offsets, its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.proofs.inventory import Inventory, entries_of, inventory_of
from storage.redstuff import merkle_root

ids = st.binary(min_size=32, max_size=32)
blobs = st.dictionaries(ids, st.integers(1, 32767).map(lambda half: 2 * half), max_size=40)


@given(blobs)
def test_each_offset_below_the_weight_names_one_blob(sizes: dict[bytes, int]) -> None:
    entries = list(entries_of(sorted(sizes.items())))
    inventory = inventory_of(entries)
    assert (inventory.count, inventory.weight) == (len(sizes), sum(sizes.values()))
    assert inventory.root == merkle_root([one.leaf() for one in entries])
    for before, entry in zip([None, *entries], entries, strict=False):
        assert entry.covers(entry.offset)
        assert entry.covers(entry.offset + entry.symbol_size - 1)
        assert before is None or not before.covers(entry.offset)
    assert not any(one.covers(inventory.weight) for one in entries)


def test_a_leaf_is_laid_out_byte_by_byte() -> None:
    (_, entry) = entries_of([(b"\x01" * 32, 0x0304), (b"\x02" * 32, 0x0506)])
    assert entry.leaf() == b"\x02" * 32 + bytes.fromhex("0605 0403000000000000")
    assert Inventory(b"\x07" * 32, 2, 0x0A0B).body() == b"\x07" * 32 + bytes.fromhex(
        "02000000 0b0a000000000000"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([(b"\x02" * 32, 2), (b"\x01" * 32, 2)], "ascend"),
        ([(b"\x01" * 32, 2), (b"\x01" * 32, 2)], "ascend"),
        ([(b"\x01" * 31, 2)], "31 bytes"),
        ([(b"\x01" * 32, 0)], "0 bytes"),
        ([(b"\x01" * 32, 3)], "3 bytes"),
        ([(b"\x01" * 32, 65536)], "65536 bytes"),
    ],
    ids=["descending", "twice", "id too short", "size zero", "odd size", "size too large"],
)
def test_entries_refuses(given: list[tuple[bytes, int]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        list(entries_of(given))
