"""Questions to a member: few at once, within the budget, charged to it; the member is played."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.membership import Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.wire import Question
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair.courier import AT_ONCE_TO_A_MEMBER, Courier
from storage.redstuff import Axis

MEMBER = Member(1, "node-1", "http://node-1", bytes(48), (0,))
REFUSED = NodeRefused("node-1", "", 404, Reason.SLIVER_NOT_FOUND, "nothing is here")


class Node:
    """A member that answers when it is let."""

    def __init__(self) -> None:
        self.at_once = 0
        self.asked: list[bytes] = []
        self.let = asyncio.Event()
        self.answers: list[Any] = []
        self.is_down = False

    async def decoding_symbols(
        self, blob_id: bytes, axis: Axis, targets: Any, shards: Any, size_bytes: int, transfer: Transfer
    ) -> Any:
        transfer.on_begin()
        self.asked.append(blob_id)
        self.at_once += 1
        try:
            await self.let.wait()
        finally:
            self.at_once -= 1
        if self.is_down:
            raise NodeUnreachable("node-1", "", "test")
        return {0: {0: blob_id}}

    async def symbols_of_blobs(
        self, question: Question, size_bytes: int, transfer: Transfer
    ) -> Sequence[Any]:
        await self.decoding_symbols(question.blob_ids[0], question.axis, (), (), size_bytes, transfer)
        return self.answers


class Asking:
    """A courier to one member."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.node, self.budget = Node(), budget or Budget()
        self.charged: list[int] = []
        self.budget.charge = self.charged.append  # type: ignore[assignment, method-assign]
        peers = SimpleNamespace(client=lambda member: self.node)
        self.courier = Courier(cast(Peers, peers), self.budget)
        self.sent: list[int] = []

    def ask(self, number: int) -> asyncio.Task[Any]:
        on_sent = lambda: self.sent.append(number)  # noqa: E731
        question = (bytes([number]) * 32, Axis.PRIMARY, [0], [0], 100, on_sent)
        return asyncio.create_task(self.courier.ask(MEMBER, *question))

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_member_is_asked_few_questions_at_once() -> None:
    asking = Asking()
    tasks = [asking.ask(number) for number in range(5)]
    await asking.settled()
    assert asking.node.at_once == AT_ONCE_TO_A_MEMBER
    assert asking.sent == list(range(AT_ONCE_TO_A_MEMBER)), "what waits is not called sent"
    asking.node.let.set()
    assert [(await task)[0][0][:1] for task in tasks] == [bytes([number]) for number in range(5)]
    assert asking.charged == [100] * 5


async def test_a_question_that_is_given_up_gives_its_turn_back() -> None:
    asking = Asking(Budget(requests_at_once=1))
    first, given_up, kept = (asking.ask(number) for number in range(3))
    await asking.settled()
    given_up.cancel()
    first.cancel()
    await asking.settled()
    assert [one[0] for one in asking.node.asked] == [0, 2]
    asking.node.let.set()
    await kept
    assert asking.charged == [100]


async def test_what_fails_is_not_charged() -> None:
    asking = Asking()
    asking.node.is_down = True
    asking.node.let.set()
    with pytest.raises(NodeUnreachable):
        await asking.ask(0)
    assert asking.charged == []


async def test_of_several_blobs_those_granted_are_charged() -> None:
    asking = Asking()
    asking.node.let.set()
    asking.node.answers = [{}, REFUSED, {}, {}]
    question = Question(Axis.PRIMARY, [0], [0], [bytes([number]) * 32 for number in range(4)])
    answers = await asking.courier.ask_of_blobs(MEMBER, question, 400, lambda: None)
    assert answers == asking.node.answers
    assert asking.charged == [300]
