"""Requests to several members, of which slow ones are overtaken.

Who has not answered within a few seconds is left to its own pace, and another is asked beside it; whoever comes first
counts, and what is not needed any more is cancelled. So one member that hangs costs those seconds, and not the whole
time for a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

OVERTAKEN_AFTER_S = 4.0
"""A small request is overtaken after this; one for many bytes as much later as they take."""

Target = TypeVar("Target")
Answer = TypeVar("Answer")


@dataclass
class _Request(Generic[Target]):
    """One request under way."""

    target: Target
    since: float
    """Loop time."""
    is_overtaken: bool = False


class Requests(Generic[Target, Answer]):
    """Requests under way, by what they are for. An async context manager: at its end those left are cancelled."""

    def __init__(self, overtaken_after_s: float) -> None:
        self._after_s = overtaken_after_s
        self._under_way: dict[asyncio.Task[Answer], _Request[Target]] = {}

    async def __aenter__(self) -> Requests[Target, Answer]:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def __bool__(self) -> bool:
        return bool(self._under_way)

    @property
    def expected(self) -> list[Target]:
        """What may be answered any moment."""
        return [one.target for one in self._under_way.values() if not one.is_overtaken]

    @property
    def overtaken(self) -> list[Target]:
        """What is under way for so long that it is not waited for."""
        return [one.target for one in self._under_way.values() if one.is_overtaken]

    def send(self, target: Target, answer: Coroutine[Any, Any, Answer]) -> None:
        """Begin a request."""
        since = asyncio.get_running_loop().time()
        self._under_way[asyncio.create_task(answer)] = _Request(target, since)

    async def answered(self) -> list[tuple[Target, asyncio.Task[Answer]]]:
        """Wait until something is answered or overtaken: what is answered, tasks that are done. Not when empty."""
        clock = asyncio.get_running_loop().time
        ends = [one.since + self._after_s for one in self._under_way.values() if not one.is_overtaken]
        left_s = max(0.0, min(ends) - clock()) if ends else None
        done, _ = await asyncio.wait(self._under_way, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        for request in self._under_way.values():
            request.is_overtaken = clock() - request.since >= self._after_s
        for task in done:
            task.exception()  # looked at, also when whoever asked has enough
        return [(self._under_way.pop(task).target, task) for task in list(self._under_way) if task in done]
