"""Calls that the EVM adapter sends, and how those that take tokens are let to.

A contract takes tokens by the account's allowance. Payments of one account that are under way at the same time share
it: each is sent only if the allowance covers it beside the others, so that none is mined and fails. Where it does not,
the payment carries a permit (EIP-2612) for itself and for all that are under way, and the others wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm.abi import Log
from committee.ledger.evm.permits import Permit
from committee.ledger.evm.reader import Contract, Reader
from committee.ledger.evm.sender import Receipt, Sender
from committee.ledger.interface import DryRun
from committee.ledger.records import PlannedTransaction

PAYMENTS_PER_PERMIT = 64
"""A payment that finds its allowance used up permits this many of its amount."""
PERMIT_LIFE_S = 3600
"""Chain time for which a permit counts; longer than any transaction is waited for."""
PERMITS = 3
"""The most permits for one payment: another process of the account may use up the nonce, or the allowance, first."""
NO_ALLOWANCE = "ERC20InsufficientAllowance"
"""The token's error for a payment that the allowance does not cover."""


@dataclass(frozen=True, slots=True)
class _Payment:
    """Calls of a contract that take tokens for it, in one transaction."""

    contract: Contract
    calls: Sequence[bytes]
    action: str
    cost: int
    """The most that they take together."""
    spare_gas: int
    payments: int
    """How many payments of this cost a permit allows."""


class Caller:
    """Encodes calls and sends them. With `dry_run`, every method raises `DryRun` instead of sending."""

    def __init__(self, reader: Reader, sender: Sender | None, dry_run: bool) -> None:
        self._reader = reader
        self._sender = sender
        self._dry_run = dry_run
        self._planned: list[PlannedTransaction] = []
        self._spending = asyncio.Lock()
        """Held while it is decided whether a payment is covered, and until one with a permit is mined."""
        self._under_way: Counter[str] = Counter()
        """Address of a contract → what the payments to it cost that were sent without a permit and are not mined."""

    def _sending(self) -> Sender:
        if self._sender is None:
            raise LedgerError("this ledger has no account key: it can only read")
        return self._sender

    async def _spend(
        self,
        contract: Contract,
        calls: Sequence[bytes],
        action: str,
        cost: int,
        *,
        spare_gas: int = 0,
        payments: int = PAYMENTS_PER_PERMIT,
    ) -> Receipt:
        """Send calls of a contract, in one transaction, that take `cost` tokens for it together, or less.

        If the allowance does not cover `cost`, the transaction also has a permit, which is enough for `payments` times
        that cost. With `spare_gas` nothing is sent unless the account can pay that much gas afterwards.
        """
        payment = _Payment(contract, calls, action, cost, spare_gas, payments)
        async with self._spending:
            refusal = await self._uncovered(payment)
            if refusal is not None:
                return await self._send_permitted(payment, refusal)
            self._under_way[contract.address] += cost
        try:
            return await self._send_together(payment)
        except LedgerRefused as refused:
            refusal = refused
        finally:
            self._under_way[contract.address] -= cost
        async with self._spending:
            return await self._send_permitted(payment, refusal)

    async def _send_permitted(self, payment: _Payment, refusal: LedgerRefused) -> Receipt:
        """Send a payment with a permit for it and for all that are under way.

        Raises `refusal` where it was for anything else than want of an allowance, as `_needed` does.
        """
        for _ in range(PERMITS):
            needed = await self._needed(refusal, None if len(payment.calls) == 1 else payment.cost)
            permitted = self._under_way[payment.contract.address] + needed * payment.payments
            permit = await self._permit(payment.contract, permitted, refusal)
            try:
                return await self._send_together(payment, permit)
            except LedgerRefused as refused:
                refusal = refused
        raise refusal

    async def _uncovered(self, payment: _Payment) -> LedgerRefused | None:
        """Return the refusal of a payment that the allowance does not cover beside those that are under way.

        None where none is under way: its estimate will tell.
        """
        spender = payment.contract.address
        under_way = self._under_way[spender]
        if not under_way or self._dry_run:
            return None
        sender = self._sending()
        at = await self._reader.newest(sender.mined_block)
        asked = sender.account, spender
        allowance = int(await self._reader.call(self._reader.token, "allowance", *asked, at=at))
        if allowance >= under_way + payment.cost:
            return None
        lacking = {"spender": spender, "allowance": max(0, allowance - under_way), "needed": payment.cost}
        return LedgerRefused(payment.action, NO_ALLOWANCE, lacking)

    async def _permit(self, spender: Contract, value: int, refusal: LedgerRefused) -> bytes:
        """Return a call of the spender that permits it an amount. Raises the refusal where the token has no permits."""
        token, sender = self._reader.token, self._sending()
        try:
            nonce = int(await self._reader.call(token, "nonces", sender.account))
        except LedgerRefused:
            raise refusal from None
        permit = Permit(
            chain_id=self._reader.chain_id,
            token=token.address,
            spender=spender.address,
            value=value,
            nonce=nonce,
            deadline_s=(await self._reader.block("latest")).timestamp_s + PERMIT_LIFE_S,
        )
        signature = sender.sign_permit(permit)
        return spender.abi.encode_call("permit", permit.value, permit.deadline_s, *signature)

    async def _approve(self, spender: Contract, refusal: LedgerRefused) -> None:
        """Approve a payment like the one that was refused for want of an allowance.

        Raises the refusal where it was for anything else, and one for want of tokens: nothing that is going to be
        refused all the same leaves an allowance.
        """
        needed = await self._needed(refusal)
        token, action = self._reader.token, "HauloutToken.approve"
        data = token.abi.encode_call("approve", spender.address, needed)
        if self._dry_run:
            self._planned.append(await self._sending().plan(action, token.address, data))
        else:
            await self._sending().send(action, token.address, data)

    async def _needed(self, refusal: LedgerRefused, cost: int | None = None) -> int:
        """Return the amount of a payment that was refused for want of an allowance: `cost`, or what the refusal tells.

        Raises the refusal where it was for anything else, and one for want of tokens.
        """
        if refusal.reason != NO_ALLOWANCE:
            raise refusal
        needed = int(str(refusal.arguments["needed"])) if cost is None else cost
        account = self._sending().account
        balance = int(await self._reader.call(self._reader.token, "balanceOf", account))
        if balance < needed:
            lacking = {"sender": account, "balance": balance, "needed": needed}
            raise LedgerRefused(refusal.action, "ERC20InsufficientBalance", lacking)
        return needed

    async def _send_together(self, payment: _Payment, *before: bytes) -> Receipt:
        """Send a payment's calls, behind others of the same contract, in one transaction."""
        calls, abi = [*before, *payment.calls], payment.contract.abi
        data = calls[0] if len(calls) == 1 else abi.encode_call("multicall", calls)
        return await self._send_data(payment.contract, data, payment.action, payment.spare_gas)

    async def _send(self, contract: Contract, function: str, *arguments: Any) -> Receipt:
        """Send a call."""
        data = contract.abi.encode_call(function, *arguments)
        return await self._send_data(contract, data, f"{contract.abi.name}.{function}")

    async def _send_data(self, contract: Contract, data: bytes, action: str, spare_gas: int = 0) -> Receipt:
        if not self._dry_run:
            return await self._sending().send(action, contract.address, data, spare_gas=spare_gas)
        before, self._planned = self._planned, []
        planned = await self._sending().plan(action, contract.address, data, after_others=bool(before))
        raise DryRun([*before, planned])

    def _told(self, receipt: Receipt, contract: Contract, event: str, argument: str) -> Any:
        """Return an argument of the event that a contract emitted first of this name in a transaction."""
        for log in self._logs(receipt, contract, event):
            return log.arguments[argument]
        raise LedgerUnavailable(f"transaction 0x{receipt.transaction.hash.hex()} tells no {event}")

    def _logs(self, receipt: Receipt, contract: Contract, event: str) -> Iterator[Log]:
        """Yield the events of a name that a contract emitted in a transaction, in their order."""
        address = bytes.fromhex(contract.address[2:])
        for raw in receipt.logs:
            log = contract.abi.decode_log(raw.topics, raw.data) if raw.address == address else None
            if log is not None and log.name == event:
                yield log
