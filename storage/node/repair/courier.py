"""Carries questions for symbols to the members: several small ones, of any blobs, in one request.

A question goes at once while few requests to its member are under way; what is asked meanwhile waits, and goes
together. So blobs of a few symbols each do not drown in round trips, and large ones wait for nobody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from committee.membership import Member
from storage.client import wire
from storage.client.errors import NodeError
from storage.client.link import Transfer
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.store.records import Symbols

AT_ONCE_TO_A_MEMBER = 2
"""Requests: while one is answered, the next one travels."""
TOGETHER_BYTES = 2**18
"""Bytes of symbols in one request, unless a single question asks for more."""

Answer = Mapping[int, Mapping[int, Symbols]]
"""Helping sliver's index → target → symbol."""


@dataclass(eq=False)
class _Asked:
    """A question on its way."""

    member: Member
    question: wire.Question
    size_bytes: int
    on_sent: Callable[[], None]
    answer: asyncio.Future[Answer | Exception]
    companions: Sequence[_Asked] = ()
    """All that are in the same request, this one too; none before it is sent."""
    request: asyncio.Task[None] | None = None


@dataclass
class _Lane:
    """The way to one member."""

    waiting: deque[_Asked] = field(default_factory=deque)
    requests: int = 0
    """Under way, or waiting for the budget."""

    def take(self) -> list[_Asked]:
        """What goes together next, in the order it was asked; nothing if nobody waits any more."""
        batch: list[_Asked] = []
        size_bytes = helping = 0
        while self.waiting and len(batch) < wire.MAX_QUESTIONS:
            asked = self.waiting[0]
            if not asked.answer.done():
                size_bytes += asked.size_bytes
                helping += len(asked.question.shards)
                if batch and (size_bytes > TOGETHER_BYTES or helping > wire.MAX_HELPING_SLIVERS):
                    break
                batch.append(asked)
            self.waiting.popleft()
        return batch


class Courier:
    """The way of one node's questions to the members."""

    def __init__(self, peers: Peers, budget: Budget) -> None:
        self._peers = peers
        self._budget = budget
        self._lanes: dict[int, _Lane] = defaultdict(_Lane)
        self._requests: set[asyncio.Task[None]] = set()

    async def ask(
        self, member: Member, question: wire.Question, size_bytes: int, on_sent: Callable[[], None]
    ) -> Answer:
        """The member's symbols, `size_bytes` in all; `on_sent` is called when the request goes out.

        Raises `NodeError`.
        """
        answer: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
        asked = _Asked(member, question, size_bytes, on_sent, answer)
        lane = self._lanes[member.node_id]
        lane.waiting.append(asked)
        self._send(lane)
        try:
            told = await answer
        except asyncio.CancelledError:
            if asked.request is not None and all(one.answer.done() for one in asked.companions):
                asked.request.cancel()
            raise
        if isinstance(told, Exception):
            raise told
        return told

    def _send(self, lane: _Lane) -> None:
        if lane.waiting and lane.requests < AT_ONCE_TO_A_MEMBER:
            lane.requests += 1
            request = asyncio.create_task(self._carry(lane))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _carry(self, lane: _Lane) -> None:
        """One request with what goes together, once the budget allows it."""
        batch: list[_Asked] = []
        try:
            async with self._budget.request():
                batch = lane.take()
                if batch:
                    self._hand_out(batch, await self._answers(batch))
        except Exception as error:
            batch = batch or lane.take()
            self._hand_out(batch, [error] * len(batch))  # whoever asked tells of it
        finally:
            lane.requests -= 1
            self._send(lane)

    async def _answers(self, batch: Sequence[_Asked]) -> Sequence[Answer | Exception]:
        def sent() -> None:
            for one in batch:
                one.on_sent()

        for one in batch:
            one.companions, one.request = batch, asyncio.current_task()
        transfer = Transfer(on_begin=sent)
        client, questions = self._peers.client(batch[0].member), [one.question for one in batch]
        size_bytes = sum(one.size_bytes for one in batch)
        try:
            if len(questions) == 1:
                (sole,) = questions
                symbols = await client.decoding_symbols(
                    sole.blob_id, sole.axis, sole.targets, sole.shards, size_bytes, transfer
                )
                return [symbols]
            return await client.symbols_of_blobs(questions, size_bytes, transfer)
        except NodeError as error:
            return [error] * len(batch)

    def _hand_out(self, batch: Sequence[_Asked], answers: Sequence[Answer | Exception]) -> None:
        for one, answer in zip(batch, answers, strict=True):
            if not isinstance(answer, Exception):
                self._budget.charge(one.size_bytes)
            if not one.answer.done():
                one.answer.set_result(answer)
