"""When a request is begun, or goes on after its body: some at a time, and those of each source in turn.

The event loop serves whatever has arrived before it looks for more. A thousand requests that arrive together would all
be begun first, a second's work or more, and the single request of another client only then. So it is with a thousand
bodies whose last bytes arrive together.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from storage.node.budgets import Requester

AT_ONCE = 8
"""Requests begun before the connections are looked at again."""


class Begins:
    """Lets requests begin: at most `at_once` in one round of the event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._left = at_once
        """Requests that may still begin in this round."""
        self._is_round_over_soon = False
        self._waiting: OrderedDict[Requester, deque[asyncio.Future[None]]] = OrderedDict()
        """Source → its requests that wait; the source whose turn is next comes first."""

    async def turn(self, source: Requester) -> None:
        """Return when a request of that source may begin."""
        loop = asyncio.get_running_loop()
        if not self._is_round_over_soon:
            self._is_round_over_soon = True
            loop.call_soon(self._next_round)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(source, deque()).append(turn)
        await turn

    def _next_round(self) -> None:
        self._left = self._at_once
        while self._left and self._waiting:
            source, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[source] = turns
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._is_round_over_soon = bool(self._waiting)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_round)
