from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee import shards, transition
from committee.errors import CommitteeError
from committee.membership import Committee
from committee.transition import Change, Departure, StoredShards, droppable, plan_filling

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


Draw = tuple[list[tuple[int, int]], list[tuple[int, int]], int, set[int]]


@st.composite
def changes(draw: st.DrawFn) -> Draw:
    """(stakes before, stakes after, number of shards, members that do not answer)."""
    first, second = draw(stakes()), draw(stakes())
    silent = draw(st.sets(st.sampled_from([node_id for node_id, _ in first]), max_size=3))
    return first, second, draw(st.sampled_from([10, 31, 100])), silent


def elect(committee_of: CommitteeOf, change: Draw, band_millis: int) -> tuple[Committee, Committee]:
    first, second, n_shards, _ = change
    held = shards.assign(None, first, n_shards)
    return committee_of(3, held), committee_of(4, shards.assign(held, second, n_shards, band_millis))


# what is filled, and how


LEFT, EJECTED, SILENT, UNATTESTED = Departure
FOURTH_IS_SILENT, THIRD_IS_EJECTED = {4: SILENT}, {3: EJECTED}
FILLING = [
    # case, node, departed, unattested; shards kept, shard → node to copy from, shard → why it is rebuilt
    ("kept stays", 1, {}, (), (0, 1), {}, {}),
    ("gained from a member is transferred", 2, {}, (), (3, 4), {9: 4}, {}),
    ("gained from a leaver is rebuilt", 5, {}, (), (), {2: 1}, {5: LEFT, 6: LEFT}),
    ("gained from an ejected one is rebuilt", 5, THIRD_IS_EJECTED, (), (), {2: 1}, {5: EJECTED, 6: EJECTED}),
    ("gained from a silent member is rebuilt", 2, FOURTH_IS_SILENT, (), (3, 4), {}, {9: SILENT}),
    ("a silent member keeps what it keeps", 4, FOURTH_IS_SILENT, (), (7, 8), {}, {}),
    ("a silent member that loses nothing", 5, {2: SILENT}, (), (), {2: 1}, {5: LEFT, 6: LEFT}),
    ("a leaver fills nothing", 3, {}, (), (), {}, {}),
    ("a node in neither committee", 99, {}, (), (), {}, {}),
    ("its own that it never attested", 1, {}, {0, 2, 9}, (1,), {}, {0: UNATTESTED}),
    ("another's that was never attested", 2, {}, {9}, (3, 4), {9: 4}, {}),
    ("a leaver's that was never attested", 5, {}, {5, 2}, (), {2: 1}, {5: LEFT, 6: LEFT}),
]


@pytest.mark.parametrize(
    ("node_id", "departed", "unattested", "kept", "transferred", "rebuilt"),
    [case[1:] for case in FILLING],
    ids=[case[0] for case in FILLING],
)
def test_filling(
    before: Committee,
    after: Committee,
    node_id: int,
    departed: Mapping[int, Departure],
    unattested: Collection[int],
    kept: tuple[int, ...],
    transferred: Mapping[int, int],
    rebuilt: Mapping[int, Departure],
) -> None:
    plan = plan_filling(Change(before, after, departed, unattested), node_id)
    assert (plan.epoch, plan.node_id) == (8, node_id)
    assert plan.kept == kept
    assert plan.transferred == {shard: after.by_id[source] for shard, source in transferred.items()}
    assert plan.rebuilt == rebuilt
    assert plan.attest == tuple(sorted({**transferred, **rebuilt}))


def test_the_first_committee_has_nothing_to_take_over(before: Committee) -> None:
    plan = plan_filling(Change(None, before, unattested={8}), 4)
    assert plan.kept == (7, 8, 9)
    assert plan.attest == ()
    assert transition.plan_all(Change(None, before)).kept == frozenset(range(10))


def test_a_source_is_named_with_its_present_address(before: Committee, after: Committee) -> None:
    with_new_address = tuple(
        replace(member, address="http://elsewhere:2") if member.node_id == 4 else member
        for member in after.members
    )
    plan = plan_filling(Change(before, replace(after, members=with_new_address)), 2)
    assert plan.transferred[9].address == "http://elsewhere:2"


def test_shards_ascend_whatever_their_order_in_the_committee(before: Committee, after: Committee) -> None:
    assert list(plan_filling(Change(before, after), 5).rebuilt) == [5, 6]


def test_the_whole_transition(before: Committee, after: Committee) -> None:
    everyone = transition.plan_all(Change(before, after))
    assert list(everyone.plans) == [1, 2, 3, 4, 5]
    assert everyone.kept == {0, 1, 3, 4, 7, 8}
    assert {shard: source.node_id for shard, source in everyone.transferred.items()} == {2: 1, 9: 4}
    assert everyone.rebuilt == {5: LEFT, 6: LEFT}
    assert shards.least_moves(before.holdings, after.holdings) == 4


@pytest.mark.parametrize("epoch", [6, 7, 9])
def test_a_change_refuses_a_committee_that_does_not_follow(
    before: Committee, after: Committee, epoch: int
) -> None:
    with pytest.raises(CommitteeError, match=f"epoch {epoch} with 10 shards does not follow that of epoch 7"):
        Change(before, replace(after, epoch=epoch))


def test_a_change_refuses_another_number_of_shards(committee_of: CommitteeOf, before: Committee) -> None:
    with pytest.raises(CommitteeError, match="with 11 shards does not follow"):
        Change(before, committee_of(8, {1: range(11)}))


# what may be dropped


NEXT = {1: (0, 1, 2, 4), 2: (3, 9), 4: (7, 8), 5: (5, 6)}
DROPPABLE = [
    # case, node, stored, selected?, missing; shards that may go
    ("its own stays", 1, (0, 1), False, (), ()),
    ("lost in this change stays an epoch longer", 1, (0, 1, 2), False, (), ()),
    ("another's may go", 1, (5, 0, 4), False, (), (4, 5)),
    ("what is missing stays", 1, (4, 5), False, (5, 6), (4,)),
    ("what the selected committee gives back stays", 1, (0, 2, 4, 5), True, (), (5,)),
    ("nothing is stored", 1, (), True, (3,), ()),
    ("a leaver drops nothing at first", 3, (6, 5), False, (), ()),
    ("a node in neither committee", 99, (6, 3), False, (3,), (6,)),
]


@pytest.mark.parametrize(
    ("node_id", "stored", "is_selected", "missing", "may_go"),
    [case[1:] for case in DROPPABLE],
    ids=[case[0] for case in DROPPABLE],
)
def test_droppable(
    before: Committee,
    after: Committee,
    committee_of: CommitteeOf,
    node_id: int,
    stored: Collection[int],
    is_selected: bool,
    missing: Collection[int],
    may_go: tuple[int, ...],
) -> None:
    selected = committee_of(9, NEXT) if is_selected else None
    assert droppable(StoredShards(node_id, stored, before, after, selected, missing)) == may_go


def test_in_the_first_epoch_all_but_its_own_may_go(before: Committee) -> None:
    assert droppable(StoredShards(4, {0, 7}, None, before)) == (0,)


# over elected committees


@given(changes())
@settings(max_examples=150, deadline=None)
def test_every_shard_is_planned_exactly_once(committee_of: CommitteeOf, change: Draw) -> None:
    previous, current = elect(committee_of, change, 500)
    departed = dict.fromkeys(change[3], SILENT)
    committees = Change(previous, current, departed)
    planned: list[int] = []
    for node_id, plan in transition.plan_all(committees).plans.items():
        assert plan == plan_filling(committees, node_id)
        assert sorted((*plan.kept, *plan.attest)) == sorted(current.shards_of(node_id))
        assert not set(plan.transferred) & set(plan.rebuilt)
        planned += [*plan.kept, *plan.transferred, *plan.rebuilt]
    assert sorted(planned) == list(range(current.n_shards))


@given(changes())
@settings(max_examples=150, deadline=None)
def test_each_way_has_its_condition(committee_of: CommitteeOf, change: Draw) -> None:
    previous, current = elect(committee_of, change, 500)
    silent = change[3]
    everyone = transition.plan_all(Change(previous, current, dict.fromkeys(silent, SILENT)))
    for shard in range(current.n_shards):
        old, new = previous.owner_of[shard].node_id, current.owner_of[shard].node_id
        departed = old in silent or old not in current.by_id
        assert (shard in everyone.kept) == (old == new)
        assert (shard in everyone.transferred) == (old != new and not departed)
        assert (shard in everyone.rebuilt) == (old != new and departed)
        if shard in everyone.transferred:
            assert everyone.transferred[shard] == current.by_id[old]
        if shard in everyone.rebuilt:
            assert everyone.rebuilt[shard] == (SILENT if old in silent else LEFT)


@given(changes())
@settings(max_examples=150, deadline=None)
def test_the_number_moved_is_the_least_possible(committee_of: CommitteeOf, change: Draw) -> None:
    previous, current = elect(committee_of, change, 0)
    everyone = transition.plan_all(Change(previous, current))
    n_moved = len(everyone.transferred) + len(everyone.rebuilt)
    assert n_moved == shards.least_moves(previous.holdings, current.holdings)
    # Without the band the counts are those the stakes earn, so that no election at all could move fewer.
    earned = shards.apportion(change[1], change[2])
    held = {member.node_id: member.weight for member in previous.members}
    assert n_moved == sum(max(0, count - earned.get(node_id, 0)) for node_id, count in held.items())


@given(changes(), st.sets(st.integers(0, 99)))
@settings(max_examples=150, deadline=None)
def test_unattested_shards_are_planned_exactly_once_too(
    committee_of: CommitteeOf, change: Draw, unattested: set[int]
) -> None:
    previous, current = elect(committee_of, change, 500)
    plain = transition.plan_all(Change(previous, current))
    everyone = transition.plan_all(Change(previous, current, unattested=unattested))
    planned = [shard for plan in everyone.plans.values() for shard in (*plan.kept, *plan.attest)]
    assert sorted(planned) == list(range(current.n_shards))
    assert everyone.kept == plain.kept - unattested
    assert everyone.transferred == plain.transferred
    again = {shard for shard, why in everyone.rebuilt.items() if why is UNATTESTED}
    assert again == plain.kept & unattested


@given(changes(), st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
@settings(max_examples=100, deadline=None)
def test_no_node_drops_what_it_serves(
    committee_of: CommitteeOf, change: Draw, stored: set[int], missing: set[int]
) -> None:
    previous, current = elect(committee_of, change, 500)
    for node_id in {*previous.by_id, *current.by_id}:
        serves = {*previous.shards_of(node_id), *current.shards_of(node_id)} | missing
        may_go = droppable(StoredShards(node_id, stored, previous, current, missing=missing))
        assert set(may_go) == stored - serves


@given(changes())
@settings(max_examples=50, deadline=None)
def test_a_committee_that_stays_moves_nothing(committee_of: CommitteeOf, change: Draw) -> None:
    previous, _ = elect(committee_of, change, 0)
    everyone = transition.plan_all(Change(previous, replace(previous, epoch=4)))
    assert everyone.kept == frozenset(range(previous.n_shards))
    assert (everyone.transferred, everyone.rebuilt) == ({}, {})
