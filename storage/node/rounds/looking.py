"""Looking for ever at what is to be done in a round, with pauses that grow while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from committee.backoff import next_pause_s
from committee.errors import LedgerError
from committee.logs import ChangesOnly, Log
from storage.node.chain import ChainView
from storage.node.proving import Incomplete, Term
from storage.node.store import StoreError

log = Log()

FIRST_REST_S = 0.5
"""Pause after a look that found something new; it grows."""
LONGEST_REST_S = 30.0
LONGEST_DEVELOPMENT_REST_S = 1.0
"""Longest pause on a development chain, whose clock may be moved on by hand."""


async def look_for_ever(view: ChainView, look: Callable[[Term], Awaitable[object]]) -> None:
    """Call `look` again and again, while this node is a member; the pauses grow as long as it returns the same.

    A look that fails by the chain or the disk, or unexpectedly, is logged and made again: what else the node does in a
    round goes on.
    """
    longest_s = LONGEST_DEVELOPMENT_REST_S if view.ledger.is_development_chain else LONGEST_REST_S
    changes, last, pause_s = ChangesOnly(), object(), 0.0
    while True:
        term, found = Term.now(view), None
        try:
            if term is not None and view.is_checked:
                found = await look(term)
        except (LedgerError, StoreError, Incomplete) as error:
            changes.warning("storage proofs do not get on", doing=look.__name__, why=str(error))
        except Exception:
            log.exception("a duty failed; looking again", duty=look.__qualname__)
        pause_s = next_pause_s(pause_s if found == last else 0.0, FIRST_REST_S, longest_s)
        last = found
        await asyncio.sleep(pause_s)
