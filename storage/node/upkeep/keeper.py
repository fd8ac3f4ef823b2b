"""Moving the epochs on: members do what is due one after another, in a drawn order (PROTOCOL section 5).

The steps are those of `committee.ledger.next_step`. In its turn (`storage.node.rota`) a node reads the newest state and
sends the step if no other account has; else it lets the turn pass. A node that may not act says all the same which step
is due, since when, and whose turn it is. Before the first epoch there are no members: it is selected and started by
hand.
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
)
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.rota import Due, Rota

log = Log()

REST_S = 0.5
"""Between two looks while a step is due,"""
LONGEST_REST_S = 30.0
"""and while none is."""
TROUBLED_REST_S = 5.0
"""After the chain has not answered."""
NEWS = CommitteeSelected | EpochStarted | HandoverDone | MemberEjected
DONE_BEFORE: Mapping[StepKind, str] = {
    StepKind.SELECT: "AlreadySelected",
    StepKind.START: "NotSelected",
    StepKind.CLOSE: "HandoverIsDone",
}
"""The contract's refusal of a step that is done."""


class Outcome(StrEnum):
    """What became of a step in this node's turn."""

    DONE = "done"
    """By this node."""
    DONE_BEFORE = "done before"
    """By another account; nothing was sent, or the other's transaction was mined first."""
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
    """Where the step is done, a block that has it: the view may show it as due until it stands there."""

    @property
    def is_done(self) -> bool:
        """Whether the newest state has the step."""
        return self.outcome in (Outcome.DONE, Outcome.DONE_BEFORE)


class Keeper:
    """The turns of one node. With `acts` False, or without an account, it only watches."""

    def __init__(self, view: ChainView, rota: Rota, acts: bool) -> None:
        self._view = view
        self._rota = rota
        self.acts = acts and view.ledger.account is not None
        self.due: Due | None = None
        """What is due, as of the last look that the chain answered."""
        self.done_count = 0
        """Steps done by this node since its start."""
        self._last: Attempt | None = None
        self._has_news = asyncio.Event()
        self._said = ""
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
                self._say("cannot tell which step of the epoch is due", error=str(error))
                rest_s = TROUBLED_REST_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._has_news.wait()

    def health(self) -> dict[str, Any]:
        """What `/v1/health` says: whether this node acts, what is due since when, and whose turn it is."""
        last = self._last
        return {
            "acts": self.acts,
            "due": None if self.due is None else self._told(self.due),
            "done": self.done_count,
            "lastTurn": None if last is None else f"{last.step.kind} {last.step.epoch}: {last.outcome}",
        }

    def _told(self, due: Due) -> dict[str, Any]:
        turn, current = due.turn, self._view.state.current
        member = current.by_id.get(turn.node_id) if turn is not None and current is not None else None
        return {
            "step": str(due.step.kind),
            "epoch": due.step.epoch,
            "since": due.step.since_s,
            "seconds": due.waited_s,
            "turn": None if member is None else {"nodeId": member.node_id, "name": member.name},
        }

    async def _look(self) -> float:
        """See what is due, and do it in this node's turn; return the seconds to rest. Raises `LedgerError`."""
        view = self._view
        await self._rota.measure()
        now_s = await view.ledger.chain_time_s()
        step = next_step(view.state, view.parameters)
        waited_s = now_s - step.since_s
        self.due = None
        if view.state.current is None or self._is_done(step):
            return LONGEST_REST_S
        if waited_s < 0:
            # The chain's clock need not go as this machine's.
            return max(min(-waited_s / 2, LONGEST_REST_S), REST_S)
        turn = self._rota.turn(step.kind, waited_s)
        self.due = Due(step, waited_s, turn)
        if self.acts and turn is not None and self._rota.is_mine(turn):
            await self._take(step, turn.number)
        return REST_S

    def _is_done(self, step: EpochStep) -> bool:
        """Whether the step is known to be done in a block that the view has not taken in yet."""
        last = self._last
        return (
            last is not None and last.step == step and last.is_done and self._view.block.number < last.block
        )

    async def _take(self, step: EpochStep, turn: int) -> None:
        """Take this node's turn, once."""
        if self._last is not None and (self._last.step, self._last.turn) == (step, turn):
            return
        outcome, block, why = await self._try(step)
        self._last = Attempt(step, turn, outcome, block)
        if outcome is Outcome.DONE:
            self.done_count += 1
            log.info("moved the epochs on", step=str(step.kind), epoch=step.epoch)
        elif not self._last.is_done:
            self._say("the turn passes: a step of the epoch cannot be done", step=str(step.kind), why=why)

    async def _try(self, step: EpochStep) -> tuple[Outcome, int, str]:
        """Do a step unless the newest state has it done: the outcome, the block that has it, why it has none."""
        ledger, block = self._view.ledger, -1
        try:
            newest = await ledger.newest()
            block = newest.number
            now = next_step(await ledger.epoch_state(newest), await ledger.parameters())
            if (now.kind, now.epoch) != (step.kind, step.epoch):
                return Outcome.DONE_BEFORE, block, ""
            send = {
                StepKind.SELECT: ledger.select,
                StepKind.START: ledger.start,
                StepKind.CLOSE: ledger.close_handover,
            }
            return Outcome.DONE, (await send[step.kind]()).block.number, ""
        except LedgerRefused as refusal:
            if refusal.reason == DONE_BEFORE[step.kind]:
                return Outcome.DONE_BEFORE, block + 1, ""
            return Outcome.REFUSED, block, str(refusal)
        except LedgerError as error:
            return Outcome.NO_ANSWER, block, str(error)

    def _say(self, event: str, **fields: str) -> None:
        """Log, once and not with every try."""
        said = event + str(fields)
        if said != self._said:
            log.warning(event, **fields)
        self._said = said
