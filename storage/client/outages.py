"""Outages of the client's own link: no member at all answers, and it is worth waiting for the link.

A machine changes its network, a tunnel or a router is restarted: for a while nothing can be reached, and connections
die. That tells nothing of the members. While any member answers, the link is there, and a member that does not answer
is at fault itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from storage.client.errors import NodeError, NodeStalled, NodeUnreachable, NodeUnusable
from storage.client.node_client import NodeClient
from storage.client.waiting import FIRST_PAUSE_S, Pauses, Progress, no_progress

LINK_PATIENCE_S = 60.0
"""The longest wait for the end of an outage."""
MOST_IN_VAIN = 3
"""The most waits in a row after which no node grants a request; then the operation fails."""
LOOK_S = 2.0
"""Age in seconds up to which the last answers, or the last look at all nodes, still count."""


class Outages:
    """Tells the link's outages from nodes that do not answer, and waits for their end; one for each store or read."""

    def __init__(self, nodes: Mapping[int, NodeClient], progress: Progress = no_progress) -> None:
        """`nodes` are all that may answer, by node id."""
        self._nodes = dict(nodes)
        self._progress = progress
        self._one_looks = asyncio.Lock()
        self._answering: set[int] = set()
        self._looked_s = self._granted_s = self._ended_s = -math.inf
        """Loop times of the last look at all nodes, of the last request granted, and of the last outage's end."""
        self._in_vain = 0

    def note_grant(self) -> None:
        """Note that a node granted a request."""
        self._granted_s, self._in_vain = _now_s(), 0

    async def has_ended(self, error: NodeUnreachable, began_s: float) -> bool:
        """Return whether there was an outage, now over, since the request began that failed with `error`.

        Waits while no node answers. `began_s` is loop time. Raises `error` when none answers for LINK_PATIENCE_S.
        """
        if self._granted_s <= _now_s() - LOOK_S and not await self._wait_for_answers(LOOK_S):
            raise error
        return self._ended_s >= began_s

    async def returned(self, failed: Mapping[int, NodeUnreachable]) -> set[int]:
        """Return which of the nodes that failed, by node id, answer now, and are worth another request.

        Waits while no node answers, up to LINK_PATIENCE_S. A node whose request stalled is at fault unless there is an
        outage. None is worth a request after MOST_IN_VAIN returns without a grant.
        """
        if not failed or self._in_vain >= MOST_IN_VAIN:
            return set()
        ended_s = self._ended_s
        answering = await self._wait_for_answers(0.0)
        was_away = self._ended_s > ended_s
        self._in_vain += not was_away
        return {
            node_id
            for node_id, error in failed.items()
            if node_id in answering and (was_away or not isinstance(error, NodeStalled))
        }

    async def _wait_for_answers(self, valid_s: float) -> set[int]:
        """Return the ids of the nodes that answer, as of `valid_s` ago at most; none once the patience is over."""
        async with self._one_looks:
            if _now_s() - self._looked_s < valid_s:
                return self._answering
            began_s, pauses = _now_s(), Pauses(LINK_PATIENCE_S)
            self._answering = await self._look()
            if not self._answering and self._in_vain < MOST_IN_VAIN:
                while not self._answering and self._nodes and await pauses.pause():
                    waited_s = min(_now_s() - began_s, LINK_PATIENCE_S)
                    self._progress("link", int(waited_s), math.ceil(LINK_PATIENCE_S))
                    self._answering = await self._look()
                self._in_vain = self._in_vain + 1 if self._answering else MOST_IN_VAIN
                if self._answering:
                    await asyncio.sleep(
                        FIRST_PAUSE_S
                    )  # the link comes back for one node sooner than for another
                    self._answering |= await self._look()
                    self._ended_s = _now_s()
            self._looked_s = _now_s()
            return self._answering

    async def _look(self) -> set[int]:
        """Ask all nodes for their health; return the ids of those that answer, whatever they answer."""
        asked = list(self._nodes)
        answers = await asyncio.gather(*map(self._answers, asked))
        return {node_id for node_id, is_answer in zip(asked, answers, strict=True) if is_answer}

    async def _answers(self, node_id: int) -> bool:
        try:
            await self._nodes[node_id].health()
        except NodeUnusable:
            del self._nodes[node_id]  # tells nothing of the link
            return False
        except NodeUnreachable:
            return False
        except NodeError:
            pass
        return True


def _now_s() -> float:
    return asyncio.get_running_loop().time()
