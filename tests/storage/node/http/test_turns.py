"""Turns: so many at once, so many in line, and none for who has hung up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from storage.node.budgets import Line, LineFull, Pool
from storage.node.http.turns import HELD, REQUESTER, Turns, hold, stranger


class FakeRequest(dict[Any, Any]):
    """As much of a request as turns look at."""

    def __init__(self) -> None:
        super().__init__({REQUESTER: stranger("192.0.2.1")})
        self.transport: Any = SimpleNamespace(is_closing=lambda: False)

    def hang_up(self) -> None:
        self.transport = None


class Asker:
    """Takes a turn, and ends it when told to."""

    def __init__(self, turns: Turns) -> None:
        self.request: Any = FakeRequest()
        self.has_turn = False
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(turns))

    async def _run(self, turns: Turns) -> None:
        async with turns.turn(self.request):
            self.has_turn = True
            await self.end.wait()


async def happened() -> None:
    """All that can has."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_go_in_order_and_who_finds_the_line_full_is_refused() -> None:
    turns = Turns(Pool(1), in_line=4)
    first, second, third, refused = (Asker(turns) for _ in range(4))
    await happened()
    assert (first.has_turn, second.has_turn) == (True, False)
    with pytest.raises(LineFull):
        await refused.task
    first.end.set()
    await happened()
    assert (second.has_turn, third.has_turn) == (True, False)
    for one in (second, third):
        one.end.set()
        await one.task


@pytest.mark.parametrize("is_closing", [False, True])
async def test_who_has_hung_up_gives_the_turn_to_the_next(is_closing: bool) -> None:
    turns = Turns(Pool(1), in_line=4)
    first, gone, last = (Asker(turns) for _ in range(3))
    await happened()
    gone.request.transport = SimpleNamespace(is_closing=lambda: True) if is_closing else None
    first.end.set()
    await happened()
    assert (gone.has_turn, last.has_turn) == (False, True)
    with pytest.raises(ConnectionError):
        await gone.task
    last.end.set()
    await last.task


async def test_who_has_hung_up_gives_back_what_was_to_be_held() -> None:
    memory, line, request = Pool(1), Line(1), FakeRequest()
    async with memory.lent(1), AsyncExitStack() as held:
        request[HELD] = held
        waiting = asyncio.create_task(hold(request, line, memory.lent(1)))  # type: ignore[arg-type]
        await happened()
        with pytest.raises(LineFull):
            await hold(request, line, memory.lent(1))  # type: ignore[arg-type]
        request.hang_up()
    with pytest.raises(ConnectionError):
        await waiting
