"""What gas a transaction takes, or why the contract refuses it, from endpoints that may be a block behind.

Behind one URL of a provider there are many machines, which hear of a block one after the other. So an estimate that
reverts may have been made on a state that lacks what the account itself has just done, such as an approval.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from committee.errors import INSUFFICIENT_FUNDS, LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.abi import ErrorDecoder
from committee.ledger.evm.refusals import EndpointError, Lacking
from committee.ledger.evm.rpc import Rpc

GAS_MARGIN_PERCENT = 25
"""Added to the estimate: state may change between the estimate and the block."""
TRANSACTION_GAS_LIMIT = 1 << 24
"""The most gas that a transaction may ask for (EIP-7825)."""
TRANSFER_GAS = 21_000
MINED_LATELY_S = 30.0
"""For this long after a transaction was mined, some of the provider's machines may not have its block."""
BEHIND_PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Pauses between estimates on states that lack the account's newest transaction."""


@dataclass(slots=True)
class Estimates:
    """The estimates for one account's transactions."""

    rpc: Rpc
    account: str
    errors: ErrorDecoder
    mined_block: int = -1
    """Number of the newest block with a transaction of the account's: estimates are made on a state that has it."""
    _mined_s: float = field(default=-MINED_LATELY_S, init=False)

    def note_mined(self, block: int) -> None:
        """Take note that a transaction of the account was mined in the block of this number."""
        if block > self.mined_block:
            self.mined_block, self._mined_s = block, asyncio.get_running_loop().time()

    async def gas(self, action: str, request: dict[str, Any]) -> int:
        """Return the gas to ask for. Raises `LedgerRefused` when the contract reverts or the account cannot pay."""
        for pause_s in (*BEHIND_PAUSES_S, None):
            try:
                return await self._gas(action, request)
            except EndpointError as error:
                if error.is_lacking_funds:
                    raise LedgerRefused(action, INSUFFICIENT_FUNDS, {"account": self.account}) from None
                if not error.is_revert:
                    raise
                if pause_s is None or not await self._is_behind(request):
                    raise await self.refusal(action, request, error) from None
                await asyncio.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    async def refusal(
        self, action: str, request: dict[str, Any], error: EndpointError, block: str = "latest"
    ) -> LedgerRefused:
        """Return the contract's refusal; when the endpoint's error gives no reason, a call at the block supplies it."""
        if not error.data:
            try:
                await self.rpc.request("eth_call", request, block, read=answers.data)
            except EndpointError as told:
                error = told if told.data else error
            except LedgerUnavailable:
                pass
        if error.data is None:
            return LedgerRefused(action, "Reverted", {"message": error.reason})
        return LedgerRefused(action, *self.errors.decode(error.data))

    async def _gas(self, action: str, request: dict[str, Any]) -> int:
        def read(result: Any) -> int:
            gas = answers.quantity(result)
            if gas < TRANSFER_GAS:
                raise answers.Unreadable("less gas than any transaction takes")
            if gas > TRANSACTION_GAS_LIMIT:
                limit = {"needed": gas, "limit": TRANSACTION_GAS_LIMIT}
                raise Lacking(LedgerRefused(action, "TooMuchGas", dict(limit)))
            return gas

        try:
            estimate = await self.rpc.request(
                "eth_estimateGas", request, read=read, has_block=self.mined_block
            )
        except EndpointError:
            raise
        except LedgerUnavailable:
            self.mined_block = -1  # the chain may have gone back behind it
            raise
        return min(estimate * (100 + GAS_MARGIN_PERCENT) // 100, TRANSACTION_GAS_LIMIT)

    async def _is_behind(self, request: dict[str, Any]) -> bool:
        """Return whether a call reverted because its state lacked the account's newest transaction.

        This is so when the same call does not revert on the newest state, which is named by its block's number. (On the
        state after that transaction it may not revert either, and be refused since another account's.)
        """
        if self.mined_block < 0 or asyncio.get_running_loop().time() - self._mined_s > MINED_LATELY_S:
            return False
        try:
            newest = await self.rpc.request("eth_blockNumber", read=answers.quantity)
            block = hex(max(newest, self.mined_block))
            await self.rpc.request("eth_call", request, block, read=answers.data)
        except EndpointError as error:
            return not error.is_revert
        except LedgerError:
            return False
        return True
