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
import secrets
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from committee.backoff import next_pause_s
from committee.errors import (
    INSUFFICIENT_FUNDS,
    LedgerRefused,
    LedgerUnavailable,
    TransactionUnknown,
)
from committee.ledger.evm import answers, fees
from committee.ledger.evm.abi import ErrorDecoder
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.answers import RawLog, RawReceipt
from committee.ledger.evm.broadcast import BidTooLow, NonceTaken, broadcast, is_known
from committee.ledger.evm.cancelling import replaced, transfer_of_nothing
from committee.ledger.evm.estimates import (
    BEHIND_PAUSES_S,
    TRANSACTION_GAS_LIMIT,
    Estimates,
)
from committee.ledger.evm.nonces import Nonces
from committee.ledger.evm.outbox import Flight, Outbox, hash_text, receipt_of, transactions_of
from committee.ledger.evm.permits import Permit
from committee.ledger.evm.refusals import EndpointError, least_tip_wei
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.together import both
from committee.ledger.records import PlannedTransaction, SentTransaction, Transaction

GAS_SPREAD = 4096
"""Gas of a transaction is raised by a random amount below this, which is paid for only when it is used."""
RECEIPT_LIMIT_S = 120.0
"""A transaction that is not mined within this time is reported as unknown."""
FIRST_POLL_S = 0.01
LONGEST_POLL_S = 1.0
POLL_GROWTH = 1.6
LOOKUP_INTERVAL_S = 8.0
"""Time after which a transaction without a receipt is looked up, and sent again if the chain does not know it."""
OVERTAKEN_LIMIT_S = 60.0
"""Time for which receipts are still asked for once the nonce is seen mined: endpoints tell some late."""
BUMP_AFTER_S = 30.0
"""A transaction that has waited this long for its block is sent with higher fees, and again after as long."""
BUMP_PERCENT = 25
"""The least raise of a replacement's fees; endpoints take none below 10 %."""
BUMPS = 3
"""The most times that a transaction's fees are raised."""
LARGEST_BID = 8
"""The most that a bid is raised to, as a multiple of the first bid, whatever the market asks."""
GAP_LIMIT = 16
"""Nonces that one look at a transaction fills at most."""
TRIES = 10
"""Times that one transaction is handed over, while its nonce is taken or its bid too low."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that succeeded, and what it did."""

    transaction: Transaction
    logs: tuple[RawLog, ...]
    contract: str | None
    """The address of the contract it created."""


class Sender:
    """Signs an account's transactions, sends them, and follows each until it is mined.

    Several tasks of one event loop may use one sender, and other senders and processes may use the same account: those
    on this machine share their nonces by a lock file (`Nonces`).
    """

    def __init__(self, rpc: Rpc, key: AccountKey, chain_id: int, errors: ErrorDecoder) -> None:
        self.account = key.address
        self._rpc = rpc
        self._key = key
        self._chain_id = chain_id
        self._nonces = Nonces.of(chain_id, key.address)
        self._outbox = Outbox(rpc, key.address)
        self._estimates = Estimates(rpc, key.address, errors)

    @property
    def mined_block(self) -> int:
        """Number of the newest block that has a transaction of this sender; -1 before one is known."""
        return self._estimates.mined_block

    @property
    def sent(self) -> tuple[SentTransaction, ...]:
        """The newest transactions that this sender handed over, in order."""
        return self._outbox.sent

    def sign_permit(self, permit: Permit) -> tuple[int, bytes, bytes]:
        """Return the account's signature (v, r, s) over a permit, which allows another account to spend its tokens."""
        return self._key.sign_permit(permit)

    async def drain(self) -> None:
        """Wait until every earlier transaction of the account is mined or gone, but for those that a task awaits.

        Raises `LedgerUnavailable` when some are still under way after two minutes.
        """
        self._estimates.note_mined(await self._outbox.drain(self._nonces.under_way))

    def close(self) -> None:
        """Give back what is shared with other processes. Idempotent."""
        self._nonces.close()

    async def send(
        self, action: str, to: str | None, data: bytes, value_wei: int = 0, *, spare_gas: int = 0
    ) -> Receipt:
        """Send call data to a contract (or creation code to none, or ether to an account); wait until it is mined.

        Raises `LedgerRefused` when the contract reverts or the account cannot pay for it and `spare_gas` (which
        the transaction may use up if the state has changed much since its estimate), `LedgerUnavailable` when the
        chain does not answer, `TransactionUnknown` when it was handed over and may still be mined.
        """
        request = self._request(to, data, value_wei)
        gas, offer = await both(self._estimates.gas(action, request), fees.bid(self._rpc))
        transaction: dict[str, Any] = {
            "chainId": self._chain_id,
            "data": data,
            # Two senders that share no lock would else make one and the same transaction of equal calls.
            "gas": min(gas + spare_gas + secrets.randbelow(GAS_SPREAD), TRANSACTION_GAS_LIMIT),
            "value": value_wei,
        } | ({"to": to} if to else {})
        if spare_gas:
            most_wei = (gas + spare_gas) * fees.most_per_gas_wei(offer)
            await self._require_balance(action, value_wei + most_wei)
        flight = await self._handed_over(action, transaction, offer)
        self._nonces.under_way.add(flight.nonce)
        try:
            receipt = flight.receipt = await self._receipt(flight)
        except asyncio.CancelledError as cancelled:
            cancelled.add_note(flight.outlook)
            raise
        finally:
            self._nonces.under_way.discard(flight.nonce)
        self._nonces.mined = max(self._nonces.mined, flight.nonce + 1)
        self._estimates.note_mined(receipt.block.number)
        if not receipt.succeeded:
            raise await self._estimates.failure(action, request, transaction["gas"], receipt)
        mined = Transaction(receipt.hash, receipt.block, receipt.gas_used)
        return Receipt(mined, receipt.logs, receipt.contract)

    async def plan(
        self, action: str, to: str | None, data: bytes, value_wei: int = 0, *, after_others: bool = False
    ) -> PlannedTransaction:
        """Return what `send` would send; `after_others` says that planned transactions come before it.

        Raises as `send` does, but for a revert of one that comes after others: that may only lack them.
        """
        request = self._request(to, data, value_wei)
        try:
            gas, offer = await both(self._estimates.gas(action, request), fees.bid(self._rpc))
        except LedgerRefused:
            if not after_others:
                raise
            return PlannedTransaction(action, self.account, to, data, None, None)
        return PlannedTransaction(action, self.account, to, data, gas, gas * fees.most_per_gas_wei(offer))

    def _request(self, to: str | None, data: bytes, value_wei: int) -> dict[str, Any]:
        """Return a transaction in the form in which `eth_estimateGas` and `eth_call` take it."""
        request = {"from": self.account, "data": "0x" + data.hex()} | ({"to": to} if to else {})
        return request | ({"value": hex(value_wei)} if value_wei else {})

    async def newest_balance_wei(self, account: str) -> int:
        """Return the ether of any account in the newest block that is told of when several endpoints are asked."""
        return await self._estimates.on_newest("eth_getBalance", account, answers.balance)

    async def price_wei(self) -> int:
        """Return the most that a transaction sent now would pay for a unit of gas."""
        return fees.most_per_gas_wei(await fees.bid(self._rpc))

    async def _require_balance(self, action: str, needed_wei: int) -> None:
        account = to_checksum_address(self.account)
        balance_wei: int = await self._rpc.eth.get_balance(account, "latest")
        if balance_wei < needed_wei:  # perhaps on a machine that lacks the transaction by which it was funded
            balance_wei = await self.newest_balance_wei(account)
        if balance_wei < needed_wei:
            lacking: dict[str, object] = {
                "account": self.account,
                "balance_wei": balance_wei,
                "needed_wei": needed_wei,
            }
            raise LedgerRefused(action, INSUFFICIENT_FUNDS, lacking)

    async def _handed_over(self, action: str, transaction: dict[str, Any], offer: dict[str, int]) -> Flight:
        """Hand a transaction over with the account's next nonce, and a higher bid where the endpoint wants one."""
        least_nonce, raises, behind, pause_s = 0, 0, iter(BEHIND_PAUSES_S), 0.0
        for _ in range(TRIES):
            try:
                return await self._handed_over_once(action, transaction, offer, least_nonce)
            except NonceTaken as error:
                least_nonce = error.taken + 1
                pause_s = next_pause_s(pause_s, FIRST_POLL_S, LONGEST_POLL_S)
                await asyncio.sleep(pause_s)
            except LedgerRefused:  # of too little ether, perhaps on a machine that is behind
                behind_s = next(behind, None)
                if behind_s is None or not await self._can_pay(transaction, offer):
                    raise
                await asyncio.sleep(behind_s)
            except BidTooLow as error:
                raises += 1
                if raises > fees.RAISES:
                    raise
                offer = await fees.raised(self._rpc, offer, least_tip_wei(error.words))
        raise LedgerUnavailable(
            f"{action} was not sent: {TRIES} nonces in a row were taken; does another machine send from "
            f"{self.account}?"
        )

    async def _can_pay(self, transaction: dict[str, Any], offer: dict[str, int]) -> bool:
        """Return whether the account has enough for a transaction in the newest block."""
        needed_wei = transaction["value"] + transaction["gas"] * fees.most_per_gas_wei(offer)
        balance_wei = await self.newest_balance_wei(to_checksum_address(self.account))
        return balance_wei >= int(needed_wei)

    async def _handed_over_once(
        self, action: str, transaction: dict[str, Any], offer: dict[str, int], least_nonce: int
    ) -> Flight:
        async with self._nonces.turn():
            try:
                if self._nonces.next is None:
                    waiting = await transactions_of(self._rpc, self.account, "pending")
                    self._nonces.next = max(waiting, self._nonces.mined, least_nonce)
                fields = {**transaction, **offer, "nonce": self._nonces.next}
                flight = Flight(action, fields, [self._key.sign(fields)], offer)
                self._outbox.add(flight)
                try:
                    await broadcast(self._rpc, action, self.account, flight.newest, flight.nonce)
                except (LedgerRefused, EndpointError, NonceTaken, BidTooLow):
                    self._outbox.forget(flight)
                    raise
                except asyncio.CancelledError as cancelled:
                    cancelled.add_note(flight.outlook)
                    raise
                self._nonces.next += 1
            except BaseException:
                # Also when cancelled: whether the transaction arrived is then unknown, so the chain must say.
                self._nonces.next = None
                raise
            return flight

    async def _receipt(self, flight: Flight) -> RawReceipt:
        """Wait for the receipt of any version, looking after the transaction when none comes."""
        clock = asyncio.get_running_loop().time
        began, delay = clock(), FIRST_POLL_S
        deadline, next_lookup = began + RECEIPT_LIMIT_S, began + LOOKUP_INTERVAL_S
        next_bump = began + BUMP_AFTER_S
        trouble = "it is not mined"
        while clock() < deadline:
            await asyncio.sleep(delay)
            delay = next_pause_s(delay, FIRST_POLL_S, LONGEST_POLL_S, POLL_GROWTH)
            try:
                for version in reversed(flight.versions):
                    receipt = await self._rpc.request(
                        "eth_getTransactionReceipt", hash_text(version), read=receipt_of(version)
                    )
                    if receipt is not None:
                        return receipt
                if flight.is_overtaken and clock() >= next_lookup:
                    trouble = "another transaction has its nonce, or the endpoints do not find this one"
                    break
                if flight.is_overtaken:
                    continue
                if clock() >= next_bump and len(flight.versions) <= BUMPS:
                    next_bump = clock() + BUMP_AFTER_S
                    await self._bump(flight)
                    await self._clear_way(flight)
                if clock() >= next_lookup:
                    next_lookup = clock() + LOOKUP_INTERVAL_S
                    if (receipt := await self._told_by_another(flight)) is not None:
                        return receipt
                    if await is_known(self._rpc, flight.newest):
                        await self._fill_gap(flight)
                    else:
                        await self._send_again(flight)
            except LedgerUnavailable as error:
                trouble = str(error)
            except NonceTaken:
                next_lookup = clock() + LOOKUP_INTERVAL_S
                with contextlib.suppress(LedgerUnavailable):
                    mined = await transactions_of(self._rpc, self.account, "latest")
                    flight.is_overtaken = mined > flight.nonce
                if flight.is_overtaken:
                    next_lookup = clock() + OVERTAKEN_LIMIT_S
        self._nonces.next = None
        message = (
            f"{flight.action}: no receipt of transaction {hash_text(flight.newest)} within {clock() - began:.1f} s "
            f"({trouble})"
        )
        if flight.is_overtaken:
            raise LedgerUnavailable(f"{message}; unless it is mined already, it will not come through")
        raise TransactionUnknown(f"{message}; it may still come through", bytes(flight.newest.hash))

    async def _told_by_another(self, flight: Flight) -> RawReceipt | None:
        """Return a receipt from another endpoint, which is given the transaction too: the first one may be stuck."""
        for version in reversed(flight.versions):
            told = await self._rpc.second_opinion(
                "eth_getTransactionReceipt", hash_text(version), read=receipt_of(version)
            )
            if told is not None and told[1] is not None:
                return told[1]
        raw = "0x" + bytes(flight.newest.raw_transaction).hex()
        await self._rpc.second_opinion("eth_sendRawTransaction", raw, read=answers.anything)
        return None

    async def _bump(self, flight: Flight) -> None:
        """Send the transaction with its own nonce and higher fees: the market's, and enough to be let in."""
        market = await fees.bid(self._rpc)
        fields = {**flight.fields}
        for fee, first_bid in flight.first_bid.items():
            raised = -(-fields[fee] * (100 + BUMP_PERCENT) // 100)
            fields[fee] = min(max(raised, market.get(fee, 0)), first_bid * LARGEST_BID)
        version = self._key.sign(fields)
        # Before it is handed over: should the answer be lost, its receipt is looked for too.
        flight.versions.append(version)
        flight.fields = fields
        await self._send_again(flight)

    async def _clear_way(self, flight: Flight) -> None:
        """Have earlier transactions of this sender that wait, and that no task awaits any more, do nothing.

        They were sent when gas was cheaper, and would hold up this one until it is as cheap again.
        """
        async with self._nonces.turn():
            given_up = self._outbox.waiting_below(flight.nonce) - self._nonces.under_way
            mined = await transactions_of(self._rpc, self.account, "latest") if given_up else 0
            offer = await fees.bid(self._rpc) if given_up else {}
            for nonce in sorted(one for one in given_up if one >= mined):
                replacing = await replaced(self._rpc, self._key, self._chain_id, nonce, offer)
                if replacing is not None:
                    self._outbox.add(replacing)

    async def _send_again(self, flight: Flight) -> None:
        await broadcast(self._rpc, flight.action, self.account, flight.newest, flight.nonce)

    async def _fill_gap(self, flight: Flight) -> None:
        """Use up nonces below those of the transactions under way that no transaction has any more.

        After a reorganisation that dropped a mined transaction, no later one would ever be mined; and a call that is
        sent again with such a nonce could run twice. So each of these nonces goes to a transfer of nothing.
        """
        async with self._nonces.turn():
            waiting = await transactions_of(self._rpc, self.account, "pending")
            for nonce in range(waiting, min(waiting + GAP_LIMIT, *self._nonces.under_way)):
                filling = self._key.sign({**flight.fields, **transfer_of_nothing(self.account, nonce)})
                with contextlib.suppress(NonceTaken):
                    await broadcast(self._rpc, "filling a nonce", self.account, filling, nonce)

    async def cancel_waiting(self) -> list[Transaction]:
        """Replace the account's transactions that wait, at most GAP_LIMIT, by transfers of nothing; wait for these.

        So what was sent with fees that are too low now no longer holds up the account. Raises `LedgerUnavailable` when
        endpoints take no replacement, `TransactionUnknown` when one is not mined in time.
        """
        flights = []
        async with self._nonces.turn():
            self._nonces.next = None
            mined = await transactions_of(self._rpc, self.account, "latest")
            waiting = await transactions_of(self._rpc, self.account, "pending")
            offer = await fees.bid(self._rpc)
            for nonce in range(mined, min(waiting, mined + GAP_LIMIT)):
                flight = await replaced(self._rpc, self._key, self._chain_id, nonce, offer)
                if flight is not None:
                    offer = flight.first_bid
                    self._outbox.add(flight)
                    flights.append(flight)
        cancelled = []
        for flight in flights:
            try:
                receipt = flight.receipt = await self._receipt(flight)
            except TransactionUnknown:
                raise
            except LedgerUnavailable:
                if not flight.is_overtaken:
                    raise
            else:
                cancelled.append(Transaction(receipt.hash, receipt.block, receipt.gas_used))
        return cancelled
