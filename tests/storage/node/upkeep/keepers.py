"""Four members' keepers over one chain in memory, whose ledgers note what they send."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger import StepKind, Transaction
from committee.rota import draw_order
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.upkeep.keeper import Keeper, Outcome
from tests.memory_chain import MemoryChain
from tests.storage.network import PARAMETERS, SHARDS, HeldLedger


class KeepersLedger(HeldLedger):
    """A member's, which notes what it sends, and may fail."""

    trouble: Exception | None = None
    """What ends every request."""
    lost: LedgerError | None = None
    """What ends every transaction."""
    before_sending: Callable[[], None] | None = None

    def __init__(
        self,
        chain: MemoryChain,
        account: str | None,
        sent: list[tuple[int, StepKind]],
        owed: dict[int, set[int]],
    ) -> None:
        super().__init__(chain, account)
        self.sent = sent
        self.owed = owed
        self.questions = 0
        """Number of questions which nodes are unpaid."""
        self.node_id = int(account.removeprefix("node-")) if account else 0

    async def chain_time_s(self) -> int:
        if self.trouble is not None:
            raise self.trouble
        return await super().chain_time_s()

    async def select(self) -> Transaction:
        return await self._send(StepKind.SELECT, super().select)

    async def replace(self) -> Transaction:
        return await self._send(StepKind.REPLACE, super().replace)

    async def start(self) -> Transaction:
        return await self._send(StepKind.START, super().start)

    async def close_handover(self) -> Transaction:
        return await self._send(StepKind.CLOSE, super().close_handover)

    async def unpaid(self, epoch: int, node_ids: Sequence[int]) -> tuple[int, ...]:
        self.questions += 1
        return tuple(node_id for node_id in node_ids if node_id in self.owed.get(epoch, ()))

    async def pay_out(
        self, node_ids: Sequence[int] | None = None, until: int | None = None
    ) -> list[Transaction]:
        assert node_ids is not None and until is not None

        async def pay() -> Transaction:
            for epoch in range(1, until):
                self.owed.setdefault(epoch, set()).difference_update(node_ids)
            return self.chain.mine()

        return [await self._send(StepKind.PAY_OUT, pay)]

    async def _send(
        self, kind: StepKind, send: Callable[[], Coroutine[Any, Any, Transaction]]
    ) -> Transaction:
        if self.before_sending is not None:
            before, self.before_sending = self.before_sending, None
            before()
        self.sent.append((self.node_id, kind))
        if self.lost is not None:
            raise self.lost
        return await send()


class Members:
    """Four members over one chain, whose clock goes on by a second at a time."""

    def __init__(self) -> None:
        self.chain = MemoryChain(PARAMETERS)
        self.chain.add_candidates(SHARDS)
        self.chain.start(SHARDS)
        self.sent: list[tuple[int, StepKind]] = []
        self.ledgers: dict[int, KeepersLedger] = {}
        self.keepers: dict[int, Keeper] = {}
        self.down: set[int] = set()
        self.owed: dict[int, set[int]] = {}
        """Epoch that is over → the members that it still owes something."""

    async def join(self, node_id: int, *, account: bool = True, acts: bool = True) -> Keeper:
        ledger = KeepersLedger(self.chain, f"node-{node_id}" if account else None, self.sent, self.owed)
        view = ChainView(ledger, node_id)
        await view.load()
        self.ledgers[node_id] = ledger
        self.keepers[node_id] = keeper = Keeper(view, Rota(view), acts)
        return keeper

    def order(self, kind: StepKind) -> tuple[int, ...]:
        current = self.chain.state.current
        assert current is not None
        weights = {one.node_id: one.weight for one in current.members}
        return draw_order(weights, current.epoch, kind)

    async def look(self, *node_ids: int) -> None:
        for node_id in node_ids:
            keeper = self.keepers[node_id]
            await keeper._view.refresh()
            if self.ledgers[node_id].trouble is None:
                await keeper._look()
                continue
            with pytest.raises(LedgerUnavailable):
                await keeper._look()

    async def wait(self, seconds: int) -> None:
        """Let the chain's clock go on, with all members that are not down looking each second."""
        for _ in range(seconds):
            self.chain.time_s += 1
            self.chain.mine()
            await self.look(*(set(self.keepers) - self.down))

    def last(self, node_id: int, kind: StepKind = StepKind.SELECT) -> Outcome | None:
        last = self.keepers[node_id]._last.get(kind)
        return last.outcome if last else None
