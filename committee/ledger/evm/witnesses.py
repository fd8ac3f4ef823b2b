"""What a second endpoint says of what the first one told: nothing is done for good on the word of one of several.

Settled blocks are compared by their hashes (`EvmLedger.head`). An endpoint that lies can tell other events in them all
the same, and another state at them. So the contracts' rare events and the state that a follower takes in are asked of
the other endpoints too. They may be down, or may not have what is asked. Then the first one is believed for the time
being and what it told is unconfirmed: it is compared once another endpoint can tell, and nothing is deleted meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from committee.errors import LedgerReorganised, ProvidersDisagree
from committee.ledger.evm import answers
from committee.ledger.evm.answers import RawLog
from committee.ledger.evm.history import is_log_in_bloom
from committee.ledger.evm.rpc import Rpc

Result = TypeVar("Result")

PATIENCE_S = 24 * 3600.0
"""Time without any other endpoint that can tell, after which the one that answers is believed."""
MOST_LOGS = 10_000
"""The most unconfirmed logs that are kept for a comparison; with more of them the state is read anew."""
MOST_BLOCKS = 1000
"""Unconfirmed stretches are joined up to this many blocks."""
FEW_BLOCKS = 10
"""No endpoint wants the logs of fewer blocks at once."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Consecutive blocks and what was told of them."""

    first: int
    last: int
    logs: tuple[RawLog, ...]


@dataclass(slots=True)
class Witnesses:
    """Compares what one endpoint of `rpc` told with what the others tell; `criteria` is the filter of the events."""

    rpc: Rpc
    criteria: dict[str, Any]
    _unconfirmed: list[_Stretch] = field(default_factory=list)
    _needs_all: bool = False
    """Whether some state is unconfirmed, or too many logs: then nothing less than all of the state can be compared."""
    _since_s: float | None = None
    """Loop time from which on something was unconfirmed."""

    @property
    def is_confirmed(self) -> bool:
        """Whether another endpoint told the same of all that was taken in, or no other one answered for `PATIENCE_S`.

        True with a single endpoint, as no other one can be asked.
        """
        if self._since_s is None:
            return True
        return asyncio.get_running_loop().time() - self._since_s > PATIENCE_S

    @contextmanager
    def reading_anew(self) -> Iterator[None]:
        """All of the state is read anew in this block.

        What was unconfirmed before is forgotten if the block ends well. If it fails, the old state is still acted on.
        """
        before = self._unconfirmed, self._needs_all, self._since_s
        self._unconfirmed, self._needs_all, self._since_s = [], False, None
        try:
            yield
        except BaseException:
            self._unconfirmed = before[0] + self._unconfirmed
            self._needs_all |= before[1]
            self._since_s = self._since_s if before[2] is None else before[2]
            raise

    async def confirm_logs(self, first: int, last: int, told: Sequence[RawLog]) -> None:
        """Compare the events of the blocks first..last that were told.

        Raises `ProvidersDisagree`; `LedgerReorganised` when what was believed earlier turns out otherwise, or only the
        whole state can show whether it does.
        """
        if await self._has_same(_Stretch(first, last, tuple(told))):
            if self._needs_all:
                raise LedgerReorganised("a second endpoint can confirm the state again: it is read anew")
            await self._confirm_earlier()
        else:
            self._keep(_Stretch(first, last, tuple(told)))

    async def confirm_state(
        self, what: str, method: str, parameters: Sequence[Any], read: Callable[[Any], Result], told: Result
    ) -> None:
        """Compare an answer about the state at a block, unconfirmed if no other endpoint can tell.

        Raises `ProvidersDisagree`.
        """
        if not await self.has_same_state(what, method, parameters, read, told):
            self._needs_all = True
            self._note()

    async def has_same_state(
        self, what: str, method: str, parameters: Sequence[Any], read: Callable[[Any], Result], told: Result
    ) -> bool:
        """Return whether another endpoint tells the same, or there is none; False when none can tell.

        Raises `ProvidersDisagree`.
        """
        if len(self.rpc.endpoints) == 1:
            return True
        opinions = await self.rpc.opinions(method, *parameters, read=read)
        for name, opinion in opinions:
            if opinion != told:
                raise _disagreement(what, name)
        return len(opinions) > 1  # the one that told first is asked, too

    async def _confirm_earlier(self) -> None:
        while self._unconfirmed:
            try:
                if not await self._has_same(self._unconfirmed[0]):
                    return
            except ProvidersDisagree as error:
                raise LedgerReorganised(f"{error}; reading the state anew") from None
            del self._unconfirmed[0]
        self._since_s = None

    async def _has_same(self, stretch: _Stretch) -> bool:
        """Return whether another endpoint tells the same of a stretch; False when none can tell all of it."""
        if len(self.rpc.endpoints) == 1:
            return True
        told = {(log.block.number, log.index): log for log in stretch.logs}
        criteria = {"fromBlock": hex(stretch.first), "toBlock": hex(stretch.last), **self.criteria}
        opinions = await self.rpc.opinions("eth_getLogs", criteria, read=_logs, has_block=stretch.last)
        for _, opinion in opinions:
            opinion.update(
                (place, opinion[place].placed(told[place].block)) for place in opinion.keys() & told
            )
        differing = [(name, opinion) for name, opinion in opinions if opinion != told]
        for name, opinion in differing:
            lacks = [log for place, log in told.items() if place not in opinion]
            if not (opinion.items() <= told.items() and await self._has_forgotten(lacks)):
                raise _disagreement(f"the events of blocks {stretch.first} to {stretch.last}", name)
        is_same = len(opinions) - len(differing) > 1  # the one that told first is asked, too
        if is_same or stretch.last - stretch.first < FEW_BLOCKS:
            return is_same
        # It may have been too much at once.
        middle = (stretch.first + stretch.last) // 2
        earlier = tuple(log for log in stretch.logs if log.block.number <= middle)
        later = tuple(log for log in stretch.logs if log.block.number > middle)
        return await self._has_same(_Stretch(stretch.first, middle, earlier)) and await self._has_same(
            _Stretch(middle + 1, stretch.last, later)
        )

    async def _has_forgotten(self, logs: Sequence[RawLog]) -> bool:
        """Return whether all endpoints' headers promise logs that one endpoint does not tell: it has lost them."""
        for log in logs:
            number = hex(log.block.number)
            headers = await self.rpc.opinions("eth_getBlockByNumber", number, False, read=answers.block)
            for _, header in headers:
                if header.mark != log.block or not is_log_in_bloom(header.bloom, log):
                    return False
        return True

    def _keep(self, stretch: _Stretch) -> None:
        self._note()
        if self._unconfirmed and self._unconfirmed[-1].last + 1 == stretch.first:
            before = self._unconfirmed[-1]
            if stretch.last - before.first < MOST_BLOCKS:
                stretch = _Stretch(before.first, stretch.last, before.logs + stretch.logs)
                del self._unconfirmed[-1]
        self._unconfirmed.append(stretch)
        if sum(len(one.logs) for one in self._unconfirmed) > MOST_LOGS:
            self._unconfirmed.clear()
            self._needs_all = True

    def _note(self) -> None:
        if self._since_s is None:
            self._since_s = asyncio.get_running_loop().time()


def _disagreement(what: str, name: str) -> ProvidersDisagree:
    return ProvidersDisagree(
        f"the chain's endpoints disagree about {what}: {name} tells something else than was told before; take out the "
        "one that lies"
    )


def _logs(result: Any) -> dict[tuple[int, int], RawLog]:
    """Return the logs by their place; an endpoint may tell them in disorder, or twice. Null tells nothing of them."""
    told = answers.logs(answers.listed(result, answers.anything))
    return {(log.block.number, log.index): log for log in told}
