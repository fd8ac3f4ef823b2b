"""A node that is reached elsewhere from now on: its fellows look for it there, within the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from localnet.ports import free_port
from storage.node.handover import jobs
from tests.logged import captured
from tests.storage.node.handovers import MOVED, lacks

if TYPE_CHECKING:
    from tests.storage.network import Network


async def move(network: Network, node_id: int) -> None:
    """Stop a node if it runs, and have it serve at another address."""
    if node_id in network.running:
        await network.stop(node_id)
    network.chain.move_node(node_id, f"http://127.0.0.1:{free_port()}")
    await network.start(node_id)


async def test_fellows_reach_a_member_at_its_new_address(network: Network) -> None:
    await move(network, 4)
    await network.seen()
    node = network.running[1]
    assert node.view.state.current is not None
    member = node.view.state.current.by_id[4]
    assert member.address == network.chain.nodes[4].address
    assert (await node.peers.client(member).health())["nodeId"] == 4


async def test_what_is_fetched_ahead_comes_from_where_the_old_owner_is_now(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 1 begins to fetch shard 6 from node 3 before that moves."""
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.05)
    await stored.stop(3)
    with captured() as logs:
        stored.chain.select(MOVED)
        await stored.until(lambda: any(line["event"].startswith("source fails") for line in logs))
    assert lacks(stored, 1, 6)
    await move(stored, 3)
    await stored.until(lambda: not lacks(stored, 1, 6))
    assert stored.chain.state.epoch == 1, "ahead of the epoch"


async def test_a_node_says_when_it_is_not_where_others_look_for_it(network: Network) -> None:
    await network.stop(1)
    with captured() as logs:
        await network.start(1, public_address="http://elsewhere:1")
    (told,) = [line for line in logs if line["event"].startswith("the address is not the registered one")]
    assert (told["address"], told["registered"]) == ("http://elsewhere:1", network.chain.nodes[1].address)
    with captured() as logs:
        await move(network, 1)
    assert not any(line["event"].startswith("the address is not") for line in logs)
