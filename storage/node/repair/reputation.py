"""What a node remembers of its peers' conduct: lies, and slowness. Both are forgotten after a while.

A bad reputation excludes no peer for good: the peer is asked last, when the others do not suffice. Everything that a
peer sends is verified in any case; this saves the waste and the wait.
"""

from __future__ import annotations

import time
from collections import Counter

from committee.logs import Log
from committee.membership import Member
from storage.client.errors import NodeError, NodeLied, NodeUnreachable

log = Log()

LIE_REMEMBERED_S = 600.0
SLOWNESS_REMEMBERED_S = 60.0

GOOD, SLOW, LIAR = range(3)
"""Ranks, best first."""


class Reputation:
    """Each peer's reputation with one node."""

    def __init__(self) -> None:
        self.lies: Counter[int] = Counter()
        """Node id → lies found since the start."""
        self._liar_until: dict[int, float] = {}
        self._slow_until: dict[int, float] = {}

    def lied(self, member: Member, what: str) -> None:
        """Remember a lie, by what was sent: it was verified and is wrong."""
        lies = self.lies[member.node_id] = self.lies[member.node_id] + 1
        self._liar_until[member.node_id] = time.monotonic() + LIE_REMEMBERED_S
        log.warning("a peer lied", peer=member.name, peer_id=member.node_id, what=what, lies=lies)

    def failed(self, member: Member, error: NodeError) -> None:
        """Remember what a request to a peer ended in. A peer that refuses has answered: that is not held against it."""
        if isinstance(error, NodeLied):
            self.lied(member, error.why)
        elif isinstance(error, NodeUnreachable):
            self.kept_waiting(member)

    def kept_waiting(self, member: Member) -> None:
        """Remember a peer that did not answer when others do."""
        self._slow_until[member.node_id] = time.monotonic() + SLOWNESS_REMEMBERED_S

    def rank(self, member: Member) -> int:
        """GOOD, SLOW or LIAR."""
        now = time.monotonic()
        if self._liar_until.get(member.node_id, 0.0) > now:
            return LIAR
        return SLOW if self._slow_until.get(member.node_id, 0.0) > now else GOOD
