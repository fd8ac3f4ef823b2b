"""What gas a transaction takes, or why the contract refuses it, from endpoints that may be a block behind.

Behind one URL of a provider there are many machines, which hear of a block one after the other. So an estimate that
reverts may have been made on a state that lacks what the account itself has just done, such as an approval, or what
another account did before: a refusal counts when the call reverts on the newest state that any machine tells of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from committee.errors import INSUFFICIENT_FUNDS, LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.abi import ErrorDecoder
from committee.ledger.evm.answers import RawReceipt
from committee.ledger.evm.refusals import EndpointError, Lacking
from committee.ledger.evm.rpc import Rpc

Result = TypeVar("Result")

GAS_MARGIN_PERCENT = 25
"""Added to the estimate: state may change between the estimate and the block."""
TRANSACTION_GAS_LIMIT = 1 << 24
"""The most gas that a transaction may ask for (EIP-7825)."""
TRANSFER_GAS = 21_000
BEHIND_PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Pauses between requests to machines that lack the newest state."""
MACHINES_ASKED = 3
"""How often the newest block's number is asked for at once: each request may come to another machine."""


@dataclass(slots=True)
class Estimates:
    """The estimates for one account's transactions."""

    rpc: Rpc
    account: str
    errors: ErrorDecoder
    mined_block: int = -1
    """Number of the newest block with a transaction of the account's: estimates are made on a state that has it."""

    def note_mined(self, block: int) -> None:
        """Take note that a transaction of the account was mined in the block of this number."""
        self.mined_block = max(self.mined_block, block)

    async def gas(self, action: str, request: dict[str, Any]) -> int:
        """Return the gas to ask for. Raises `LedgerRefused` when the contract reverts or the account cannot pay."""
        for pause_s in (*BEHIND_PAUSES_S, None):
            try:
                return await self._gas(action, request)
            except EndpointError as error:
                if not error.is_revert and not error.is_lacking_funds:
                    raise
                if pause_s is None or not await self._is_behind(request):
                    raise await self._refusal(action, request, error) from None
                await asyncio.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    async def failure(
        self, action: str, request: dict[str, Any], gas: int, receipt: RawReceipt
    ) -> LedgerRefused:
        """Return why a transaction that was mined with this much gas failed: its call is replayed.

        On the state before its block, and if it succeeds there, because an earlier transaction of the block is the
        cause, on the state behind it. If it succeeds with more gas, gas is the cause, whatever the contract says: a
        call inside may have lacked it.
        """
        call = {**request, "gas": hex(gas)}
        lacks_gas = receipt.gas_used >= gas
        for number in map(hex, (receipt.block.number - 1, receipt.block.number)):
            if (refused := await self._revert_of(call, number)) is None:
                continue
            if await self._revert_of(request, number) is not None:
                return await self._refusal(action, call, refused, number)
            lacks_gas = True
        reason = "OutOfGas" if lacks_gas else "Reverted"
        return LedgerRefused(action, reason, {"transaction": "0x" + receipt.hash.hex()})

    async def on_newest(self, method: str, asked: Any, read: Callable[[Any], Result]) -> Result:
        """Return what `read` makes of a method's answer on the newest state that any machine tells of.

        A machine that is asked and lacks that state is given time. Raises as `Rpc.request`.
        """
        heights = (self.rpc.request("eth_blockNumber", read=answers.quantity) for _ in range(MACHINES_ASKED))
        newest = hex(max(self.mined_block, *await asyncio.gather(*heights)))
        for pause_s in BEHIND_PAUSES_S:
            try:
                return await self.rpc.request(method, asked, newest, read=read)
            except EndpointError as error:
                if error.is_revert or error.is_lacking_funds:
                    raise
            await asyncio.sleep(pause_s)
        return await self.rpc.request(method, asked, newest, read=read)

    async def _refusal(
        self, action: str, request: dict[str, Any], error: EndpointError, block: str = "latest"
    ) -> LedgerRefused:
        """Return the refusal; when the endpoint's error gives no reason of the contract's, a call at the block does."""
        if error.is_lacking_funds:
            return LedgerRefused(action, INSUFFICIENT_FUNDS, {"account": self.account})
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

    async def _revert_of(self, call: dict[str, Any], block: str) -> EndpointError | None:
        """Return the revert of a call on the state of a block; None when it succeeds, or no endpoint can tell."""
        try:
            await self.rpc.request("eth_call", call, block, read=answers.data)
        except EndpointError as error:
            return error if error.is_revert else None
        except LedgerUnavailable:
            pass
        return None

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
        """Return whether a call failed because its state lacked newer transactions.

        They may be the account's own, from this process or an earlier one, or another account's that it builds on.
        """
        try:
            await self.on_newest("eth_call", request, answers.data)
        except LedgerError:
            return False
        return True
