"""What moves the epochs on next, and from when on the contracts take it (PROTOCOL section 5). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from committee.ledger.records import EpochState, Parameters


class StepKind(StrEnum):
    """A transaction that moves the epochs on and that any account may send."""

    SELECT = "select"
    START = "start"
    CLOSE = "close"
    PAY_OUT = "pay_out"


@dataclass(frozen=True, slots=True)
class EpochStep:
    """One step, due or still to come."""

    kind: StepKind
    epoch: int
    """The epoch to be selected, started or paid for, or whose handover is to be closed."""
    since_s: int
    """Chain time from which on the contract takes it; a selection, if enough stake stands."""


def next_step(state: EpochState, parameters: Parameters) -> EpochStep:
    """Return the step that comes next. While a handover is under way that is `close`, unless it ends before."""
    if not state.handover_done:
        return EpochStep(StepKind.CLOSE, state.epoch, state.started_at_s + parameters.handover_deadline_s)
    if state.epoch == 0:
        kind = StepKind.SELECT if state.next is None else StepKind.START
        return EpochStep(kind, 1, state.last_handover_done_s)
    if state.next is None:
        since_s = state.last_handover_done_s + parameters.period_duration_s // 2
        return EpochStep(StepKind.SELECT, state.epoch + 1, since_s)
    since_s = state.last_handover_done_s + parameters.period_duration_s
    return EpochStep(StepKind.START, state.epoch + 1, max(since_s, state.selected_at_s + parameters.notice_s))


def pay_out_step(state: EpochState) -> EpochStep | None:
    """Return the step by which the members of the epoch before are paid; None when there was none."""
    if state.previous is None:
        return None
    return EpochStep(StepKind.PAY_OUT, state.previous.epoch, state.started_at_s)
