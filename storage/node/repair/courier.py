"""Carries questions for symbols to the members: few at once to each, within the budget, and charged to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from committee.membership import Member
from storage.client import wire
from storage.client.errors import NodeRefused
from storage.client.link import Transfer
from storage.node.budgets import Budget
from storage.node.peers import Peers
from storage.node.store.records import Symbols
from storage.redstuff import Axis

AT_ONCE_TO_A_MEMBER = 2
"""Requests: while one is answered, the next one travels."""

Answer = Mapping[int, Mapping[int, Symbols]]
"""Helping sliver's index → target → symbol."""


class Courier:
    """The way of one node's questions to the members. All methods raise `NodeError`."""

    def __init__(self, peers: Peers, budget: Budget) -> None:
        self._peers = peers
        self._budget = budget
        self._turns: dict[int, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE_TO_A_MEMBER)
        )
        """Node id → turns to ask the member."""

    async def ask(
        self,
        member: Member,
        blob_id: bytes,
        axis: Axis,
        targets: Sequence[int],
        shards: Sequence[int],
        size_bytes: int,
        on_sent: Callable[[], None],
    ) -> Answer:
        """Return the member's symbols for the slivers `targets` of a blob, `size_bytes` in all.

        `on_sent` is called when the request has its turn and is sent.
        """
        async with self._turn(member):
            answer = await self._peers.client(member).decoding_symbols(
                blob_id, axis, targets, shards, size_bytes, Transfer(on_begin=on_sent)
            )
        self._budget.charge(size_bytes)
        return answer

    async def ask_of_blobs(
        self, member: Member, question: wire.Question, size_bytes: int, on_sent: Callable[[], None]
    ) -> Sequence[Answer | NodeRefused]:
        """Return the member's symbols, or its refusal, for each blob of a question; as `ask` otherwise."""
        async with self._turn(member):
            answers = await self._peers.client(member).symbols_of_blobs(
                question, size_bytes, Transfer(on_begin=on_sent)
            )
        granted = sum(not isinstance(one, NodeRefused) for one in answers)
        self._budget.charge(size_bytes * granted // len(answers))
        return answers

    @asynccontextmanager
    async def _turn(self, member: Member) -> AsyncIterator[None]:
        async with self._turns[member.node_id], self._budget.request():
            yield
