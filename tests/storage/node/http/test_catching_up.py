"""Catching up with the chain for unknown blobs: once a poll interval, however many ask and from wherever."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from storage.node.budgets import Requester
from storage.node.face import Refusal
from storage.node.http import catching_up
from storage.node.http.begins import AT_ONCE
from storage.node.http.catching_up import CatchUp
from storage.node.http.turns import REQUESTER, stranger
from storage.redstuff import EncodedBlob, blob_id_text
from tests.storage.conftest import Ask, OneNode
from tests.storage.node.http.conftest import until

INTERVAL_S = 0.02
ONE, OTHER = stranger("192.0.2.1"), stranger("192.0.2.2")
MEMBER = Requester("2", is_member=True)
HERE = SimpleNamespace(is_closing=lambda: False)
"""The transport of a client that has not hung up."""


class SlowChain:
    """Holds the chain's answers to a node back until the test lets them go."""

    def __init__(self, node: OneNode) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self._head = node.ledger.head
        node.ledger.head = self._slow_head  # type: ignore[method-assign]

    async def _slow_head(self) -> Any:
        self.asked.set()
        await self.go_on.wait()
        return await self._head()


@pytest.mark.parametrize("at_once", [1, 20])
async def test_unknown_ids_cost_one_catch_up_a_poll_interval(node: OneNode, ask: Ask, at_once: int) -> None:
    """From one client that asks without end, and from many that do."""
    loop = asyncio.get_running_loop()
    node.view.poll_interval_s = INTERVAL_S
    before, began = node.ledger.questions, loop.time()

    async def ask_for_unknown(first: int) -> None:
        for number in range(first, 256, at_once):
            blob_id = blob_id_text(bytes([number] * 32))
            assert (await ask("GET", f"/v1/blobs/{blob_id}/status")).granted() == "nonexistent"
            if loop.time() - began > 10 * INTERVAL_S:
                break

    await asyncio.gather(*(ask_for_unknown(first) for first in range(at_once)))
    intervals = (loop.time() - began) / INTERVAL_S
    assert 2 <= node.ledger.questions - before <= intervals + 2


async def test_requests_that_wait_together_cost_one_catch_up(node: OneNode) -> None:
    before, chain = node.ledger.questions, SlowChain(node)
    catch_up = CatchUp(node.view)
    first = asyncio.create_task(catch_up(ONE))
    await chain.asked.wait()
    later = [asyncio.create_task(catch_up(requester)) for requester in 20 * (ONE, OTHER, MEMBER)]
    chain.go_on.set()
    await asyncio.gather(first, *later)
    assert node.ledger.questions - before == 2, "one that was under way, and one that began later"


async def test_a_request_given_up_leaves_the_catch_up_to_the_others(node: OneNode, blob: EncodedBlob) -> None:
    node.register(blob)
    catch_up = CatchUp(node.view)
    given_up, waiting = (asyncio.create_task(catch_up(ONE)) for _ in range(2))
    asyncio.get_running_loop().call_soon(given_up.cancel)
    await waiting
    assert node.view.is_registered(blob.blob_id)


async def test_an_address_that_asks_too_much_leaves_places_to_others(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "IN_LINE", 16)
    chain, catch_up = SlowChain(node), CatchUp(node.view)
    asked = [asyncio.create_task(catch_up(ONE)) for _ in range(100)]
    await chain.asked.wait()
    assert sum(one.done() for one in asked) == 92, "these are answered by what is known"
    other = asyncio.create_task(catch_up(OTHER))
    await asyncio.sleep(0)
    assert not other.done()
    chain.go_on.set()
    await asyncio.gather(other, *asked)


async def test_a_chain_that_is_silent_is_told(node: OneNode) -> None:
    node.ledger.silent = True
    with pytest.raises(Refusal, match="the chain does not answer"):
        await CatchUp(node.view)(ONE)


async def test_an_address_that_waits_for_much_leaves_waits_to_others(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "WAITING", 8)
    node.view.poll_interval_s = INTERVAL_S
    catch_up = CatchUp(node.view)
    is_there = asyncio.Event()

    async def is_here() -> bool:
        return is_there.is_set()

    def wait(requester: Requester) -> asyncio.Task[None]:
        request: Any = {REQUESTER: requester}
        request = type("Request", (dict,), {"transport": HERE})(request)
        return asyncio.create_task(catch_up.until(request, is_here, 30.0))

    flood = [wait(ONE) for _ in range(20)]
    await until(lambda: sum(one.done() for one in flood) >= 16)
    others = [wait(OTHER), wait(MEMBER)]
    done, _ = await asyncio.wait(others, timeout=5 * INTERVAL_S)
    assert not done
    assert sum(one.done() for one in flood) == 16, "half of the places are left to it"
    is_there.set()
    await asyncio.gather(*flood, *others)


async def test_requests_that_waited_together_go_on_some_at_a_time(node: OneNode) -> None:
    """What each does next would keep the event loop from all others for a second, if a thousand did it at once."""
    chain, catch_up = SlowChain(node), CatchUp(node.view)
    request: Any = type("Request", (dict,), {"transport": HERE})({REQUESTER: ONE})
    waited = [asyncio.create_task(catch_up.until(request, nowhere, 0.0)) for _ in range(10 * AT_ONCE)]
    await chain.asked.wait()
    chain.go_on.set()
    counts = [0]
    while counts[-1] < len(waited):
        await asyncio.sleep(0)
        counts.append(sum(one.done() for one in waited))
    assert max(later - before for before, later in pairwise(counts)) <= 2 * AT_ONCE


async def nowhere() -> bool:
    return False
