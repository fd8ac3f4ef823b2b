"""Nodes behind reverse proxies, which are processes of their own and answer for nodes that are dead."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from committee.ledger import Absence
from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from localnet.ports import free_port

N_SHARDS = 10
PATIENCE_S = 4
STAYING = {"alfa": 300, "bravo": 200, "charlie": 200}
"""Stake in tokens; together just a quorum."""
DYING = {"delta": "502", "echo": "504", "foxtrot": "hang"}
"""What the proxy answers once the node behind it is dead; each has one shard."""
FLAKY = "alfa"
"""Its proxy refuses every third request."""
DATA = random.Random(7).randbytes(100_000)


@asynccontextmanager
async def proxy(port: int, upstream: str, trouble: str) -> AsyncIterator[None]:
    """The proxy's process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.localnet.proxy", str(port), upstream, trouble),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0


@pytest.mark.slow
async def test_dead_nodes_behind_proxies_are_ejected_and_a_live_one_is_not(tmp_path: Path) -> None:
    parameters = DeploymentParameters(
        n_shards=N_SHARDS,
        period_duration_s=3600,
        patience_s=PATIENCE_S,
        price_per_mib_period=1,
        write_price_per_mib=1,
    )
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(LocalNetwork(tmp_path, parameters))
        for name, tokens in {**STAYING, **dict.fromkeys(DYING, 100)}.items():
            trouble = "flaky" if name == FLAKY else DYING.get(name)
            port = free_port()
            address = None if trouble is None else f"http://127.0.0.1:{port}"
            node = await network.add_node(name, tokens, public_address=address)
            if trouble is not None:
                await stack.enter_async_context(proxy(port, node.address, trouble))
        await network.serving()
        await network.next_epoch()
        current = (await network.operator.epoch_state()).current
        assert current is not None
        assert {one.name: one.weight for one in current.members} == {
            **{name: tokens // 100 for name, tokens in STAYING.items()},
            **dict.fromkeys(DYING, 1),
        }
        stored = await network.client.store(DATA, periods=5)
        assert await network.client.read(stored.blob_id) == DATA

        for name in DYING:
            await network.nodes[name].kill()
        ids = {one.name: one.node_id for one in await network.operator.nodes()}

        async def ejected() -> int:
            standing = {one.node_id for one in await network.operator.candidates()}
            assert {ids[name] for name in STAYING} <= standing
            return sum(ids[name] not in standing for name in DYING)

        await network.until("dead nodes ejected", ejected, len(DYING))
        for name in DYING:
            assert await network.operator.absence(ids[name]) is Absence.REMOVED
            del network.nodes[name]
        await network.next_epoch()
        await network.handed_over()
        assert await network.client.read(stored.blob_id) == DATA
        assert (await network.client.store(DATA[:1000], periods=2)).certified_epoch == 2
