"""The rules by which a node confirms, gives away and signs, each as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from committee.ledger import BlobRecord, BlockMark, EpochState
from committee.membership import Committee, Member
from committee.messages import LONGEST_EJECTION_S, ShardTransferRequest
from storage.client.failures import Reason
from storage.node import rules
from storage.node.face import Refusal
from storage.redstuff import Axis

P, S = Axis.PRIMARY, Axis.SECONDARY
OWN, OTHER, THIRD, STRANGER = 1, 2, 3, 9


def committee(epoch: int, owners: Mapping[int, Collection[int]]) -> Committee:
    """(epoch, node id → shards) → a committee whose keys are the node's id, 48 times."""
    members = tuple(
        Member(node_id, f"node-{node_id}", f"http://node-{node_id}:1", bytes([node_id]) * 48, tuple(shards))
        for node_id, shards in owners.items()
    )
    return Committee(epoch, 4, members)


PREVIOUS = committee(6, {OWN: (0, 1), OTHER: (2, 3)})
CURRENT = committee(7, {OWN: (0,), OTHER: (1, 2), THIRD: (3,)})
SELECTED = committee(8, {OTHER: (0, 1), THIRD: (2, 3)})
STATE = EpochState(
    *(BlockMark(9, bytes(32)), 7, 7, 7, 0, BlockMark(8, bytes(32)), True, 0, 0),
    *(PREVIOUS, CURRENT, SELECTED),
    salt_seed=bytes(32),
)


def reason_of(rule: Any, *given: Any, **named: Any) -> Reason | None:
    """Return why the rule refuses; None when it does not."""
    try:
        rule(*given, **named)
    except Refusal as refusal:
        return refusal.reason
    return None


# confirmations

PERMANENT = BlobRecord(4, bytes(32), 100, "0xa", 6, None, 9, deletable=False)
DELETABLE = replace(PERMANENT, object_id=5, deletable=True)


@pytest.mark.parametrize(
    ("object_id", "permanent_until", "deletable", "period", "is_registered"),
    [
        (None, 0, None, 7, False),
        (None, 9, None, 7, True),
        (None, 9, None, 8, True),
        (None, 9, None, 9, False),
        (4, 9, None, 7, False),
        (4, 9, PERMANENT, 7, False),
        (None, 0, DELETABLE, 7, False),
        (5, 0, DELETABLE, 7, True),
        (5, 9, DELETABLE, 8, True),
        (5, 10, DELETABLE, 9, False),
        (4, 0, DELETABLE, 7, False),
        (5, 9, replace(DELETABLE, deleted=True), 7, False),
        (5, 9, replace(DELETABLE, invalid=True), 7, False),
        (5, 0, replace(DELETABLE, certified_epoch=6), 7, True),
    ],
)
def test_registered_as_what_is_to_be_certified(
    object_id: int | None,
    permanent_until: int,
    deletable: BlobRecord | None,
    period: int,
    is_registered: bool,
) -> None:
    assert rules.is_registered_as(object_id, permanent_until, deletable, period) is is_registered


@pytest.mark.parametrize(
    ("stored", "has_metadata", "told"),
    [
        ({P: {1, 2}, S: {1, 2}}, True, None),
        ({P: {1, 2, 3}, S: {0, 1, 2}}, True, None),
        ({P: {1, 2}, S: {1, 2}}, False, "metadata and slivers are missing"),
        ({P: {1}, S: {1, 2}}, True, r"1 primary slivers are missing, of shards \[2\]"),
        ({P: {1, 2}, S: {3}}, True, r"2 secondary slivers are missing, of shards \[1, 2\]"),
    ],
)
def test_durable(stored: Mapping[Axis, set[int]], has_metadata: bool, told: str | None) -> None:
    if told is None:
        rules.require_durable({1, 2}, stored, has_metadata=has_metadata)
        return
    with pytest.raises(Refusal, match=told) as caught:
        rules.require_durable({1, 2}, stored, has_metadata=has_metadata)
    assert caught.value.reason is Reason.MISSING_SLIVERS


# what is given away


@pytest.mark.parametrize(
    ("node_id", "shard", "stored", "is_refused"),
    [
        (OWN, 0, (), False),
        (OWN, 1, (), False),
        (OWN, 2, (), True),
        (OWN, 2, (2,), False),
        (OTHER, 0, (), False),
        (STRANGER, 0, (1,), True),
    ],
    ids=[
        "own",
        "own before",
        "another's",
        "another's, still here",
        "own from the next epoch on",
        "no member",
    ],
)
def test_shard(node_id: int, shard: int, stored: Collection[int], is_refused: bool) -> None:
    reason = reason_of(rules.require_shard, STATE, node_id, shard, 0, stored)
    assert reason is (Reason.SHARD_NOT_ASSIGNED if is_refused else None)


@pytest.mark.parametrize(
    ("asked", "key_of", "shard", "epoch", "reason"),
    [
        (OWN, OTHER, 1, 7, None),
        (OWN, OTHER, 0, 8, None),
        (OWN, THIRD, 1, 7, Reason.REQUEST_UNAUTHORIZED),
        (OWN, OTHER, 9, 7, Reason.REQUEST_UNAUTHORIZED),
        (OTHER, OTHER, 1, 7, Reason.SHARD_NOT_ASSIGNED),
        (STRANGER, OTHER, 1, 7, Reason.SHARD_NOT_ASSIGNED),
        (OWN, OWN, 1, 6, Reason.INVALID_EPOCH),
        (OWN, OTHER, 1, 9, Reason.INVALID_EPOCH),
    ],
    ids=[
        "gained in this epoch",
        "to be gained in the next",
        "another member's key",
        "no such shard",
        "not asked of the owner before",
        "asked of no member",
        "an epoch that is over",
        "an epoch that is not selected yet",
    ],
)
def test_new_owner(asked: int, key_of: int, shard: int, epoch: int, reason: Reason | None) -> None:
    wanted = ShardTransferRequest(shard, int(P), bytes(32), 1, bytes([key_of]) * 48)
    assert reason_of(rules.require_new_owner, STATE, asked, epoch, wanted) is reason
    if reason is None:
        assert rules.require_new_owner(STATE, asked, epoch, wanted).node_id == key_of


# ejections


@pytest.mark.parametrize(
    ("current", "own_id", "node_id", "was_ejected", "is_refused"),
    [
        (CURRENT, OWN, OTHER, False, False),
        (CURRENT, OWN, OTHER, True, True),
        (CURRENT, OWN, OWN, False, True),
        (CURRENT, OWN, STRANGER, False, True),
        (CURRENT, STRANGER, OTHER, False, True),
        (None, OWN, OTHER, False, True),
    ],
    ids=["fellows", "ejected", "itself", "no member", "this node is none", "no committee yet"],
)
def test_fellow(
    current: Committee | None, own_id: int, node_id: int, was_ejected: bool, is_refused: bool
) -> None:
    reason = reason_of(rules.require_fellow, current, own_id, node_id, was_ejected=was_ejected)
    assert reason is (Reason.INVALID_REQUEST if is_refused else None)


@pytest.mark.parametrize(("silent_s", "is_refused"), [(0, True), (59.9, True), (60, False), (1000, False)])
def test_silent(silent_s: float, is_refused: bool) -> None:
    reason = reason_of(rules.require_silent, CURRENT.by_id[OTHER], silent_s, 60)
    assert reason is (Reason.MEMBER_ANSWERS if is_refused else None)


@pytest.mark.parametrize(
    ("ahead_s", "is_refused"),
    [(-1, True), (0, False), (LONGEST_EJECTION_S - 1, False), (LONGEST_EJECTION_S, True)],
)
@pytest.mark.parametrize("others", [(), (5000,)], ids=["alone", "beside a right one"])
def test_near(ahead_s: int, is_refused: bool, others: tuple[int, ...]) -> None:
    for chain_times_s in ((5000, *others), (*others, 5000)):
        reason = reason_of(rules.require_near, 5000 + ahead_s, chain_times_s)
        assert reason is (Reason.INVALID_REQUEST if is_refused else None)


@pytest.mark.parametrize("lie_s", [-100_000, 100_000])
def test_near_by_the_word_of_one_endpoint_is_not_enough(lie_s: int) -> None:
    assert reason_of(rules.require_near, 5600 + lie_s, (5000 + lie_s, 5000)) is Reason.INVALID_REQUEST
