"""A whole network on a chain that finalises late, with nodes whose endpoints lag."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from committee.ledger import Ledger
from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from storage.client.settling import until_chain_settles
from tests.localnet.lagging import lagging_endpoint

NAMES = ("alfa", "bravo", "charlie", "delta")
DATA = random.Random(5).randbytes(40_000)
PATIENCE_S = 4


@pytest.fixture(
    params=[
        pytest.param((2, {"alfa": 2, "charlie": 5}), id="2 blocks late, endpoints lag"),
        pytest.param((64, {}), id="64 blocks late", marks=pytest.mark.slow),
    ]
)
async def network(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    """Four nodes in epoch 1."""
    lag_blocks, endpoint_lags = request.param
    parameters = DeploymentParameters(
        n_shards=10,
        period_duration_s=3600,
        patience_s=PATIENCE_S,
        price_per_mib_period=1,
        write_price_per_mib=1,
    )
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(LocalNetwork(tmp_path, parameters, lag_blocks))
        for name in NAMES:
            url = None
            if name in endpoint_lags:
                url = await stack.enter_async_context(
                    lagging_endpoint(network.chain.rpc_url, endpoint_lags[name])
                )
            await network.add_node(name, 100, url)
        await network.serving()
        await network.next_epoch()
        yield network


class Told:
    """The stages that a store went through."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self.stages:
            self.stages.append(stage)


async def test_a_blobs_and_an_epochs_life_on_a_late_chain(network: LocalNetwork) -> None:
    client, operator, told = network.client, network.operator, Told()

    # store, extend, read
    stored = await client.store(DATA, periods=2, progress=told)
    assert told.stages == ["encode", "register", "settle", "upload", "certify"]
    await operator.extend_blob(stored.object_id, 3)
    assert await client.read(stored.blob_id) == DATA

    # register, certify, delete
    other = DATA[:1000]
    doomed = await client.store(other, periods=2, deletable=True)
    deleted = await operator.delete_blob(doomed.object_id)
    await until_chain_settles(operator, deleted.block.number)

    # a newcomer, an election, a handover with attestations
    await network.add_node("echo", 100)
    await network.serving("echo")
    assert await network.next_epoch()
    await network.handed_over()
    await handover_is_done(operator, 2)
    assert await client.read(stored.blob_id) == DATA
    again = await client.store(DATA[:2000], periods=1)
    assert again.certified_epoch == 2

    # an ejection
    known = {one.name: one.node_id for one in await operator.nodes()}
    await network.nodes["delta"].kill()

    async def ejected() -> int:
        return int(known["delta"] not in {one.node_id for one in await operator.candidates()})

    await network.until("ejection of delta", ejected, 1)
    del network.nodes["delta"]
    await network.next_epoch()
    await network.handed_over()
    assert await client.read(stored.blob_id) == DATA


async def handover_is_done(operator: Ledger, epoch: int) -> None:
    """Wait until the settled state says so."""
    async with asyncio.timeout(60):
        while True:
            state = await operator.epoch_state()
            if state.epoch == epoch and state.handover_done:
                return
            await asyncio.sleep(0.1)
