"""Questions that go together, and those that do not; the members are played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.membership import Member
from storage.client import wire
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.wire import Question
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.repair.courier import AT_ONCE_TO_A_MEMBER, TOGETHER_BYTES, Courier
from storage.redstuff import Axis

MEMBER = Member(1, "node-1", "http://node-1", bytes(48), (0,))
SMALL = 100


def question(number: int, shards: Sequence[int] = (0,)) -> Question:
    return Question(bytes([number]) * 32, Axis.PRIMARY, [0], list(shards))


def refused(number: int) -> NodeRefused:
    return NodeRefused("node-1", "", 404, Reason.SLIVER_NOT_FOUND, f"blob {number}")


class Node:
    """A member that answers when it is let; what was asked together is one entry of `requests`."""

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.let = asyncio.Event()
        self.answer: Callable[[int], Any] = lambda number: {number: {0: b"ab"}}
        self.cancelled = 0
        self.most_bytes: list[int] = []
        """Of each answer that is taken."""

    async def decoding_symbols(
        self, blob_id: bytes, axis: Axis, targets: Any, shards: Any, size_bytes: int, transfer: Transfer
    ) -> Any:
        transfer.on_begin()
        self.most_bytes.append(size_bytes)
        (answer,) = await self._answers([blob_id[0]])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def symbols_of_blobs(
        self, questions: Sequence[Question], size_bytes: int, transfer: Transfer
    ) -> list[Any]:
        transfer.on_begin()
        self.most_bytes.append(size_bytes)
        return await self._answers([one.blob_id[0] for one in questions])

    async def _answers(self, numbers: list[int]) -> list[Any]:
        self.requests.append(numbers)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [self.answer(number) for number in numbers]


class Asking:
    """A courier to one member, and what was asked of it."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.node = Node()
        peers = SimpleNamespace(client=lambda member: self.node)
        self.courier = Courier(cast(Peers, peers), budget or Budget())
        self.sent: list[int] = []

    def ask(self, number: int, size_bytes: int = SMALL, shards: Sequence[int] = (0,)) -> asyncio.Task[Any]:
        asked = question(number, shards)
        return asyncio.create_task(
            self.courier.ask(MEMBER, asked, size_bytes, lambda: self.sent.append(number))
        )

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_what_is_asked_at_once_goes_together() -> None:
    asking = Asking()
    tasks = [asking.ask(number) for number in range(5)]
    asking.node.let.set()
    assert await asyncio.gather(*tasks) == [{number: {0: b"ab"}} for number in range(5)]
    assert asking.node.requests == [[0, 1, 2, 3, 4]]
    assert asking.sent == [0, 1, 2, 3, 4]
    assert asking.node.most_bytes == [5 * SMALL], "no more is taken than was asked for"


async def test_what_is_asked_while_requests_are_under_way_waits_and_goes_together() -> None:
    asking = Asking()
    tasks = []
    for number in range(8):
        tasks.append(asking.ask(number))
        await asking.settled()
    assert asking.node.requests == [[number] for number in range(AT_ONCE_TO_A_MEMBER)]
    asking.node.let.set()
    await asyncio.gather(*tasks)
    assert asking.node.requests[AT_ONCE_TO_A_MEMBER:] == [list(range(AT_ONCE_TO_A_MEMBER, 8))]


async def test_a_large_question_goes_alone() -> None:
    asking = Asking()
    asking.node.let.set()
    tasks = [asking.ask(0), asking.ask(1, TOGETHER_BYTES), asking.ask(2, 2 * TOGETHER_BYTES), asking.ask(3)]
    await asyncio.gather(*tasks)
    assert asking.node.requests == [[0], [1], [2], [3]]
    assert asking.node.most_bytes == [SMALL, TOGETHER_BYTES, 2 * TOGETHER_BYTES, SMALL]


@pytest.mark.parametrize(
    ("shards", "together"), [((0,), wire.MAX_QUESTIONS), (range(wire.MAX_HELPING_SLIVERS // 4), 4)]
)
async def test_a_request_keeps_to_what_a_node_takes(shards: Sequence[int], together: int) -> None:
    asking = Asking()
    asking.node.let.set()
    await asyncio.gather(*(asking.ask(number, 1, shards) for number in range(together + 1)))
    assert [len(numbers) for numbers in asking.node.requests] == [together, 1]


async def test_one_refused_question_fails_alone() -> None:
    asking = Asking()
    asking.node.answer = lambda number: refused(1) if number == 1 else {number: {}}
    asking.node.let.set()
    answers = await asyncio.gather(*(asking.ask(number) for number in range(3)), return_exceptions=True)
    assert answers[::2] == [{0: {}}, {2: {}}]
    assert isinstance(answers[1], NodeRefused)


async def test_a_request_that_fails_fails_for_all_its_questions() -> None:
    asking = Asking()

    async def fail(questions: Sequence[Question], size_bytes: int, transfer: Transfer) -> list[Any]:
        raise NodeUnreachable("node-1", "", "test")

    asking.node.symbols_of_blobs = fail  # type: ignore[method-assign]
    answers = await asyncio.gather(*(asking.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(one) for one in answers] == [NodeUnreachable] * 3
    asking.node.let.set()
    assert await asking.ask(7) == {7: {0: b"ab"}}


async def test_what_nobody_foresaw_is_told_to_whoever_asked() -> None:
    asking = Asking()
    asking.node.answer = lambda number: {number: 1 // number}
    asking.node.let.set()
    answers = await asyncio.gather(*(asking.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(one) for one in answers] == [ZeroDivisionError] * 3
    assert await asking.ask(1) == {1: 1}, "the way is free again"


async def test_a_question_nobody_waits_for_any_more_is_not_sent() -> None:
    asking = Asking(Budget(requests_at_once=1))
    first = asking.ask(0)
    await asking.settled()
    given_up, kept = asking.ask(1), asking.ask(2)
    await asking.settled()
    given_up.cancel()
    asking.node.let.set()
    await asyncio.gather(first, kept)
    assert asking.node.requests == [[0], [2]]


async def test_a_request_is_broken_off_when_nobody_waits_for_any_of_its_questions() -> None:
    asking = Asking(Budget(requests_at_once=1))
    tasks = [asking.ask(number) for number in range(2)]
    await asking.settled()
    tasks[0].cancel()
    await asking.settled()
    assert asking.node.cancelled == 0
    tasks[1].cancel()
    await asking.settled()
    assert asking.node.cancelled == 1
    asking.node.let.set()
    assert await asking.ask(5) == {5: {0: b"ab"}}, "the budget's turn was given back"
