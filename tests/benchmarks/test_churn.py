"""The simulation holds to the rules it is made of."""

from __future__ import annotations

import dataclasses

from benchmarks.simulate_churn import Assumptions, Stakes, cost_of, elect, simulate
from storage.redstuff import Parameters

SMALL = Assumptions(n_shards=100, periods=6, leaving=0.1, crashing=0.1, blob_shares=((2**20, 1.0),))


def test_a_year_is_the_same_each_time() -> None:
    assert simulate(30, SMALL) == simulate(30, SMALL)


def test_no_more_shards_move_than_must() -> None:
    changes = simulate(30, SMALL)
    assert sum(one.rebuilt for one in changes) > 0
    assert {one.is_replacement for one in changes} == {False, True}
    assert [one.epoch for one in changes] == list(range(2, len(changes) + 2))
    for one in changes:
        assert one.transferred + one.rebuilt == one.least_moves
        assert one.kept + one.least_moves == 100
        assert not one.is_replacement or one.transferred == 0 < one.rebuilt, "nobody that stays loses a shard"
        assert one.haulout_bytes <= one.shared_blob_bytes <= one.whole_blob_bytes


def test_stored_blobs_cost_what_redstuff_says() -> None:
    shape = Parameters(100)
    cost = cost_of(dataclasses.replace(SMALL, stored_bytes=10 * 2**20))
    assert cost.pair == 10 * (shape.p + shape.s) * shape.symbol_size(2**20)
    assert cost.source == 10 * shape.p * shape.s * shape.symbol_size(2**20)


def test_who_departs_is_replaced_and_never_elected_again() -> None:
    stakes = Stakes(30, SMALL)
    gone: set[int] = set()
    committee = None
    for _ in range(6):
        gone |= stakes.pass_period().keys()
        committee = elect(committee, stakes.of, SMALL)
        assert not gone & committee.by_id.keys()
        assert len(stakes.of) == 30
    assert gone
