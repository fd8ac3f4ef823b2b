"""A member whose registered address cannot be used, or may not be, is a member that does not answer, and nothing worse.

The contracts refuse addresses that cannot be used; these are of a deployment that did not yet, or of a provider that
lies. The tests' nodes are at private addresses.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from storage.client.client import Client
from storage.client.errors import BlobUnavailable, NodeUnreachable
from tests.logged import captured
from tests.memory_chain import WRITER, MemoryChain, registry
from tests.storage.network import PARAMETERS, SHARDS, Network
from tests.storage.node.handovers import BLOBS, MOVED, change

BAD = ["/", "http://[v1.a]@", "", "http://\ufffd\x1b[2J", "http://127.1:1/path?q#f", "http://a..b:99999"]


def move(network: Network, node_id: int, address: str) -> None:
    network.chain.send("an address that the contracts would refuse", registry.moved, node_id, address)


@pytest.mark.parametrize("address", BAD, ids=ascii)
async def test_blobs_are_stored_and_read_all_the_same(network: Network, address: str) -> None:
    move(network, 4, address)
    await network.seen()
    await network.stop(1)
    await network.start(1)  # it reads all nodes anew
    data = random.Random(1).randbytes(3000)
    async with Client(network.chain.ledger(WRITER)) as client:
        for _ in range(3):
            stored = await client.store(data, 3)
            assert await client.read(stored.blob_id) == data


@pytest.mark.parametrize("address", BAD[:2], ids=ascii)
async def test_the_handover_goes_on(stored: Network, address: str) -> None:
    """Node 3 would be node 1's source of shard 6."""
    move(stored, 3, address)
    with captured() as logs:
        await change(stored, MOVED)
    assert all(stored.is_complete(1, blob) for blob in BLOBS)
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]


async def test_the_member_is_ejected_as_silent(tmp_path: Path) -> None:
    chain = MemoryChain(dataclasses.replace(PARAMETERS, patience_s=1))
    async with Network(tmp_path, chain, watch_interval_s=0.05) as network:
        network.add_nodes(len(SHARDS))
        chain.start(SHARDS)
        move(network, 4, "http://[v1.a]@")
        await network.start(1, 2, 3)
        with captured() as logs:
            await network.until(lambda: 4 in chain.contracts.ejected_at_s)
    assert network.chain.contracts.ejected_at_s.keys() == {4}
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]


async def test_private_addresses_are_left_alone_unless_they_are_allowed(network: Network) -> None:
    for allowed in (False, None):
        await network.stop(1)
        await network.start(1, allow_private_addresses=allowed, public_address="http://node.example:9000")
        current = network.running[1].view.state.current
        assert current is not None
        fellow = current.by_id[2]
        for client in (
            network.running[1].peers.client(fellow),
            network.running[1].peers.watch_client(fellow),
        ):
            if allowed is None:  # on a development chain
                assert (await client.health())["nodeId"] == 2
            else:
                with pytest.raises(NodeUnreachable, match="not a public IP address"):
                    await client.health()


async def test_a_users_client_leaves_them_alone_too(stored: Network) -> None:
    ledger = stored.chain.ledger(WRITER)
    async with Client(ledger, allow_private=False) as client:
        with pytest.raises(BlobUnavailable, match=r"node-1, node-2, node-3, node-4: .*--allow-private"):
            await client.read(BLOBS[0].blob_id)


async def test_a_node_does_not_register_what_others_cannot_reach(network: Network) -> None:
    await network.stop(1)
    with pytest.raises(AssertionError, match="other nodes cannot reach http://127"):
        await network.start(1, allow_private_addresses=False)
    await network.stop(1)
