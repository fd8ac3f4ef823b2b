"""Turns: a drawn order that all members agree on, one of them at a time, everyone in the end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.rota import LEAST_TURN_S, draw_order, turn_at, turn_length_s

WEIGHTS = {1: 3, 2: 3, 3: 2, 4: 2}
weights = st.dictionaries(st.integers(1, 2**32 - 1), st.integers(1, 1000), min_size=1, max_size=40)
epochs = st.integers(0, 2**32 - 1)
tasks = st.sampled_from(["select", "start", "close", "eject 7"])
lengths = st.integers(LEAST_TURN_S, 200)


@pytest.mark.parametrize(
    ("epoch", "task", "order"),
    [
        (1, "select", (3, 1, 2, 4)),
        (1, "start", (4, 1, 2, 3)),
        (2, "select", (4, 2, 1, 3)),
        (2**32 - 1, "close", (2, 1, 4, 3)),
    ],
)
def test_the_order_is_that_of_the_tickets_drawn_by_hand(
    epoch: int, task: str, order: tuple[int, ...]
) -> None:
    assert draw_order(WEIGHTS, epoch, task) == order


@given(weights, epochs, tasks)
def test_every_member_has_one_place_whatever_order_the_weights_come_in(
    members: dict[int, int], epoch: int, task: str
) -> None:
    order = draw_order(members, epoch, task)
    assert sorted(order) == sorted(members)
    assert draw_order(dict(reversed(members.items())), epoch, task) == order


def test_members_come_first_as_often_as_they_have_shards() -> None:
    first = Counter(draw_order(WEIGHTS, epoch, "select")[0] for epoch in range(10_000))
    for node_id, weight in WEIGHTS.items():
        assert first[node_id] == pytest.approx(1000 * weight, rel=0.1)


@given(weights, epochs, tasks, lengths, st.floats(0, 10**6))
def test_it_is_one_members_turn_and_it_begins_in_the_first_half_only(
    members: dict[int, int], epoch: int, task: str, length_s: int, waited_s: float
) -> None:
    order = draw_order(members, epoch, task)
    turn = turn_at(order, waited_s, length_s)
    begun_s = waited_s - turn.number * length_s
    assert 0 <= begun_s < length_s
    assert turn.is_open == (begun_s < length_s / 2)
    assert turn.node_id == order[turn.number % len(order)]


@given(
    st.dictionaries(st.integers(1, 100), st.integers(1, 1000), min_size=1, max_size=8),
    *(epochs, tasks, st.integers(LEAST_TURN_S, 20), st.data()),
)
def test_the_first_member_that_works_acts_within_a_round_and_no_other_before_it(
    members: dict[int, int], epoch: int, task: str, length_s: int, data: st.DataObject
) -> None:
    working = data.draw(st.sets(st.sampled_from(sorted(members)), min_size=1))
    since_s = data.draw(st.integers(0, 10 * length_s))
    order = draw_order(members, epoch, task)
    seconds = range(since_s, since_s + (len(order) + 1) * length_s)
    turns = [turn for turn in (turn_at(order, s, length_s) for s in seconds) if turn.is_open]
    acting = next(turn for turn in turns if turn.node_id in working)
    assert {turn.node_id for turn in turns} == set(members), "everyone has a turn"
    others = {one.node_id for one in turns if one.node_id in working and one.number < acting.number}
    assert not others
    assert all(one.node_id == acting.node_id for one in turns if one.number == acting.number)


@pytest.mark.parametrize(
    ("blocks", "took_s", "epoch_s", "length_s"),
    [
        pytest.param(32, 32 * 12, 14 * 24 * 3600, 96, id="eight blocks of 12 s"),
        pytest.param(32, 390, 14 * 24 * 3600, 98, id="rounded up"),
        pytest.param(32, 8, 14 * 24 * 3600, 4, id="fast blocks: the least"),
        pytest.param(32, 32, 40, 5, id="an eighth of a short epoch"),
        pytest.param(32, 32, 8, 4, id="a very short epoch: the least"),
        pytest.param(32, 10**9, 3600, 450, id="a chain that stood still"),
        pytest.param(1, 0, 3600, 4, id="one block in no time"),
    ],
)
def test_a_turn_is_some_blocks_long(blocks: int, took_s: int, epoch_s: int, length_s: int) -> None:
    assert turn_length_s(blocks, took_s, epoch_s) == length_s
