"""A node stands for election unless its owner or operator withdrew it.

A node that is ejected and alive was ejected by mistake, or has come back; one that had not attested in time when a
handover was closed is barred for an epoch's duration. Both ask to be candidates again, as soon as they may, also when
it happened epochs ago while they did not run: what ended the candidacy is asked of the chain, which tells it from a
withdrawal, and not of what this node has seen.
"""

from __future__ import annotations

import asyncio
import contextlib

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import Absence, Event, HandoverDone, MemberEjected
from committee.logs import Log
from storage.node.chain import ChainView

log = Log()

TRIED_AGAIN_AFTER_S = 5.0
"""When the chain did not answer, or the node may not stand yet."""
STANDS = "AlreadyCandidate"
"""The contract's error for who need not ask."""


class Candidacy:
    """The candidacy of one node."""

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._has_news = asyncio.Event()
        self._is_removed = False
        """Whether what ended the candidacy is known, and was not the owner's or operator's will."""
        self._said = ""
        view.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        # A handover is also done when it is closed.
        if isinstance(event, HandoverDone) or (
            isinstance(event, MemberEjected) and event.node_id == self._view.node_id
        ):
            self._has_news.set()

    async def run(self) -> None:
        """See to it for ever: at the start, since anything may have happened before, and whenever there is news."""
        while True:
            is_settled = await self._see_to_it()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if is_settled else TRIED_AGAIN_AFTER_S):
                    await self._has_news.wait()
            self._has_news.clear()

    async def _see_to_it(self) -> bool:
        """Stand again if the node is to; whether there is nothing left to do until the chain has news."""
        try:
            return await self._is_settled()
        except LedgerRefused as error:
            self._say("this node cannot stand for election yet", error.reason)
            return error.reason == STANDS
        except LedgerError as error:
            self._say("cannot tell whether this node stands for election", str(error))
            return False

    async def _is_settled(self) -> bool:
        ledger, node_id = self._view.ledger, self._view.node_id
        registered = next(one for one in await ledger.nodes() if one.node_id == node_id)
        if registered.is_candidate:
            self._is_removed = False
            return True
        if not self._is_removed:
            absence = await ledger.absence(node_id)
            if absence is not Absence.REMOVED:
                self._say("this node does not stand for election", absence)
                return True
            self._is_removed = True
        if await ledger.chain_time_s() < registered.barred_until_s:
            self._say("this node may not stand for election yet", "barred")
            return False
        await ledger.become_candidate(node_id)
        self._is_removed = False
        self._say("this node was removed and stands for election again", Absence.REMOVED)
        return True

    def _say(self, event: str, reason: str) -> None:
        """Log, once and not with every try."""
        if event + reason != self._said:
            log.warning(event, reason=str(reason))
        self._said = event + reason
