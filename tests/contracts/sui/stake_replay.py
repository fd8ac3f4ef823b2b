"""The stake on the nodes of the Move package by its events alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

WHOLE = 10**9
JOINING, STANDING, LEAVING = range(3)


@dataclass
class Pool:
    """Amounts and the shares of them, as the package rounds them."""

    amount: int = 0
    shares: int = 0

    def change(self, amount: int, shares: int) -> None:
        self.amount += amount
        self.shares += shares

    def worth(self, shares: int) -> int:
        return shares * self.amount // self.shares


@dataclass
class NodeStake:
    """The stake on one node."""

    settled: int = 0
    pool: Pool = field(default_factory=Pool)
    came: int = 0
    """Tokens by which what stands has changed at last, while no period was settled."""
    joinings: dict[int, Pool] = field(default_factory=dict)
    leavings: dict[int, Pool] = field(default_factory=dict)


class StakeReplay:
    """What events tell of stakes: each node's pools, and each stake's phase."""

    def __init__(self) -> None:
        self.nodes: dict[int, NodeStake] = {}
        self.phases: dict[bytes, Any] = {}

    def node(self, node_id: int) -> NodeStake:
        return self.nodes.setdefault(node_id, NodeStake())

    def tell(self, events: Iterable[tuple[str, Any]]) -> None:
        """Go through events in their order."""
        for name, fields in events:
            match name:
                case "StakeChanged":
                    self._changed(*fields)
                case "StakeEnded":
                    self._ended(*fields)
                case "PeriodSettled":
                    self._settled(*fields)
                case "PoolChanged":
                    node, (_, amount, shares) = self.node(fields[0]), fields
                    node.came, node.pool = amount - node.pool.amount, Pool(amount, shares)
                case "Slashed":
                    self._slashed(fields[0], fields[1], fields[5])

    def _changed(self, stake: Any, node_id: int, phase: Any) -> None:
        node, before = self.node(node_id), self.phases.get(stake[0])
        kind, shares = phase[0], phase[-1]
        if before is not None and before[0] == JOINING:
            self._take(node.joinings, before)
        if before is not None and before[0] == LEAVING:
            self._take(node.leavings, before)
        if kind == JOINING:
            node.joinings.setdefault(phase[1], Pool()).change(shares, shares)
        if kind == LEAVING:
            amount = shares if phase[1] > node.settled else -node.came
            node.leavings.setdefault(phase[1], Pool()).change(amount, shares)
        self.phases[stake[0]] = phase

    def _ended(self, stake: Any, node_id: int, _withdrawn: int) -> None:
        node, phase = self.node(node_id), self.phases.pop(stake[0])
        if phase[0] != STANDING:
            self._take(node.joinings if phase[0] == JOINING else node.leavings, phase)

    def _settled(self, node_id: int, period: int, tokens: int, shares: int, joined: int, left: int) -> None:
        node = self.node(node_id)
        node.settled, node.pool = period, Pool(tokens, shares)
        if period in node.joinings:
            node.joinings[period].amount = joined
        if period in node.leavings:
            node.leavings[period].amount = left

    def _slashed(self, node_id: int, fraction: int, first: int) -> None:
        node = self.node(node_id)
        for period, pool in node.leavings.items():
            if first <= period <= node.settled:
                pool.amount -= pool.amount * fraction // WHOLE

    @staticmethod
    def _take(pools: dict[int, Pool], phase: Any) -> None:
        _, period, shares = phase
        pools[period].change(-pools[period].worth(shares), -shares)
        if pools[period].shares == 0:
            del pools[period]
