"""Whom symbols are asked of: few members when little is needed, and those last that may not have the sliver yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from committee.membership import Member
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair import helpers as helpers_module
from storage.node.repair.gathering import Gathering
from storage.node.repair.helpers import Helpers
from storage.node.repair.reputation import Reputation
from storage.redstuff import Axis, RedStuff

CODE = RedStuff(100)  # p = 34, s = 67
BLOB = CODE.encode(bytes(3400))
MEMBERS = [
    Member(number, f"node{number}", "", bytes(48), tuple(range(10 * number, 10 * number + 10)))
    for number in range(9)
]
"""Of the shards from 90 on, nobody else has any."""


def spread(
    count: int,
    *,
    new: Mapping[int, Member] | None = None,
    left: Collection[int] = (),
    me: int = 0,
    targets: int = 1,
) -> dict[int, list[int]]:
    """Node id → shards it is asked for; `new` are shards whose new owner alone offers them, `left` who has left."""
    holders = {shard: [one] for one in MEMBERS for shard in one.shards} | {
        shard: [one] for shard, one in (new or {}).items()
    }
    peers = SimpleNamespace(
        is_new_owner=lambda member, shard: shard in (new or {}),
        has_left=lambda member: member.node_id in left,
    )
    reputation = Reputation()
    helpers = Helpers(CODE, cast(Peers, peers), me, reputation, Budget())
    t = CODE.symbol_size(3400)
    gathering = Gathering(
        BLOB.metadata, Axis.SECONDARY, {number: number for number in range(targets)}, CODE.p, t
    )
    asked = helpers.spread(gathering, helpers.offers(gathering, holders, []), count)
    return {member.node_id: shards for member, shards in asked.items()}


def test_little_is_asked_of_few_members() -> None:
    assert sorted(map(len, spread(34).values())) == [4, 10, 10, 10]


def test_other_nodes_begin_with_other_members() -> None:
    assert len({min(spread(10, me=me)) for me in range(9)}) == 9


@pytest.mark.parametrize("count", [34, 67])
def test_much_is_asked_of_all_evenly(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(helpers_module, "LEAST_BYTES", 1)
    sizes = [len(shards) for shards in spread(count).values()]
    assert len(sizes) == 9
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_between_them_each_gives_the_least_at_once_and_then_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helpers_module, "LEAST_BYTES", 6 * 2 * CODE.symbol_size(3400))
    assert sorted(map(len, spread(34, targets=2).values())) == [6, 7, 7, 7, 7]


def test_new_owners_are_asked_for_what_they_gained_when_nothing_else_is_left() -> None:
    new = {90 + number: MEMBERS[number] for number in range(9)}
    assert not {shard for shards in spread(90, new=new).values() for shard in shards} & new.keys()
    assert sum(map(len, spread(95, new=new).values())) == 95


def test_who_has_left_is_asked_when_nobody_else_is_left() -> None:
    new = {90: MEMBERS[8]}
    assert spread(70, left={0, 1}, new=new).keys() == set(range(2, 9))
    assert sum(map(len, spread(71, left={0, 1}, new=new).values())) == 71
    asked = spread(80, left={0, 1}, new=new)
    assert sum(len(asked.get(node_id, ())) for node_id in (0, 1)) == 80 - 71


def test_lies_of_nodes_that_share_a_name_are_counted_apart() -> None:
    reputation, (honest, liar) = Reputation(), (Member(one, "twin", "", bytes(48), ()) for one in (1, 2))
    reputation.lied(liar, "a symbol")
    assert (reputation.lies[honest.node_id], reputation.lies[liar.node_id]) == (0, 1)


def test_no_shard_is_asked_for_twice() -> None:
    shards = [shard for some in spread(90).values() for shard in some]
    assert sorted(shards) == list(range(90))
