"""The epochs move on by themselves: one member does each step, whoever fails; none sends what is done."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from committee.bls import SecretKey
from committee.errors import INSUFFICIENT_FUNDS, LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import StepKind
from committee.rota import LEAST_TURN_S, TURNS_A_PERIOD
from committee.terms import Terms
from storage.node.upkeep.keeper import DONE_BEFORE, Outcome
from tests.memory_chain import MemoryChain, MemoryLedger
from tests.storage.network import PARAMETERS, SHARDS
from tests.storage.node.upkeep.keepers import Members

TURN_S = LEAST_TURN_S
"""The blocks before the first epoch come at once,"""
LATER_TURN_S = PARAMETERS.period_duration_s // TURNS_A_PERIOD
"""and an epoch passes between two of those before the second."""
STEPS = [StepKind.SELECT, StepKind.REPLACE, StepKind.START, StepKind.CLOSE]
HALF_S = PARAMETERS.period_duration_s // 2
STALLED = {1: SHARDS[2], 2: SHARDS[1], 3: SHARDS[3], 4: SHARDS[4]}
"""Of the first committee's shards too few are kept for a quorum."""


@pytest.fixture
async def members() -> AsyncIterator[Members]:
    members = Members()
    for node_id in SHARDS:
        await members.join(node_id)
    yield members


async def test_three_epochs_go_by_with_one_transaction_a_step(members: Members) -> None:
    expected = []
    for _ in range(3):
        for kind in (StepKind.SELECT, StepKind.START):
            expected.append((members.order(kind)[0], kind))
            await members.wait(HALF_S)
    assert members.sent == expected
    assert members.chain.state.epoch == 4
    assert sum(keeper.done_count for keeper in members.keepers.values()) == 6


@pytest.mark.parametrize("dead", [1, 2, 3])
async def test_the_next_member_acts_when_the_ones_before_it_let_their_turns_pass(
    members: Members, dead: int
) -> None:
    order = members.order(StepKind.SELECT)
    members.down = {*order[:dead]}
    await members.wait(HALF_S)
    await members.wait(dead * TURN_S - 1)
    assert members.sent == []
    await members.wait(1)
    assert members.sent == [(order[dead], StepKind.SELECT)]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (LedgerRefused("Committee.select", INSUFFICIENT_FUNDS), Outcome.REFUSED),
        (LedgerRefused("Committee.select", "NoStake"), Outcome.REFUSED),
        (LedgerUnavailable("no receipt within 120 s"), Outcome.NO_ANSWER),
    ],
    ids=["no gas", "refused", "no receipt"],
)
async def test_a_member_that_cannot_act_tries_once_and_lets_its_turn_pass(
    members: Members, fault: LedgerError, outcome: Outcome
) -> None:
    first, second, *_ = members.order(StepKind.SELECT)
    members.ledgers[first].lost = fault
    await members.wait(HALF_S + TURN_S)
    assert members.sent == [(first, StepKind.SELECT), (second, StepKind.SELECT)]
    assert members.last(first) is outcome


async def test_a_member_whose_endpoint_is_silent_lets_its_turn_pass(members: Members) -> None:
    first, second, *_ = members.order(StepKind.SELECT)
    members.ledgers[first].trouble = LedgerUnavailable("no answer within 5 s")
    await members.wait(HALF_S + TURN_S)
    assert members.sent == [(second, StepKind.SELECT)]


async def test_the_order_goes_around_until_a_step_is_done(members: Members) -> None:
    first, *others = members.order(StepKind.SELECT)
    members.down = {*SHARDS}
    await members.wait(HALF_S + TURN_S - 1)
    members.down = {*others}
    await members.wait(len(others) * TURN_S)
    assert members.sent == []
    await members.wait(1)
    assert members.sent == [(first, StepKind.SELECT)]


async def test_nobody_begins_in_the_second_half_of_its_turn(members: Members) -> None:
    order = members.order(StepKind.SELECT)
    members.down = {*order}
    await members.wait(HALF_S + TURN_S - 1)
    await members.look(*order)
    assert members.sent == []


async def test_what_is_not_settled_yet_is_seen_before_anything_is_sent(members: Members) -> None:
    first, second, *_ = members.order(StepKind.SELECT)
    for ledger in members.ledgers.values():
        ledger.held = members.chain.settled
    await members.wait(HALF_S)
    assert members.sent == [(first, StepKind.SELECT)]
    await members.wait(4 * TURN_S)
    assert members.sent == [(first, StepKind.SELECT)]
    assert {members.last(node_id) for node_id in SHARDS} == {Outcome.DONE, Outcome.DONE_BEFORE}
    assert members.last(second) is Outcome.DONE_BEFORE
    assert members.keepers[second].due == (), "the newest state has it"


@pytest.mark.parametrize("kind", STEPS)
async def test_a_step_that_another_account_does_at_the_same_time_is_an_outcome(
    members: Members, kind: StepKind
) -> None:
    if kind is StepKind.CLOSE:
        members.chain.start(STALLED)
    if kind is StepKind.START:
        members.chain.select()
    first = members.order(kind)[0]
    if kind is StepKind.REPLACE:
        members.chain.eject(3)
    by_hand = {
        StepKind.SELECT: members.chain.select,
        StepKind.REPLACE: members.chain.replace,
        StepKind.START: members.chain.start,
    }
    members.ledgers[first].before_sending = by_hand.get(kind, members.chain.close)
    while not members.sent:
        await members.wait(1)
    assert members.sent == [(first, kind)]
    assert members.last(first, kind) is Outcome.DONE_BEFORE


def selected(members: Members) -> set[int]:
    """The members of the committee that is selected."""
    committee = members.chain.state.next
    return set(committee.by_id) if committee else set()


async def test_a_step_that_a_reorganisation_undoes_is_done_again(members: Members) -> None:
    members.down = {*members.order(StepKind.SELECT)[1:]}
    await members.wait(HALF_S - 1)
    before = members.chain.blocks[-1].mark
    await members.wait(1)
    assert selected(members) == {1, 2, 3, 4}
    members.chain.rewind(before)
    await members.wait(6 * TURN_S)
    assert selected(members) == {1, 2, 3, 4}
    assert [kind for _, kind in members.sent] == 2 * [StepKind.SELECT]


async def test_a_committee_that_is_dropped_too_late_for_a_replacement_is_selected_anew(
    members: Members,
) -> None:
    members.down = {*members.order(StepKind.SELECT)[1:]}
    await members.wait(2 * HALF_S - PARAMETERS.notice_s)
    members.chain.eject(3)
    assert selected(members) == set()
    await members.wait(4 * TURN_S)
    assert [kind for _, kind in members.sent] == 2 * [StepKind.SELECT]
    assert selected(members) == {1, 2, 4}


async def test_an_ejected_member_is_replaced_within_the_period(members: Members) -> None:
    """Its shards go to the others after the notice; the next period comes when it would have come."""
    members.chain.eject(3)
    for kind, seconds, epoch, period in (
        (StepKind.REPLACE, PARAMETERS.notice_s - 1, 1, 1),
        (StepKind.START, HALF_S - PARAMETERS.notice_s, 2, 1),
        (StepKind.SELECT, HALF_S, 2, 1),
        (StepKind.START, 1, 3, 2),
    ):
        first = members.order(kind)[0]
        await members.wait(seconds)
        assert members.sent[-1] == (first, kind)
        assert (members.chain.state.epoch, members.chain.state.period) == (epoch, period)
    assert len(members.sent) == 4
    assert members.chain.time_s == PARAMETERS.period_duration_s


async def test_a_handover_without_a_quorum_is_closed(members: Members) -> None:
    members.chain.start(STALLED)
    await members.wait(PARAMETERS.handover_deadline_s)
    assert members.sent == [(members.order(StepKind.CLOSE)[0], StepKind.CLOSE)]
    assert members.chain.state.handover_done


@pytest.mark.parametrize("without", ["key", "setting"])
async def test_a_node_without_a_key_or_with_the_keeper_off_only_watches(without: str) -> None:
    members = Members()
    for node_id in SHARDS:
        await members.join(node_id, account=without != "key", acts=without != "setting")
    await members.wait(3 * PARAMETERS.period_duration_s)
    assert members.sent == []
    keeper = members.keepers[1]
    (due,) = keeper.due
    turn = due.turn.node_id
    assert keeper.health() == {
        "acts": False,
        "due": [
            {
                "step": "select",
                "epoch": 2,
                "since": members.chain.state.last_handover_done_s + HALF_S,
                "seconds": 3 * PARAMETERS.period_duration_s - HALF_S,
                "turn": {"nodeId": turn, "name": f"node-{turn}"},
            }
        ],
        "done": 0,
        "lastTurns": {},
    }
    members.chain.eject(3)
    await members.wait(5)
    (due,) = keeper.health()["due"]
    assert (due["step"], due["epoch"], due["seconds"]) == ("replace", 2, 5)


async def test_the_first_epoch_is_its_founders(members: Members) -> None:
    chain = MemoryChain(PARAMETERS)
    chain.add_node("node-1", "http://x:1", SecretKey(1).public_key)
    chain.stand({1: 1})
    members.chain = chain
    keeper = await members.join(1)
    await members.look(1)
    assert members.sent == []
    assert keeper.due == ()


async def test_the_members_of_an_epoch_are_paid_by_one_of_them_when_it_is_over(members: Members) -> None:
    members.owed[1] = {1, 2, 4}
    members.chain.start(SHARDS)
    first = members.order(StepKind.PAY_OUT)[0]
    await members.wait(1)
    assert members.sent == [(first, StepKind.PAY_OUT)]
    assert members.owed == {1: set()}
    await members.wait(4 * LATER_TURN_S)
    assert members.last(first, StepKind.PAY_OUT) is Outcome.DONE
    others = {members.last(node_id, StepKind.PAY_OUT) for node_id in SHARDS if node_id != first}
    assert others == {Outcome.DONE_BEFORE}
    assert max(ledger.questions for ledger in members.ledgers.values()) == 2, "not with every look"
    assert {keeper.due for keeper in members.keepers.values()} == {()}


async def test_a_member_that_was_replaced_and_is_not_elected_again_is_paid(members: Members) -> None:
    """By then it is in the committee neither of this epoch nor of the one before."""
    gone, others = 4, {node_id: SHARDS[node_id] for node_id in (1, 2, 3)}
    members.chain.eject(gone)
    members.chain.replace()
    members.chain.start()
    assert members.chain.state.handover_done
    members.owed[1] = {gone}
    members.chain.select({1: (*others[1], *SHARDS[gone]), 2: others[2], 3: others[3]})
    members.chain.start()
    state = members.chain.state
    assert state.previous is not None and state.current is not None
    assert gone not in state.previous.by_id.keys() | state.current.by_id.keys()
    members.down.add(gone)
    await members.wait(1)
    assert members.owed == {1: set()}


async def test_the_votes_on_the_terms_are_counted_with_the_payments(members: Members) -> None:
    terms = Terms(2, 1, 1 << 50)
    for ledger in members.ledgers.values():
        await ledger.vote(terms)
    members.chain.start(SHARDS)
    first = members.order(StepKind.PAY_OUT)[0]
    await members.wait(1)
    assert await members.ledgers[first].terms() == terms
    assert members.last(first, StepKind.PAY_OUT) is Outcome.DONE
    await members.wait(4 * LATER_TURN_S)
    others = {members.last(node_id, StepKind.PAY_OUT) for node_id in SHARDS if node_id != first}
    assert others == {Outcome.DONE_BEFORE}


async def test_payments_that_fail_are_made_by_the_next_member(members: Members) -> None:
    members.owed[1] = {1, 2, 4}
    members.chain.start(SHARDS)
    first, second, *_ = members.order(StepKind.PAY_OUT)
    members.ledgers[first].lost = LedgerUnavailable("no receipt within 120 s")
    await members.wait(LATER_TURN_S - 1)
    assert members.last(first, StepKind.PAY_OUT) is Outcome.NO_ANSWER
    assert members.owed == {1: {1, 2, 4}}
    assert members.keepers[second].due[-1].step.kind is StepKind.PAY_OUT
    await members.wait(1)
    assert members.owed == {1: set()}
    assert members.sent == [(first, StepKind.PAY_OUT), (second, StepKind.PAY_OUT)]


@pytest.mark.parametrize("kind", STEPS)
async def test_the_contracts_name_a_step_that_is_done(members: Members, kind: StepKind) -> None:
    chain, ledger = members.chain, members.chain.ledger(None)
    if kind in (StepKind.SELECT, StepKind.REPLACE):
        chain.select()
    send = {
        StepKind.SELECT: ledger.select,
        StepKind.REPLACE: ledger.replace,
        StepKind.START: ledger.start,
        StepKind.CLOSE: ledger.close_handover,
    }
    with pytest.raises(LedgerRefused) as refused:
        await send[kind]()
    assert refused.value.reason == DONE_BEFORE[kind]


@pytest.mark.parametrize(("is_development_chain", "rest_s"), [(True, 2.0), (False, HALF_S / 2)])
async def test_a_clock_that_is_moved_by_hand_is_not_slept_through(
    monkeypatch: pytest.MonkeyPatch, is_development_chain: bool, rest_s: float
) -> None:
    monkeypatch.setattr(MemoryLedger, "is_development_chain", is_development_chain)
    members = Members()
    for node_id in SHARDS:
        await members.join(node_id)
    assert await members.keepers[1]._look() == rest_s
