"""Waiting for members that are not ready yet: behind the chain, or being restarted.

A node takes in only blocks that can no longer be reorganised. What a client did in a newer block, or saw there, a node
answers by "not yet" for minutes on a chain that finalises slowly. That is no failure: the client waits until the node
stands at that block. A node that does not answer may be being restarted, and gets a while as well. When no node at all
answers, it is the client's own link that is away (`storage.client.outages`).
"""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from committee.errors import FinalityUnknown, LedgerNotSettled, LedgerUnavailable
from committee.ledger import ChainLedger
from storage.client.errors import NodeError, NodeRefused, NodeStalled, NodeUnreachable
from storage.client.failures import Reason
from storage.client.node_client import NodeClient
from storage.client.outages import Outages
from storage.client.waiting import LONGEST_PAUSE_S, Pauses, Progress, no_progress

NOT_YET = frozenset({Reason.NOT_REGISTERED, Reason.NOT_YET_REGISTERED, Reason.SHARD_NOT_ASSIGNED})
"""Reasons that a node which is behind the chain gives for what it grants later."""
RESTART_PATIENCE_S = 20.0
"""How long a node that has not answered is waited for: long enough to be restarted."""
BEHIND_PATIENCE_S = 60.0
"""How long a node is waited for whose block does not move, though the client's endpoint has settled the block."""
STANDSTILL_S = 1000.0
"""How long a chain is waited for that settles no block: Ethereum finalises every 384 s, or later."""
FINALITY_PATIENCE_S = 120.0
"""How long the client's own endpoint is waited for that tells no settled block. One that was restarted tells one again
once its consensus client has spoken to it; a chain without finality never does."""
Answer = TypeVar("Answer")
Thing = TypeVar("Thing")


class NotSettled(NodeError):
    """The node's block does not move, and is behind what the client did on the chain."""


async def while_finality_is_unknown(
    ask: Callable[[], Awaitable[Answer]], progress: Progress = no_progress
) -> Answer:
    """Return what `ask` returns; it is repeated while the client's own endpoint tells no settled block.

    Raises `FinalityUnknown` after FINALITY_PATIENCE_S.
    """
    clock = asyncio.get_running_loop().time
    pauses, began_s = Pauses(FINALITY_PATIENCE_S), clock()
    while True:
        try:
            return await ask()
        except FinalityUnknown:
            waited_s = min(clock() - began_s, FINALITY_PATIENCE_S)
            progress("finality", int(waited_s), math.ceil(FINALITY_PATIENCE_S))
            if not await pauses.pause():
                raise


async def until_chain_settles(ledger: ChainLedger, block: int, progress: Progress = no_progress) -> None:
    """Wait until the client's own endpoint calls the block settled; return as well when nothing settles for long.

    Raises `FinalityUnknown` as `while_finality_is_unknown`.
    """
    pauses, standstill = Pauses(), _Standstill()
    first: int | None = None
    while True:
        try:
            settled = (await while_finality_is_unknown(ledger.head, progress)).number
        except FinalityUnknown:
            raise
        except LedgerNotSettled:
            settled = -1
        if settled >= block or standstill.since_s(settled) >= STANDSTILL_S:
            return
        first = max(0, settled) if first is None else first
        progress("start", min(max(0, settled - first), block - first), block - first)
        await pauses.pause()


class Settling:
    """Waits for the nodes to stand at `block`, and for those that do not answer; one for each upload of a blob."""

    def __init__(
        self,
        block: int,
        ledger: ChainLedger,
        progress: Progress = no_progress,
        outages: Outages | None = None,
    ) -> None:
        """Without `outages` a node that does not answer is at fault, whatever others do."""
        self.block = block
        self._outages = outages
        self._ledger = ledger
        self._progress = progress
        self._settled: set[str] = set()
        """Addresses of nodes known to stand at the block."""
        self._first: int | None = None
        """The block at which a node stood when the first wait began."""
        self._left: dict[str, int] = {}
        """Address of a node that is waited for → blocks that it lacks."""
        self._own, self._own_due = -1, 0.0
        self.ready_at: float | None = None
        """Loop time at which the first node was ready."""

    def note_ready(self) -> None:
        """Note that a node has taken what it takes of a registered blob alone."""
        if self.ready_at is None:
            self.ready_at = asyncio.get_running_loop().time()

    async def patiently(self, node: NodeClient, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what the request returns; it is repeated while the node is not ready yet. Raises `NodeError`."""
        unreachable = Pauses(RESTART_PATIENCE_S)
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                answer = await request()
                if self._outages is not None:
                    self._outages.note_grant()
                return answer
            except NodeRefused as refused:
                if not self._may_be_granted_later(node, refused):
                    raise
                await self.until_settled(node, refused)
            except NodeUnreachable as error:
                if await self._is_outage_over(error, began_s):
                    unreachable = Pauses(RESTART_PATIENCE_S)
                # A node that is being restarted refuses connections; one that hangs has had its patience.
                elif isinstance(error, NodeStalled) or not await unreachable.pause():
                    raise

    async def each_patiently(
        self,
        node: NodeClient,
        things: Sequence[Thing],
        request: Callable[[Sequence[Thing]], Awaitable[Sequence[Answer | NodeRefused]]],
    ) -> list[Answer | NodeError]:
        """Make a request about several things, and return an answer or a refusal for each.

        It is repeated for those that the node refuses as it is not ready yet. Raises `NodeError` when the request fails
        as a whole.
        """
        answers: dict[int, Answer | NodeError] = {}
        left = list(range(len(things)))
        while left:

            async def ask(some: Sequence[int] = left) -> Sequence[Answer | NodeRefused]:
                return await request([things[place] for place in some])

            not_yet: dict[int, NodeRefused] = {}
            for place, answer in zip(left, await self.patiently(node, ask), strict=True):
                answers[place] = answer
                if isinstance(answer, NodeRefused) and self._may_be_granted_later(node, answer):
                    not_yet[place] = answer
            left = list(not_yet)
            if left:
                try:
                    await self.until_settled(node, not_yet[left[0]])
                except NodeError as error:
                    return [error if place in not_yet else answers[place] for place in range(len(things))]
        return [answers[place] for place in range(len(things))]

    async def until_settled(self, node: NodeClient, refused: NodeError) -> None:
        """Wait until the node stands at the block.

        Raises `refused` when the node does not tell where it stands, `NotSettled` when its block does not move, and
        `NodeUnreachable`.
        """
        pauses, unreachable, standstill = Pauses(), Pauses(RESTART_PATIENCE_S), _Standstill()
        try:
            while node.address not in self._settled:
                began_s = asyncio.get_running_loop().time()
                try:
                    block = block_of(await node.health())
                except NodeUnreachable as error:
                    if await self._is_outage_over(error, began_s):
                        unreachable = Pauses(RESTART_PATIENCE_S)
                    elif not await unreachable.pause():
                        raise
                    continue
                if block is None:
                    raise refused
                if block >= self.block:
                    self._settled.add(node.address)
                    break
                self._tell(node.address, block)
                own = await self._own_block()
                patience_s = STANDSTILL_S if own < self.block else BEHIND_PATIENCE_S
                if standstill.since_s(block, min(own, self.block)) >= patience_s:
                    raise NotSettled(
                        *(node.name, node.address),
                        f"stands at block {block} of the chain for {patience_s:g} s, and the blob's is {self.block}",
                    )
                unreachable = Pauses(RESTART_PATIENCE_S)
                await pauses.pause()
        finally:
            self._left.pop(node.address, None)

    def _may_be_granted_later(self, node: NodeClient, refused: NodeRefused) -> bool:
        return refused.reason in NOT_YET and node.address not in self._settled

    async def _is_outage_over(self, error: NodeUnreachable, began_s: float) -> bool:
        return self._outages is not None and await self._outages.has_ended(error, began_s)

    async def _own_block(self) -> int:
        """Return the number of the block that the client's own endpoint calls settled; -1 when it is silent.

        It is asked once a while for all nodes that are waited for.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._own_due:
            self._own_due = now + LONGEST_PAUSE_S
            try:
                self._own = (await self._ledger.head()).number
            except LedgerUnavailable:
                self._own = -1
        return self._own

    def _tell(self, address: str, block: int) -> None:
        self._left[address] = self.block - block
        if self._first is None:
            self._first = block
        total = max(self.block - self._first, max(self._left.values()))
        self._progress("settle", total - max(self._left.values()), total)


class _Standstill:
    """Measures for how long block numbers have not grown."""

    def __init__(self) -> None:
        self._seen: tuple[int, ...] = ()
        self._since = 0.0

    def since_s(self, *blocks: int) -> float:
        """Return for how many seconds none of the blocks has grown beyond what it was at most."""
        now = asyncio.get_running_loop().time()
        if not self._seen or any(map(operator.gt, blocks, self._seen)):
            self._seen, self._since = tuple(map(max, blocks, self._seen or blocks)), now
        return now - self._since


def block_of(health: dict[str, Any]) -> int | None:
    """Return the number of the block that a node's health says it stands at; None when it says none."""
    chain = health.get("chain")
    block = chain.get("block") if isinstance(chain, dict) else None
    return block if isinstance(block, int) and not isinstance(block, bool) and block >= 0 else None
