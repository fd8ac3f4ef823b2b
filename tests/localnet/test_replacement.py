"""Real processes that are left alone: a member is killed, and the others replace it within the period."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from committee.ledger import EpochState, StepKind
from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from storage.node.handover.report import transition_report
from tests.localnet.conftest import N_SHARDS, NAMES, Scenario
from tests.localnet.steps import steps_sent

PERIOD_S = 3600
"""No start of a period comes while the test lasts."""


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Scenario]:
    """Five nodes in epoch 1, on a chain whose clock goes on as this machine's."""
    parameters = DeploymentParameters(
        n_shards=N_SHARDS,
        period_duration_s=PERIOD_S,
        handover_deadline_s=300,
        patience_s=3,
        certificate_grace_s=4,
        notice_s=4,
        price_per_mib_period=1,
        write_price_per_mib=1,
    )
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network:
        scenario = Scenario(network)
        await scenario.begin()
        async with network.mining():
            yield scenario


async def state_of(network: LocalNetwork) -> EpochState:
    return await network.operator.epoch_state()


async def test_a_killed_member_is_replaced_and_its_shards_rebuilt_within_the_period(alone: Scenario) -> None:
    """Nobody but the nodes sends a step, and no shard moves but those of the member that is gone."""
    network = alone.network
    await alone.store(40_000, 150_000)
    before, first_block = await state_of(network), (await network.operator.newest()).number + 1
    assert before.current is not None
    dead = next(member for member in before.current.members if member.name == NAMES[0])
    await alone.lose(dead.name)

    async def is_replaced() -> int:
        return int((await state_of(network)).epoch == before.epoch + 1)

    await network.until("the start of a replacement", is_replaced, 1)
    await network.handed_over()
    after = await state_of(network)
    assert after.current is not None
    assert (after.period, after.first_epoch) == (before.period, before.first_epoch)
    assert after.regular_handover_done_s == before.regular_handover_done_s
    for member in before.current.members:
        kept = after.current.shards_of(member.node_id)[: member.weight]
        assert kept == (() if member == dead else member.shards)
    reports = await network.handover_reports(after.current)
    lengths = [len(data) for data in alone.blobs.values()]
    report = transition_report(before.current, after.current, lengths, reports, unattested=after.unattested)
    assert [check for check in report.checks if not check.holds] == []
    assert (report.rebuilt_shards, report.transferred_shards) == (dead.weight, 0)
    await alone.check()
    sent = await steps_sent(network, first_block)
    assert [(one.kind, one.succeeded) for one in sent] == [(StepKind.REPLACE, True), (StepKind.START, True)]
    assert await network.operator.chain_time_s() < before.regular_handover_done_s + PERIOD_S // 2
