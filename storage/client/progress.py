"""How long a transfer may take: one rule for all bodies, at clients and at nodes (PROTOCOL section 6).

A transfer that moves is left alone, however slow its link; one that stalls is ended. A limit on the whole time would
need to know the link's rate: either it ends good transfers on slow links, or it lets bad ones run on fast links.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from storage.client.bodies import STALE_S, LargeBody

CONNECT_S = 5.0
"""Time limit for opening a connection."""
HEALTH_TIMEOUT_S = 3.0
"""Time limit for a node's answer about its health."""
PATIENCE_S = 30.0
"""A transfer must move LEAST_BYTES within this time, or end."""
LEAST_BYTES = 2**15
"""About 1 KiB a second: 100 transfers that share 1 Mbit/s are as fast, and a byte a second is not."""
LOOK_S = 1.0
"""Time between two looks at what a transfer has moved."""


class StallRule:
    """The rule for one transfer; its user tells the time and the bytes moved, and this class does no I/O."""

    def __init__(self, began_s: float, patience_s: float | None = None) -> None:
        """`patience_s` replaces PATIENCE_S."""
        self._patience_s = patience_s
        self._since_s = began_s
        self._from_bytes = 0

    @property
    def patience_s(self) -> float:
        """The time within which LEAST_BYTES must move."""
        return PATIENCE_S if self._patience_s is None else self._patience_s

    def due_s(self, now_s: float, moved_bytes: int) -> float:
        """Return the time at which the transfer counts as stalled unless it moves LEAST_BYTES before.

        `moved_bytes` counts from the transfer's beginning. A phase that has ended (the request is sent, the answer
        has begun) is counted by the caller as LEAST_BYTES, so that each phase has the whole patience.
        """
        if moved_bytes - self._from_bytes >= LEAST_BYTES:
            self._since_s, self._from_bytes = now_s, moved_bytes
        return self._since_s + self.patience_s


class RequestProgress:
    """What one HTTP request has moved: its body out, its answer in."""

    def __init__(self, body: LargeBody | None, patience_s: float, within_s: float | None = None) -> None:
        """`within_s` limits the whole time too, for answers that are small and tell whether a node is there."""
        began_s = self._began_s = asyncio.get_running_loop().time()
        self.body = body
        self.received_bytes = 0
        self.has_answer = False
        self._rule = StallRule(began_s, patience_s)
        self._within_s = math.inf if within_s is None else within_s
        self._end_s = began_s + self._within_s

    def moved_bytes(self) -> int:
        """Return the bytes moved, of both bodies."""
        return self.received_bytes + (self.body.moved_bytes if self.body else 0)

    @property
    def is_sent(self) -> bool:
        """Whether the other side's machine has the whole request."""
        return self.body is None or self.body.moved_bytes >= self.body.size_bytes

    def has_broken(self, now_s: float) -> bool:
        """Return whether the connection of a request that failed broke on the way, and was not closed before it."""
        is_sending = self.body is not None and self.body.has_begun
        return self.has_answer or (is_sending and now_s - self._began_s >= STALE_S)

    def due_s(self, now_s: float) -> float:
        """Return when the request counts as stalled; each of its phases has the whole patience."""
        phases = self.is_sent + self.has_answer
        return min(self._rule.due_s(now_s, self.moved_bytes() + phases * LEAST_BYTES), self._end_s)

    def describe(self) -> str:
        """Return what the request waited for, and how long."""
        limit = f"{min(self._rule.patience_s, self._within_s):g} s"
        if math.isfinite(self._within_s):
            return f"within {limit}"
        if not self.is_sent:
            return f"took no more of the request for {limit}"
        return f"its answer stopped for {limit}" if self.has_answer else f"within {limit}"

    def arrived(self, count: int) -> None:
        """Count bytes of the answer."""
        self.received_bytes += count


class TimeLimit:
    """A block that ends with `TimeoutError` once the loop's time has reached `due_s(now)`, looked at every LOOK_S."""

    _next_look: asyncio.Handle

    def __init__(self, due_s: Callable[[float], float]) -> None:
        self._due_s = due_s
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._next_look = self._loop.call_soon(self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next_look.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _look(self) -> None:
        now_s = self._loop.time()
        due_s = self._due_s(now_s)
        if now_s < due_s:
            self._next_look = self._loop.call_at(min(due_s, now_s + LOOK_S), self._look)
        else:
            self._limit.reschedule(now_s)
