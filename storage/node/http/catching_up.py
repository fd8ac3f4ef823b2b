"""Catching up with the chain for requests that name what it has not told of yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from committee.errors import LedgerError
from storage.client.failures import Reason
from storage.node.budgets import Line, LineFull, Requester
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.http.begins import Begins
from storage.node.http.turns import REQUESTER, require_there

IN_LINE = 1024
"""Requests that wait for a catch-up."""
WAITING = 512
"""Requests that wait for more than one: for what the chain has not told of yet."""
SHORTEST_LOOK_S = 0.05
"""Shortest time between two looks at the chain for one waiting request."""


class CatchUp:
    """Catches up with the chain, once a poll interval and for all requests that wait together.

    A catch-up under way may have seen the chain before a request was made, so that request waits for the next one. So
    unknown blob ids, however many and from wherever, cost the chain's provider no more than one catch-up an interval.
    """

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._line = Line(IN_LINE)
        self._waiting = Line(WAITING)
        self._is_closed = False
        self._running = asyncio.Lock()
        self._goes_on = Begins()
        """When the requests go on that a catch-up has kept waiting: they may be a thousand."""
        self._next: asyncio.Task[None] | None = None
        self._due = 0.0
        """Loop time before which no other catch-up begins."""

    async def __call__(self, requester: Requester) -> None:
        """Wait for a catch-up that begins after this call; return at once when too many requests wait.

        Raises `Refusal` (503) when the chain does not answer.
        """
        try:
            with self._line.place(requester):
                if self._next is None:
                    self._next = asyncio.create_task(self._run())
                    self._next.add_done_callback(_look_at)
                await asyncio.shield(self._next)
        except LineFull:
            return
        except LedgerError as error:
            # What is wrong with the provider is the operator's to know; the view has logged it.
            raise Refusal(503, Reason.UNAVAILABLE, "the chain does not answer; try again later") from error

    async def until(
        self, request: web.Request, is_there: Callable[[], Awaitable[bool]], wait_s: float
    ) -> None:
        """Catch up with the chain once, and again until `is_there`, for `wait_s` at most.

        Return after one catch-up when WAITING requests wait already, of which a requester has half at most: a wait
        costs the client nothing. Raises `Refusal` (503) when the chain does not answer or the node stops, and
        `ConnectionError` when the client has hung up.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        requester = request[REQUESTER]
        await self(requester)
        await self._goes_on.turn(requester)
        if not wait_s or await is_there():
            return
        try:
            with self._waiting.place(requester):
                while loop.time() < until:
                    require_there(request)
                    await asyncio.sleep(
                        min(max(self._view.poll_interval_s, SHORTEST_LOOK_S), until - loop.time())
                    )
                    if self._is_closed:
                        raise Refusal(503, Reason.UNAVAILABLE, "the node stops; ask again later")
                    await self(requester)
                    await self._goes_on.turn(requester)
                    if await is_there():
                        return
        except LineFull:
            return

    async def close(self) -> None:
        """End the waits. Idempotent."""
        self._is_closed = True

    async def _run(self) -> None:
        async with self._running:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._due - loop.time()))
            self._next = None
            self._due = loop.time() + self._view.poll_interval_s
            await self._view.refresh()


def _look_at(done: asyncio.Task[None]) -> None:
    """Take note of a failure that perhaps no request waits for any more."""
    if not done.cancelled():
        done.exception()
