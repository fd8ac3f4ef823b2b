"""Which step comes next, and when: what the contracts take, before and behind each step."""

from __future__ import annotations

import pytest

from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger import EpochStep, StepKind, next_step, pay_out_step
from localnet.memory_chain import MemoryChain
from tests.storage.network import PARAMETERS, SHARDS

MOVED = {1: SHARDS[2], 2: SHARDS[1], 3: SHARDS[3], 4: SHARDS[4]}


@pytest.fixture
def chain() -> MemoryChain:
    chain = MemoryChain(PARAMETERS, time_s=1000)
    for node_id in SHARDS:
        chain.add_node(f"node-{node_id}", "http://x:1", SecretKey(node_id).public_key)
    chain.stand({node_id: len(shards) for node_id, shards in SHARDS.items()})
    return chain


def step(chain: MemoryChain) -> EpochStep:
    return next_step(chain.state, chain.parameters)


async def do(chain: MemoryChain) -> StepKind:
    """Do the next step by the contracts' rules alone: a second before it is due they refuse it."""
    due, ledger = step(chain), chain.ledger(None)
    send = {
        StepKind.SELECT: ledger.select,
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


async def test_a_late_selection_is_started_no_sooner_than_its_notice(chain: MemoryChain) -> None:
    for _ in range(2):
        await do(chain)
    chain.time_s += 10 * PARAMETERS.period_duration_s
    selected_at_s = chain.time_s
    assert await do(chain) is StepKind.SELECT
    assert step(chain) == EpochStep(StepKind.START, 2, selected_at_s + PARAMETERS.notice_s)
    assert await do(chain) is StepKind.START
