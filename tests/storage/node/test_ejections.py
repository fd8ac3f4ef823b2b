"""Ejections by the watch: who is ejected, who is not, and who posts it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from committee import messages
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.membership import Committee, Member
from committee.rota import draw_order
from storage.client.failures import Reason
from storage.node.face import Refusal
from storage.node.watch import CHAIN_TIME_KEPT_S
from tests.storage.node.watch_bench import (
    CHAIN_TIME_S,
    COMMITTEE,
    DEADLINE_S,
    GRACE_S,
    ME,
    MEMBERS,
    PATIENCE_S,
    TURN_S,
    WATCHED,
    Bench,
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.mark.parametrize("node_id", [ME, 5])
async def test_only_fellow_members_can_be_ejected(bench: Bench, node_id: int) -> None:
    with pytest.raises(Refusal):
        await bench.watch.sign_ejection(node_id, DEADLINE_S)


async def test_a_member_that_is_silent_to_a_quorum_is_ejected(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    ((node_id, certificate),) = bench.ejected
    assert node_id == WATCHED
    assert certificate.epoch == 3


@pytest.mark.parametrize("cheat", ["hangs", "signs with another key"])
async def test_an_ejection_that_a_quorum_signs_waits_for_no_other_member(bench: Bench, cheat: str) -> None:
    """Node 2 is asked first, and nodes 1 and 3 have seven shards of ten."""
    shards = {1: (0, 1, 2, 3), 2: (4, 5), 3: (6, 7, 8), 4: (9,)}
    committee = Committee(
        3, 10, tuple(dataclasses.replace(MEMBERS[one], shards=held) for one, held in shards.items())
    )
    bench.view.state.current = committee
    bench.health = bench.no_answer
    await bench.poll()
    if cheat == "hangs":
        bench.hanging = {2}
    else:
        bench.signs_as = {2: 3}
    async with asyncio.timeout(10):
        await bench.watch._eject(committee, committee.by_id[WATCHED])
    ((_, certificate),) = bench.ejected
    assert certificate.bitmap == bytes([0b101])


@pytest.mark.parametrize("signers", [set(), {2}, {3}])
async def test_a_member_that_answers_some_is_not_ejected(bench: Bench, signers: set[int]) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.signers = signers
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.ejected


async def test_a_member_shown_to_be_alive_is_neither_ejected_nor_signed_against(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.witness = "node-3"
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.ejected
    with pytest.raises(Refusal, match="node-4 answers node-3") as refused:
        await bench.watch.sign_ejection(WATCHED, DEADLINE_S)
    assert refused.value.reason is Reason.MEMBER_ANSWERS


@pytest.mark.parametrize("ahead_s", [-1, messages.LONGEST_EJECTION_S, 10 * messages.LONGEST_EJECTION_S])
async def test_nothing_is_signed_that_could_be_kept_for_later(bench: Bench, ahead_s: int) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    with pytest.raises(Refusal, match=f"the deadline is {ahead_s} s ahead") as refused:
        await bench.watch.sign_ejection(WATCHED, CHAIN_TIME_S + ahead_s)
    assert refused.value.status == 400
    for ahead_s in (0, messages.LONGEST_EJECTION_S - 1):
        await bench.watch.sign_ejection(WATCHED, CHAIN_TIME_S + ahead_s)


@pytest.mark.parametrize("other_s", [CHAIN_TIME_S - 10**6, CHAIN_TIME_S + 10**6])
async def test_nothing_is_signed_while_an_endpoint_tells_another_time(bench: Bench, other_s: int) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.other_times_s = (other_s,)
    for deadline_s in (CHAIN_TIME_S + 600, other_s + 600):
        with pytest.raises(Refusal, match="the deadline is"):
            await bench.watch.sign_ejection(WATCHED, deadline_s)


async def test_whoever_asks_for_ejections_the_chain_is_asked_for_its_time_once_a_while(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    for _ in range(2):
        signed = [bench.watch.sign_ejection(WATCHED, DEADLINE_S + number) for number in range(50)]
        assert len({message for message, _ in await asyncio.gather(*signed)}) == 50
    assert bench.time_asked == 1
    bench.now += CHAIN_TIME_KEPT_S
    await bench.watch.sign_ejection(WATCHED, DEADLINE_S)
    assert bench.time_asked == 2


async def test_those_that_wait_for_a_slow_chains_time_share_it(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    told = bench.chain_times_s

    async def slow() -> tuple[int, ...]:
        bench.now += CHAIN_TIME_KEPT_S
        return await told()

    bench.chain_times_s = slow  # type: ignore[method-assign]
    await asyncio.gather(*(bench.watch.sign_ejection(WATCHED, DEADLINE_S + number) for number in range(50)))
    assert bench.time_asked == 1


async def test_nothing_is_signed_against_a_member_that_is_ejected_already(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.view.was_ejected = lambda node_id, epoch: (node_id, epoch) == (WATCHED, 3)
    with pytest.raises(Refusal, match="node 4 was ejected in epoch 3") as refused:
        await bench.watch.sign_ejection(WATCHED, DEADLINE_S)
    assert refused.value.status == 404
    assert bench.time_asked == 0


async def test_without_the_chains_time_nothing_is_signed_and_it_is_tried_again(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.is_chain_away = True
    with pytest.raises(Refusal) as refused:
        await bench.watch.sign_ejection(WATCHED, DEADLINE_S)
    assert (refused.value.status, refused.value.reason) == (503, Reason.UNAVAILABLE)
    assert not await bench.watch._gather_and_post(COMMITTEE, MEMBERS[WATCHED])
    bench.is_chain_away = False
    assert await bench.watch._gather_and_post(COMMITTEE, MEMBERS[WATCHED])
    assert bench.ejected


async def test_a_member_that_answers_while_its_life_is_looked_for_stays(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()

    async def find(member: Member) -> None:
        bench.health = bench.answer
        await bench.poll()

    bench.watch._signs.witness = find  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="answered within"):
        await bench.watch.sign_ejection(WATCHED, DEADLINE_S)


def refused(reason: str) -> LedgerRefused:
    return LedgerRefused("Committee.eject", reason)


@pytest.mark.parametrize(
    "refusal",
    [
        *map(refused, ("EnforcedPause", "InsufficientFunds", "TooMuchGas", "WrongEpoch", "NotEnoughWeight")),
        LedgerUnavailable("no answer within 5 s"),
    ],
    ids=str,
)
async def test_an_ejection_that_is_not_taken_is_posted_again_after_ever_longer_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refusal: LedgerError
) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    monkeypatch.setattr(asyncio, "sleep", bench.pause)
    bench.refusals = [refusal] * 8
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert [node_id for node_id, _ in bench.ejected] == [WATCHED]
    assert bench.pauses_s == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_an_ejection_that_is_not_taken_is_left_to_the_next_member(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(seconds: float) -> None:
        bench.pauses_s.append(seconds)
        bench.now += seconds

    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    monkeypatch.setattr(asyncio, "sleep", pause)
    bench.refusals = [refused("InsufficientFunds")] * 8
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert bench.pauses_s == [1, 2, 4], "the first half of a turn is over"
    assert not bench.ejected


async def test_members_eject_in_turns_without_those_that_are_silent(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    order = draw_order({node_id: MEMBERS[node_id].weight for node_id in (1, 2, 3)}, 3, f"eject {WATCHED}")
    for turn in range(2 * len(order)):
        for into_s in range(TURN_S):
            acting = []
            for bench.view.node_id in (1, 2, 3):
                if bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED]):
                    acting.append(bench.view.node_id)
            assert acting == ([order[turn % len(order)]] if into_s < TURN_S / 2 else [])
            bench.now += 1


async def test_nobody_ejects_before_the_others_can_know(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    for _ in range(PATIENCE_S, GRACE_S):
        for bench.view.node_id in (1, 2, 3):
            assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
        bench.now += 1


async def test_a_node_without_an_account_ejects_nobody(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    assert bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
    bench.account = None
    assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])


async def test_an_ejection_that_another_posted_is_not_posted_again(bench: Bench) -> None:
    bench.health = bench.no_answer
    await bench.poll()
    bench.now += GRACE_S - PATIENCE_S
    assert bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])
    bench.refusals = [refused("AlreadyEjected")]
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.refusals
    assert not bench.watch._is_my_turn(COMMITTEE, MEMBERS[WATCHED])


async def test_an_ejection_is_not_tried_again_when_the_committee_has_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(seconds: float) -> None:
        bench.view.state.current = dataclasses.replace(COMMITTEE, epoch=4)

    bench.health = bench.no_answer
    await bench.poll()
    monkeypatch.setattr(asyncio, "sleep", change)
    bench.refusals = [refused("WrongEpoch")]
    await bench.watch._eject(COMMITTEE, MEMBERS[WATCHED])
    assert not bench.refusals
    assert not bench.ejected
