"""When a helper that does not answer is overtaken: by how long answers took of late. Time passes as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import cast

import pytest

from committee.membership import Member
from storage.client.errors import NodeRefused
from storage.client.link import Transfer
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair import courier
from storage.node.repair.gathering import Gathering
from storage.node.repair.helpers import FIRST_TIMES, OVERTAKEN_AFTER_S, TIMES_THE_USUAL, Helpers
from storage.node.repair.reputation import GOOD, SLOW, Reputation
from storage.redstuff import Axis, RedStuff

CODE = RedStuff(10)  # p = 4, s = 7
BLOB = CODE.encode(bytes(range(250)))
T = CODE.symbol_size(250)
MEMBERS = [Member(shard, f"node{shard}", "", bytes(48), (shard,)) for shard in range(9)]
TARGET = 0
REQUESTS_AT_ONCE = 12
JUST = 0.001


class Bench:
    """Helpers of one shard each, which answer when a test says, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[int] = []
        """Whoever was asked, in order."""
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.holders = {one.node_id: [one] for one in MEMBERS}
        self.budget = Budget(requests_at_once=REQUESTS_AT_ONCE)
        self.reputation = Reputation()
        peers = SimpleNamespace(
            client=lambda member: SimpleNamespace(
                decoding_symbols=lambda *question: self._answer(member, *question)
            ),
            holders=lambda avoiding: self.holders,
            is_new_owner=lambda member, shard: False,
            has_left=lambda member: False,
        )
        self.helpers = Helpers(CODE, cast(Peers, peers), 0, self.reputation, self.budget)

    async def _answer(
        self,
        member: Member,
        blob_id: bytes,
        axis: Axis,
        targets: list[int],
        shards: list[int],
        size_bytes: int,
        transfer: Transfer,
    ) -> Mapping[int, Mapping[int, bytes]]:
        transfer.on_begin()
        self.asked.append(member.node_id)
        answer = self.waiting[member.node_id] = asyncio.get_running_loop().create_future()
        await answer
        index = CODE.sliver_index(blob_id, member.node_id, axis.other)
        return {index: {target: bytes(T) for target in targets}}

    def gathering(self) -> Gathering:
        return Gathering(BLOB.metadata, Axis.SECONDARY, {TARGET: 9}, CODE.p, T)

    async def gather(self) -> tuple[Gathering, asyncio.Task[None]]:
        """Begin to gather symbols for one secondary sliver, which four helpers give."""
        gathering = self.gathering()
        fetching = asyncio.create_task(self.helpers.fetch(gathering, ()))
        await self.passes(0)
        return gathering, fetching

    async def passes(self, seconds: float) -> None:
        self.now_s += seconds
        for _ in range(20):
            await asyncio.sleep(0)

    async def answered(self, *node_ids: int) -> None:
        """These answer, as far as their requests were not cancelled."""
        for node_id in node_ids:
            answer = self.waiting.pop(node_id)
            if not answer.cancelled():
                answer.set_result(None)
        await self.passes(0)

    async def used_to(self, seconds: float, times: int = 1) -> None:
        """All helpers have answered within so many seconds, so often."""
        for _ in range(times):
            _, fetching = await self.gather()
            await self.passes(seconds)
            await self.answered(*self.asked)
            await fetching
            self.asked.clear()

    def slow(self) -> set[int]:
        return {one.node_id for one in MEMBERS if self.reputation.rank(one) != GOOD}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: bench.now_s)
    return bench


@pytest.mark.parametrize(
    ("usual_s", "after_s"),
    [
        (None, FIRST_TIMES * OVERTAKEN_AFTER_S),
        (0.01, OVERTAKEN_AFTER_S),
        (OVERTAKEN_AFTER_S / TIMES_THE_USUAL / 2, OVERTAKEN_AFTER_S),
        (OVERTAKEN_AFTER_S / TIMES_THE_USUAL * 2, 2 * OVERTAKEN_AFTER_S),
        (3.0, TIMES_THE_USUAL * 3.0),
    ],
    ids=["nothing known", "quick", "half as long", "twice as long", "slow"],
)
async def test_a_helper_is_overtaken_by_how_long_answers_take(
    bench: Bench, usual_s: float | None, after_s: float
) -> None:
    if usual_s is not None:
        await bench.used_to(usual_s)
    gathering, fetching = await bench.gather()
    await bench.passes(after_s - JUST)
    first = list(bench.asked)
    assert len(first) == CODE.p
    assert bench.slow() == set()
    await bench.passes(2 * JUST)
    in_their_place = bench.asked[CODE.p :]
    assert len(in_their_place) == CODE.p
    assert bench.slow() == set(first)
    await bench.answered(*in_their_place)
    await fetching
    assert {member.node_id for member, _ in gathering.sources.values()} == set(in_their_place)
    assert gathering.wasted == 0


async def test_the_usual_time_follows_the_latest_answers(bench: Bench) -> None:
    await bench.used_to(3.0)
    await bench.used_to(0.01, times=30)
    _, fetching = await bench.gather()
    await bench.passes(OVERTAKEN_AFTER_S + JUST)
    assert len(bench.asked) == 2 * CODE.p, "slow answers of long ago do not count"
    await bench.answered(*bench.asked)
    await fetching


async def test_one_slow_answer_changes_little(bench: Bench) -> None:
    await bench.used_to(0.01, times=5)
    _, fetching = await bench.gather()
    slow, *others = bench.asked
    await bench.answered(*others)
    await bench.passes(OVERTAKEN_AFTER_S - JUST)
    await bench.answered(slow)
    await fetching
    bench.asked.clear()
    _, fetching = await bench.gather()
    await bench.passes(OVERTAKEN_AFTER_S - JUST)
    assert len(bench.asked) == CODE.p
    await bench.passes(2 * JUST)
    assert len(bench.asked) == 2 * CODE.p
    await bench.answered(*bench.asked)
    await fetching


async def test_fewer_than_half_of_the_helpers_cannot_make_everyone_wait_longer(bench: Bench) -> None:
    """Each time they answer just before they are overtaken."""
    await bench.used_to(0.01)
    for _ in range(10):
        _, fetching = await bench.gather()
        slow, *others = bench.asked
        await bench.answered(*others)
        await bench.passes(bench.helpers.overtaken_after_s - JUST)
        await bench.answered(slow)
        await fetching
        bench.asked.clear()
    assert bench.helpers.overtaken_after_s == OVERTAKEN_AFTER_S


async def test_an_overtaken_request_is_cancelled_when_another_is_made_in_its_place(bench: Bench) -> None:
    await bench.used_to(0.01)
    gathering, fetching = await bench.gather()
    slow, *others = bench.asked
    await bench.answered(*others)
    answer = bench.waiting[slow]
    await bench.passes(OVERTAKEN_AFTER_S + JUST)
    assert answer.cancelled()
    await bench.answered(bench.asked[-1])
    await fetching
    assert slow not in {member.node_id for member, _ in gathering.sources.values()}
    assert gathering.wasted == 0


async def test_an_overtaken_request_goes_on_when_no_other_helper_is_left(bench: Bench) -> None:
    await bench.used_to(0.01)
    for member in MEMBERS[CODE.p :]:
        del bench.holders[member.node_id]
    gathering, fetching = await bench.gather()
    slow, *others = bench.asked
    await bench.answered(*others)
    await bench.passes(2 * OVERTAKEN_AFTER_S)
    await bench.answered(slow)
    await fetching
    assert slow in {member.node_id for member, _ in gathering.sources.values()}
    assert bench.asked.count(slow) == 1


async def test_a_cancelled_request_is_made_again_when_the_others_fail_and_is_then_waited_for(
    bench: Bench,
) -> None:
    await bench.used_to(0.01)
    gathering, fetching = await bench.gather()
    slow, *others = bench.asked
    await bench.answered(*others)
    await bench.passes(OVERTAKEN_AFTER_S + JUST)
    while bench.asked[-1] != slow:
        refusal = NodeRefused("node", "", 404, None, "nothing is here")
        bench.waiting.pop(bench.asked[-1]).set_exception(refusal)
        await bench.passes(0)
    answer = bench.waiting[slow]
    await bench.passes(10 * OVERTAKEN_AFTER_S)
    assert not answer.cancelled()
    await bench.answered(slow)
    await fetching
    assert slow in {member.node_id for member, _ in gathering.sources.values()}


async def test_a_helper_that_refuses_is_replaced_at_once_and_not_called_slow(bench: Bench) -> None:
    _, fetching = await bench.gather()
    first = list(bench.asked)
    refusal = NodeRefused("node", "", 404, None, "nothing is here")
    bench.waiting.pop(first[0]).set_exception(refusal)
    await bench.passes(0)
    assert len(bench.asked) == CODE.p + 1
    assert bench.slow() == set()
    await bench.answered(*first[1:], bench.asked[-1])
    await fetching


async def test_what_waits_for_its_turn_is_not_overtaken(bench: Bench) -> None:
    """The time counts from when the request goes out: asking others would only make the line longer."""
    async with AsyncExitStack() as others:
        for _ in range(REQUESTS_AT_ONCE):
            await others.enter_async_context(bench.budget.request())
        _, fetching = await bench.gather()
        for _ in range(10):
            await bench.passes(OVERTAKEN_AFTER_S)
        assert bench.asked == []
    await bench.passes(0)
    assert len(bench.asked) == CODE.p
    await bench.answered(*bench.asked)
    await fetching
    assert bench.slow() == set()


async def test_what_waits_behind_a_helper_that_hangs_is_asked_of_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "AT_ONCE_TO_A_MEMBER", 1)
    await bench.used_to(0.01)
    gathering = bench.gathering()
    offers = bench.helpers.offers(gathering, bench.holders, [])
    hanging = min(one.node_id for one in bench.helpers.spread(gathering, offers, 1))
    question = (BLOB.blob_id, Axis.SECONDARY, [TARGET], [hanging], T, lambda: None)
    others = asyncio.create_task(bench.helpers.courier.ask(MEMBERS[hanging], *question))
    gathering, fetching = await bench.gather()
    await bench.answered(*(bench.waiting.keys() - {hanging}))
    assert gathering.lacking == 1
    bench.reputation.kept_waiting(MEMBERS[hanging])
    await bench.passes(OVERTAKEN_AFTER_S - JUST)
    assert bench.waiting.keys() == {hanging}, "its turn may still come"
    await bench.passes(2 * JUST)
    await bench.answered(*(bench.waiting.keys() - {hanging}))
    await fetching
    assert bench.asked.count(hanging) == 1, "its turn never came"
    others.cancel()


async def test_a_rebuilder_asks_slow_members_last_for_a_while(bench: Bench) -> None:
    await bench.used_to(0.01)
    _, fetching = await bench.gather()
    slow, *others = bench.asked
    await bench.answered(*others)
    await bench.passes(OVERTAKEN_AFTER_S + JUST)
    await bench.answered(bench.asked[-1])
    await fetching
    assert bench.reputation.rank(MEMBERS[slow]) == SLOW
    bench.asked.clear()
    _, fetching = await bench.gather()
    assert slow not in bench.asked
    await bench.answered(*bench.asked)
    await fetching
