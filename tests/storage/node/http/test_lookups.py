"""Looks into the store take turns by requester, so that a flood of them neither fills the threads nor goes first."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from storage.node.http import admission
from storage.node.http.turns import Turns
from tests.storage.node.http.conftest import Serve, ServedNode, until

CONFIRMATION = "confirmation/permanent"
SYMBOLS = "decodingSymbols?targetSlivers=5&targetType=primary"
PROVEN = "recoverySymbols?targetSliver=5&targetType=primary"


@pytest.fixture
async def served(serve_node: Serve, monkeypatch: pytest.MonkeyPatch) -> ServedNode:
    """A node that looks up one thing at a time, and keeps no metadata at hand."""
    monkeypatch.setattr(admission, "WORK_AT_ONCE", 1)
    monkeypatch.setattr(admission, "METADATA_KEPT", 0)
    return await serve_node()


def wrap(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch, name: str, look: Callable[[Callable[[], Any]], Any]
) -> None:
    """Have a look into the store go through `look`."""
    real = getattr(served.node.store, name)
    monkeypatch.setattr(served.node.store, name, lambda *place: look(lambda: real(*place)))


@pytest.mark.parametrize(
    "rest",
    [
        *("metadata", "metadata/status", CONFIRMATION, SYMBOLS, PROVEN, "questions"),
        *("inconsistencyProof/primary", "slivers", "sliver", "sliver/status"),
    ],
)
async def test_looks_take_turns(served: ServedNode, monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    at_once = most = looks = 0
    counting = threading.Lock()

    def slowly(find: Callable[[], Any]) -> Any:
        nonlocal at_once, most, looks
        with counting:
            at_once, looks = at_once + 1, looks + 1
            most = max(most, at_once)
        time.sleep(0.005)  # a slow disk's
        with counting:
            at_once -= 1
        return find()

    for look in ("metadata", "shards_with", "sliver_size", "has_sliver"):
        wrap(served, monkeypatch, look, slowly)
    find = served.node.store.bulk.find
    monkeypatch.setattr(served.node.store.bulk, "find", lambda *asked: slowly(lambda: find(*asked)))

    async def ask() -> int:
        if rest == "questions":
            return await served.symbols()
        if rest == "slivers":
            return (await served.ask("PUT", served.sliver_path(2), served.sliver_body(2)))[0]
        if rest.startswith("sliver"):
            return (await served.ask("GET", served.sliver_path(2) + rest.removeprefix("sliver")))[0]
        method = "POST" if rest.startswith("inconsistency") else "GET"
        return (await served.ask(method, served.path(rest), b"" if method == "POST" else None))[0]

    status = 400 if rest.startswith("inconsistency") else 200
    assert await ask() == status  # which compiles what is not compiled yet
    assert await asyncio.gather(*(ask() for _ in range(6))) == 6 * [status]
    assert looks >= 7
    assert most == 1


async def test_a_flood_for_metadata_does_not_go_before_another_requester(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of metadata takes milliseconds at 1000 shards: a thousand of them must not come first."""
    may_read, begun = threading.Semaphore(0), 0

    def when_allowed(find: Callable[[], Any]) -> Any:
        nonlocal begun
        begun += 1
        may_read.acquire()
        return find()

    wrap(served, monkeypatch, "metadata", when_allowed)
    in_line = 0
    turn = Turns.turn

    def counted(turns: Turns, *request: Any) -> Any:
        nonlocal in_line
        in_line += 1
        return turn(turns, *request)

    async def ask(local: str) -> int:
        return (await served.ask("GET", served.path(SYMBOLS + "&helperShards=0"), local=local))[0]

    monkeypatch.setattr(Turns, "turn", counted)
    flood = [asyncio.create_task(ask("127.0.0.2")) for _ in range(16)]
    try:
        await until(lambda: begun and in_line == 16)
        asker = asyncio.create_task(ask("127.0.0.3"))
        await until(lambda: in_line == 17)
        may_read.release(2)  # for the one that reads already, and for the next
        assert await asker == 200
        assert sum(one.done() for one in flood) <= 1
    finally:
        may_read.release(100)
    assert await asyncio.gather(*flood) == 16 * [200]
