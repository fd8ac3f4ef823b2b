"""Waiting for a chain that has not settled the contracts yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from committee.errors import LedgerNotSettled
from committee.logs import Log

log = Log()

SETTLING_POLL_S = 1.0
"""How often the chain is asked whether it has settled the contracts."""
TOLD_EVERY_S = 600.0
"""Time between two lines about a wait that goes on."""

NO_FINALITY_S = 3600.0
"""The longest wait for an endpoint that tells block 0 to be final: a new chain with finality is past it within half an
hour."""

Result = TypeVar("Result")


async def once_settled(work: Callable[[], Awaitable[Result]]) -> Result:
    """Return what `work` returns, once the chain has settled the contracts.

    The wait is logged when it begins, as a warning while it goes on, and when it ends. Raises `LedgerNotSettled` when
    block 0 has been told to be final for NO_FINALITY_S.
    """
    began_at = told_at = 0.0
    zero_since: float | None = None
    while True:
        try:
            result = await work()
        except LedgerNotSettled as error:
            now = time.monotonic()
            zero_since = (now if zero_since is None else zero_since) if error.lacks_finality else None
            if zero_since is not None and now - zero_since >= NO_FINALITY_S:
                raise
            if not began_at:
                began_at = told_at = now
                log.info("waiting for the chain to settle", why=str(error))
            elif now - told_at >= TOLD_EVERY_S:
                told_at = now
                log.warning(
                    "still waiting for the chain to settle", for_s=round(now - began_at), why=str(error)
                )
            await asyncio.sleep(SETTLING_POLL_S)
        else:
            if began_at:
                log.info("the chain has settled the contracts")
            return result
