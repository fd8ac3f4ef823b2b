"""Real processes that are left alone: the members move the epochs on, also when the one that comes first is dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from committee.ledger import StepKind
from committee.ledger.evm import DeploymentParameters
from committee.rota import draw_order
from localnet.network import LocalNetwork
from tests.localnet.steps import steps_sent

NAMES = ("alfa", "bravo", "charlie")
EPOCH_S = 12
BLOCK_INTERVAL_S = 0.5
"""With each block the chain's clock goes on by a second more: three times as fast as this machine's."""
PRICE = 10**9
PAID_EPOCHS = 3
"""For so many periods, from the first on, a blob is paid for."""


class Alone:
    """The network; nobody sends a step of the epochs but its nodes."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.first_block = 0
        """Of epochs in which only nodes did the steps."""

    async def mine(self) -> None:
        while True:
            await self.network.chain.increase_time(1)
            await asyncio.sleep(BLOCK_INTERVAL_S)

    async def first(self, kind: StepKind) -> str:
        """The member whose turn it is first to do a step in the current epoch."""
        current = (await self.network.operator.epoch_state()).current
        assert current is not None
        weights = {one.node_id: one.weight for one in current.members}
        return current.by_id[draw_order(weights, current.epoch, kind)[0]].name

    async def until(self, kind: StepKind, epoch: int) -> None:
        """Wait until an epoch is selected, or started."""

        async def is_done() -> int:
            state = await self.network.operator.epoch_state()
            return int(state.epoch >= epoch or (kind is StepKind.SELECT and state.next is not None))

        await self.network.until(f"{kind} of epoch {epoch}", is_done, 1)

    async def until_paid(self, epoch: int) -> None:
        """Wait until nothing is owed for an epoch."""

        async def is_paid() -> int:
            return int(not await self.network.operator.unpaid(epoch, range(1, len(NAMES) + 1)))

        await self.network.until(f"payments for epoch {epoch}", is_paid, 1)


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Alone]:
    """Three nodes in epoch 1 on a chain whose clock goes on."""
    parameters = DeploymentParameters(
        n_shards=10,
        period_duration_s=EPOCH_S,
        handover_deadline_s=EPOCH_S,
        price_per_mib_period=PRICE,
        write_price_per_mib=1,
        opening_members=len(NAMES),
    )
    async with LocalNetwork(tmp_path, parameters, keeper=True) as network:
        for name in NAMES:
            await network.add_node(name, stake_tokens=100)
        await network.serving()
        await network.next_epoch()
        await network.operator.mint(str(network.operator.account), 10**18)
        await network.client.store(b"hauled out", PAID_EPOCHS)
        alone = Alone(network)
        alone.first_block = (await network.operator.newest()).number + 1
        mining = asyncio.create_task(alone.mine())
        yield alone
        mining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await mining


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param({4: StepKind.SELECT}, id="three epochs, one kill"),
        pytest.param(
            {epoch: (StepKind.SELECT, StepKind.START)[epoch % 2] for epoch in range(2, 12)},
            id="ten epochs, a kill in each",
            marks=pytest.mark.slow,
        ),
    ],
)
async def test_the_epochs_go_on_when_nobody_types_anything(alone: Alone, kills: dict[int, StepKind]) -> None:
    """In epoch e-1, the member that comes first is killed before step `kills[e]`, and started again when it is done."""
    for name in NAMES:
        assert (await alone.network.node_client(name).health())["keeper"]["acts"]
    last, killed = max(kills), dict[int, str]()
    for epoch in range(2, last + 1):
        for kind in (StepKind.SELECT, StepKind.START):
            is_kill = kills.get(epoch) is kind
            if is_kill:
                killed[epoch] = await alone.first(kind)
                await alone.network.nodes[killed[epoch]].kill()
            await alone.until(kind, epoch)
            if is_kill and epoch != last:
                await alone.network.nodes[killed[epoch]].start()
    for epoch in range(1, last):
        await alone.until_paid(epoch)
    sent = await steps_sent(alone.network, alone.first_block)
    assert [one for one in sent if not one.succeeded] == [], "gas is wasted"
    payments = [one for one in sent if one.kind is StepKind.PAY_OUT]
    assert len(payments) == last - 1
    steps = [one for one in sent if one.kind is not StepKind.PAY_OUT]
    assert [one.kind for one in steps] == (last - 1) * [StepKind.SELECT, StepKind.START]
    for epoch, name in killed.items():
        assert steps[2 * (epoch - 2) + (kills[epoch] is StepKind.START)].by != name
