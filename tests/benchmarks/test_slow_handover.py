"""A handover between nodes behind slow links of their own, of which every byte passes two."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from benchmarks.bench_links import BYTES_PER_MBIT, LONGEST, MOST_MOVED, FarLedger
from benchmarks.handover_bytes import LARGEST_AT_10, STAKE_OF_A_SHARD
from benchmarks.node_network import MeasuredNetwork
from benchmarks.slow_link import SlowLink
from storage.client.client import Client
from storage.redstuff import Axis, Parameters
from tests.memory_chain import WRITER
from tests.storage.network import HeldLedger

N = 10
MBIT_PER_S = 5
BLOBS = 3
BEFORE, AFTER = (3, 3, 2, 2, 0), (2, 3, 2, 0, 3)
"""Shards by member. The fourth is stopped: its two are rebuilt by the newcomer, which is given one by the first."""


class FarNetwork(MeasuredNetwork):
    """Nodes that reach each other over their links alone."""

    links: dict[int, SlowLink]
    addresses: dict[int, dict[str, str]]
    """Node id → the others' addresses on chain → where it reaches them."""

    async def connect(self, stack: AsyncExitStack) -> None:
        """Give each node a link, with a port inside for every other node's port outside."""
        rate = MBIT_PER_S * BYTES_PER_MBIT
        nodes = self.chain.nodes
        self.links = {one: await stack.enter_async_context(SlowLink(rate)) for one in nodes}
        outside = {one: await self.links[one].open(self.config(one).port, inward=True) for one in nodes}
        self.addresses = {
            one: {
                node.address: f"http://127.0.0.1:{await self.links[one].open(outside[other])}"
                for other, node in nodes.items()
            }
            for one in nodes
        }

    def ledger_of(self, node_id: int) -> HeldLedger:
        return FarLedger(self.chain, self.chain.nodes[node_id].name, self.addresses[node_id])


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[FarNetwork]:
    async with AsyncExitStack() as stack:
        network = FarNetwork(tmp_path, N, poll_interval_s=0.5, counted=False)
        network.add_nodes(len(BEFORE))
        await network.connect(stack)
        yield await stack.enter_async_context(network)


def stakes(shares: tuple[int, ...]) -> dict[int, int]:
    return {number: share * STAKE_OF_A_SHARD for number, share in enumerate(shares, 1) if share}


@pytest.mark.slow
async def test_a_handover_over_slow_links_takes_as_long_as_its_bytes(network: FarNetwork) -> None:
    network.elect(stakes(BEFORE))
    network.chain.start()
    await network.start(*network.chain.nodes)
    contents = [os.urandom(LARGEST_AT_10) for _ in range(BLOBS)]
    blobs = [await asyncio.to_thread(network.code.encode, content) for content in contents]
    await network.upload(*blobs)
    await network.stop(4)
    newcomer = network.links[5]
    before = newcomer.down.carried_bytes
    moved = await network.handed_over(stakes(AFTER))
    carried = newcomer.down.carried_bytes - before
    shape = Parameters(N)
    pair = sum(shape.sliver_size(LARGEST_AT_10, axis) for axis in Axis)
    needed = AFTER[-1] * pair * BLOBS
    least_s = needed / (MBIT_PER_S * BYTES_PER_MBIT)
    report = await network.report([LARGEST_AT_10] * BLOBS)
    print(
        f"handover at {MBIT_PER_S} Mbit/s: {moved.seconds:.1f} s for {least_s:.1f} s, {carried:,} B for {needed:,} B; "
        f"{report.transferred_bytes:,} B transferred, {report.rebuilt_bytes:,} B rebuilt, "
        f"{report.wasted_bytes:,} B wasted"
    )
    assert len(moved.gained) == AFTER[-1]
    assert (report.transferred_bytes, report.rebuilt_bytes) == (pair * BLOBS, 2 * pair * BLOBS)
    assert report.wasted_bytes == 0
    assert carried <= MOST_MOVED * needed
    assert moved.seconds <= LONGEST * least_s
    async with Client(network.chain.ledger(WRITER)) as client:
        for content, blob in zip(contents, blobs, strict=True):
            assert await client.read(blob.blob_id) == content
