from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.errors import CommitteeError
from committee.membership import Committee, Member

CommitteeOf = Callable[[int, Mapping[int, Sequence[int]]], Committee]


def member(node_id: int, *shards: int) -> Member:
    return Member(node_id, f"node-{node_id}", "http://localhost:1", bytes(48), shards)


def test_lookups(committee_of: CommitteeOf) -> None:
    committee = committee_of(3, {2: (3, 0), 7: (1, 2, 4)})
    assert committee.owner_of[4].node_id == 7
    assert committee.by_id[2].weight == 2
    assert committee.shards_of(2) == (3, 0)
    assert committee.holdings == {2: (3, 0), 7: (1, 2, 4)}
    assert committee.shards_of(5) == ()
    assert committee.weight_of({2, 5}) == 2


@given(weight=st.integers(0, 400), n_shards=st.integers(1, 400))
def test_quorums_of_any_size(committee_of: CommitteeOf, weight: int, n_shards: int) -> None:
    committee = committee_of(1, {1: range(n_shards)})
    faulty = (n_shards - 1) // 3
    if committee.has_one_correct(weight):
        assert weight > faulty
    if committee.is_quorum(weight):
        # Any two quorums share more shards than can be faulty.
        assert 2 * weight - n_shards > faulty
    assert committee.is_quorum(weight) == (3 * weight >= 2 * n_shards + 1)
    assert committee.has_one_correct(weight) == (3 * weight >= n_shards + 1)
    assert committee.is_quorum(n_shards - faulty)
    assert not committee.is_quorum(2 * n_shards // 3)
    assert not committee.has_one_correct(n_shards // 3)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member(1, 0, 1), member(2, 1, 2)], "each once"),
        ([member(1, 0), member(2, 2)], "each once"),
        ([member(1, 0, 1), member(2, 2, 3)], "each once"),
        ([], "each once"),
        ([member(2, 0), member(1, 1, 2)], "must ascend"),
        ([member(1, 0), member(1, 1, 2)], "must ascend"),
        ([member(1, 0, 1, 2), member(2)], "node-2 without a shard"),
    ],
    ids=["shard twice", "shard missing", "shard too many", "nobody", "out of order", "node twice", "idle"],
)
def test_committee_refuses(members: list[Member], why: str) -> None:
    with pytest.raises(CommitteeError, match=why):
        Committee(1, 3, tuple(members))
