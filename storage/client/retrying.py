"""Whether a request to a node is made again, and after which pause (PROTOCOL section 6)."""

from __future__ import annotations

import asyncio
import math
import random
import time

from committee.backoff import next_pause_s
from storage.client.errors import NodeError, NodeRefused, NodeStalled, NodeUnreachable

MOST_TRIES = 100
"""The most tries of any request in which it does not move on, whatever it is answered."""
TRIES = 3
"""Requests made before a node without an answer is given up."""
MAY_PASS = frozenset({429, 502, 503, 504})
"""Statuses by which a node or a proxy says that the same request may be granted later."""
MAY_PASS_OF_PROXIES = frozenset({408, 425, *range(500, 600)})
"""Statuses that mean the same where the answer is no node's: proxies and content networks have many of their own."""
CHALLENGES = frozenset({200, 201, 403})
"""Statuses by which firewalls and content networks send a page in the place of the node's answer: for a moment, such as
one that asks whether a human is there, or for good."""
CHALLENGED_TRIES = 5
"""Requests made that are answered so."""
LONGEST_SHARE = 10
"""The patience for a request that is refused grows while the node grants others, up to this many times."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Limits of the pause between two tries; it is longer only where the answer asks for that (Retry-After)."""


async def pause(seconds: float) -> None:
    """Sleep between two tries of a request."""
    await asyncio.sleep(seconds)


class Patience:
    """Decides after each failed try of one request whether another follows, and when."""

    def __init__(self, patience_s: float, most_tries: int) -> None:
        self._patience_s, self._most_tries = patience_s, most_tries
        self._tries = self._unreachable = self._challenged = self._refused = 0
        self._growing_s = 0.0
        self._began_s = time.monotonic()

    def note_progress(self) -> None:
        """Note that the request has moved on, and goes on there: the tries so far count no more."""
        self._tries = self._unreachable = 0
        self._growing_s = 0.0

    def pause_s(self, error: NodeError, granted_s: float = -math.inf) -> float | None:
        """Return the pause before the next try in seconds, as the answer asks for it or growing; None for no try.

        A refusal that may pass is tried again until the patience is over. A large body may take longer than that to
        be refused once: it has TRIES all the same. The patience begins anew at `granted_s` (of `time.monotonic`), when
        the node granted another request: one that grants a few a second grants them all in the end.
        """
        self._tries += 1
        self._growing_s = next_pause_s(self._growing_s, SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        growing_s = self._growing_s * random.uniform(1, 2)  # noqa: S311 (no secret)
        if isinstance(error, NodeStalled) or self._tries >= self._most_tries:
            return None
        if isinstance(error, NodeUnreachable):
            self._unreachable += 1
            return growing_s if self._unreachable < TRIES else None
        if is_challenge(error):
            self._challenged += 1
            return growing_s if self._challenged < CHALLENGED_TRIES else None
        if not isinstance(error, NodeRefused) or not may_pass(error):
            return None
        self._refused += 1
        asked_s = max(error.retry_after_s or 0.0, SHORTEST_PAUSE_S)
        is_late = time.monotonic() + asked_s >= self._until_s(granted_s)
        if asked_s >= self._patience_s or (is_late and self._refused >= TRIES):
            return None
        return growing_s if error.retry_after_s is None else asked_s

    def _until_s(self, granted_s: float) -> float:
        latest_s = self._began_s + LONGEST_SHARE * self._patience_s
        return min(max(self._began_s, granted_s) + self._patience_s, latest_s)


def is_challenge(error: NodeError) -> bool:
    """Return whether a page came in the place of the node's answer that another try may not meet."""
    return isinstance(error, NodeRefused) and error.reason is None and error.status in CHALLENGES


def may_pass(error: NodeRefused) -> bool:
    """Return whether the same request may be granted later. A node that refuses names a reason; a proxy does not."""
    return error.status in MAY_PASS or (error.reason is None and error.status in MAY_PASS_OF_PROXIES)
