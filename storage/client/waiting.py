"""Pauses between two questions to what is waited for, and what programs are told of a wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from committee.backoff import next_pause_s

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); stages: start (of the first epoch), encode, register, settle, upload, certify;
metadata, download, decode; link (seconds for which no member has answered, and for which one is waited for); finality
(seconds for which the chain's endpoint has told no settled block, and for which it is waited for)."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Time between two requests to a node that is waited for."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Do nothing: for a wait of which no program is told."""


class Pauses:
    """Growing pauses, which end after a while."""

    def __init__(self, patience_s: float = math.inf) -> None:
        self._patience_s = patience_s
        self._until: float | None = None
        self._next_s = FIRST_PAUSE_S

    async def pause(self) -> bool:
        """Sleep, and return True; return False once the patience, which begins with the first pause, is over."""
        now = asyncio.get_running_loop().time()
        self._until = now + self._patience_s if self._until is None else self._until
        if now >= self._until:
            return False
        await asyncio.sleep(min(self._next_s, self._until - now))
        self._next_s = next_pause_s(self._next_s, FIRST_PAUSE_S, LONGEST_PAUSE_S, growth=1.5)
        return True
