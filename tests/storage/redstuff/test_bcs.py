"""Lengths and indices: each has one form, and one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.bcs import uleb128
from storage.redstuff import Axis, InvalidEncoding, RedStuff
from storage.redstuff.bcs import Reader


@given(st.integers(0, 2**21), st.integers(0, 2**21))
def test_a_length_comes_back_unless_it_is_over_the_limit(number: int, largest: int) -> None:
    reader = Reader(uleb128(number) + b"behind")
    if number > largest:
        with pytest.raises(InvalidEncoding, match="over the limit"):
            reader.uleb128(largest)
    else:
        assert reader.uleb128(largest) == number
        assert (reader.left_bytes, reader.take(6)) == (6, b"behind")
        reader.end()


@pytest.mark.parametrize("encoded", [b"", b"\x80", b"\x80\x00", b"\xff\x00"])
def test_a_length_that_ends_early_or_is_not_in_its_shortest_form_is_refused(encoded: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        Reader(encoded).uleb128(1000)


def test_nothing_is_read_beyond_the_end_and_nothing_may_be_left() -> None:
    reader = Reader(b"abc")
    with pytest.raises(InvalidEncoding, match="4 bytes expected at place 0, 3 left"):
        reader.take(4)
    assert reader.take(2) == b"ab"
    with pytest.raises(InvalidEncoding, match="1 bytes too many"):
        reader.end()
    assert reader.unsigned(1) == ord("c")
    reader.end()


@pytest.mark.parametrize("n_shards", [4, 10, 1000])
@pytest.mark.parametrize("axis", Axis)
def test_indices_of_many_shards_are_those_of_each(n_shards: int, axis: Axis) -> None:
    code, blob_id = RedStuff(n_shards), bytes(range(7, 39))
    shards = [n_shards - 1, *range(n_shards // 2)]
    assert code.sliver_indices(blob_id, shards, axis) == [
        code.sliver_index(blob_id, shard, axis) for shard in shards
    ]
