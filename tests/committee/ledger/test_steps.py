"""Which step comes next, and when: what the contracts take, before and behind each step."""

from __future__ import annotations

import dataclasses

import pytest

from committee.errors import LedgerRefused
from committee.ledger import EpochStep, Parameters, StepKind, next_step, pay_out_step
from tests.memory_chain import MemoryChain
from tests.storage.network import PARAMETERS, SHARDS

MOVED = {1: SHARDS[2], 2: SHARDS[1], 3: SHARDS[3], 4: SHARDS[4]}


def chain_with(parameters: Parameters) -> MemoryChain:
    chain = MemoryChain(parameters, time_s=1000)
    chain.add_candidates(SHARDS)
    return chain


@pytest.fixture
def chain() -> MemoryChain:
    return chain_with(PARAMETERS)


def step(chain: MemoryChain) -> EpochStep:
    return next_step(chain.state, chain.parameters, chain.time_s)


async def do(chain: MemoryChain) -> StepKind:
    """Do the next step by the contracts' rules alone: a second before it is due they refuse it."""
    due, ledger = step(chain), chain.ledger(None)
    send = {
        StepKind.SELECT: ledger.select,
        StepKind.REPLACE: ledger.replace,
        StepKind.START: ledger.start,
        StepKind.CLOSE: ledger.close_handover,
    }
    if chain.time_s < due.since_s:
        chain.time_s = due.since_s - 1
        with pytest.raises(LedgerRefused, match="TooEarly"):
            await send[due.kind]()
        chain.time_s = due.since_s
    await send[due.kind]()
    return due.kind


async def test_the_first_epoch_is_possible_at_once(chain: MemoryChain) -> None:
    assert step(chain) == EpochStep(StepKind.SELECT, 1, 1000)
    await do(chain)
    assert step(chain) == EpochStep(StepKind.START, 1, 1000)


async def test_every_step_is_taken_from_the_second_on_in_which_it_is_due(chain: MemoryChain) -> None:
    done = [await do(chain) for _ in range(6)]
    assert done == 3 * [StepKind.SELECT, StepKind.START]
    assert chain.state.epoch == 3
    assert chain.time_s == 1000 + 2 * PARAMETERS.period_duration_s


async def test_an_epoch_is_paid_for_once_the_next_has_begun(chain: MemoryChain) -> None:
    assert pay_out_step(chain.state) is None
    for _ in range(2):
        await do(chain)
    assert pay_out_step(chain.state) is None
    for _ in range(2):
        await do(chain)
    assert pay_out_step(chain.state) == EpochStep(StepKind.PAY_OUT, 1, chain.state.started_at_s)


async def test_a_handover_without_a_quorum_is_closed(chain: MemoryChain) -> None:
    for _ in range(2):
        await do(chain)
    chain.start(MOVED)
    assert not chain.state.handover_done
    assert step(chain) == EpochStep(
        StepKind.CLOSE, 2, chain.state.started_at_s + PARAMETERS.handover_deadline_s
    )
    assert await do(chain) is StepKind.CLOSE
    assert step(chain) == EpochStep(StepKind.SELECT, 3, chain.time_s + PARAMETERS.period_duration_s // 2)


REPLACED = [StepKind.REPLACE, StepKind.START, StepKind.SELECT, StepKind.START]
REGULAR = [StepKind.SELECT, StepKind.START]


@pytest.mark.parametrize(
    ("ejected_at_s", "steps", "epochs"),
    [
        pytest.param(0, REPLACED, 2, id="at once"),
        pytest.param(PARAMETERS.period_duration_s // 2, REPLACED, 2, id="when a selection is due"),
        pytest.param(
            PARAMETERS.period_duration_s - PARAMETERS.notice_s - 1, REPLACED, 2, id="in the last second"
        ),
        pytest.param(PARAMETERS.period_duration_s - PARAMETERS.notice_s, REGULAR, 1, id="too late"),
    ],
)
async def test_an_ejected_member_is_replaced_within_the_period_until_the_next_is_near(
    chain: MemoryChain, ejected_at_s: int, steps: list[StepKind], epochs: int
) -> None:
    for _ in range(2):
        await do(chain)
    began_s = chain.time_s
    chain.time_s += ejected_at_s
    chain.eject(3)
    if steps is REGULAR:
        with pytest.raises(LedgerRefused, match="TooEarly"):
            await chain.ledger(None).replace()
    else:
        assert step(chain) == EpochStep(StepKind.REPLACE, 2, chain.time_s)
    assert [await do(chain) for _ in steps] == steps
    assert (chain.state.epoch, chain.state.period) == (1 + epochs, 2)
    late_s = max(0, ejected_at_s + 2 * PARAMETERS.notice_s - PARAMETERS.period_duration_s)
    assert chain.time_s - began_s == PARAMETERS.period_duration_s + late_s * (steps is REPLACED)


async def test_members_are_replaced_again_in_a_period_that_is_overdue(chain: MemoryChain) -> None:
    """The stake that stands is too little for a selection: the network must not go without its redundancy meanwhile."""
    for _ in range(2):
        await do(chain)
    due_s = chain.time_s + PARAMETERS.period_duration_s
    chain.stand({1: 3, 2: 0, 3: 0, 4: 0})
    chain.time_s = due_s + PARAMETERS.notice_s - 1
    chain.eject(3)
    assert step(chain).kind is StepKind.SELECT
    with pytest.raises(LedgerRefused, match="NotEnoughStake"):
        await chain.ledger(None).select()
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await chain.ledger(None).replace()
    chain.time_s += 1
    assert step(chain) == EpochStep(StepKind.REPLACE, 2, chain.time_s)
    assert [await do(chain) for _ in range(2)] == [StepKind.REPLACE, StepKind.START]
    assert (chain.state.epoch, chain.state.period) == (2, 1)


async def test_no_epoch_starts_within_the_grace_for_certificates(chain: MemoryChain) -> None:
    """Else a certificate of the epoch before the last could not be posted any more, though it is just made."""
    grace_s = 4 * PARAMETERS.notice_s
    chain = chain_with(dataclasses.replace(PARAMETERS, certificate_grace_s=grace_s))
    for _ in range(2):
        await do(chain)
    chain.eject(3)
    for kind in (StepKind.REPLACE, StepKind.SELECT):
        began_s = chain.state.started_at_s
        assert [await do(chain) for _ in range(2)] == [kind, StepKind.START]
        assert chain.state.started_at_s - began_s == grace_s


async def test_a_member_ejected_after_the_handover_began_is_replaced_when_it_is_done(
    chain: MemoryChain,
) -> None:
    for _ in range(2):
        await do(chain)
    chain.start(MOVED)
    chain.eject(3)
    assert step(chain).kind is StepKind.CLOSE
    with pytest.raises(LedgerRefused, match="HandoverNotDone"):
        await chain.ledger(None).replace()
    await do(chain)
    assert step(chain) == EpochStep(StepKind.REPLACE, 3, chain.time_s)


async def test_a_late_selection_is_started_no_sooner_than_its_notice(chain: MemoryChain) -> None:
    for _ in range(2):
        await do(chain)
    chain.time_s += 10 * PARAMETERS.period_duration_s
    selected_at_s = chain.time_s
    assert await do(chain) is StepKind.SELECT
    assert step(chain) == EpochStep(StepKind.START, 2, selected_at_s + PARAMETERS.notice_s)
    assert await do(chain) is StepKind.START
