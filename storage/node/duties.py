"""Whose turn it is as one node sees it: the rules of `committee.rota`, applied to the chain's state and pace."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from committee.ledger import BlockMark, EpochStep
from committee.membership import Committee
from committee.rota import LEAST_TURN_S, Turn, draw_order, turn_at, turn_length_s
from storage.node.chain import ChainView

BLOCKS_MEASURED = 32
"""Blocks before the one that started the epoch, by which the chain's pace is measured: the same for all members."""
ORDERS_KEPT = 1024
"""Orders that are kept, of a node id for each member: to draw one of 100 members takes 2 ms."""


@dataclass(frozen=True, slots=True)
class Due:
    """A step that is due, as this node saw it last."""

    step: EpochStep
    waited_s: int
    """Seconds of chain time for which the contracts have taken the step."""
    turn: Turn


class Rota:
    """The turns in the current epoch, as this node sees them. There are none before `measure` has succeeded."""

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._measured: tuple[BlockMark, int] | None = None
        """The block that started the epoch, and the length of a turn in that epoch."""
        self._orders: dict[tuple[str, frozenset[int]], tuple[int, ...]] = {}
        """(task, members left out) → the order drawn for it, in the committee of `_orders_of`; the latest ones."""
        self._orders_of: Committee | None = None

    @property
    def length_s(self) -> int | None:
        """Seconds of a turn; None in epoch 0, and while it is not measured in this epoch."""
        if self._measured is None or self._measured[0] != self._view.state.started_block:
            return None
        return self._measured[1]

    async def measure(self) -> None:
        """Ask the chain for its pace, once an epoch. Raises `LedgerError`."""
        state, ledger = self._view.state, self._view.ledger
        if state.started_block is None or self.length_s is not None:
            return
        number = state.started_block.number
        first = max(number - BLOCKS_MEASURED, 0)
        took_s = max(state.started_at_s - await ledger.block_time_s(first), 0)
        length_s = turn_length_s(max(number - first, 1), took_s, self._view.parameters.period_duration_s)
        self._measured = state.started_block, length_s

    def turn(
        self,
        task: str,
        waited_s: float,
        *,
        without: Collection[int] = (),
        longest_round_s: int | None = None,
    ) -> Turn | None:
        """Return whose turn it is with a task that has been due for `waited_s`; None when that cannot be told.

        `without` are members left out of the order. With `longest_round_s` turns are shorter, as far as LEAST_TURN_S
        allows, where all members' turns would take longer.
        """
        current, length_s = self._view.state.current, self.length_s
        if current is None or length_s is None or waited_s < 0:
            return None
        order = self._order(current, task, frozenset(without))
        if not order:
            return None
        if longest_round_s is not None:
            length_s = max(min(length_s, longest_round_s // len(order)), LEAST_TURN_S)
        return turn_at(order, waited_s, length_s)

    def _order(self, current: Committee, task: str, without: frozenset[int]) -> tuple[int, ...]:
        """Return the members' order for a task, drawn once while the committee is the same."""
        if self._orders_of is not current:
            self._orders, self._orders_of = {}, current
        order = self._orders.get((task, without))
        if order is None:
            weights = {one.node_id: one.weight for one in current.members if one.node_id not in without}
            order = self._orders[task, without] = draw_order(weights, current.epoch, task)
            if len(self._orders) > ORDERS_KEPT:
                del self._orders[next(iter(self._orders))]
        return order

    def is_mine(self, turn: Turn | None) -> bool:
        """Return whether this node may begin in a turn that `turn` returned; never without an account to send from."""
        has_account = self._view.ledger.account is not None
        return has_account and turn is not None and turn.is_open and turn.node_id == self._view.node_id
