"""Openings: an honest one holds at every position, and each change of one breaks the rule that it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.opening import NOTHING_OPENED, Opening
from storage.proofs import opening as rules
from storage.proofs.commitment import pair_nodes
from storage.proofs.draw import (
    Position,
    position_at,
    position_count,
    positions,
    sliver_of_symbol,
    symbols_in_pair,
)
from storage.proofs.opening import blob_id_of, judge, judge_demanded
from storage.redstuff import merkle_root
from storage.redstuff.merkle import depth_of, root_of_hashes
from tests.storage.proofs.members import DRAW, NODE_ID, HonestMember, member
from tests.storage.proofs.mutations import MUTATIONS, flipped

SMALL = member(7, [0, 1, 40, 333, 1000], [5, 0, 3])
LARGE = member(31, [2, 5000], [30, 2])
ONE = member(4, [17], [1])


@pytest.mark.parametrize("one", [SMALL, LARGE, ONE], ids=["7 shards", "31 shards", "one blob, one shard"])
def test_honest_openings_hold_at_drawn_positions(one: HonestMember) -> None:
    drawn = list(positions(one.code, DRAW, NODE_ID, len(one.shards), one.inventory.weight))
    for position in drawn[:16]:
        assert judge(one.code, one.inventory, one.commitment, one.opening(position), position)


@given(st.data())
def test_an_honest_opening_holds_at_its_position_alone(data: st.DataObject) -> None:
    length = position_count(SMALL.code, len(SMALL.shards), SMALL.inventory.weight)
    place, other = (data.draw(st.integers(0, length - 1)) for _ in range(2))
    position, elsewhere = (position_at(SMALL.code, SMALL.inventory.weight, one) for one in (place, other))
    opening = SMALL.opening(position)
    judge(SMALL.code, SMALL.inventory, SMALL.commitment, opening, position)
    entry = SMALL.entries[opening.index]
    if (position.shard_number, position.symbol) != (
        elsewhere.shard_number,
        elsewhere.symbol,
    ) or not entry.covers(elsewhere.offset):
        with pytest.raises(rules.WrongOpening):
            judge(SMALL.code, SMALL.inventory, SMALL.commitment, opening, elsewhere)


def test_every_stored_symbol_has_a_position() -> None:
    u, weight = symbols_in_pair(ONE.code), ONE.inventory.weight
    places = {position_at(ONE.code, weight, place) for place in range(position_count(ONE.code, 1, weight))}
    assert {one.symbol for one in places} == set(range(u))
    assert {sliver_of_symbol(ONE.code, one.symbol) for one in places} == {
        *((axis, i) for axis in (0, 1) for i in range((ONE.code.s, ONE.code.p)[axis]))
    }


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_opening_is_refused(name: str) -> None:
    change, error = MUTATIONS[name]
    position = Position(0, 2, SMALL.entries[3].offset)
    with pytest.raises(error):
        judge(SMALL.code, SMALL.inventory, SMALL.commitment, change(SMALL.opening(position)), position)


def test_refused_with_another_members_salt() -> None:
    position = Position(1, 0, 0)  # of a shard that was not attested
    commitment = replace(SMALL.commitment, salt=flipped(SMALL.salt))
    with pytest.raises(rules.NotCommitted):
        judge(SMALL.code, SMALL.inventory, commitment, SMALL.opening(position), position)


def test_refused_where_the_commitment_has_nothing() -> None:
    roots = [SMALL.shard_root(shard) for shard in SMALL.shards]
    position = Position(1, 0, 0)
    commitment = replace(SMALL.commitment, root=root_of_hashes([roots[0], bytes(32), roots[2]]))
    with pytest.raises(rules.NotCommitted):
        judge(SMALL.code, SMALL.inventory, commitment, SMALL.opening(position), position)


def test_refused_where_the_shard_was_attested_otherwise() -> None:
    position = Position(2, 0, 0)
    commitment = replace(SMALL.commitment, attested={SMALL.shards[2]: bytes(32)})
    with pytest.raises(rules.NotAttested):
        judge(SMALL.code, SMALL.inventory, commitment, SMALL.opening(position), position)


@pytest.mark.parametrize("one", [SMALL, LARGE], ids=["7 shards", "31 shards"])
def test_pair_root_by_kernels_is_that_over_the_nodes(one: HonestMember) -> None:
    for blob, root in zip(one.blobs, one.pair_roots(one.shards[0]), strict=True):
        pair, size = one.pair(blob, one.shards[0]), one.symbol_size(blob)
        symbols = [bytes(sliver[at : at + size]) for sliver in pair for at in range(0, len(sliver), size)]
        assert root == merkle_root([one.salt + symbol for symbol in symbols])
        assert root == root_of_hashes(pair_nodes(one.salt, *pair, size))


def test_without_a_symbol_a_blob_of_the_inventory_is_excused_only_if_it_is_invalid() -> None:
    position = Position(0, 2, SMALL.entries[3].offset)
    opening = SMALL.opening(position)
    named = replace(NOTHING_OPENED, index=opening.index, offset=opening.offset)
    named = replace(named, inventory_path=opening.inventory_path, blob_length=opening.blob_length)
    named = replace(named, blob_root=blob_id_of(opening))
    assert not judge(
        SMALL.code, SMALL.inventory, SMALL.commitment, named, position, lambda one: one == named.blob_root
    )
    with pytest.raises(rules.WrongSymbolSize):
        judge(SMALL.code, SMALL.inventory, SMALL.commitment, named, position)
    with pytest.raises(rules.NotInInventory):
        other = replace(named, blob_root=bytes(32))
        judge(SMALL.code, SMALL.inventory, SMALL.commitment, other, position, lambda one: True)


def test_nothing_is_shown_of_a_shard_that_the_member_need_not_have() -> None:
    position = Position(1, 0, 0)
    commitment = replace(SMALL.commitment, lacking={SMALL.shards[1]})
    assert not judge(SMALL.code, SMALL.inventory, commitment, NOTHING_OPENED, position)
    with pytest.raises(rules.WrongOpening):
        judge(SMALL.code, SMALL.inventory, commitment, NOTHING_OPENED, replace(position, shard_number=0))


def late(opening: Opening) -> Opening:
    """What answers a demand of a shard that was attested late: the path ends at the shard's root."""
    depth = sum(map(depth_of, (symbols_in_pair(SMALL.code), SMALL.inventory.count)))
    return replace(opening, commitment_path=opening.commitment_path[:depth])


def test_a_demand_is_answered_without_a_path_to_the_commitment() -> None:
    position = Position(1, 0, 0)
    opening = SMALL.opening(position)
    held_to = SMALL.code, SMALL.inventory, SMALL.commitment
    judge_demanded(*held_to, replace(opening, commitment_path=()), position)
    with pytest.raises(rules.NotOfTheBlob):
        judge_demanded(*held_to, replace(opening, symbol=flipped(opening.symbol)), position)
    with pytest.raises(rules.NotDrawn):
        judge_demanded(*held_to, opening, replace(position, offset=SMALL.inventory.weight - 1))


def test_what_was_attested_late_leads_to_the_attestation_when_it_is_demanded() -> None:
    position = Position(0, 0, 0)
    opening, shard = SMALL.opening(position), SMALL.shards[0]
    commitment = replace(SMALL.commitment, lacking={shard})
    judge_demanded(SMALL.code, SMALL.inventory, commitment, late(opening), position)
    for path, error in (((), rules.WrongPath), (opening.commitment_path, rules.WrongPath)):
        with pytest.raises(error):
            shown = replace(opening, commitment_path=path)
            judge_demanded(SMALL.code, SMALL.inventory, commitment, shown, position)
    other = replace(commitment, attested={shard: bytes(32)})
    with pytest.raises(rules.NotAttested):
        judge_demanded(SMALL.code, SMALL.inventory, other, late(opening), position)


def test_a_shard_that_was_never_attested_need_not_be_shown() -> None:
    commitment = replace(SMALL.commitment, lacking=SMALL.shards, attested={})
    judge_demanded(SMALL.code, SMALL.inventory, commitment, NOTHING_OPENED, Position(0, 0, 0))
    assert commitment.is_over_nothing
    assert not replace(commitment, lacking=SMALL.shards[1:]).is_over_nothing
