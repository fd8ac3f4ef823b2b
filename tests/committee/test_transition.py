from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee import shards, transition
from committee.errors import CommitteeError
from committee.membership import Committee
from committee.transition import Departure

CommitteeOf = Callable[[int, Mapping[int, Sequence[int]]], Committee]

BEFORE = {1: (0, 1, 2), 2: (3, 4), 3: (5, 6), 4: (7, 8, 9)}
AFTER = {1: (0, 1), 2: (3, 4, 9), 4: (7, 8), 5: (6, 5, 2)}
"""Node 1 gives up 2, node 3 is gone, node 4 gives up 9; node 2 grows, node 5 joins."""


@pytest.fixture(scope="module")
def before(committee_of: CommitteeOf) -> Committee:
    return committee_of(7, BEFORE)


@pytest.fixture(scope="module")
def after(committee_of: CommitteeOf) -> Committee:
    return committee_of(8, AFTER)


@st.composite
def stakes(draw: st.DrawFn) -> list[tuple[int, int]]:
    node_ids = draw(st.lists(st.integers(1, 14), min_size=3, max_size=10, unique=True))
    return [(node_id, draw(st.integers(0, 50)) or 1) for node_id in node_ids]


Change = tuple[list[tuple[int, int]], list[tuple[int, int]], int, set[int]]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """(stakes before, stakes after, number of shards, members that do not answer)."""
    first, second = draw(stakes()), draw(stakes())
    silent = draw(st.sets(st.sampled_from([node_id for node_id, _ in first]), max_size=3))
    return first, second, draw(st.sampled_from([10, 31, 100])), silent


def elect(committee_of: CommitteeOf, change: Change, band_millis: int) -> tuple[Committee, Committee]:
    first, second, n_shards, _ = change
    held = shards.assign(None, first, n_shards)
    return committee_of(3, held), committee_of(4, shards.assign(held, second, n_shards, band_millis))


# the decision table, row by row


def test_kept_stays(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 1)
    assert plan.epoch == 8
    assert plan.kept == (0, 1)
    assert plan.attest == ()
    assert (plan.transferred, plan.rebuilt) == ({}, {})


def test_lost_may_go_an_epoch_later(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 1, stored={0, 1, 2})
    assert plan.to_drop == {2: 9}
    assert plan.drop_now == ()
    assert transition.plan(before, after, 1, stored={0, 1, 2}, owed={2}) == plan, (
        "until then it is kept anyway"
    )


def test_what_is_another_s_may_go_at_once(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 1, stored={0, 4, 5})
    assert plan.to_drop == {4: 8, 5: 8}
    assert plan.drop_now == (4, 5)


def test_what_is_owed_stays(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 1, stored={4, 5}, owed={5, 6})
    assert plan.drop_now == (4,)


def test_what_the_selected_committee_gives_back_stays(
    before: Committee, after: Committee, committee_of: CommitteeOf
) -> None:
    selected = committee_of(9, {1: (0, 1, 2, 4), 2: (3, 9), 4: (7, 8), 5: (5, 6)})
    plan = transition.plan(before, after, 1, stored={0, 2, 4, 5}, selected=selected)
    assert plan.to_drop == {5: 8}


def test_what_is_not_stored_need_not_be_dropped(before: Committee, after: Committee) -> None:
    assert transition.plan(before, after, 1).to_drop == {}


def test_gained_from_a_member_is_transferred(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 2)
    assert plan.kept == (3, 4)
    assert plan.transferred == {9: after.by_id[4]}
    assert plan.rebuilt == {}
    assert plan.attest == (9,)


def test_gained_from_a_leaver_is_rebuilt(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 5)
    assert plan.kept == ()
    assert plan.rebuilt == {5: Departure.LEFT, 6: Departure.LEFT}
    assert plan.transferred == {2: after.by_id[1]}
    assert plan.attest == (2, 5, 6)


def test_gained_from_an_ejected_member_is_rebuilt_for_that_reason(
    before: Committee, after: Committee
) -> None:
    plan = transition.plan(before, after, 5, {3: Departure.EJECTED})
    assert plan.rebuilt == {5: Departure.EJECTED, 6: Departure.EJECTED}


def test_gained_from_a_silent_member_is_rebuilt_though_it_is_still_one(
    before: Committee, after: Committee
) -> None:
    plan = transition.plan(before, after, 2, {4: Departure.SILENT})
    assert plan.rebuilt == {9: Departure.SILENT}
    assert plan.transferred == {}
    assert plan.attest == (9,)


def test_a_silent_member_keeps_what_it_keeps(before: Committee, after: Committee) -> None:
    everyone = transition.plan_all(before, after, {4: Departure.SILENT})
    assert everyone.plans[4].kept == (7, 8)
    assert everyone.kept == {0, 1, 3, 4, 7, 8}


def test_who_departs_without_losing_a_shard_changes_nothing(before: Committee, after: Committee) -> None:
    assert transition.plan(before, after, 5, {2: Departure.SILENT}) == transition.plan(before, after, 5)


def test_a_leaver_drops_all_and_attests_nothing(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 3, stored={6, 5})
    assert plan.to_drop == {5: 9, 6: 9}
    assert (plan.kept, plan.attest) == ((), ())


def test_a_stranger_does_nothing(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 99)
    assert (plan.kept, plan.attest, plan.to_drop) == ((), (), {})


def test_what_a_member_never_attested_it_fills_again(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 1, unattested={0, 2, 9})
    assert plan.kept == (1,)
    assert plan.rebuilt == {0: Departure.UNATTESTED}
    assert plan.attest == (0,)


def test_what_another_never_attested_changes_nothing_for_its_new_owner(
    before: Committee, after: Committee
) -> None:
    assert transition.plan(before, after, 2, unattested={9}) == transition.plan(before, after, 2)
    assert transition.plan(before, after, 5, unattested={5, 2}) == transition.plan(before, after, 5)


def test_the_first_committee_has_nothing_to_take_over(before: Committee) -> None:
    plan = transition.plan(None, before, 4)
    assert plan.kept == (7, 8, 9)
    assert (plan.attest, plan.to_drop) == ((), {})
    assert transition.plan(None, before, 4, stored={0, 7}).to_drop == {0: before.epoch}
    assert transition.plan_all(None, before).kept == frozenset(range(10))


def test_a_source_is_named_with_its_present_address(before: Committee, after: Committee) -> None:
    moved_house = tuple(
        replace(member, address="http://elsewhere:2") if member.node_id == 4 else member
        for member in after.members
    )
    plan = transition.plan(before, replace(after, members=moved_house), 2)
    assert plan.transferred[9].address == "http://elsewhere:2"


def test_shards_ascend_whatever_their_order_in_the_committee(before: Committee, after: Committee) -> None:
    plan = transition.plan(before, after, 5)
    assert list(plan.rebuilt) == [5, 6]
    back = transition.plan(replace(after, epoch=7), replace(before, epoch=8), 5, stored=[6, 2, 5])
    assert list(back.to_drop) == [2, 5, 6]


def test_the_whole_transition(before: Committee, after: Committee) -> None:
    everyone = transition.plan_all(before, after)
    assert list(everyone.plans) == [1, 2, 3, 4, 5]
    assert everyone.kept == {0, 1, 3, 4, 7, 8}
    assert {shard: source.node_id for shard, source in everyone.transferred.items()} == {2: 1, 9: 4}
    assert everyone.rebuilt == {5: Departure.LEFT, 6: Departure.LEFT}
    assert shards.least_moves(before.holdings, after.holdings) == 4


@pytest.mark.parametrize("epoch", [6, 7, 9])
def test_plan_refuses_a_committee_that_does_not_follow(
    before: Committee, after: Committee, epoch: int
) -> None:
    with pytest.raises(CommitteeError, match=f"epoch {epoch} with 10 shards does not follow that of epoch 7"):
        transition.plan(before, replace(after, epoch=epoch), 1)


def test_plan_refuses_another_number_of_shards(committee_of: CommitteeOf, before: Committee) -> None:
    with pytest.raises(CommitteeError, match="with 11 shards does not follow"):
        transition.plan(before, committee_of(8, {1: range(11)}), 1)


# over elected committees


@given(changes())
@settings(max_examples=150, deadline=None)
def test_every_shard_is_planned_exactly_once(committee_of: CommitteeOf, change: Change) -> None:
    previous, current = elect(committee_of, change, 500)
    departed = dict.fromkeys(change[3], Departure.SILENT)
    planned: list[int] = []
    for node_id, plan in transition.plan_all(previous, current, departed).plans.items():
        assert plan == transition.plan(previous, current, node_id, departed)
        assert sorted((*plan.kept, *plan.attest)) == sorted(current.shards_of(node_id))
        assert not set(plan.transferred) & set(plan.rebuilt)
        planned += [*plan.kept, *plan.transferred, *plan.rebuilt]
    assert sorted(planned) == list(range(current.n_shards))


@given(changes())
@settings(max_examples=150, deadline=None)
def test_each_way_has_its_condition(committee_of: CommitteeOf, change: Change) -> None:
    previous, current = elect(committee_of, change, 500)
    silent = change[3]
    everyone = transition.plan_all(previous, current, dict.fromkeys(silent, Departure.SILENT))
    for shard in range(current.n_shards):
        old, new = previous.owner_of[shard].node_id, current.owner_of[shard].node_id
        departed = old in silent or old not in current.by_id
        assert (shard in everyone.kept) == (old == new)
        assert (shard in everyone.transferred) == (old != new and not departed)
        assert (shard in everyone.rebuilt) == (old != new and departed)
        if shard in everyone.transferred:
            assert everyone.transferred[shard] == current.by_id[old]
        if shard in everyone.rebuilt:
            assert everyone.rebuilt[shard] == (Departure.SILENT if old in silent else Departure.LEFT)


@given(changes())
@settings(max_examples=150, deadline=None)
def test_the_number_moved_is_the_least_possible(committee_of: CommitteeOf, change: Change) -> None:
    previous, current = elect(committee_of, change, 0)
    everyone = transition.plan_all(previous, current)
    n_moved = len(everyone.transferred) + len(everyone.rebuilt)
    assert n_moved == shards.least_moves(previous.holdings, current.holdings)
    # Without the band the counts are those the stakes earn, so that no election at all could move fewer.
    earned = shards.apportion(change[1], change[2])
    held = {member.node_id: member.weight for member in previous.members}
    assert n_moved == sum(max(0, count - earned.get(node_id, 0)) for node_id, count in held.items())


@given(changes(), st.sets(st.integers(0, 99)))
@settings(max_examples=150, deadline=None)
def test_unattested_shards_are_planned_exactly_once_too(
    committee_of: CommitteeOf, change: Change, unattested: set[int]
) -> None:
    previous, current = elect(committee_of, change, 500)
    plain = transition.plan_all(previous, current)
    everyone = transition.plan_all(previous, current, unattested=unattested)
    planned = [shard for plan in everyone.plans.values() for shard in (*plan.kept, *plan.attest)]
    assert sorted(planned) == list(range(current.n_shards))
    assert everyone.kept == plain.kept - unattested
    assert everyone.transferred == plain.transferred
    again = {shard for shard, why in everyone.rebuilt.items() if why is Departure.UNATTESTED}
    assert again == plain.kept & unattested


@given(changes(), st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
@settings(max_examples=100, deadline=None)
def test_whatever_is_stored_is_dropped_by_nobody_who_serves_it(
    committee_of: CommitteeOf, change: Change, stored: set[int], owed: set[int]
) -> None:
    previous, current = elect(committee_of, change, 500)
    for node_id in {*previous.by_id, *current.by_id}:
        plan = transition.plan(previous, current, node_id, stored=stored, owed=owed)
        lost = set(previous.shards_of(node_id)) - set(current.shards_of(node_id))
        serves = lost | set(current.shards_of(node_id)) | owed
        assert set(plan.drop_now) == stored - serves
        assert set(plan.to_drop) - set(plan.drop_now) == stored & lost


@given(changes())
@settings(max_examples=50, deadline=None)
def test_a_committee_that_stays_moves_nothing(committee_of: CommitteeOf, change: Change) -> None:
    previous, _ = elect(committee_of, change, 0)
    everyone = transition.plan_all(previous, replace(previous, epoch=4), {})
    assert everyone.kept == frozenset(range(previous.n_shards))
    assert (everyone.transferred, everyone.rebuilt) == ({}, {})
