"""Moving the epochs on: members do what is due one after another, in a drawn order (PROTOCOL section 5).

The steps are those of `committee.ledger.next_step` and `pay_out_step`. In its turn (`storage.node.duties`) a node reads
the newest state and sends the step if no other account has; else it lets the turn pass. A node that may not act says
all the same which step is due, since when, and whose turn it is. Before the first epoch there are no members: it is
selected and started by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import (
    CommitteeSelected,
    EpochStarted,
    EpochStep,
    Event,
    HandoverDone,
    MemberEjected,
    StepKind,
    next_step,
    pay_out_step,
)
from committee.logs import ChangesOnly, Log
from committee.rota import Turn
from storage.node.chain import ChainView
from storage.node.duties import Due, Rota

log = Log()

REST_S = 0.5
"""Pause between two looks while a step is due."""
LONGEST_REST_S = 30.0
"""Longest pause while none is due."""
LONGEST_DEVELOPMENT_REST_S = 2.0
"""Longest pause while none is due on a development chain, whose clock may be moved on by hand."""
TROUBLED_REST_S = 5.0
"""Pause after a look that the chain did not answer."""
NEWS = CommitteeSelected | EpochStarted | HandoverDone | MemberEjected
DONE_BEFORE: Mapping[StepKind, str] = {
    StepKind.SELECT: "AlreadySelected",
    StepKind.REPLACE: "AlreadySelected",
    StepKind.START: "NotSelected",
    StepKind.CLOSE: "HandoverIsDone",
}
"""By step, the error with which the contract refuses it once it is done. (Payments that are made are skipped.)"""


class Outcome(StrEnum):
    """What became of a step in this node's turn."""

    DONE = "done"
    """This node did the step."""
    DONE_BEFORE = "done before"
    """Another account did the step; nothing was sent, or the other's transaction was mined first."""
    REFUSED = "refused"
    """The contract does not take it now, or the account cannot pay; the turn passes."""
    NO_ANSWER = "no answer"
    """The chain did not answer, or the transaction's end is not known; the turn passes."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that this node tried to do in its turn."""

    step: EpochStep
    turn: int
    """The turn's number."""
    outcome: Outcome
    block: int
    """A block that has the step, if it is done: the view may show the step as due until it reaches this block."""

    @property
    def is_done(self) -> bool:
        """Whether the step is done on chain, by this account or another one."""
        return self.outcome in (Outcome.DONE, Outcome.DONE_BEFORE)


class Keeper:
    """The turns of one node. With `acts` False, or without an account, it only watches."""

    def __init__(self, view: ChainView, rota: Rota, acts: bool) -> None:
        self._view = view
        self._rota = rota
        self.acts = acts and view.ledger.account is not None
        self.due: tuple[Due, ...] = ()
        """The steps that were due when the chain last answered."""
        self.done_count = 0
        """Steps done by this node since its start."""
        self._last: dict[StepKind, Attempt] = {}
        self._asked_in: tuple[EpochStep, int] | None = None
        """The payment step and turn for which the chain was last asked whether all members are paid."""
        self._has_news = asyncio.Event()
        self._longest_rest_s = (
            LONGEST_DEVELOPMENT_REST_S if view.ledger.is_development_chain else LONGEST_REST_S
        )
        self._changes = ChangesOnly()
        view.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, NEWS):
            self._has_news.set()

    async def run(self) -> None:
        """Look for ever: when a step falls due, and whenever the chain has news."""
        while True:
            self._has_news.clear()
            try:
                rest_s = await self._look()
            except LedgerError as error:
                self._changes.warning("cannot tell which step of the epoch is due", error=str(error))
                rest_s = TROUBLED_REST_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._has_news.wait()

    def health(self) -> dict[str, Any]:
        """What `/v1/health` says: whether this node acts, what is due since when, and whose turn it is."""
        return {
            "acts": self.acts,
            "due": [self._due_json(due) for due in self.due],
            "done": self.done_count,
            "lastTurns": {kind.value: last.outcome.value for kind, last in self._last.items()},
        }

    def _due_json(self, due: Due) -> dict[str, Any]:
        current = self._view.state.current
        member = current.by_id.get(due.turn.node_id) if current is not None else None
        return {
            "step": due.step.kind.value,
            ("period" if due.step.kind is StepKind.PAY_OUT else "epoch"): due.step.epoch,
            "since": due.step.since_s,
            "seconds": due.waited_s,
            "turn": None if member is None else {"nodeId": member.node_id, "name": member.name},
        }

    async def _look(self) -> float:
        """See what is due, and do it in this node's turn; return the seconds to rest. Raises `LedgerError`."""
        await self._rota.measure()
        now_s = await self._view.ledger.chain_time_s()
        self.due = ()
        state = self._view.state
        if state.current is None:
            return self._longest_rest_s
        steps = (next_step(state, self._view.parameters, now_s), pay_out_step(state))
        return min([await self._see_to(step, now_s) for step in steps if step is not None])

    async def _see_to(self, step: EpochStep, now_s: int) -> float:
        """See to one step; return the seconds to rest."""
        waited_s = now_s - step.since_s
        if self._is_done(step):
            return self._longest_rest_s
        if waited_s < 0:
            # The chain's clock need not go as this machine's.
            return max(min(-waited_s / 2, self._longest_rest_s), REST_S)
        turn = self._rota.turn(step.kind, waited_s)
        if turn is None or await self._is_paid(step, turn):
            return REST_S
        self.due = (*self.due, Due(step, waited_s, turn))
        if self.acts and self._rota.is_mine(turn):
            await self._take(step, turn.number)
        return REST_S

    def _is_done(self, step: EpochStep) -> bool:
        """Whether the step is known to be done; the view shows all but payments once it stands at a block with them."""
        last = self._last.get(step.kind)
        if last is None or last.step != step or not last.is_done:
            return False
        return step.kind is StepKind.PAY_OUT or self._view.block.number < last.block

    async def _is_paid(self, step: EpochStep, turn: Turn) -> bool:
        """Whether all members are paid and their votes counted, which no event tells; asked once in each turn."""
        if step.kind is not StepKind.PAY_OUT or self._asked_in == (step, turn.number):
            return False
        is_paid = not await self._unpaid(step.epoch) and await self._view.ledger.decision() is None
        self._asked_in = step, turn.number
        if is_paid:
            self._last[step.kind] = Attempt(step, turn.number, Outcome.DONE_BEFORE, -1)
        return is_paid

    async def _take(self, step: EpochStep, turn: int) -> None:
        """Take this node's turn, once."""
        last = self._last.get(step.kind)
        if last is not None and (last.step, last.turn) == (step, turn):
            return
        outcome, block, why = await self._try(step)
        last = self._last[step.kind] = Attempt(step, turn, outcome, block)
        if outcome is Outcome.DONE:
            self.done_count += 1
            log.info("moved the epochs on", step=step.kind.value, epoch=step.epoch)
        elif not last.is_done:
            self._changes.warning(
                "the turn passes: a step of the epoch cannot be done", step=step.kind.value, why=why
            )

    async def _try(self, step: EpochStep) -> tuple[Outcome, int, str]:
        """Do a step unless the newest state has it done: the outcome, the block that has it, why it has none."""
        ledger, block = self._view.ledger, -1
        try:
            newest = await ledger.newest()
            block = newest.number
            if step.kind is StepKind.PAY_OUT:
                return await self._pay_out(step.epoch), block, ""
            state, now_s = await ledger.epoch_state(newest), await ledger.chain_time_s()
            now = next_step(state, await ledger.parameters(), now_s)
            if (now.kind, now.epoch) != (step.kind, step.epoch):
                return Outcome.DONE_BEFORE, block, ""
            send = {
                StepKind.SELECT: ledger.select,
                StepKind.REPLACE: ledger.replace,
                StepKind.START: ledger.start,
                StepKind.CLOSE: ledger.close_handover,
            }
            return Outcome.DONE, (await send[step.kind]()).block.number, ""
        except LedgerRefused as refusal:
            if refusal.reason == DONE_BEFORE.get(step.kind):
                return Outcome.DONE_BEFORE, block + 1, ""
            return Outcome.REFUSED, block, str(refusal)
        except LedgerError as error:
            return Outcome.NO_ANSWER, block, str(error)

    async def _pay_out(self, period: int) -> Outcome:
        """Have the members paid that are not, for all periods up to this one, and the votes on the terms counted."""
        unpaid = await self._unpaid(period)
        paid = await self._view.ledger.pay_out(unpaid, period + 1) if unpaid else []
        if await self._view.ledger.decision() is not None:
            paid.append(await self._view.ledger.decide_terms())
        return Outcome.DONE if paid else Outcome.DONE_BEFORE

    async def _unpaid(self, period: int) -> tuple[int, ...]:
        """Return the members of a period and of today that are not paid for it; none unless it is the one before this.

        Members that were replaced within the period are among them, and are paid for what they served of it.
        """
        state = self._view.state
        if period != state.period - 1 or state.current is None:
            return ()
        members = state.current.by_id.keys() | await self._view.ledger.members_of(period)
        return await self._view.ledger.unpaid(period, sorted(members))
