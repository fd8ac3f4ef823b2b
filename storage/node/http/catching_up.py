"""Catching up with the chain for requests that name what it has not told of yet."""

from __future__ import annotations

import asyncio

from committee.errors import LedgerError
from storage.client.wire import Reason
from storage.node.budgets import Line, LineFull, Requester
from storage.node.chain import ChainView
from storage.node.face import Refusal

IN_LINE = 1024
"""Requests that wait for a catch-up."""


class CatchUp:
    """Catches up with the chain, once a poll interval and for all requests that wait together.

    A catch-up under way may have seen the chain before a request was made, so that request waits for the next one. So
    unknown blob ids, however many and from wherever, cost the chain's provider no more than one catch-up an interval.
    """

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._line = Line(IN_LINE)
        self._running = asyncio.Lock()
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
