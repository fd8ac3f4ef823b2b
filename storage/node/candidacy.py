"""A node stands for election unless its owner or operator withdrew it.

A node that is ejected and alive was ejected by mistake, or has come back. It asks to be a candidate again as soon as
it may, when the next period has begun; also when it was ejected epochs ago while it did not run: what ended the
candidacy is asked of the chain, which tells it from a withdrawal, and not of what this node has seen.

There are a hundred places. A node that found none, or lost its own, asks for one now and then: the contract gives it
that of a candidate with less stake. Anyone can take all places without stake, so none may wait for a person.
"""

from __future__ import annotations

import asyncio
import contextlib

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import Absence, EpochStarted, Event, MemberEjected
from committee.logs import ChangesOnly
from storage.node.chain import ChainView

TRIED_AGAIN_AFTER_S = 5.0
"""Pause after the chain did not answer, or refused."""
BARRED_TRIED_AGAIN_AFTER_S = 600.0
"""Pause while the node may not stand yet. A period's start ends it; if none comes the contract lets the node stand."""
FULL_TRIED_AGAIN_AFTER_S = 600.0
"""Pause while all candidates have as much stake as this node, or more."""
STANDS = "AlreadyCandidate"
"""The contract's error for a node that need not ask."""
BARRED = "Barred"
"""The contract's error for a node that may not stand yet."""
FULL = "CandidatesFull"
"""The contract's error for a node with too little stake for a place."""


class Candidacy:
    """The candidacy of one node."""

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._has_news = asyncio.Event()
        self._why: Absence | None = None
        """Why the node does not stand, if that is known and not the owner's or operator's will."""
        self._log = ChangesOnly()
        view.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, EpochStarted) or (
            isinstance(event, MemberEjected) and event.node_id == self._view.node_id
        ):
            self._has_news.set()

    async def run(self) -> None:
        """Stand for election again whenever the node is to; for ever.

        It is looked at at the start, at each epoch's start, after an ejection, and after the pause that a refusal asks
        for.
        """
        while True:
            pause_s = await self._see_to_it()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._has_news.wait()
            self._has_news.clear()

    async def _see_to_it(self) -> float | None:
        """Stand again if the node is to; return after which pause to try again, None to wait for the chain's news."""
        try:
            await self._stand()
        except LedgerRefused as error:
            self._log.warning("this node cannot stand for election yet", reason=error.reason)
            pauses_s = {STANDS: None, BARRED: BARRED_TRIED_AGAIN_AFTER_S, FULL: FULL_TRIED_AGAIN_AFTER_S}
            return pauses_s.get(error.reason, TRIED_AGAIN_AFTER_S)
        except LedgerError as error:
            self._log.warning("cannot tell whether this node stands for election", reason=str(error))
            return TRIED_AGAIN_AFTER_S
        return None

    async def _stand(self) -> None:
        ledger, node_id = self._view.ledger, self._view.node_id
        if (await ledger.node(node_id)).is_candidate:
            self._why = None
            return
        if self._why is None:
            why = await ledger.absence(node_id)
            if why is Absence.LEFT:
                self._log.warning("this node does not stand for election", reason=str(why))
                return
            self._why = why
        await ledger.become_candidate(node_id)
        self._log.warning("this node did not stand for election and does again", reason=str(self._why))
        self._why = None
