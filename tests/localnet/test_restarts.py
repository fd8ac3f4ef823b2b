"""Nodes that are killed and started again while a blob is stored, as processes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from storage.client.errors import NodeError
from storage.client.purchase import Outcome

N_SHARDS = 10
NAMES = ("alfa", "bravo", "charlie", "delta")
RESTARTED = ("bravo", "charlie")
"""Without both, no quorum is left."""
DATA = random.Random(11).randbytes(1_500_000)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["register", "upload"])
async def test_two_of_four_nodes_are_killed_and_started_again_during_a_store(
    tmp_path: Path, stage: str
) -> None:
    """SIGKILL once the blob is registered, or once the first node has confirmed it."""
    parameters = DeploymentParameters(
        n_shards=N_SHARDS, period_duration_s=3600, price_per_mib_period=1, write_price_per_mib=1
    )
    async with LocalNetwork(tmp_path, parameters) as network:
        for name in NAMES:
            await network.add_node(name, 100)
        await network.serving()
        await network.next_epoch()
        current = (await network.operator.epoch_state()).current
        assert current is not None
        left = sum(one.weight for one in current.members if one.name not in RESTARTED)
        assert not current.is_quorum(left)
        killed = asyncio.Event()
        confirmed: list[int] = []

        def told(now: str, done: int, total: int) -> None:
            if now == "upload":
                confirmed.append(done)
            if now == stage and not killed.is_set():
                for name in RESTARTED:
                    process = network.nodes[name].process
                    assert process is not None
                    process.kill()
                killed.set()

        storing = asyncio.create_task(network.client.store(DATA, periods=3, progress=told))
        await killed.wait()
        for name in RESTARTED:
            await network.nodes[name].kill()  # it is dead: this waits for it
            await network.nodes[name].start()
        stored = await storing
        assert stored.outcome is Outcome.REGISTERED
        assert current.is_quorum(confirmed[-1])
        assert await network.client.read(stored.blob_id) == DATA
        await network.serving()

        async def confirming() -> int:
            count = 0
            for name in NAMES:
                try:
                    await network.node_client(name).confirmation(stored.blob_id, None)
                    count += 1
                except NodeError:
                    pass  # it still heals what it was not given
            return count

        await network.until("nodes that have all of the blob", confirming, len(NAMES))
