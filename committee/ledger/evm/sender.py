"""Sends transactions of one account: each at most once, each to a known end.

One counter and one lock give out the nonces, so that tasks of this process may send at the same time. When
something goes wrong the counter is forgotten and read from the chain again. An account should not be used by
two processes at once; where it is, the loser takes a new nonce and tries again.

A transaction that was handed over is looked up by its hash before it is handed over again. One that waits too long is
given higher fees, a bounded number of times, always with its own nonce, so that at most one version of it is mined.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from eth_account.datastructures import SignedTransaction
from eth_utils.address import to_checksum_address

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm.abi import ErrorDecoder
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.rpc import EndpointError, Rpc, both
from committee.ledger.records import (
    BlockMark,
    Transaction,
)

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
"""Broadcasts of one transaction when the endpoint does not answer, and fresh nonces when one was taken."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that succeeded, and what it did."""

    transaction: Transaction
    logs: list[dict[str, Any]]
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


class _Nonces:
    """The counter of one account on one chain, shared by all its senders in one event loop."""

    _shared: ClassVar[WeakValueDictionary[tuple[int, str, int], _Nonces]] = WeakValueDictionary()

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.next: int | None = None
        """None when it is to be read from the chain."""
        self.mined = 0
        """At least so many of the account's transactions are mined, whatever an endpoint that is behind says."""
        self.under_way: set[int] = set()

    @classmethod
    def of(cls, chain_id: int, account: str) -> _Nonces:
        """The one counter of an account."""
        key = chain_id, account, id(asyncio.get_running_loop())
        return cls._shared.setdefault(key, cls())


class _NonceTakenError(Exception):
    """Another transaction of the account has this nonce."""


class Sender:
    """A sender of an account. Safe to use from several tasks of one event loop, beside other senders of the account."""

    def __init__(self, rpc: Rpc, key: AccountKey, chain_id: int, errors: ErrorDecoder) -> None:
        self.account = key.address
        self._rpc = rpc
        self._key = key
        self._chain_id = chain_id
        self._errors = errors
        self._nonces = _Nonces.of(chain_id, key.address)
        self._mined_block = -1
        """Where its newest was: estimates are made on a state that has it."""

    async def send(self, action: str, to: str | None, data: bytes, value_wei: int = 0) -> Receipt:
        """Send call data to a contract (or creation code to none, or ether to an account); wait until it is mined.

        Raises `LedgerRefused` when the contract reverts or the account cannot pay, `LedgerUnavailable` when
        the chain does not answer or does not mine in time; then the transaction may still come through.
        """
        request = self._request(to, data, value_wei)
        gas, fees = await both(self._estimate(action, request), self._fees())
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain_id,
            "data": data,
            "gas": gas,
            "value": value_wei,
            **fees,
        } | ({"to": to} if to else {})
        for _ in range(SEND_TRIES):
            try:
                flight = await self._send_with_next_nonce(action, transaction, fees)
            except _NonceTakenError:
                continue
            nonce = flight.fields["nonce"]
            self._nonces.under_way.add(nonce)
            try:
                receipt = await self._receipt(flight)
            finally:
                self._nonces.under_way.discard(nonce)
            self._nonces.mined = max(self._nonces.mined, nonce + 1)
            self._mined_block = max(self._mined_block, int(receipt["blockNumber"], 16))
            if int(receipt["status"], 16) != 1:
                raise await self._failure(action, request, transaction, receipt)
            return Receipt(_transaction(receipt), receipt["logs"], receipt.get("contractAddress"))
        raise LedgerUnavailable(
            f"{action}: {SEND_TRIES} nonces in a row were taken; does another process use {self.account}?"
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
        return PlannedTransaction(action, self.account, to, data, gas, gas * fees["maxFeePerGas"])

    def _request(self, to: str | None, data: bytes, value_wei: int) -> dict[str, Any]:
        """As `eth_estimateGas` and `eth_call` take it."""
        request = {"from": self.account, "data": "0x" + data.hex()} | ({"to": to} if to else {})
        return request | ({"value": hex(value_wei)} if value_wei else {})

    async def _estimate(self, action: str, request: dict[str, Any]) -> int:
        try:
            answer = await self._rpc.request("eth_estimateGas", request, has_block=self._mined_block)
            estimate = int(answer, 16)
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
        block, tip = await both(
            self._rpc.eth.get_block("latest"),
            self._rpc.eth.max_priority_fee,
        )
        return {"maxFeePerGas": block["baseFeePerGas"] * BASE_FEE_HEADROOM + tip, "maxPriorityFeePerGas": tip}

    async def _send_with_next_nonce(
        self, action: str, transaction: dict[str, Any], fees: dict[str, int]
    ) -> _Flight:
        async with self._nonces.lock:
            try:
                if self._nonces.next is None:
                    account = to_checksum_address(self.account)
                    waiting = await self._rpc.eth.get_transaction_count(account, "pending")
                    self._nonces.next = max(waiting, self._nonces.mined)
                fields = {**transaction, "nonce": self._nonces.next}
                flight = _Flight(action, fields, [self._key.sign(fields)], fees)
                await self._broadcast(action, flight.newest)
                self._nonces.next += 1
            except BaseException:
                # Also when cancelled: whether the transaction arrived is then unknown, so the chain must say.
                self._nonces.next = None
                raise
            return flight

    async def _broadcast(self, action: str, signed: SignedTransaction) -> None:
        """Hand a transaction to the endpoint; returns once the endpoint is known to have it."""
        raw = "0x" + bytes(signed.raw_transaction).hex()
        trouble: LedgerUnavailable | None = None
        for _ in range(SEND_TRIES):
            try:
                await self._rpc.request("eth_sendRawTransaction", raw)
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
                raise _NonceTakenError from None
            except LedgerUnavailable as error:
                trouble = error
                with contextlib.suppress(LedgerUnavailable):
                    if await self._is_known(signed):
                        return
        raise LedgerUnavailable(f"{action} could not be sent: {trouble}") from trouble

    async def _is_known(self, signed: SignedTransaction) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""
        return await self._rpc.request("eth_getTransactionByHash", _hex(signed)) is not None

    async def _receipt(self, flight: _Flight) -> dict[str, Any]:
        """Wait for the receipt of any version, looking after the transaction when none comes."""
        clock = asyncio.get_running_loop().time
        deadline, next_lookup, delay = clock() + RECEIPT_LIMIT_S, clock() + LOOKUP_INTERVAL_S, FIRST_POLL_S
        next_bump = clock() + BUMP_AFTER_S
        trouble = "it is not mined"
        while clock() < deadline:
            await asyncio.sleep(delay)
            delay = min(delay * POLL_GROWTH, LONGEST_POLL_S)
            try:
                for version in reversed(flight.versions):
                    receipt = await self._rpc.request("eth_getTransactionReceipt", _hex(version))
                    if receipt is not None:
                        return dict(receipt)
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
                        await self._broadcast(flight.action, flight.newest)
            except LedgerUnavailable as error:
                trouble = str(error)
            except _NonceTakenError:
                next_lookup = clock() + LOOKUP_INTERVAL_S
                with contextlib.suppress(LedgerUnavailable):
                    flight.is_overtaken = await self._mined_count() > flight.fields["nonce"]
        self._nonces.next = None
        outlook = "it will not come through" if flight.is_overtaken else "it may still come through"
        raise LedgerUnavailable(
            f"{flight.action}: no receipt of transaction {_hex(flight.newest)} within {RECEIPT_LIMIT_S:.0f} s "
            f"({trouble}); {outlook}"
        )

    async def _bump(self, flight: _Flight) -> None:
        """Send the transaction with its own nonce and higher fees: the market's, and enough to be let in."""
        market = await self._fees()
        fields = {**flight.fields}
        for fee, asked in market.items():
            raised = -(-fields[fee] * (100 + BUMP_PERCENT) // 100)
            fields[fee] = min(max(raised, asked), flight.first_bid[fee] * LARGEST_BID)
        version = self._key.sign(fields)
        # Before it is handed over: should the answer be lost, its receipt is looked for too.
        flight.versions.append(version)
        flight.fields = fields
        await self._broadcast(flight.action, version)

    async def _fill_gap(self, flight: _Flight) -> None:
        """Use up nonces below those of the transactions under way that no transaction has any more.

        After a reorganisation that dropped what was mined, nothing behind it would be mined ever; and sending a call
        again with such a nonce could run it twice. So each of them goes to a transfer of nothing.
        """
        async with self._nonces.lock:
            account = to_checksum_address(self.account)
            waiting = await self._rpc.eth.get_transaction_count(account, "pending")
            for nonce in range(waiting, min(waiting + GAP_LIMIT, *self._nonces.under_way)):
                nothing = {"to": account, "data": b"", "gas": TRANSFER_GAS, "nonce": nonce}
                with contextlib.suppress(_NonceTakenError):
                    await self._broadcast("filling a nonce", self._key.sign({**flight.fields, **nothing}))

    async def _mined_count(self) -> int:
        account = to_checksum_address(self.account)
        return await self._rpc.eth.get_transaction_count(account, "latest")

    async def _failure(
        self, action: str, request: dict[str, Any], transaction: dict[str, Any], receipt: dict[str, Any]
    ) -> LedgerError:
        """Why a mined transaction failed: the call is replayed on the state before its block."""
        before = hex(int(receipt["blockNumber"], 16) - 1)
        try:
            await self._rpc.request("eth_call", {**request, "gas": hex(transaction["gas"])}, before)
        except EndpointError as error:
            if error.is_revert:
                return self._refused(action, error)
        except LedgerUnavailable:
            pass
        reason = "OutOfGas" if int(receipt["gasUsed"], 16) >= transaction["gas"] else "Reverted"
        return LedgerRefused(action, reason, {"transaction": receipt["transactionHash"]})

    def _too_poor(self, action: str) -> LedgerRefused:
        return LedgerRefused(action, "InsufficientFunds", {"account": self.account})

    def _refused(self, action: str, error: EndpointError) -> LedgerRefused:
        if error.data is None:
            return LedgerRefused(action, "Reverted", {"message": error.reason})
        return LedgerRefused(action, *self._errors.decode(error.data))


def _hex(signed: SignedTransaction) -> str:
    return "0x" + bytes(signed.hash).hex()


def _transaction(receipt: dict[str, Any]) -> Transaction:
    return Transaction(
        hash=bytes.fromhex(receipt["transactionHash"][2:]),
        block=BlockMark(int(receipt["blockNumber"], 16), bytes.fromhex(receipt["blockHash"][2:])),
        gas_used=int(receipt["gasUsed"], 16),
    )
