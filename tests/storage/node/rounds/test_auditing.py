"""Audits of fellows that are slow, and of draws that there are not: no fellow keeps others from proving."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from committee.opening import Opening
from storage.client.node_client import NodeClient
from storage.node.face import Refusal
from storage.node.rounds import auditing
from tests.storage.network import LIMIT_S
from tests.storage.node.handovers import bend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from committee.ledger.proofs import Round
    from storage.node.node import StorageNode
    from tests.storage.node.rounds.conftest import Rounds

ALL = (1, 2, 3, 4)


async def _signed(audits: auditing.Auditing, node_id: int, draw: bytes) -> None:
    """Ask for a signature until there is one, however slow this machine is."""
    while True:
        try:
            await audits.sign_proof(node_id, draw)
        except Refusal as refusal:
            assert "slowly" in str(refusal) or "does not show its openings" in str(refusal)
        else:
            return


class Slow:
    """A fellow as another member sees it, whose pages but the first ones do not come to an end."""

    asked: ClassVar[list[int]] = []

    def __init__(self, client: NodeClient, most_pages: int) -> None:
        self._client = client
        self._most = most_pages

    async def openings(self, draw: bytes, page: int, *rest: Any) -> list[Opening]:
        self.asked.append(page)
        if page >= self._most:
            await asyncio.Event().wait()
        return await self._client.openings(draw, page, *rest)


async def test_fellows_that_show_their_openings_for_ever_keep_no_other_from_proving(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rounds.committed(*ALL)
    draw = await rounds.drawn()
    await rounds.proven(*ALL)
    audits = rounds.network.running[2].rounds.auditing
    audits._audits.clear()
    audits._free = asyncio.Semaphore(2)
    monkeypatch.setattr(auditing, "AUDIT_S", 1.0)
    monkeypatch.setattr(auditing, "FAILURE_KEPT_S", 0.0)
    most = 3
    bend(rounds.network, 2, {one: lambda client: Slow(client, most) for one in (3, 4)})
    slow = [asyncio.create_task(audits.sign_proof(one, draw)) for one in (3, 4)]
    async with asyncio.timeout(LIMIT_S):
        await _signed(audits, 1, draw)
        for failed in await asyncio.gather(*slow, return_exceptions=True):
            assert "slowly" in str(failed)
        most = 16
        Slow.asked.clear()
        await _signed(audits, 3, draw)
    assert set(Slow.asked) == set(range(3, 16)), "what was judged before is not fetched again"


def _audits(node: StorageNode, proof_round: Callable[[int], Awaitable[Round | None]]) -> auditing.Auditing:
    """Audits of their own, which ask the chain for rounds by `proof_round`."""
    audits = auditing.Auditing(node.view, node.peers, node.code, node.secret, node.proving)

    class Bent:
        """What belongs to the node, but for one name."""

        def __init__(self, real: Any, **instead: Any) -> None:
            self._real = real
            self.__dict__.update(instead)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    audits._view = Bent(node.view, ledger=Bent(node.view.ledger, proof_round=proof_round))  # type: ignore[assignment]
    return audits


def _unknown(audits: auditing.Auditing, count: int) -> list[Coroutine[Any, Any, object]]:
    """Requests that name draws which there are not."""
    return [audits.sign_proof(1, bytes([number]) * 32) for number in range(count)]


async def test_draws_that_there_are_not_cost_the_node_one_question_to_the_chain(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    asked = []

    async def proof_round(epoch: int) -> Round | None:
        asked.append(epoch)
        return rounds.round

    audits = _audits(rounds.network.running[2], proof_round)
    refused = await asyncio.gather(*_unknown(audits, 100), return_exceptions=True)
    assert all("does not show this draw" in str(one) for one in refused)
    assert len(asked) == 1
    assert not audits._audits


async def test_draws_that_there_are_not_keep_no_fellow_waiting_while_the_chain_is_slow(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the chain takes longer than the time for which it counts."""
    await rounds.committed(*ALL)
    draw = await rounds.drawn()
    takes_s, looks = 0.3, 0
    looking, answers = asyncio.Event(), asyncio.Event()
    answers.set()

    async def proof_round(epoch: int) -> Round | None:
        nonlocal looks
        looks += 1
        looking.set()
        await asyncio.sleep(takes_s)
        await answers.wait()
        return rounds.round

    monkeypatch.setattr(auditing, "LOOK_S", takes_s / 2)
    audits = _audits(rounds.network.running[2], proof_round)
    await asyncio.gather(*_unknown(audits, 100), return_exceptions=True)
    assert looks == 1, "those that waited share what was found"
    await asyncio.sleep(takes_s)
    looking.clear()
    answers.clear()
    stuck = [asyncio.create_task(one) for one in _unknown(audits, 10)]
    async with asyncio.timeout(LIMIT_S):
        await looking.wait()
        await _signed(audits, 1, draw)  # the draw is known, and no look is waited for
    answers.set()
    await asyncio.gather(*stuck, return_exceptions=True)
    await audits.close()


def _instead(shown: NodeClient, _: NodeClient) -> NodeClient:
    return shown


async def test_pages_of_another_member_are_nobody_elses(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fellow that passes on what another shows, or has the address of the node that asks."""
    await rounds.committed(*ALL)
    draw = await rounds.drawn()
    await rounds.proven(*ALL)
    monkeypatch.setattr(auditing, "FAILURE_KEPT_S", 0.0)
    audits = rounds.network.running[2].rounds.auditing
    for other in (1, 2):
        audits._audits.clear()
        shown = rounds.network.client(other)
        bend(rounds.network, 2, {4: partial(_instead, shown)})
        with pytest.raises(Refusal, match="node-4") as refused:
            await audits.sign_proof(4, draw)
        assert refused.value.status == 400
