"""Proofs of symbols from members that hang, over a link of their own. Time passes as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from committee.membership import Member
from storage.client.link import GRACE_S, Link, Transfer
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair.gathering import Gathering
from storage.node.repair.proofs import Proofs
from storage.node.repair.reputation import GOOD, Reputation
from storage.node.store.records import Symbols
from storage.redstuff import Axis, MerkleProof, RedStuff

CODE = RedStuff(10)  # p = 4, s = 7
BLOB = CODE.encode(bytes(range(250)))
T = CODE.symbol_size(250)
MINE = 9
TARGET = CODE.sliver_index(BLOB.blob_id, MINE, Axis.PRIMARY)
LIAR = Member(0, "liar", "", bytes(48), (0, 1, 2))
HONEST = [Member(shard, f"node{shard}", "", bytes(48), (shard,)) for shard in range(3, 7)]
PATIENCE_S = 12.0


class Bench:
    """Members that gave their symbols for a primary sliver; those in `hanging` give no proof."""

    def __init__(self, sources: Sequence[Member]) -> None:
        self.now_s = 1000.0
        self.hanging: set[int] = set()
        self.asked: list[tuple[int, list[int]]] = []
        """(node id, shards) of the questions that went out."""
        self.reputation = Reputation()
        self.budget = Budget(requests_at_once=2)
        self._link = Link()
        peers = SimpleNamespace(
            client=lambda member: SimpleNamespace(recovery_symbols=self._answer_of(member))
        )
        self.proofs = Proofs(CODE, cast(Peers, peers), self.reputation, self.budget)
        given: dict[int, Mapping[int, Symbols]] = {}
        places = {}
        for member in sources:
            for shard in member.shards:
                index = CODE.sliver_index(BLOB.blob_id, shard, Axis.SECONDARY)
                sliver = BLOB.sliver(Axis.SECONDARY, index)
                given[index] = CODE.recovery_symbols(Axis.SECONDARY, sliver, [TARGET], T)
                places[index] = (member, shard)
        self.gathering = Gathering(BLOB.metadata, Axis.PRIMARY, {TARGET: MINE}, CODE.s, T, given, places)

    def _answer_of(self, member: Member):  # type: ignore[no-untyped-def]
        async def answer(
            blob_id: bytes, axis: Axis, target: int, shards: list[int], symbol_bytes: int, transfer: Transfer
        ) -> dict[int, tuple[bytes, MerkleProof]]:
            transfer.size_bytes, transfer.peer = len(shards) * 2**14, member
            async with self._link.turn(transfer):
                self.asked.append((member.node_id, list(shards)))
                if member.node_id in self.hanging:
                    await asyncio.Event().wait()
                indices = [CODE.sliver_index(BLOB.blob_id, shard, Axis.SECONDARY) for shard in shards]
                return {
                    index: CODE.prove_symbol(axis.other, BLOB.sliver(axis.other, index), target, T)
                    for index in indices
                }

        return answer

    def ask(self) -> asyncio.Task[dict[int, MerkleProof]]:
        return asyncio.create_task(self.proofs.ask(self.gathering, TARGET, {}, PATIENCE_S))

    async def passes(self, seconds: float) -> None:
        self.now_s += seconds
        for _ in range(50):
            await asyncio.sleep(0)

    def proven_shards(self, proofs: Mapping[int, MerkleProof]) -> set[int]:
        return {CODE.shard_of_pair(BLOB.blob_id, CODE.sliver_of_pair(one, Axis.SECONDARY)) for one in proofs}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench([LIAR, *HONEST])
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: bench.now_s)
    return bench


async def test_a_member_that_hangs_on_its_proofs_is_waited_for_once(bench: Bench) -> None:
    """It is asked for all of its shards together: a link has one slow transfer from a peer at a time."""
    bench.hanging = {LIAR.node_id}
    asking = bench.ask()
    await bench.passes(0)
    for _ in range(5):
        await bench.passes(GRACE_S / 4)
    assert asking.done()
    assert bench.proven_shards(asking.result()) == {3, 4, 5, 6}
    assert [shards for node_id, shards in bench.asked if node_id == LIAR.node_id] == [[0, 1, 2]]
    assert bench.gathering.wasted == 3
    assert bench.reputation.rank(LIAR) != GOOD


async def test_members_that_hang_give_their_turns_to_others(bench: Bench) -> None:
    bench.hanging = {3, 4}
    async with bench.budget.request(), bench.budget.request():
        asking = bench.ask()
        await bench.passes(0)
    for _ in range(30):
        await bench.passes(1.0)
    assert asking.done()
    assert bench.proven_shards(asking.result()) == {0, 1, 2, 5, 6}


async def test_members_that_all_hang_are_waited_for_as_long_as_answers_take(bench: Bench) -> None:
    bench.hanging = {LIAR.node_id, *range(3, 7)}
    bench.budget = bench.proofs._budget = Budget()
    asking = bench.ask()
    await bench.passes(0)
    for _ in range(11):
        await bench.passes(1.0)
    assert not asking.done(), "the link may be slow"
    for _ in range(5):
        await bench.passes(1.0)
    assert asking.done()
    assert asking.result() == {} == bench.gathering.sources
    assert bench.gathering.wasted == 7
