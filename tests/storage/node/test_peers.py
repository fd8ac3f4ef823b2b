"""Who may hold a shard, and who has had it for longest."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

import pytest

from committee.ledger import BlockMark, EpochState
from committee.membership import Committee, Member
from storage.node.chain import ChainView
from storage.node.peers import MOVED_S, Peers

NOWHERE = BlockMark(0, b"")


def member(node_id: int, *shards: int, address: str = "http://now") -> Member:
    return Member(node_id, f"node-{node_id}", address, bytes(48), shards)


GONE = member(5, 0, 1, 2, 3, address="http://before")
STATE = EpochState(
    *(NOWHERE, 9, 9, 9, 0, NOWHERE, True, 0, 0),
    previous=Committee(8, 4, (member(1, 0, 1, address="http://before"), member(2, 2, 3))),
    current=Committee(9, 4, (member(1, 0), member(3, 1, 2, 3))),
    next=None,
    unattested={3: GONE},
    salt_seed=bytes(32),
)


@pytest.fixture
async def peers() -> Peers:
    """Of node 3."""
    made = Peers(cast(ChainView, SimpleNamespace(state=STATE, node_id=3)), allow_private=False)
    await made.close()
    return made


def test_holders_are_those_of_before_first_and_whoever_attested_a_shard_last_before_them(
    peers: Peers,
) -> None:
    found = {shard: [one.node_id for one in members] for shard, members in peers.holders(()).items()}
    assert found == {0: [1], 1: [1], 2: [2], 3: [5, 2]}
    assert peers.holders({2}).keys() == {0, 1, 3}
    assert [one.node_id for one in peers.holders({2})[3]] == [5]


def test_all_that_may_hold_anything_are_known_by_their_newest_address(peers: Peers) -> None:
    assert [(one.node_id, one.address) for one in peers.others()] == [
        (1, "http://now"),
        (2, "http://now"),
        (5, "http://before"),
    ]


def test_a_member_of_an_old_plan_is_reached_at_its_newest_address(peers: Peers) -> None:
    client = peers.client(member(1, 0))
    assert client.address == "http://now"
    assert peers.client(member(1, 0, 1, address="http://before")) is client
    assert peers.watch_client(member(1, 0, 1, address="http://before")).address == "http://now"
    assert peers.client(member(9, 7, address="http://selected")).address == "http://selected"


def test_a_new_owner_is_whoever_did_not_attest_the_shard_last(peers: Peers) -> None:
    before = member(2, 2, 3)
    assert not peers.is_new_owner(before, 2)
    assert peers.is_new_owner(before, 3), "it had not attested it"
    assert not peers.is_new_owner(GONE, 3)
    assert peers.is_new_owner(member(3, 1, 2, 3), 1)


async def test_a_member_that_moves_all_the_time_is_followed_now_and_then(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each move would have a new name looked up, and others' names wait."""
    now_s, asked = [0.0], list[str]()
    monkeypatch.setattr("storage.node.peers.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    assert peers.watch_client(member(1, 0)).address == "http://now"
    for number in range(300):
        moved = dataclasses.replace(member(1, 0), address=f"http://there-{number}")
        current = Committee(9, 4, (moved, member(3, 1, 2, 3)))
        peers._view.state = dataclasses.replace(STATE, current=current)
        asked += [client(moved).address for client in (peers.watch_client, peers.client)]
        now_s[0] += 1
    assert asked[:2] == ["http://there-0"] * 2, "the first move is followed at once"
    assert len(set(asked)) == 300 / MOVED_S
    now_s[0] += MOVED_S
    assert peers.watch_client(moved).address == "http://there-299"
