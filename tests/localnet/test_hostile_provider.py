"""A node as a process behind a provider that lies and falls silent: it goes on, and tells nobody its secrets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from localnet.node_process import NodeProcess
from storage.node.config import account_key, bls_key
from storage.redstuff import blob_id_text
from tests.committee.ledger.hostile import (
    SECRETS,
    HostileProvider,
    with_error,
    with_status,
    with_wrong_value,
)

UNKNOWN = blob_id_text(bytes(32))


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with LocalNetwork(
        tmp_path / "network",
        DeploymentParameters(n_shards=10, price_per_mib_period=1, write_price_per_mib=1, opening_members=1),
    ) as network:
        yield network


async def tell(node: NodeProcess, session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(node.address + path, timeout=aiohttp.ClientTimeout(30)) as answer:
        return await answer.text()


async def test_a_node_behind_a_hostile_provider_goes_on_and_tells_no_secret(network: LocalNetwork) -> None:
    async with (
        aiohttp.ClientSession() as session,
        HostileProvider(network.chain.rpc_url, session, random.Random(5)) as provider,
    ):
        node = await network.add_node("alfa", 100, provider.url)
        await network.serving()
        secrets = [key.to_bytes() for key in (account_key(node.folder), bls_key(node.folder))]
        told: list[str] = []
        for lie in (with_wrong_value, with_error, with_status):
            provider.lie = lie
            await network.chain.mine(2)
            async with asyncio.timeout(30):
                await provider.questions(2)
            told.append(await tell(node, session, f"/v1/blobs/{UNKNOWN}/status"))
            told.append(await tell(node, session, "/v1/health"))
            assert not node.has_ended

        provider.lie, provider.is_down = None, True
        await node.stop()
        await node.start()
        await network.serving()
        health: Any = await network_health(node, session)
        assert health["chain"]["status"].startswith("degraded")
        silent = await tell(node, session, f"/v1/blobs/{UNKNOWN}/status")
        assert "the chain does not answer; try again later" in silent
        provider.is_down = False
        async with asyncio.timeout(60):
            while health["chain"]["status"] != "following":
                await asyncio.sleep(0.2)
                health = await network_health(node, session)

        log = node.log_path.read_text()
        assert "chain does not answer" in log and "chain answers again" in log
        for text in (log, silent, *told, await tell(node, session, "/metrics")):
            for secret in SECRETS:
                assert secret not in text
            for key in secrets:
                for shape in (key.hex(), str(int.from_bytes(key, "big")), repr(key)[2:-1]):
                    assert shape not in text


async def network_health(node: NodeProcess, session: aiohttp.ClientSession) -> Any:
    async with session.get(node.address + "/v1/health") as answer:
        return (await answer.json())["success"]["data"]
