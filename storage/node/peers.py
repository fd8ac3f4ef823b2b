"""The other nodes as this node reaches them, and which of them hold a shard.

What members ask of each other to know who is alive goes over connections of its own: it must not queue behind bulk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from functools import partial

import aiohttp

from committee.connections import open_session
from committee.membership import Member
from storage.client.link import Link
from storage.client.node_client import NodeClient
from storage.node.chain import ChainView
from storage.node.credentials import Credentials

MOVED_S = 60.0
"""Least time between two moves of a member that are followed. Each new name is looked up, and holds a thread for half a
minute where its name server hangs: members that moved with each block would have all others wait for theirs."""


class Peers:
    """HTTP clients for the peers, for a running event loop. An async context manager that closes their connections."""

    def __init__(
        self, view: ChainView, credentials: Credentials | None = None, *, allow_private: bool
    ) -> None:
        """With credentials the node shows itself to peers that refuse it for lack of room.

        Peers at IP addresses that are not public are connected to only if `allow_private`.
        """
        self._view = view
        self._credentials = credentials
        self.link = Link()
        """What handover and repair bring, which waits its turn."""
        self._bulk = open_session(allow_private=allow_private)
        self._watch = open_session(allow_private=allow_private, limit=0)
        self._addresses: dict[int, tuple[str, float]] = {}
        """Node id → the address at which it is asked, and since when (of `time.monotonic`) after it has moved."""
        self._clients: dict[tuple[int, bool], NodeClient] = {}
        """(node id, whether for the watch) → the client at the node's newest address."""

    async def __aenter__(self) -> Peers:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._bulk.close()
        await self._watch.close()

    def client(self, member: Member) -> NodeClient:
        """Return the client for a member, at its newest address on chain, for all that can wait its turn.

        A member that has moved within MOVED_S is asked where it was then, if it moves again.
        """
        return self._client(member, self._bulk, False)

    def watch_client(self, member: Member) -> NodeClient:
        """The client for the watch over the members."""
        return self._client(member, self._watch, True)

    def _client(self, member: Member, session: aiohttp.ClientSession, is_watch: bool) -> NodeClient:
        key = (member.node_id, is_watch)
        known, address = self._clients.get(key), self._address(member)
        if known is None or known.address != address:
            show = (
                None if self._credentials is None else partial(self._credentials.header_for, member.node_id)
            )
            link = None if is_watch else self.link
            self._clients[key] = NodeClient(session, member.name, address, credential=show, link=link)
        return self._clients[key]

    def _address(self, member: Member) -> str:
        # A plan that is being carried out names members as they were when it was made.
        newest = self._view.state.members().get(member.node_id, member).address
        address, since_s = self._addresses.setdefault(member.node_id, (newest, -math.inf))
        if address != newest and time.monotonic() - since_s >= MOVED_S:
            self._addresses[member.node_id] = newest, time.monotonic()
            return newest
        return address

    def others(self) -> list[Member]:
        """Every other node that may have slivers of some shard, by node id."""
        known = self._view.state.members()
        return [known[node_id] for node_id in sorted(known) if node_id != self._view.node_id]

    def is_new_owner(self, member: Member, shard: int) -> bool:
        """Whether another kept or attested the shard last, so that the member may not have all of it yet."""
        state = self._view.state
        if state.previous is None:
            return False
        last = state.unattested.get(shard) or state.previous.owner_of[shard]
        return member.node_id != last.node_id

    def has_left(self, member: Member) -> bool:
        """Whether the node is no member any more: it serves still, or is gone already."""
        current = self._view.state.current
        return current is not None and member.node_id not in current.by_id

    def holders(self, avoiding: Collection[int]) -> dict[int, list[Member]]:
        """shard → the other nodes that may hold it, its newest owner last.

        Nodes whose id is in `avoiding` are left out; a shard that no other node holds is missing from the answer.
        """
        state = self._view.state
        wanted = state.members()
        for node_id in {self._view.node_id, *avoiding} & wanted.keys():
            del wanted[node_id]
        holders = {
            shard: [wanted[one.node_id] for one in reversed(state.holders(shard)) if one.node_id in wanted]
            for shard in (state.current.owner_of if state.current else ())
        }
        return {shard: members for shard, members in holders.items() if members}
