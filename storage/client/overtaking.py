"""Requests to several members, of which slow ones are overtaken.

A request to a member that keeps it waiting is overtaken: another member is asked. The first answer counts. An overtaken
request can be cancelled, so that its answer does not take the link from the one that replaces it. So a member that
hangs costs a few seconds, and not the whole patience for a request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from storage.client.link import TIMES_ITS_SHARE, Transfer

SLOWED_TOGETHER = 3
"""Transfers that, slow at the same time, tell of a slow link."""
OVERTAKEN_AFTER_S = 4.0
"""A small request is overtaken after this; a large one when its transfer is overdue (`storage.client.link`)."""

Target = TypeVar("Target")
Answer = TypeVar("Answer")


@dataclass
class _Request(Generic[Target]):
    """One request under way."""

    target: Target
    since_s: float
    """Loop time."""
    transfer: Transfer | None
    is_overtaken: bool = False

    def due_s(self) -> float:
        """Return the loop time from which it is overtaken."""
        return self.since_s + OVERTAKEN_AFTER_S if self.transfer is None else self.transfer.due_s


class Requests(Generic[Target, Answer]):
    """Requests under way, by what they are for. An async context manager: at its end those left are cancelled."""

    def __init__(self) -> None:
        self._under_way: dict[asyncio.Task[Answer], _Request[Target]] = {}
        self._cancelled: list[asyncio.Task[Answer]] = []

    async def __aenter__(self) -> Requests[Target, Answer]:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, *self._cancelled, return_exceptions=True)

    def __bool__(self) -> bool:
        return bool(self._under_way)

    @property
    def expected(self) -> list[Target]:
        """What may be answered any moment."""
        return [one.target for one in self._under_way.values() if not one.is_overtaken]

    @property
    def overtaken(self) -> list[Target]:
        """What is under way and not waited for."""
        return [one.target for one in self._under_way.values() if one.is_overtaken]

    def send(
        self, target: Target, answer: Coroutine[Any, Any, Answer], transfer: Transfer | None = None
    ) -> None:
        """Begin a request; `transfer` is its part of a link's traffic, if it is large."""
        since_s = asyncio.get_running_loop().time()
        self._under_way[asyncio.create_task(answer)] = _Request(target, since_s, transfer)

    def overtake(self, is_hopeless: Callable[[Target], bool]) -> None:
        """Have the requests of which nothing has come count as overtaken if their target is hopeless."""
        for request in self._under_way.values():
            if is_hopeless(request.target) and not (request.transfer and request.transfer.moved()):
                request.is_overtaken = True

    def cancel_overtaken(self, may_cancel: Callable[[Target], bool], most: int) -> list[Target]:
        """Cancel up to `most` overtaken requests that are not nearly answered; return their targets."""
        targets: list[Target] = []
        for task, request in list(self._under_way.items()):
            is_near = request.transfer is not None and request.transfer.is_nearly_done
            if len(targets) < most and request.is_overtaken and not is_near and may_cancel(request.target):
                del self._under_way[task]
                task.cancel()
                self._cancelled.append(task)
                targets.append(request.target)
        return targets

    async def answered(self, until_s: float = math.inf) -> list[tuple[Target, asyncio.Task[Answer]]]:
        """Wait until something is answered or overtaken, or the loop's time is `until_s`; not when empty.

        Return what is answered: targets, and tasks that are done.
        """
        clock = asyncio.get_running_loop().time
        dues_s = [one.due_s() for one in self._under_way.values() if not one.is_overtaken]
        left_s = max(0.0, min([*dues_s, until_s]) - clock())
        if dues_s:
            # A transfer that waits in line has no time yet at which it is due: it may get one meanwhile.
            left_s = min(left_s, OVERTAKEN_AFTER_S)
        timeout_s = left_s if math.isfinite(left_s) else None
        done, _ = await asyncio.wait(self._under_way, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self._spare_if_link_slowed(clock(), done)
        for request in self._under_way.values():
            request.is_overtaken |= clock() >= request.due_s()
        for task in done:
            task.exception()  # looked at, also when the asker has enough
        return [(self._under_way.pop(task).target, task) for task in list(self._under_way) if task in done]

    def _spare_if_link_slowed(self, now_s: float, done: Collection[asyncio.Task[Answer]]) -> None:
        """Wait for transfers that became too slow with all others: it is the link then, and to ask others wastes bytes.

        Such a transfer is worth its bytes, moves about as fast as each of the others, and was not spared before: peers
        that conspire gain little time by it, and only while none under way is honest. SLOWED_TOGETHER transfers of as
        many peers are to be under way, those included that were overtaken.
        """
        transfers = [one.transfer for task, one in self._under_way.items() if task not in done]
        moving = [one for one in transfers if one is not None and math.isfinite(one.due_s)]
        if len({one.peer for one in moving}) < SLOWED_TOGETHER:
            return
        fastest = max(one.bytes_per_s for one in moving)
        for one in moving:
            is_as_fast = 0 < fastest <= one.bytes_per_s * TIMES_ITS_SHARE
            if one.is_overdue(now_s) and one.is_worth_its_bytes and is_as_fast and not one.is_spared:
                one.spare(now_s)
