"""Sending a round's transactions, most of which another account may have sent before."""

from __future__ import annotations

from collections.abc import Awaitable

from committee.errors import LedgerRefused
from committee.ledger.proofs import DONE_BEFORE
from committee.logs import ChangesOnly, Log

log = Log()


class Sending:
    """Sends transactions and logs what came of them; a refusal that repeats is logged once."""

    def __init__(self) -> None:
        self._changes = ChangesOnly()

    async def send(self, what: str, sending: Awaitable[object], **named: object) -> None:
        """Send one. A refusal is no error: the next look sees what is left to do. Raises any other `LedgerError`."""
        try:
            await sending
        except LedgerRefused as error:
            if error.reason in DONE_BEFORE:
                return
            self._changes.warning("a step of storage proofs was refused", step=what, why=str(error))
        else:
            log.info(what, **named)
