"""What moves the epochs on next, and from when on the contracts take it (PROTOCOL section 5). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from committee.ledger.records import EpochState, Parameters


class StepKind(StrEnum):
    """A transaction that moves the epochs on and that any account may send."""

    SELECT = "select"
    REPLACE = "replace"
    START = "start"
    CLOSE = "close"
    PAY_OUT = "pay_out"


@dataclass(frozen=True, slots=True)
class EpochStep:
    """One step, due or still to come."""

    kind: StepKind
    epoch: int
    """The epoch to be selected or started, or whose handover is to be closed; of a payment, the period paid for."""
    since_s: int
    """Chain time from which on the contract takes it; a selection, if enough stake stands."""


def next_step(state: EpochState, parameters: Parameters, now_s: int) -> EpochStep:
    """Return the step that comes next at the chain time `now_s`.

    While a handover is under way that is `close`, unless it ends before. Ejected members are replaced also when a
    selection is due, but not while the next period is near (`replacements_resume_s`).
    """
    if not state.handover_done:
        return EpochStep(StepKind.CLOSE, state.epoch, state.started_at_s + parameters.handover_deadline_s)
    if state.next is not None:
        return EpochStep(StepKind.START, state.epoch + 1, startable_at_s(state, parameters))
    resume_s = replacements_resume_s(state, parameters, now_s)
    if state.replaceable_at_s is not None and now_s >= resume_s:
        return EpochStep(StepKind.REPLACE, state.epoch + 1, max(state.replaceable_at_s, resume_s))
    return EpochStep(StepKind.SELECT, state.epoch + 1, selectable_at_s(state, parameters))


def selectable_at_s(state: EpochState, parameters: Parameters) -> int:
    """Return the chain time from which on the next period's committee is selected, the handover being done."""
    if state.epoch == 0:
        return state.last_handover_done_s
    half_s = state.regular_handover_done_s + parameters.period_duration_s // 2
    return max(half_s, state.last_handover_done_s)


def startable_at_s(state: EpochState, parameters: Parameters) -> int:
    """Return the chain time from which on the selected epoch is started.

    That is after the notice and after the certificates' grace of the epoch in office, so that no certificate on its way
    is lost to two quick starts; with the next period's committee, after the period too.
    """
    return max(state.last_handover_done_s, *start_waits_s(state, parameters))


def start_waits_s(state: EpochState, parameters: Parameters) -> tuple[int, ...]:
    """Return the chain times that the selected epoch's start waits for, in the order of the contract's checks."""
    if state.epoch == 0:
        return (0,)
    after_grace_s = state.started_at_s + parameters.certificate_grace_s
    after_notice_s = state.selected_at_s + parameters.notice_s
    if state.next_is_replacement:
        return after_notice_s, after_grace_s
    return period_due_s(state, parameters), after_notice_s, after_grace_s


def period_due_s(state: EpochState, parameters: Parameters) -> int:
    """Return the chain time from which on the next period may start; replacements do not move it."""
    return state.regular_handover_done_s + parameters.period_duration_s


def replacements_resume_s(state: EpochState, parameters: Parameters, now_s: int) -> int:
    """Return the chain time from which on members are replaced again; 0 when they are at `now_s`.

    In the notice before the next period is due, and in the one after it, a selection made then starts as soon as a
    replacement would, so it comes first. A period that is overdue by more waits for stake: members are replaced again.
    """
    due_s = period_due_s(state, parameters)
    return due_s + parameters.notice_s if now_s >= due_s - parameters.notice_s else 0


def pay_out_step(state: EpochState) -> EpochStep | None:
    """Return the step by which nodes are paid for the period before; None in the first period."""
    if state.period < 2:
        return None
    return EpochStep(StepKind.PAY_OUT, state.period - 1, state.started_at_s)
