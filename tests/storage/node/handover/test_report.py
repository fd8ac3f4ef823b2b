"""The transition report adds up what nodes say and holds it against what the change had to move."""

from __future__ import annotations

import dataclasses

import pytest

from committee.membership import Committee, Member
from storage.node.handover.report import NodeReport, ShardReport, TransitionReport, transition_report
from storage.node.store import ShardTally

# n = 4: p = 2, s = 3; a blob of 100 bytes has symbols of 18 bytes, a pair costs 5 * 18.
LENGTH, PAIR_BYTES = 100, 90


def committee(epoch: int, shards: dict[int, tuple[int, ...]]) -> Committee:
    members = [Member(one, f"node{one}", "http://x:1", bytes(48), held) for one, held in shards.items()]
    return Committee(epoch, 4, tuple(members))


PREVIOUS = committee(1, {1: (0,), 2: (1,), 3: (2, 3)})
CURRENT = committee(2, {2: (1, 3), 3: (2,), 4: (0,)})
REBUILT = ShardReport(0, rebuilt_slivers=2, rebuilt_bytes=PAIR_BYTES, received_bytes=PAIR_BYTES)
COPIED = ShardReport(3, transferred_slivers=2, transferred_bytes=PAIR_BYTES, received_bytes=PAIR_BYTES)


def report_of(*shards: ShardReport, share: float = 0.5) -> TransitionReport:
    return transition_report(PREVIOUS, CURRENT, [LENGTH], [NodeReport(2, 4, shards, share)], unattested=())


def failing(report: TransitionReport) -> set[str]:
    return {check.statement for check in report.checks if not check.holds}


def test_a_nodes_report_adds_up_both_ways_of_a_shard() -> None:
    tallies = [
        ShardTally(3, "rebuilt", 2, 90, 80, 7),
        ShardTally(1, "transferred", 1, 10, 10, 0),
        ShardTally(3, "transferred", 4, 40, 40, 1),
    ]
    assert NodeReport.added_up(2, 4, tallies, 0.5) == NodeReport(
        2, 4, (ShardReport(1, 1, 10, 0, 0, 10, 0), ShardReport(3, 4, 40, 2, 90, 120, 8)), 0.5
    )


def test_a_clean_transition_holds_every_check() -> None:
    report = report_of(REBUILT, COPIED)
    assert failing(report) == set()
    assert (report.kept_shards, report.transferred_shards, report.rebuilt_shards, report.departed_shards) == (
        2,
        1,
        1,
        1,
    )
    assert report.rebuilt_bytes == report.lower_bound_bytes == report.transferred_bytes == PAIR_BYTES
    assert report.received_bytes == 2 * PAIR_BYTES
    assert report.whole_blob_repair_bytes == 2 * 3 * 18
    assert report.full_reencode_bytes == 2 * 3 * 18 + 4 * PAIR_BYTES


def test_a_report_on_the_epoch_before_is_refused() -> None:
    """A node that has not seen the epoch's start tells of the handover before, in which other shards were moved."""
    behind = NodeReport(1, 3, (ShardReport(3, rebuilt_slivers=2),), 0.5)
    with pytest.raises(ValueError, match="node 3 reports on the handover into epoch 1, not 2"):
        transition_report(PREVIOUS, CURRENT, [LENGTH], [behind], unattested=())


def test_a_byte_for_a_kept_shard_is_found() -> None:
    reports = [
        NodeReport(2, 4, (REBUILT, COPIED), 0.5),
        NodeReport(2, 3, (ShardReport(2, received_bytes=1),), 0),
    ]
    report = transition_report(PREVIOUS, CURRENT, [LENGTH], reports, unattested=())
    assert failing(report) == {"kept shards moved no byte"}


@pytest.mark.parametrize("slivers", [1, 2])
def test_what_is_rebuilt_of_a_shard_that_was_not_attested_is_not_for_a_kept_one(slivers: int) -> None:
    """Shard 1 is node 2's in both epochs; how much of it that has already nobody else knows."""
    moved = {"rebuilt_bytes": PAIR_BYTES, "received_bytes": PAIR_BYTES}
    owed = NodeReport(2, 2, (ShardReport(1, rebuilt_slivers=slivers, **moved),), 0.5)
    nodes = [NodeReport(2, 4, (REBUILT, COPIED), 0.5), owed]
    report = transition_report(PREVIOUS, CURRENT, [LENGTH], nodes, unattested={1})
    assert failing(report) == set()
    assert (report.kept_shards, report.rebuilt_shards, report.departed_shards) == (1, 2, 1)
    assert (report.rebuilt_bytes, report.lower_bound_bytes) == (2 * PAIR_BYTES, PAIR_BYTES)
    assert "kept shards moved no byte" in failing(
        transition_report(PREVIOUS, CURRENT, [LENGTH], nodes, unattested=())
    )


def test_what_was_prefetched_for_a_selection_that_was_dropped_is_not_for_a_kept_shard() -> None:
    assert failing(report_of(REBUILT, COPIED, ShardReport(2, received_bytes=1))) == set()


def test_a_departed_sliver_not_rebuilt_is_found() -> None:
    one = dataclasses.replace(REBUILT, rebuilt_slivers=1)
    assert failing(report_of(one, COPIED)) == {"the slivers rebuilt are exactly the departed members'"}


def test_a_sliver_rebuilt_although_its_owner_stayed_is_found() -> None:
    extra = dataclasses.replace(COPIED, rebuilt_slivers=1)
    assert failing(report_of(REBUILT, extra)) == {"the slivers rebuilt are exactly the departed members'"}


def test_more_than_the_lower_bound_is_found() -> None:
    more = dataclasses.replace(REBUILT, rebuilt_bytes=PAIR_BYTES + 1)
    assert failing(report_of(more, COPIED)) == {"no more symbols entered the rebuild than the lower bound"}


def test_what_came_in_vain_is_told_and_fails_no_check() -> None:
    report = report_of(dataclasses.replace(REBUILT, wasted_bytes=1), COPIED)
    assert report.wasted_bytes == 1
    assert failing(report) == set()


def test_a_whole_blob_at_one_node_is_found() -> None:
    assert failing(report_of(REBUILT, COPIED, share=1.0)) == {"no whole blob was assembled anywhere"}


def test_no_blobs_no_rebuild_no_failure() -> None:
    report = transition_report(PREVIOUS, CURRENT, [], [NodeReport(2, 4, (), 0.0)], unattested=())
    assert failing(report) == set()


def test_a_node_report_survives_json() -> None:
    report = NodeReport(2, 4, (REBUILT, COPIED), 0.25)
    assert NodeReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("values", [{}, {"epoch": 1}, {"epoch": 1, "node_id": 1, "shards": [{"x": 1}]}])
def test_a_node_report_refuses_what_is_none(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a node's handover report"):
        NodeReport.from_json(values)
