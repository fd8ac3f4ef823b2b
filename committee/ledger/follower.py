"""Following a chain through reorganisations: state first, events after, from a checkpoint that the caller keeps.

`Follower` reads; it keeps no state of the chain itself. Its user holds the marks of the newest blocks it has taken
in, the last of them its checkpoint, and asks for what comes next:

- a `Step`: the events of the blocks behind the checkpoint, which link to it by hash;
- `Anew`: the whole state is to be read, when there is no checkpoint, when it is very far behind, when no endpoint keeps
  the blocks behind it any more, and when the chain has replaced the checkpoint's block.

A replaced checkpoint is answered by the whole state, not by taking back what single blocks did: only blocks that are
settled are followed, so it happens about never, and then the path that is taken at every first start is the one known
to be right. The marks of older blocks tell a chain that was replaced from an endpoint that is merely behind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from committee.errors import LedgerHistoryGone, LedgerReorganised, LedgerStateGone, LedgerUnavailable
from committee.ledger.events import (
    CommitteeSelected,
    EpochStarted,
    Event,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
)
from committee.ledger.records import BlockMark, EpochState
from committee.ledger.roles import ChainLedger

EPOCH_EVENTS = CommitteeSelected | EpochStarted | HandoverDone | MemberEjected | NetworkAddressChanged
"""Events behind which the committees and the phase are read anew."""
BLOCKS_REPLAYED = 2_500_000
"""A checkpoint further behind than this is given up and the state read anew: a week of four blocks a second. To read
the state takes a request for every few hundred objects, and then the events since the epoch's start all the same."""
MARKS_KEPT = 128
"""Marks of the newest blocks worth keeping: a chain that lost more blocks than that is told from a slow endpoint only
once it is as long again."""

COMPARED_S = 60.0
"""Time between two comparisons of the state that was followed with the contracts', in seconds."""
SHORTER_S = 600.0
"""The checkpoint is given up once the chain has been shorter than it, and up to date, for this long."""
UP_TO_DATE_S = 60.0
"""Greatest age of the newest block of a chain that is up to date. A block takes less on most chains, and an endpoint
that is behind by no more has come to the checkpoint within `SHORTER_S`."""


@dataclass(frozen=True, slots=True)
class Anew:
    """The checkpoint leads nowhere: the whole state is to be read anew, at this block or a later one."""

    head: BlockMark


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in the blocks behind the checkpoint."""

    marks: tuple[BlockMark, ...]
    """The newest of them; the last one is the new checkpoint."""
    events: tuple[Event, ...]
    state: EpochState | None
    """Read at the last block when an event of the step changed it, or may have."""
    owes_state: bool = False
    """Whether it is not read though it changed: endpoints keep the state of the newest blocks only, and the step ends
    far behind them."""


class Follower:
    """Reads what comes next on a ledger. `newest` is the newest settled block it was told of."""

    def __init__(self, ledger: ChainLedger) -> None:
        self._ledger = ledger
        self.newest: BlockMark | None = None
        self._shorter_since: float | None = None
        """When the chain, up to date, was first seen to be shorter than the checkpoint (of `time.monotonic`)."""
        self._compared_at_s = time.monotonic()
        """When the state was last compared with the contracts', or the follower made."""

    async def next(self, marks: Sequence[BlockMark], *, owes_state: bool = False) -> Step | Anew | None:
        """Return what follows on the newest of `marks` (ascending); None when nothing does yet.

        `owes_state` says whether the step before left out the state.

        Raises `LedgerUnavailable` when the chain cannot tell now; nothing is lost by asking again.
        """
        head = await self.head()
        if not marks or head.number - marks[-1].number > BLOCKS_REPLAYED or _was_replaced(marks, head):
            return Anew(head)
        if head.number < marks[-1].number:
            return Anew(head) if await self._was_made_up(marks[-1]) else None
        self._shorter_since = None
        if head.number == marks[-1].number:
            return None
        try:
            return await self.step(marks[-1], head, owes_state=owes_state)
        except (LedgerReorganised, LedgerHistoryGone):
            return Anew(await self.head())

    async def head(self) -> BlockMark:
        """Return the newest settled block."""
        self.newest = await self._ledger.head()
        return self.newest

    async def step(self, after: BlockMark, until: BlockMark, *, owes_state: bool = False) -> Step:
        """Return what happened behind a block, up to `until` or some way towards it. Raises as `Ledger.stretch`."""
        stretch = await self._ledger.stretch(after, until)
        state, last = None, stretch.marks[-1]
        owes_state |= stretch.lacks_address_changes
        if owes_state or any(isinstance(event, EPOCH_EVENTS) for event in stretch.events):
            try:
                state = await self._ledger.epoch_state(last, is_followed=True)
                owes_state = False
            except LedgerStateGone:
                if last.number >= until.number:
                    raise
                owes_state = True
        if state is not None:
            _require_started(state, stretch.events)
        return Step(stretch.marks, tuple(stretch.events), state, owes_state)

    async def is_misled(self, state: EpochState, at: BlockMark) -> bool:
        """Every COMPARED_S, return whether the contracts tell another state at a block than was followed up to it.

        The state is read behind events only. An endpoint that told a false one then, or left the events out, would
        mislead until the next epoch, long after it has come to tell the truth. Raises `LedgerUnavailable`.
        """
        if time.monotonic() - self._compared_at_s < COMPARED_S:
            return False
        try:
            # The second time compared with other endpoints': one that lies now must not have all read anew.
            is_misled = await self._is_another(state, at) and await self._is_another(
                state, at, is_followed=True
            )
        except LedgerStateGone:
            is_misled = False
        self._compared_at_s = time.monotonic()
        return is_misled

    async def _is_another(self, state: EpochState, at: BlockMark, *, is_followed: bool = False) -> bool:
        told = await self._ledger.epoch_state(at, is_followed=is_followed)
        return replace(told, block=state.block) != state

    async def _was_made_up(self, checkpoint: BlockMark) -> bool:
        """Return whether the checkpoint is on no chain: an endpoint named it that lied, or lost its chain.

        The chain has not come to it for `SHORTER_S`, though its newest block is never older than `UP_TO_DATE_S`. So it
        is not the endpoint that is behind, and the node would wait until the chain is as long, perhaps for years.
        """
        newest, now_s = await self._ledger.newest(), time.monotonic()
        is_shorter = newest.number < checkpoint.number
        if not is_shorter or await self._ledger.chain_time_s() < time.time() - UP_TO_DATE_S:
            self._shorter_since = None
            return False
        if self._shorter_since is None:
            self._shorter_since = now_s
        return now_s - self._shorter_since >= SHORTER_S


def _require_started(state: EpochState, events: Sequence[Event]) -> None:
    """Raise `LedgerUnavailable` unless the state is of the epoch that the events of its blocks started last, if any."""
    started = [event.epoch for event in events if isinstance(event, EpochStarted)]
    if started and state.epoch != started[-1]:
        raise LedgerUnavailable(
            f"the state of epoch {state.epoch} was told of block {state.block.number}, by whose events epoch "
            f"{started[-1]} has started"
        )


def _was_replaced(marks: Sequence[BlockMark], head: BlockMark) -> bool:
    """Return whether the block of the head's number was another one. A head that is merely older is not."""
    return any(mark.number == head.number and mark.hash != head.hash for mark in marks)
