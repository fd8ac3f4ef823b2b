"""What a transaction has done, or would do, and what its failure means in the contract's own names."""

from __future__ import annotations

from dataclasses import dataclass

from committee.errors import INSUFFICIENT_FUNDS, LedgerRefused
from committee.ledger.sui.digests import read_digest
from committee.ledger.sui.objects import address_text, read_address
from committee.ledger.sui.package import Package
from committee.ledger.sui.types import normal_text
from committee.ledger.sui.wire import v2

_KINDS = v2.ExecutionErrorExecutionErrorKind
OUT_OF_GAS = "OutOfGas"
_REASONS = {
    _KINDS.INSUFFICIENT_GAS: OUT_OF_GAS,
    _KINDS.INSUFFICIENT_COIN_BALANCE: INSUFFICIENT_FUNDS,
}


@dataclass(frozen=True, slots=True)
class Written:
    """An object that a transaction wrote."""

    id: bytes
    type: str
    """In the form of `normal_text`."""
    version: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction failed, as the chain tells it. `place` is the package and module that aborted."""

    kind: str
    code: int | None
    place: tuple[bytes, str] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that was executed, or simulated."""

    digest: bytes
    failure: Failure | None
    gas_mist: int
    """What it paid for computation and storage, less what it got back; below 0 where it got back more."""
    most_gas_mist: int
    """What it needed before it got anything back."""
    written: tuple[Written, ...]
    events: tuple[tuple[str, bytes], ...]
    """(type, contents) of each; none where they were not asked for."""
    checkpoint: int | None
    """None while it is in no checkpoint."""

    @property
    def lacks_gas(self) -> bool:
        """Whether it failed because its budget was used up."""
        return self.failure is not None and self.failure.kind == OUT_OF_GAS

    def new(self, type_: str) -> list[bytes]:
        """Return the ids of the objects of a type that it made."""
        return [written.id for written in self.written if written.is_new and written.type == type_]


OUTCOME_FIELDS = ("digest", "effects", "events", "checkpoint")
"""The fields of an `ExecutedTransaction` that `outcome_of` reads."""


def outcome_of(message: v2.ExecutedTransaction | None, digest: bytes) -> Outcome:
    """Return what a message tells of the transaction with this digest. Raises `ValueError`."""
    effects = message.effects if message else None
    if message is None or effects is None or effects.status is None or effects.gas_used is None:
        raise ValueError("a transaction lacks its effects")
    if read_digest(effects.transaction_digest) != digest:
        raise ValueError("another transaction than was asked for")
    if effects.status.success is None or (not effects.status.success and effects.status.error is None):
        raise ValueError("a transaction does not tell whether it succeeded")
    gas = effects.gas_used
    most_gas = (gas.computation_cost or 0) + (gas.storage_cost or 0)
    events = message.events.events if message.events else []
    return Outcome(
        digest=digest,
        failure=None if effects.status.success else _failure(effects.status.error),
        gas_mist=most_gas - (gas.storage_rebate or 0),
        most_gas_mist=most_gas,
        written=tuple(
            _written(change)
            for change in effects.changed_objects
            if change.output_state is v2.ChangedObjectOutputObjectState.OBJECT_WRITE
        ),
        events=tuple(
            (
                normal_text(event.event_type or ""),
                event.contents.value if event.contents and event.contents.value else b"",
            )
            for event in events
        ),
        checkpoint=message.checkpoint,
    )


def refusal_of(action: str, failure: Failure, package: Package) -> LedgerRefused:
    """Return what a failure means: the contract's own error, by its name, or what the chain calls it."""
    if failure.code is not None and failure.place is not None:
        address, module = failure.place
        name = package.errors.get(failure.code) if address == package.id else None
        if name is not None:
            return LedgerRefused(action, name, {"module": module})
        place = f"{address_text(address)}::{module}"
        return LedgerRefused(action, "Aborted", {"module": place, "code": failure.code})
    return LedgerRefused(action, failure.kind)


def _failure(error: v2.ExecutionError | None) -> Failure:
    if error is None or error.kind is None:
        return Failure("Failed", None, None)
    if error.kind is _KINDS.MOVE_ABORT and error.abort is not None and error.abort.location is not None:
        location = error.abort.location
        place = read_address(location.package), (location.module or "")[:128]
        return Failure("Aborted", error.abort.abort_code or 0, place)
    name = getattr(error.kind, "name", None) or "FAILED"
    readable = "".join(part.capitalize() for part in name.split("_"))
    return Failure(_REASONS.get(error.kind, readable), None, None)


def _written(change: v2.ChangedObject) -> Written:
    return Written(
        id=read_address(change.object_id),
        type=normal_text(change.object_type or ""),
        version=change.output_version or 0,
        is_new=change.id_operation is v2.ChangedObjectIdOperation.CREATED,
    )
