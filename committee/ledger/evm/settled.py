"""The newest block that can no longer be reorganised, as endpoints tell it and compare it with each other's."""

from __future__ import annotations

import asyncio
import time

from committee.errors import LedgerNotSettled, ProvidersDisagree
from committee.ledger.evm.deployment import Deployment
from committee.ledger.evm.reader import Reader
from committee.ledger.evm.rpc import Rpc
from committee.ledger.records import BlockMark

AT_THE_TIP_S = 600
"""Greatest age of an endpoint's newest block by which the endpoint has the whole chain, and is not behind."""
STUCK_LOOK_S = 30.0
"""Time without a new settled block after which an endpoint is asked at each look whether its newest block changes."""
STUCK_AFTER_S = 90.0
"""An endpoint whose newest block has not changed for this long is passed over for one that has a newer block."""


class SettledHead:
    """A block is settled when `confirmations` blocks follow it; when None, by the deployment's tag."""

    def __init__(self, rpc: Rpc, reader: Reader, deployment: Deployment, confirmations: int | None) -> None:
        self._rpc = rpc
        self._reader = reader
        self._deployment = deployment
        self._confirmations = confirmations
        self._newest_settled = -1, 0.0
        """(number of the newest settled block that was told, loop time since when there is none newer)."""
        self._unconfirmed: BlockMark | None = None
        """The oldest settled block that was told since a second endpoint last confirmed one."""

    async def head(self) -> BlockMark:
        """Return the newest block that the deployment's setting takes for settled.

        Where there are several endpoints, a second one is asked for the block of the same number, and
        `ProvidersDisagree` is raised when it has another one. Raises `LedgerNotSettled` while the block that the
        contracts were deployed in is not settled.
        """
        try:
            return await self._compared_head()
        except ProvidersDisagree:
            # One that went over to another chain would say the same; and a fork at the very tip passes.
            self._rpc.doubt()
            return await self._compared_head()

    async def _compared_head(self) -> BlockMark:
        mark = await self._settled()
        now = asyncio.get_running_loop().time()
        number, since = self._newest_settled
        is_left = False
        if mark.number == number and now - since >= STUCK_LOOK_S:
            is_left = await self._rpc.leave_stuck(STUCK_AFTER_S)
        if mark.number < max(number, self._deployment.block):
            is_left = await self._leave_one_that_lacks(max(number, self._deployment.block))
        if is_left:
            mark = await self._settled()
        await self._compare(mark)
        if self._unconfirmed is not None:
            mark = await self._held_back(mark)
        if mark.number > number:
            self._newest_settled = mark.number, now
        if mark.number < self._deployment.block:
            raise self._not_settled(mark.number)
        return mark

    def _not_settled(self, settled: int) -> LedgerNotSettled:
        doubt = self._without_finality(settled)
        error = LedgerNotSettled(
            f"the contracts were deployed in block {self._deployment.block}, and the chain has settled block "
            f"{settled}: wait until it has settled theirs{doubt}"
        )
        error.lacks_finality = bool(doubt)
        return error

    def _without_finality(self, settled: int) -> str:
        """Return what to say where the block `settled` is final: some endpoints say 0 on chains without finality."""
        if settled or self._confirmations is not None:
            return ""
        return (
            f". An endpoint that keeps naming block 0 as {self._deployment.finality} is not synchronised, or its chain "
            'has no finality: nodes then want `confirmations` in node.toml, and the deployment manifest "finality": '
            '"latest"'
        )

    async def _leave_one_that_lacks(self, number: int) -> bool:
        """Pass over an endpoint that has not settled a block which the chain has, for one that has."""
        if self._confirmations is None:
            return await self._rpc.leave_behind(self._deployment.finality, number)
        return await self._rpc.leave_behind("latest", number + self._confirmations)

    async def _settled(self) -> BlockMark:
        """Return the newest settled block of the endpoint that is asked first."""
        if self._confirmations is None:
            return (await self._reader.block(self._deployment.finality)).mark
        mark = (await self._reader.block("latest")).mark
        if self._confirmations:
            mark = (await self._reader.block(max(mark.number - self._confirmations, 0))).mark
        return mark

    async def _compare(self, mark: BlockMark) -> None:
        """Compare a settled block with a second endpoint's; of one that is behind, an earlier block that was told.

        An endpoint that is down, or has neither block, confirms and contradicts nothing.
        """
        if await self._is_confirmed(mark):
            self._unconfirmed = None
        elif self._unconfirmed is None or await self._is_confirmed(self._unconfirmed):
            self._unconfirmed = mark

    async def _is_confirmed(self, mark: BlockMark) -> bool:
        """Return whether a second endpoint has the same block; False when none can tell. Raises `ProvidersDisagree`."""
        opinion = await self._reader.second_opinion(mark.number)
        if opinion is None:
            return False
        name, other = opinion
        if other != mark:
            raise ProvidersDisagree(
                f"the chain's endpoints disagree about block {mark.number}: {name} has another one than the "
                "endpoint asked first; take out the one that lies"
            )
        return True

    async def _held_back(self, mark: BlockMark) -> BlockMark:
        """Return a settled block, or in its place the newest one that a second endpoint has settled, which is earlier.

        A block that an endpoint makes up far ahead is contradicted by no other one, ever. An endpoint that is down
        holds nothing back, nor does one that is behind by the age of its newest block.
        """
        tip = await self._reader.second_block("latest")
        if tip is None or tip.mark.number >= mark.number or tip.timestamp_s < time.time() - AT_THE_TIP_S:
            return mark
        number = max(tip.mark.number - (self._confirmations or 0), 0)
        if self._confirmations is None:
            settled = await self._reader.second_block(self._deployment.finality)
            number = number if settled is None else min(settled.mark.number, number)
        earlier = (await self._reader.block(number)).mark
        await self._is_confirmed(earlier)
        return earlier
