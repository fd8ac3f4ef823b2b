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
    from tests.storage.node.rounds.conftest import Rounds

ALL = (1, 2, 3, 4)


async def _signed(audits: auditing.Auditing, node_id: int, draw: bytes) -> None:
    """Ask for a signature until there is one, however slow this machine is."""
    while True:
        try:
            await audits.sign_proof(node_id, draw)
        except Refusal as refusal:
            assert "slowly" in str(refusal)
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


async def test_draws_that_there_are_not_cost_the_node_one_question_to_the_chain(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rounds.committed(*ALL)
    node, asked = rounds.network.running[2], []
    audits = auditing.Auditing(node.view, node.peers, node.code, node.secret, node.proving)

    class View:
        """The node's, whose chain counts what it is asked."""

        ledger = type("Ledger", (), {})()

        def __getattr__(self, name: str) -> Any:
            return getattr(node.view, name)

    async def proof_round(epoch: int) -> object:
        asked.append(epoch)
        return rounds.round

    View.ledger.proof_round = proof_round
    audits._view = View()  # type: ignore[assignment]
    refused = await asyncio.gather(
        *(audits.sign_proof(1, bytes([number]) * 32) for number in range(100)), return_exceptions=True
    )
    assert all("does not show this draw" in str(one) for one in refused)
    assert len(asked) == 1
    assert not audits._audits


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
