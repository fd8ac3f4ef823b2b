"""A node that is reached elsewhere from now on: its fellows look for it there, within the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localnet.ports import free_port

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
