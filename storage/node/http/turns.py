"""Turns: what requests wait for, how many may wait, and what one of them holds until it is answered.

A server is not told when a request's sender hangs up while the request waits. So whoever's turn comes is looked at
then, and who is gone costs no work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager

from aiohttp import web

from storage.client.wire import Reason
from storage.node.face import Refusal

HELD = web.RequestKey("held", AsyncExitStack)
"""What a request holds until its answer is sent, or its connection gone."""


def require_there(request: web.Request) -> None:
    """Raises `ConnectionError` when who asked has hung up."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("who asked has hung up")


class Line:
    """Requests that wait for the same thing; who finds the line full is refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the line, as long as the block lasts. Raises `Refusal`."""
        if self._waiting >= self._limit:
            raise Refusal(503, Reason.UNAVAILABLE, f"{self._limit} requests wait for their turn already")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def hold(self, request: web.Request, what: AbstractAsyncContextManager[None]) -> None:
        """Wait in line for what the request is to hold until it is answered."""
        with self.place():
            await request[HELD].enter_async_context(what)
        require_there(request)


class Turns:
    """So many requests at once, and so many in line."""

    def __init__(self, at_once: int, in_line: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._line = Line(in_line)

    @asynccontextmanager
    async def turn(self, request: web.Request) -> AsyncIterator[None]:
        """The request's turn. Raises `Refusal` when the line is full, `ConnectionError` when who asked is gone."""
        with self._line.place():
            await self._free.acquire()
        try:
            require_there(request)
            yield
        finally:
            self._free.release()
