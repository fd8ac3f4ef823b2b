"""A node's own candidacy: it stands again after what ended it, unless that was its owner's or operator's will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.errors import LedgerRefused, LedgerUnavailable
from committee.ledger import Absence, BlockMark, EpochStarted, Event, MemberEjected
from storage.node import candidacy
from storage.node.candidacy import Candidacy
from storage.node.chain import ChainView

ME, ANOTHER = 1, 2
BLOCK = BlockMark(9, bytes(32))


class Bench:
    """Node 1's candidacy, and the chain's part in it."""

    def __init__(self) -> None:
        self.is_candidate = False
        self.absence_told = Absence.REMOVED
        self.is_barred = False
        self.outages: list[LedgerRefused | LedgerUnavailable] = []
        """What is answered first, whatever is asked."""
        self.refusals: list[LedgerRefused] = []
        """What is answered first to who asks to be a candidate."""
        self.asked = 0
        """How often the registry was read."""
        self.is_shown = True
        """Whether the registry that an endpoint shows has the node."""
        self.running: asyncio.Task[None] | None = None
        self.listener: Callable[[Event], None] = lambda event: None
        view = SimpleNamespace(node_id=ME, ledger=self, subscribe=self.subscribe)
        self.candidacy = Candidacy(cast(ChainView, view))

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        self.listener = listener

    async def node(self, node_id: int) -> Any:
        assert node_id == ME
        self.asked += 1
        if self.outages:
            raise self.outages.pop(0)
        if not self.is_shown:
            raise LedgerRefused("Registry.node", "UnknownNode", {"nodeId": node_id})
        return SimpleNamespace(node_id=ME, is_candidate=self.is_candidate)

    async def absence(self, node_id: int) -> Absence:
        assert node_id == ME
        assert not self.is_candidate
        return self.absence_told

    async def become_candidate(self, node_id: int) -> None:
        assert node_id == ME
        if self.is_barred:
            raise LedgerRefused("come back", candidacy.BARRED)
        if self.refusals:
            raise self.refusals.pop(0)
        self.is_candidate = True

    async def until(self, condition: Callable[[], bool]) -> None:
        """Runs from the first time on."""
        self.running = self.running or asyncio.create_task(self.candidacy.run())
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def has_looked(self) -> None:
        """It has looked, and has nothing left to do."""
        before = self.asked
        await self.until(lambda: self.asked > before)
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(candidacy, "TRIED_AGAIN_AFTER_S", 0.0)
    bench = Bench()
    yield bench
    assert bench.running is not None
    bench.running.cancel()
    await asyncio.gather(bench.running, return_exceptions=True)


@pytest.mark.parametrize("absence", [one for one in Absence if one is not Absence.LEFT])
async def test_a_node_that_was_not_withdrawn_stands_again(bench: Bench, absence: Absence) -> None:
    bench.absence_told = absence
    await bench.until(lambda: bench.is_candidate)


async def test_a_node_asks_now_and_then_for_a_place_that_candidates_without_stake_have(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidacy, "FULL_TRIED_AGAIN_AFTER_S", 0.0)
    bench.absence_told = Absence.NEVER_STOOD
    bench.refusals = [LedgerRefused("stake more", candidacy.FULL) for _ in range(3)]
    await bench.until(lambda: bench.is_candidate)


async def test_a_node_that_was_withdrawn_stays_away(bench: Bench) -> None:
    bench.absence_told = Absence.LEFT
    await bench.has_looked()
    assert not bench.is_candidate
    bench.listener(EpochStarted(BLOCK, 3, 3))
    await bench.has_looked()
    assert not bench.is_candidate


async def test_a_node_removed_while_it_runs_stands_again_with_the_next_epoch(bench: Bench) -> None:
    bench.is_candidate = True
    await bench.has_looked()
    bench.is_candidate, bench.is_barred = False, True
    bench.listener(MemberEjected(BLOCK, 3, ME, 1))
    await bench.has_looked()
    assert not bench.is_candidate
    bench.is_barred = False
    bench.listener(EpochStarted(BLOCK, 4, 4))
    await bench.until(lambda: bench.is_candidate)


async def test_anothers_ejection_is_no_reason_to_look(bench: Bench) -> None:
    bench.is_candidate = True
    await bench.has_looked()
    bench.listener(MemberEjected(BLOCK, 3, ANOTHER, 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.asked == 1


async def test_a_node_that_is_barred_asks_now_and_then_though_no_epoch_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidacy, "BARRED_TRIED_AGAIN_AFTER_S", 0.0)
    bench.is_barred = True
    await bench.until(lambda: bench.asked > 3)
    assert not bench.is_candidate
    bench.is_barred = False
    await bench.until(lambda: bench.is_candidate)


async def test_a_chain_that_does_not_answer_is_asked_again(bench: Bench) -> None:
    bench.outages = [LedgerUnavailable("no answer within 5 s"), LedgerUnavailable("no answer within 5 s")]
    await bench.until(lambda: bench.is_candidate)


async def test_an_endpoint_that_does_not_show_the_node_is_asked_again(bench: Bench) -> None:
    bench.is_shown = False
    await bench.until(lambda: bench.asked > 1)
    bench.is_shown = True
    await bench.until(lambda: bench.is_candidate)


async def test_a_refusal_that_may_pass_is_tried_again(bench: Bench) -> None:
    bench.refusals = [LedgerRefused("come back", "EnforcedPause")]
    await bench.until(lambda: bench.is_candidate)


async def test_a_node_that_somebody_else_made_stand_meanwhile_asks_once(bench: Bench) -> None:
    bench.refusals = [LedgerRefused("come back", candidacy.STANDS)]
    await bench.has_looked()
    assert (bench.asked, bench.refusals) == (1, [])
