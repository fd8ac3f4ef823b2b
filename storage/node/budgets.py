"""Limits on handover and repair, so that what can wait never starves reads and writes.

A `Budget` limits one direction of a node's bulk traffic: bytes a second over time, requests at once, and the memory
that what is under way takes. Who wants more waits its turn, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

BYTES_PER_S = 2**32
"""More than most lines carry: by default it is the number of requests that leaves room for reads and writes."""
REQUESTS_AT_ONCE = 16
MEMORY_BYTES = 256 * 2**20
BURST_S = 0.25
"""Bytes of so long may pass at once before anyone waits: a small handover is not slowed down at all."""


class Memory:
    """So many bytes of memory, given in the order in which they are asked for."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._free_bytes = size_bytes
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for some."""
        return bool(self._line)

    @asynccontextmanager
    async def taken(self, size_bytes: int) -> AsyncIterator[None]:
        """So much memory, once it is free; more than there is at all is given alone."""
        size_bytes = min(size_bytes, self._size_bytes)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size_bytes, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free_bytes += size_bytes
            else:
                with suppress(ValueError):
                    self._line.remove((size_bytes, turn))
            self._let_in()

    def _let_in(self) -> None:
        while self._line and self._line[0][0] <= self._free_bytes:
            size_bytes, turn = self._line.popleft()
            if turn.cancelled():
                continue
            self._free_bytes -= size_bytes
            turn.set_result(None)


class Budget:
    """Bytes a second, requests at once, bytes in memory."""

    def __init__(
        self,
        bytes_per_s: int = BYTES_PER_S,
        requests_at_once: int = REQUESTS_AT_ONCE,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        if min(bytes_per_s, requests_at_once, memory_bytes) < 1:
            raise ValueError("a budget without bytes, requests or memory would never let anything through")
        self._bytes_per_s = bytes_per_s
        self._requests = asyncio.Semaphore(requests_at_once)
        self._memory = Memory(memory_bytes)
        self._paid_until = 0.0
        """Loop time at which all bytes charged so far have had their time."""

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """A turn for one request; begins when the bytes charged before have had their time."""
        async with self._requests:
            owed_s = self._paid_until - asyncio.get_running_loop().time() - BURST_S
            if owed_s > 0:
                await asyncio.sleep(owed_s)
            yield

    def charge(self, size_bytes: int) -> None:
        """Count bytes that were sent or received; later requests wait for them."""
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + size_bytes / self._bytes_per_s

    def memory(self, size_bytes: int) -> AbstractAsyncContextManager[None]:
        """So much memory, once it is free; more than there is at all is given alone."""
        return self._memory.taken(size_bytes)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether somebody waits for some."""
        return self._memory.is_short
