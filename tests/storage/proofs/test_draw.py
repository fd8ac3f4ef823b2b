"""The draw: fair by bytes, other for every member and number, and what a lack of bytes comes to."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from storage.proofs.draw import (
    PLACES_FOR_FELLOWS,
    TAG,
    Position,
    drawn_position,
    position_at,
    position_count,
    positions,
    sliver_of_symbol,
    symbols_in_pair,
)
from storage.redstuff import Axis, Parameters
from storage.redstuff.merkle import blake2b_256

GRID = Parameters(10)
draws = st.binary(min_size=32, max_size=32)


@given(st.integers(1, 50), st.integers(1, 10**12), st.data())
def test_each_position_is_one_byte(shards: int, weight: int, data: st.DataObject) -> None:
    length = position_count(GRID, shards, weight)
    assert length == shards * weight * (GRID.s + GRID.p)
    place = data.draw(st.integers(0, length - 1))
    position = position_at(GRID, weight, place)
    assert position.shard_number in range(shards)
    assert position.symbol in range(symbols_in_pair(GRID))
    assert position.offset in range(weight)
    numbers = position.shard_number * symbols_in_pair(GRID) + position.symbol
    assert numbers * weight + position.offset == place


def test_a_pairs_symbols_are_the_primary_slivers_first() -> None:
    places = [sliver_of_symbol(GRID, symbol) for symbol in range(symbols_in_pair(GRID))]
    assert places == [(Axis.PRIMARY, i) for i in range(7)] + [(Axis.SECONDARY, i) for i in range(4)]


@given(draws, st.integers(0, 2**32 - 1), st.integers(0, 639), st.integers(1, 2**80))
def test_a_drawn_position_is_the_hash_as_a_number(
    draw: bytes, node_id: int, number: int, length: int
) -> None:
    ticket = b"haulout proof" + draw + node_id.to_bytes(4, "little") + number.to_bytes(2, "little")
    assert ticket.startswith(TAG)
    assert (
        drawn_position(draw, node_id, number, length) == int.from_bytes(blake2b_256(ticket), "big") % length
    )


def test_a_member_that_lacks_one_percent_is_found_as_the_formula_says() -> None:
    trials, length, lacking = 2000, 100_000, 1000
    found = sum(
        any(
            drawn_position(blake2b_256(bytes([i // 256, i % 256])), 5, number, length) < lacking
            for number in range(64)
        )
        for i in range(trials)
    )
    share = 1 - Fraction(99, 100) ** 64
    assert abs(found / trials - share) < 4 * float(share * (1 - share) / trials) ** 0.5


def test_positions_are_fair_by_symbols_and_shards() -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for node_id in range(100):
        for one in positions(GRID, bytes(32), node_id, 3, 997):
            counts[one.shard_number, one.symbol] += 1
    expected = 100 * PLACES_FOR_FELLOWS / (3 * symbols_in_pair(GRID))
    assert len(counts) == 3 * symbols_in_pair(GRID)
    assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5


def test_positions_are_others_for_each_member_and_draw() -> None:
    drawn = [
        tuple(positions(GRID, draw, node_id, 4, 10**9))
        for draw in (bytes(32), b"\x01" * 32)
        for node_id in (1, 2)
    ]
    assert len({*drawn}) == 4
    assert all(len(one) == PLACES_FOR_FELLOWS and isinstance(one[0], Position) for one in drawn)
