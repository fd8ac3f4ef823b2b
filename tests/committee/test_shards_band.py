"""The tolerance band of an election: what a stake that hardly changed does not move."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee import shards
from committee.errors import ElectionError
from tests.committee.elections import Holdings, elections, moved

QUARTERS = {1: tuple(range(25)), 2: tuple(range(25, 50)), 3: tuple(range(50, 75)), 4: tuple(range(75, 100))}
"""Four members with a quarter of 100 shards each."""


def drifted(*parts_of_a_shard: int) -> list[tuple[int, int]]:
    """Stakes of nodes 1…4 whose exact shares are 25 and so many thousandths of a shard; these sum to 0."""
    assert sum(parts_of_a_shard) == 0
    return [(node_id, 25_000 + part) for node_id, part in enumerate(parts_of_a_shard, start=1)]


def settled(stakes: list[tuple[int, int]], band_millis: int) -> dict[int, int]:
    return shards.tolerate(QUARTERS, stakes, shards.apportion(stakes, 100), band_millis)


def test_a_drift_within_the_band_moves_nothing() -> None:
    stakes = drifted(500, -500, 0, 0)
    assert shards.apportion(stakes, 100) == {1: 26, 2: 24, 3: 25, 4: 25}
    assert shards.assign(QUARTERS, stakes, 100, 500) == QUARTERS
    assert moved(QUARTERS, shards.assign(QUARTERS, stakes, 100, 0)) == 1


def test_half_a_shard_is_the_default_band() -> None:
    assert shards.assign(QUARTERS, drifted(500, -500, 0, 0), 100) == QUARTERS
    assert shards.assign(QUARTERS, drifted(501, -501, 0, 0), 100) != QUARTERS


@pytest.mark.parametrize(("band_millis", "undone"), [(599, False), (600, True), (601, True)])
def test_the_band_includes_its_edge(band_millis: int, undone: bool) -> None:
    assert (settled(drifted(600, -600, 0, 0), band_millis)[2] == 25) == undone


def test_a_band_of_0_switches_it_off() -> None:
    stakes = drifted(500, -500, 0, 0)
    assert settled(stakes, 0) == shards.apportion(stakes, 100)


def test_a_negative_band_is_refused() -> None:
    with pytest.raises(ElectionError, match="band of -1"):
        settled(drifted(490, -490, 0, 0), -1)


def test_a_member_gets_back_one_shard_at_most() -> None:
    counts = {1: 27, 2: 23, 3: 25, 4: 25}
    assert shards.tolerate(QUARTERS, drifted(900, -900, 0, 0), counts, 9000) == {1: 26, 2: 24, 3: 25, 4: 25}


def test_the_band_judges_each_member_by_its_own_share() -> None:
    before = {1: QUARTERS[1], 2: QUARTERS[2], 3: (*QUARTERS[3], 99), 4: QUARTERS[4][:-1]}
    stakes = drifted(200, -200, 300, -300)
    counts = {1: 26, 2: 24, 3: 25, 4: 25}
    # Holding over their share: node 2 by 0.2, node 3 by 0.7. Elected over it: node 1 by 0.8, node 4 by 0.3.
    assert shards.tolerate(before, stakes, counts, 199) == counts
    assert shards.tolerate(before, stakes, counts, 699) == {1: 25, 2: 25, 3: 25, 4: 25}
    assert shards.tolerate(before, stakes, counts, 700) == {1: 25, 2: 25, 3: 26, 4: 24}


def test_the_growing_member_farthest_over_its_share_gives() -> None:
    counts = {1: 26, 2: 23, 3: 26, 4: 25}
    # Over their shares: node 1 by 0.4, node 3 by 0.7.
    assert shards.tolerate(QUARTERS, drifted(600, -900, 300, 0), counts, 1000) == {
        1: 26,
        2: 24,
        3: 25,
        4: 25,
    }


def test_only_a_growing_member_gives() -> None:
    # Node 4 is farthest over its share, but holds no more than before.
    stakes = drifted(1200, -200, 1000, -2000)
    counts = {1: 26, 2: 24, 3: 25, 4: 25}
    assert shards.tolerate(QUARTERS, stakes, counts, 500) == {1: 25, 2: 25, 3: 25, 4: 25}


def test_ties_in_the_band_go_to_the_earlier_candidate() -> None:
    # Nodes 4 and 1 are equally far over their shares, and node 4 became a candidate first.
    stakes = [(4, 25_500), (3, 25_000), (2, 24_000), (1, 25_500)]
    counts = {4: 26, 3: 24, 2: 24, 1: 26}
    assert shards.tolerate(QUARTERS, stakes, counts, 400) == {4: 25, 3: 25, 2: 24, 1: 26}


def test_a_new_member_keeps_its_only_shard() -> None:
    stakes = [(1, 24_500), (2, 25_000), (3, 24_750), (4, 24_750), (5, 1000)]
    counts = {1: 24, 2: 25, 3: 25, 4: 25, 5: 1}
    assert shards.tolerate(QUARTERS, stakes, counts, 500) == counts


@pytest.mark.parametrize(("part", "undone"), [(-961, True), (-962, False)])
def test_no_member_keeps_more_than_the_bound_of_an_election(part: int, undone: bool) -> None:
    # 25 shards of 100 among four members: with a share of 25 / 1.04 or more, which is 24.0385.
    counts = {1: 26, 2: 24, 3: 25, 4: 25}
    assert (shards.tolerate(QUARTERS, drifted(-part, part, 0, 0), counts, 5000)[2] == 25) == undone


def test_a_quarter_of_the_stake_on_many_nodes_keeps_no_third_of_the_shards() -> None:
    honest = [(node_id, 11_000) for node_id in range(1, 7)]
    elected = shards.assign(None, [*honest, *((node_id, 2020) for node_id in range(7, 24))], 100)
    assert [len(elected[node_id]) for node_id in range(7, 24)] == [2] * 17
    later = shards.assign(elected, [*honest, *((node_id, 1340) for node_id in range(7, 24))], 100, 1000)
    assert [len(later[node_id]) for node_id in range(7, 24)] == [1] * 17


def test_the_band_spares_no_member_whose_stake_is_not_worth_a_shard() -> None:
    before = {1: tuple(range(99)), 2: (99,)}
    stakes = [(1, 99_001), (2, 999)]
    assert shards.assign(before, stakes, 100, 10**6).keys() == {1}


def test_the_band_does_not_help_who_has_no_stake_or_is_no_candidate() -> None:
    gone = [(1, 34_000), (2, 33_000), (3, 33_000)]
    counts = {1: 34, 2: 33, 3: 33}
    assert shards.tolerate(QUARTERS, gone, counts, 10**6) == counts
    assert shards.tolerate(QUARTERS, [*gone, (4, 0)], counts, 10**6) == counts


def tolerate_by_the_letter(
    before: Holdings, stakes: list[tuple[int, int]], n_shards: int, band_millis: int
) -> dict[int, int]:
    """PROTOCOL section 3 word for word, in exact fractions."""
    counts = shards.apportion(stakes, n_shards)
    voters = shards.worth_a_shard(stakes, n_shards)
    total = sum(weight for _, weight in voters)
    share = {node_id: Fraction(n_shards * weight, total) for node_id, weight in voters}
    order = list(share)
    held = {node_id: len(before.get(node_id, ())) for node_id in order}
    count = {node_id: counts.get(node_id, 0) for node_id in order}
    shrinking = [
        node_id
        for node_id in order
        if count[node_id] < held[node_id]
        and held[node_id] - share[node_id] <= Fraction(band_millis, 1000)
        and held[node_id] <= share[node_id] * Fraction(n_shards + len(voters), n_shards)
    ]
    for node_id in sorted(shrinking, key=lambda one: (held[one] - share[one], order.index(one))):
        growing = [other for other in order if count[other] > held[other] and count[other] > 1]
        if growing:
            count[node_id] += 1
            count[min(growing, key=lambda one: (share[one] - count[one], order.index(one)))] -= 1
    return {node_id: number for node_id, number in count.items() if number}


@given(elections(), st.sampled_from([1, 250, 500, 1000, 5000]))
@settings(max_examples=300, deadline=None)
def test_the_band_follows_the_letter_of_the_protocol(
    election: tuple[Holdings, list[tuple[int, int]], int], band_millis: int
) -> None:
    before, stakes, n_shards = election
    counts = shards.apportion(stakes, n_shards)
    expected = tolerate_by_the_letter(before, stakes, n_shards, band_millis)
    assert list(shards.tolerate(before, stakes, counts, band_millis).items()) == list(expected.items())


@given(elections(), st.sampled_from([1, 250, 500, 1000, 5000]))
@settings(max_examples=300, deadline=None)
def test_the_band_only_undoes_moves(
    election: tuple[Holdings, list[tuple[int, int]], int], band_millis: int
) -> None:
    before, stakes, n_shards = election
    counts = shards.apportion(stakes, n_shards)
    after = shards.tolerate(before, stakes, counts, band_millis)
    voters = shards.worth_a_shard(stakes, n_shards)
    total = sum(weight for _, weight in voters)
    assert sum(after.values()) == n_shards
    assert set(after) == {node_id for node_id, _ in voters}
    undone = 0
    for node_id, weight in voters:
        held, elected, count = len(before.get(node_id, ())), counts[node_id], after[node_id]
        assert count * total <= weight * (n_shards + len(voters))
        if count > elected:
            assert count == elected + 1 <= held
            assert held - Fraction(n_shards * weight, total) <= Fraction(band_millis, 1000)
            undone += 1
        if count < elected:
            assert count >= held
    assert (
        moved(before, shards.reassign(before, after))
        == moved(before, shards.reassign(before, counts)) - undone
    )
