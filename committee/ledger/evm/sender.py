"""Sends transactions of one account: each at most once, each to a known end.

Tasks, threads and processes may send from one account at the same time: `nonces` gives each transaction its own number.
When something goes wrong the counter is forgotten and read from the chain again. Where senders share no lock, on two
machines, the one that comes too late takes a new nonce and tries again.

A transaction that was handed over is looked up by its hash before it is handed over again. One that waits too long is
given higher fees, a bounded number of times, always with its own nonce, so that at most one version of it is mined.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account.datastructures import SignedTransaction

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.abi import ErrorDecoder
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.answers import RawLog, RawReceipt
from committee.ledger.evm.nonces import Nonces
from committee.ledger.evm.refusals import EndpointError
from committee.ledger.evm.rpc import Rpc, both
from committee.ledger.records import Transaction

GAS_MARGIN_PERCENT = 25
"""Added to the estimate: state may change between the estimate and the block."""
TRANSACTION_GAS_LIMIT = 1 << 24
"""No transaction may ask for more (EIP-7825)."""
BASE_FEE_HEADROOM = 2
"""The fee bid is so many times the newest base fee: enough for five full blocks in a row."""
RECEIPT_LIMIT_S = 120.0
"""A transaction that is not mined within this time is reported as unknown."""
FIRST_POLL_S = 0.01
LONGEST_POLL_S = 1.0
POLL_GROWTH = 1.6
LOOKUP_INTERVAL_S = 8.0
"""How often a transaction without a receipt is looked up, and sent again if the chain does not know it."""
BUMP_AFTER_S = 30.0
"""A transaction that waits so long for its block is sent with higher fees, and again after as long."""
BUMP_PERCENT = 25
"""By so much at least; endpoints take no replacement below 10 %."""
BUMPS = 3
"""A transaction's fees are raised so often at most,"""
LARGEST_BID = 8
"""and to so many times the first bid at most, whatever the market asks."""
GAP_LIMIT = 16
"""Nonces that one look at a transaction fills at most."""
TRANSFER_GAS = 21_000
NONCE_TAKEN_WORDS = ("nonce", "replacement", "underpriced")
"""What endpoints say of a transaction whose nonce another one has."""
SEND_TRIES = 3
"""Broadcasts of one transaction when the endpoint does not answer."""
NONCE_TRIES = 10
"""Fresh nonces when one was taken."""
LEAST_TIP_WEI = 10**9
"""Of a tip that is guessed from what others paid; as web3.py has it."""
FEE_HISTORY_BLOCKS = 10
FEE_HISTORY_PERCENTILE = 50


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that succeeded, and what it did."""

    transaction: Transaction
    logs: tuple[RawLog, ...]
    contract: str | None
    """The address of the contract it created."""


@dataclass(frozen=True, slots=True)
class PlannedTransaction:
    """A transaction that was not sent, and what it would cost at most."""

    action: str
    sender: str
    to: str | None
    data: bytes
    gas: int | None
    """None when it can only be estimated after the ones planned before it."""
    fee_wei: int | None
    """Gas at the highest price it would bid; None as `gas`."""


class DryRun(Exception):
    """Nothing was sent: `planned` is what would have been, in order."""

    def __init__(self, planned: Sequence[PlannedTransaction]) -> None:
        self.planned = tuple(planned)
        super().__init__(f"{len(self.planned)} transactions planned, none sent")


@dataclass(slots=True)
class _Flight:
    """A transaction under way: the versions that were sent, all of one nonce, the newest last."""

    action: str
    fields: dict[str, Any]
    versions: list[SignedTransaction]
    first_bid: dict[str, int]
    is_overtaken: bool = False
    """The account's nonce was seen mined, and none of the versions."""

    @property
    def newest(self) -> SignedTransaction:
        return self.versions[-1]


class _NonceTakenError(Exception):
    """Another transaction of the account has the nonce `taken`."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        super().__init__(f"nonce {taken} is taken")


class Sender:
    """A sender of an account. Safe to use from several tasks of one event loop, beside other senders of the account."""

    def __init__(self, rpc: Rpc, key: AccountKey, chain_id: int, errors: ErrorDecoder) -> None:
        self.account = key.address
        self._rpc = rpc
        self._key = key
        self._chain_id = chain_id
        self._errors = errors
        self._nonces = Nonces.of(chain_id, key.address)
        self._mined_block = -1
        """Where its newest was: estimates are made on a state that has it."""

    def close(self) -> None:
        """Give back what is shared with other processes. Idempotent."""
        self._nonces.close()

    async def send(self, action: str, to: str | None, data: bytes, value_wei: int = 0) -> Receipt:
        """Send call data to a contract (or creation code to none, or ether to an account); wait until it is mined.

        Raises `LedgerRefused` when the contract reverts or the account cannot pay, `LedgerUnavailable` when
        the chain does not answer or does not mine in time; then the transaction may still come through.
        """
        request = self._request(to, data, value_wei)
        gas, fees = await both(self._estimate(action, request), self._fees())
        transaction: dict[str, Any] = {
            "chainId": self._chain_id,
            "data": data,
            "gas": gas,
            "value": value_wei,
            **fees,
        } | ({"to": to} if to else {})
        least_nonce = 0
        for place in range(NONCE_TRIES):
            try:
                flight = await self._send_with_next_nonce(action, transaction, fees, least_nonce)
            except _NonceTakenError as error:
                least_nonce = error.taken + 1
                await asyncio.sleep(min(FIRST_POLL_S * 2**place, LONGEST_POLL_S))
                continue
            nonce = flight.fields["nonce"]
            self._nonces.under_way.add(nonce)
            try:
                receipt = await self._receipt(flight)
            finally:
                self._nonces.under_way.discard(nonce)
            self._nonces.mined = max(self._nonces.mined, nonce + 1)
            self._mined_block = max(self._mined_block, receipt.block.number)
            if not receipt.succeeded:
                raise await self._failure(action, request, transaction, receipt)
            mined = Transaction(receipt.hash, receipt.block, receipt.gas_used)
            return Receipt(mined, receipt.logs, receipt.contract)
        raise LedgerUnavailable(
            f"{action} was not sent: {NONCE_TRIES} nonces in a row were taken; does another machine send from "
            f"{self.account}?"
        )

    async def plan(
        self, action: str, to: str | None, data: bytes, value_wei: int = 0, *, after_others: bool = False
    ) -> PlannedTransaction:
        """What `send` would send; `after_others` says that planned transactions come before it.

        Raises as `send` does, but for a revert of one that comes after others: that may only lack them.
        """
        request = self._request(to, data, value_wei)
        try:
            gas, fees = await both(self._estimate(action, request), self._fees())
        except LedgerRefused:
            if not after_others:
                raise
            return PlannedTransaction(action, self.account, to, data, None, None)
        most_wei = fees["maxFeePerGas"] if "maxFeePerGas" in fees else fees["gasPrice"]
        return PlannedTransaction(action, self.account, to, data, gas, gas * most_wei)

    def _request(self, to: str | None, data: bytes, value_wei: int) -> dict[str, Any]:
        """As `eth_estimateGas` and `eth_call` take it."""
        request = {"from": self.account, "data": "0x" + data.hex()} | ({"to": to} if to else {})
        return request | ({"value": hex(value_wei)} if value_wei else {})

    async def _estimate(self, action: str, request: dict[str, Any]) -> int:
        try:
            estimate = await self._rpc.request(
                "eth_estimateGas", request, read=_read_gas, has_block=self._mined_block
            )
        except EndpointError as error:
            if error.is_lacking_funds:
                raise self._too_poor(action) from None
            if not error.is_revert:
                raise
            raise self._refused(action, error) from None
        except LedgerUnavailable:
            self._mined_block = -1  # the chain may have gone back behind it
            raise
        if estimate > TRANSACTION_GAS_LIMIT:
            raise LedgerRefused(action, "TooMuchGas", {"needed": estimate, "limit": TRANSACTION_GAS_LIMIT})
        return min(estimate * (100 + GAS_MARGIN_PERCENT) // 100, TRANSACTION_GAS_LIMIT)

    async def _fees(self) -> dict[str, int]:
        """What the transaction bids for a unit of gas, by field; as a legacy transaction where nothing tells a tip."""
        block, tip = await both(
            self._rpc.request("eth_getBlockByNumber", "latest", False, read=answers.block), self._tip()
        )
        if block.base_fee_wei is None or tip is None:
            price = await self._rpc.request("eth_gasPrice", read=answers.fee)
            return {"gasPrice": price * (100 + BUMP_PERCENT) // 100}
        return {
            "maxFeePerGas": block.base_fee_wei * BASE_FEE_HEADROOM + tip,
            "maxPriorityFeePerGas": tip,
        }

    async def _tip(self) -> int | None:
        """The tip to bid for a unit of gas, in wei, from the first method that an endpoint has; None for none."""
        with contextlib.suppress(LedgerUnavailable):
            return await self._rpc.request("eth_maxPriorityFeePerGas", read=answers.fee)
        with contextlib.suppress(LedgerUnavailable):
            history = hex(FEE_HISTORY_BLOCKS), "latest", [FEE_HISTORY_PERCENTILE]
            rewards = await self._rpc.request("eth_feeHistory", *history, read=answers.newest_rewards)
            paid = sorted(filter(None, rewards))
            return max(paid[len(paid) // 2], LEAST_TIP_WEI) if paid else LEAST_TIP_WEI
        return None

    async def _send_with_next_nonce(
        self, action: str, transaction: dict[str, Any], fees: dict[str, int], least_nonce: int
    ) -> _Flight:
        async with self._nonces.turn():
            try:
                if self._nonces.next is None:
                    self._nonces.next = max(await self._count("pending"), self._nonces.mined, least_nonce)
                fields = {**transaction, "nonce": self._nonces.next}
                flight = _Flight(action, fields, [self._key.sign(fields)], fees)
                await self._broadcast(action, flight.newest, self._nonces.next)
                self._nonces.next += 1
            except BaseException:
                # Also when cancelled: whether the transaction arrived is then unknown, so the chain must say.
                self._nonces.next = None
                raise
            return flight

    async def _broadcast(self, action: str, signed: SignedTransaction, nonce: int) -> None:
        """Hand a transaction to the endpoint; returns once the endpoint is known to have it."""
        raw = "0x" + bytes(signed.raw_transaction).hex()
        trouble: LedgerUnavailable | None = None
        for _ in range(SEND_TRIES):
            try:
                # The answer is not read: whether the chain has the transaction shows by its own hash.
                await self._rpc.request("eth_sendRawTransaction", raw, read=answers.anything)
                return
            except EndpointError as error:
                if error.is_lacking_funds:
                    raise self._too_poor(action) from None
                if await self._is_known(signed):
                    return
                if not any(word in error.reason.lower() for word in NONCE_TAKEN_WORDS):
                    raise
                if trouble is not None:
                    # It may have been an earlier try of ours that took the nonce; the receipt will tell.
                    return
                raise _NonceTakenError(nonce) from None
            except LedgerUnavailable as error:
                trouble = error
                with contextlib.suppress(LedgerUnavailable):
                    if await self._is_known(signed):
                        return
        raise LedgerUnavailable(f"{action} could not be sent: {trouble}") from None

    async def _is_known(self, signed: SignedTransaction) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""
        digest = bytes(signed.hash)
        return await self._rpc.request(
            "eth_getTransactionByHash", _hex(signed), read=lambda result: answers.is_known(result, digest)
        )

    async def _receipt(self, flight: _Flight) -> RawReceipt:
        """Wait for the receipt of any version, looking after the transaction when none comes."""
        clock = asyncio.get_running_loop().time
        began, delay = clock(), FIRST_POLL_S
        deadline, next_lookup = began + RECEIPT_LIMIT_S, began + LOOKUP_INTERVAL_S
        next_bump = began + BUMP_AFTER_S
        trouble = "it is not mined"
        while clock() < deadline:
            await asyncio.sleep(delay)
            delay = min(delay * POLL_GROWTH, LONGEST_POLL_S)
            try:
                for version in reversed(flight.versions):
                    receipt = await self._rpc.request(
                        "eth_getTransactionReceipt", _hex(version), read=_receipt_of(version)
                    )
                    if receipt is not None:
                        return receipt
                if flight.is_overtaken and clock() >= next_lookup:
                    trouble = "another transaction has its nonce"
                    break
                if clock() >= next_bump and len(flight.versions) <= BUMPS:
                    next_bump = clock() + BUMP_AFTER_S
                    await self._bump(flight)
                if clock() >= next_lookup:
                    next_lookup = clock() + LOOKUP_INTERVAL_S
                    if await self._is_known(flight.newest):
                        await self._fill_gap(flight)
                    else:
                        await self._broadcast(flight.action, flight.newest, flight.fields["nonce"])
            except LedgerUnavailable as error:
                trouble = str(error)
            except _NonceTakenError:
                next_lookup = clock() + LOOKUP_INTERVAL_S
                with contextlib.suppress(LedgerUnavailable):
                    flight.is_overtaken = await self._count("latest") > flight.fields["nonce"]
        self._nonces.next = None
        outlook = "it will not come through" if flight.is_overtaken else "it may still come through"
        raise LedgerUnavailable(
            f"{flight.action}: no receipt of transaction {_hex(flight.newest)} within {clock() - began:.1f} s "
            f"({trouble}); {outlook}"
        )

    async def _bump(self, flight: _Flight) -> None:
        """Send the transaction with its own nonce and higher fees: the market's, and enough to be let in."""
        market = await self._fees()
        fields = {**flight.fields}
        for fee, first_bid in flight.first_bid.items():
            raised = -(-fields[fee] * (100 + BUMP_PERCENT) // 100)
            fields[fee] = min(max(raised, market.get(fee, 0)), first_bid * LARGEST_BID)
        version = self._key.sign(fields)
        # Before it is handed over: should the answer be lost, its receipt is looked for too.
        flight.versions.append(version)
        flight.fields = fields
        await self._broadcast(flight.action, version, fields["nonce"])

    async def _fill_gap(self, flight: _Flight) -> None:
        """Use up nonces below those of the transactions under way that no transaction has any more.

        After a reorganisation that dropped what was mined, nothing behind it would be mined ever; and sending a call
        again with such a nonce could run it twice. So each of them goes to a transfer of nothing.
        """
        async with self._nonces.turn():
            waiting = await self._count("pending")
            for nonce in range(waiting, min(waiting + GAP_LIMIT, *self._nonces.under_way)):
                nothing = {"to": self.account, "data": b"", "gas": TRANSFER_GAS, "nonce": nonce}
                filling = self._key.sign({**flight.fields, "value": 0, **nothing})
                with contextlib.suppress(_NonceTakenError):
                    await self._broadcast("filling a nonce", filling, nonce)

    async def _count(self, block: str) -> int:
        """How many transactions of the account there are, as of "latest" or, with those that wait, "pending"."""
        return await self._rpc.request("eth_getTransactionCount", self.account, block, read=answers.quantity)

    async def _failure(
        self, action: str, request: dict[str, Any], transaction: dict[str, Any], receipt: RawReceipt
    ) -> LedgerError:
        """Why a mined transaction failed: the call is replayed on the state before its block."""
        call, before = {**request, "gas": hex(transaction["gas"])}, hex(receipt.block.number - 1)
        try:
            await self._rpc.request("eth_call", call, before, read=answers.data)
        except EndpointError as error:
            if error.is_revert:
                return self._refused(action, error)
        except LedgerUnavailable:
            pass
        reason = "OutOfGas" if receipt.gas_used >= transaction["gas"] else "Reverted"
        return LedgerRefused(action, reason, {"transaction": "0x" + receipt.hash.hex()})

    def _too_poor(self, action: str) -> LedgerRefused:
        return LedgerRefused(action, "InsufficientFunds", {"account": self.account})

    def _refused(self, action: str, error: EndpointError) -> LedgerRefused:
        if error.data is None:
            return LedgerRefused(action, "Reverted", {"message": error.reason})
        return LedgerRefused(action, *self._errors.decode(error.data))


def _hex(signed: SignedTransaction) -> str:
    return "0x" + bytes(signed.hash).hex()


def _receipt_of(signed: SignedTransaction) -> Callable[[Any], RawReceipt | None]:
    return lambda result: answers.receipt(result, bytes(signed.hash))


def _read_gas(result: Any) -> int:
    gas = answers.quantity(result)
    if gas < TRANSFER_GAS:
        raise answers.Unreadable("less gas than any transaction takes")
    return gas
