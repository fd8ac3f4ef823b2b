"""The contract and `committee.shards` give the same assignment, epoch after epoch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from committee import shards
from committee.ledger.evm import DeploymentParameters

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

EPOCHS = 6


async def change_stakes(network: Network, choose: random.Random) -> None:
    """What happens between two selections: some stake more, one leaves, one comes back, one is new."""
    for node in choose.sample(network.nodes, 3):
        await network.stake(node, 1 + int(choose.paretovariate(0.7) * 1000))
    standing = {one.node_id for one in await network.operator.candidates()}
    gone = [node for node in network.nodes if node.node_id not in standing]
    if len(standing) > 5 and choose.random() < 0.7:
        leaver = choose.choice([node for node in network.nodes if node.node_id in standing])
        await leaver.ledger.leave()
    if gone and choose.random() < 0.7:
        await choose.choice(gone).ledger.become_candidate()
    if choose.random() < 0.5:
        await network.join(choose.randrange(3000))


async def replace_some(network: Network, choose: random.Random) -> int:
    """Have members ejected and replaced, twice in a period: as Python deals shards. Return how many were ejected."""
    current = (await network.operator.epoch_state()).current
    assert current is not None
    held, weights = dict(current.holdings), {one.node_id: one.weight for one in current.members}
    left, all_ejected = current.n_shards, 0
    for _ in range(2):
        ejected: list[int] = []
        for node_id in choose.sample(sorted(held), len(held)):
            if len(ejected) < 2 and 3 * (left - weights[node_id]) >= 2 * current.n_shards:
                left -= weights[node_id]
                await network.eject(node_id)
                ejected.append(node_id)
        if not ejected:
            break
        await network.operator.replace()
        parameters = await network.operator.parameters()
        await network.chain.increase_time(max(parameters.notice_s, parameters.certificate_grace_s))
        await network.operator.start()
        state = await network.operator.epoch_state()
        held = shards.replaced(held, ejected, weights)
        assert state.current is not None
        assert state.current.holdings == held
        await network.hand_over(state)
        all_ejected += len(ejected)
    return all_ejected


@pytest.mark.parametrize(("seed", "n_shards", "band_millis"), [(1, 10, 500), (2, 100, 500), (3, 31, 0)])
async def test_contract_assigns_the_shards_that_python_assigns(
    launch: Launch, seed: int, n_shards: int, band_millis: int
) -> None:
    choose = random.Random(seed)
    stakes = [1 + int(choose.paretovariate(0.7) * 1000) for _ in range(8)]
    network = await launch(
        stakes,
        DeploymentParameters(
            n_shards, 600, 300, 30, band_millis, price_per_mib_period=1, write_price_per_mib=1
        ),
    )
    held: dict[int, tuple[int, ...]] | None = None
    moved = 0
    for epoch in range(1, EPOCHS + 1):
        standing = [(one.node_id, one.stake) for one in await network.operator.candidates()]
        expected = shards.assign(held, standing, n_shards, band_millis)
        state = await network.begin_epoch()
        assert state.current is not None
        assert state.epoch == epoch
        assert state.current.holdings == expected
        await network.hand_over(state)
        assert (await network.operator.epoch_state()).handover_done
        if held is not None:
            moved += sum(len(set(now) - set(held.get(node_id, ()))) for node_id, now in expected.items())
        held = expected
        await change_stakes(network, choose)
    assert moved > 0
    if n_shards > 10:  # two members have the ten
        assert await replace_some(network, choose) > 1
