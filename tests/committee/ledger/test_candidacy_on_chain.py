"""Who comes back on the real contracts: a removed node does, when its bar is over; one that was withdrawn does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger import Absence
from committee.ledger.evm import EvmLedger
from storage.node import candidacy
from storage.node.candidacy import Candidacy
from storage.node.chain import ChainView
from tests.committee.ledger.following import STAKES

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, Node, SpoiltConnection

LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again soon; and histories are searched two blocks at a time."""
    monkeypatch.setattr(candidacy, "TRIED_AGAIN_AFTER_S", 0.02)
    monkeypatch.setattr("committee.ledger.evm.history.LONGEST_LOG_RANGE", 2)


async def stands(network: Network, node: Node) -> bool:
    return any(one.node_id == node.node_id for one in await network.operator.candidates())


class Running:
    """A node's candidacy, as its process sees to it."""

    def __init__(self, node: Node) -> None:
        self.view = ChainView(node.ledger, node.node_id)
        self.candidacy = Candidacy(self.view)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.view.load()
        self.task = asyncio.create_task(self.candidacy.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


Run = Callable[["Node"], Running]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    started: list[Running] = []

    def begin(node: Node) -> Running:
        started.append(Running(node))
        return started[-1]

    yield begin
    for one in started:
        await one.stop()


async def until_it_stands(network: Network, node: Node) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await stands(network, node):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def looked(running: Running) -> None:
    """It is settled: nothing is left to do until the chain has news."""
    async with asyncio.timeout(LIMIT_S):
        assert await running.candidacy._see_to_it() is None


async def test_a_node_ejected_epochs_ago_stands_again_when_it_starts(launch: Launch, run: Run) -> None:
    network = await launch(STAKES)
    gone = network.nodes[3]
    await network.begin_epoch()
    await network.eject(gone.node_id)
    for _ in range(2):
        await network.hand_over(await network.begin_epoch())
    assert not await stands(network, gone)
    await run(gone).start()
    await until_it_stands(network, gone)


async def test_a_node_ejected_while_it_runs_stands_again_with_the_next_epoch(
    launch: Launch, run: Run
) -> None:
    network = await launch(STAKES)
    gone = network.nodes[3]
    running = run(gone)
    await running.start()
    await network.begin_epoch()
    await network.eject(gone.node_id)
    await running.view.refresh()
    assert await running.candidacy._see_to_it() == candidacy.BARRED_TRIED_AGAIN_AFTER_S
    assert not await stands(network, gone)
    await network.begin_epoch()
    await running.view.refresh()
    await until_it_stands(network, gone)


async def leave(network: Network, node: Node) -> None:
    await network.begin_epoch()
    await node.ledger.leave()


async def leave_and_be_ejected(network: Network, node: Node) -> None:
    await leave(network, node)
    await network.eject(node.node_id)


async def come_back_and_leave(network: Network, node: Node) -> None:
    await network.begin_epoch()
    await network.eject(node.node_id)
    await network.begin_epoch()
    await node.ledger.become_candidate()
    await node.ledger.leave()


@pytest.mark.parametrize("how", [leave, leave_and_be_ejected, come_back_and_leave])
async def test_a_node_that_was_withdrawn_stays_away(
    launch: Launch, run: Run, how: Callable[..., object]
) -> None:
    network = await launch(STAKES)
    gone = network.nodes[3]
    await how(network, gone)  # type: ignore[misc]
    running = run(gone)
    await running.view.load()
    await looked(running)
    assert not await stands(network, gone)
    assert await network.operator.absence(gone.node_id) is Absence.LEFT


@pytest.mark.parametrize("forgotten", [range(100), range(1)], ids=["all logs", "the newest"])
async def test_logs_that_an_endpoint_forgets_are_an_outage_and_no_reason_to_stay_away(
    launch: Launch, spoilt: SpoiltConnection, forgotten: range
) -> None:
    network = await launch(STAKES)
    gone = network.nodes[3]
    await network.begin_epoch()
    await network.eject(gone.node_id)
    connecting = EvmLedger.connect(spoilt.url, network.deployment)
    ledger = await network.connections.enter_async_context(await connecting)
    told = 0

    def forget(method: str, result: object) -> object:
        nonlocal told
        if method != "eth_getLogs" or not result:
            return result
        told += 1
        return [] if told - 1 in forgotten else result

    spoilt.changes.append(forget)
    with pytest.raises(LedgerUnavailable):
        await ledger.absence(gone.node_id)
    spoilt.changes.clear()
    assert await ledger.absence(gone.node_id) is Absence.REMOVED
