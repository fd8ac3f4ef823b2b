"""Whether the chain answers and settles blocks: in numbers, in words, and in the log where that changes."""

from __future__ import annotations

import contextlib
import time

from committee.errors import LedgerError, ProvidersDisagree
from committee.ledger import BlockMark, ChainLedger
from committee.logs import Log
from storage.node.chain.finality import Finality

log = Log()


class ChainHealth:
    """The answers of a chain that is followed."""

    def __init__(self) -> None:
        self._answered_at = time.monotonic()
        self.finality = Finality(self._answered_at)
        self._trouble: LedgerError | None = None
        """Why the chain was not followed the last time; None when it was."""
        self._first_seen: tuple[int, float] | None = None
        """(number, time) of the first settled block that was seen, for the chain's pace."""

    @property
    def behind_s(self) -> float:
        """Seconds since the chain last answered, or since the start if it has not yet."""
        return time.monotonic() - self._answered_at

    @property
    def unsettled_s(self) -> float:
        """Seconds since a new settled block was seen, or since the start."""
        return self.finality.unsettled_s(time.monotonic())

    def blocks_behind(self, newest: BlockMark | None, block: BlockMark) -> int:
        """Return by how many blocks the view, at `block`, is behind the newest settled block that was told of."""
        if newest is None:
            return 0
        behind = max(newest.number - block.number, 0)
        if self._trouble is not None and self._first_seen is not None:
            number, since = self._first_seen
            watched_s = self._answered_at - since
            if watched_s > 0:
                behind += round(self.behind_s * (newest.number - number) / watched_s)
        return behind

    def status(self, blocks_behind: int) -> str:
        """Return whether the chain is followed, and how far behind, in words (`ChainView.chain_status`)."""
        if self._trouble is None:
            return "degraded: the chain settles nothing" if self.finality.has_stopped else "following"
        why = ": providers disagree" if isinstance(self._trouble, ProvidersDisagree) else ""
        return f"degraded{why}, {blocks_behind} blocks behind"

    def failed(self, error: LedgerError, *, is_confused: bool, was_confused: bool) -> None:
        """Note why the chain could not be followed; called while the exception is handled. Logged where it is news."""
        before, self._trouble = self._trouble, error
        if type(before) is type(error) and is_confused <= was_confused:
            return
        if is_confused:
            log.exception("what the chain told cannot be taken in; reading the state anew")
        elif isinstance(error, ProvidersDisagree):
            log.error("following neither provider; serving on from what is known", error=str(error))
        else:
            log.warning("chain does not answer; serving on from what is known", error=str(error))

    def answered(self, newest: BlockMark | None, block: BlockMark) -> None:
        """Note that the chain was followed to a block."""
        self._answered_at = time.monotonic()
        if self._trouble is not None:
            log.info("chain answers again", block=block.number)
        self._trouble = None
        if self._first_seen is None and newest is not None:
            self._first_seen = newest.number, self._answered_at

    async def look_at_finality(self, ledger: ChainLedger, newest: BlockMark | None) -> None:
        """Log it when blocks come and none is settled any more: a view then stands still without a failure."""
        now_s = time.monotonic()
        if newest is None:
            return
        if self.finality.settled(newest.number, now_s):
            log.info("the chain settles blocks again", block=newest.number)
        if not self.finality.is_doubtful(now_s):
            return
        with contextlib.suppress(LedgerError):
            tip = await ledger.newest()
            if self.finality.looked(tip.number, now_s):
                log.warning(
                    "the chain settles nothing, though blocks come: what happens in them is not taken in",
                    settled=newest.number,
                    newest=tip.number,
                    for_s=round(self.unsettled_s),
                )
