"""Real nodes eject a member that answers nobody, and none that answers one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.handover_bytes import STAKE_OF_A_SHARD
from benchmarks.node_network import MeasuredNetwork
from committee.ledger import MemberEjected
from committee.membership import Member
from storage.client.errors import NodeUnreachable

SHARES = (1, 1, 3, 3, 2)
"""The first is shunned by all but the second; the others are a quorum."""


class Cut:
    """A line that is cut: whatever is asked over it, nobody answers."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def nobody(*arguments: Any, **named: Any) -> Any:
            raise NodeUnreachable(self._member.name, self._member.address, "cut")

        return nobody


async def test_a_member_that_answers_one_fellow_stays_and_goes_when_it_answers_none(tmp_path: Path) -> None:
    async with MeasuredNetwork(tmp_path, 10, patience_s=1, watch_interval_s=0.05, counted=False) as network:
        members = network.add_nodes(len(SHARES))
        network.elect({one: share * STAKE_OF_A_SHARD for one, share in zip(members, SHARES, strict=True)})
        network.chain.start()
        await network.start(*members)
        shunned, friend = members[0], members[1]
        cut = set(members[2:])
        """Whom the shunned member does not answer."""
        for node_id in members[1:]:
            cut_line(network, node_id, shunned, cut)

        def others_know() -> bool:
            found = [network.running[one].signs._sought.get(shunned) for one in members[2:]]
            return all(one is not None and one.witness is not None for one in found)

        await network.until(others_know, what="all others are shown that the member lives")
        assert not ejected(network)
        current = network.chain.state.current
        assert current is not None
        assert current.is_quorum(current.weight_of(cut)), "without its sign of life it would be ejected"
        cut.add(friend)
        await network.until(ejected, network, what="the member is ejected")
        assert ejected(network) == {shunned}


def cut_line(network: MeasuredNetwork, node_id: int, to: int, cut: set[int]) -> None:
    """Whoever is in `cut` has no line to the node `to`."""
    node = network.running[node_id]
    real = node.peers.watch_client

    def watch_client(member: Member) -> Any:
        return Cut(member) if member.node_id == to and node_id in cut else real(member)

    node.peers.watch_client = watch_client  # type: ignore[method-assign]


def ejected(network: MeasuredNetwork) -> set[int]:
    return {
        event.node_id
        for block in network.chain.blocks
        for event in block.events
        if isinstance(event, MemberEjected)
    }
