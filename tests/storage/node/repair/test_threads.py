"""Rebuilds leave threads free: whatever else the node looks up does not wait behind all of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from storage.node.threads import MOST_LONG
from storage.redstuff import Axis, RedStuff
from tests.storage.node.repair.conftest import CODE, Bench, right

REBUILDS = 40
"""More than the event loop has threads at most."""


async def test_many_rebuilds_leave_threads_to_small_questions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, begun, recover = threading.Event(), [0], RedStuff.recover

    def hang(code: RedStuff, *arguments: Any) -> bytes:
        begun[0] += 1
        assert goes_on.wait(30)
        return recover(code, *arguments)

    monkeypatch.setattr(RedStuff, "recover", hang)
    rebuilds = [asyncio.create_task(bench.rebuild(Axis.SECONDARY)) for _ in range(REBUILDS)]
    try:
        async with asyncio.timeout(10):
            while sum(len(one.asked) for one in bench.helpers.values()) < REBUILDS * CODE.p or not begun[0]:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert await asyncio.to_thread(lambda: 7) == 7
        assert begun[0] <= MOST_LONG
    finally:
        goes_on.set()
    assert await asyncio.gather(*rebuilds) == [right(Axis.SECONDARY)] * REBUILDS
