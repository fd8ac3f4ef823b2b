"""The transactions that one sender handed over: what they are, and what became of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from eth_account.datastructures import SignedTransaction
from eth_utils.address import to_checksum_address

from committee.errors import LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.answers import RawReceipt
from committee.ledger.evm.refusals import EndpointError
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.together import both
from committee.ledger.health import EndpointFault
from committee.ledger.records import SentTransaction

LONGEST_OUTBOX = 256
"""Transactions of one sender that are remembered, the newest ones."""
SETTLE_LIMIT_S = 120.0
"""Longest wait of `drain` for transactions that other processes or abandoned calls have under way."""
SETTLE_POLL_S = 0.5
"""Pause between two looks of `drain`."""


@dataclass(slots=True)
class Flight:
    """A transaction under way: the versions that were sent, all of one nonce, the newest last."""

    action: str
    fields: dict[str, Any]
    versions: list[SignedTransaction]
    first_bid: dict[str, int]
    is_overtaken: bool = False
    """The account's nonce was seen mined, and none of the versions."""
    receipt: RawReceipt | None = None
    """The receipt of the version that was mined; None while none is known to be."""

    @property
    def nonce(self) -> int:
        """The account's nonce that all versions have."""
        return int(self.fields["nonce"])

    @property
    def newest(self) -> SignedTransaction:
        """The version that was sent last."""
        return self.versions[-1]

    @property
    def outlook(self) -> str:
        """What an error says of the transaction when it is waited for no longer."""
        return f"transaction {hash_text(self.newest)} ({self.action}) may still be mined"


class Outbox:
    """The newest transactions of one sender. Kept in memory: other processes find theirs on chain."""

    def __init__(self, rpc: Rpc, account: str) -> None:
        self._rpc = rpc
        self._account = account
        self._flights: deque[Flight] = deque(maxlen=LONGEST_OUTBOX)

    def add(self, flight: Flight) -> None:
        """Remember a transaction, before it is handed over."""
        self._flights.append(flight)

    def forget(self, flight: Flight) -> None:
        """Forget a transaction that the endpoint refused to take."""
        self._flights.remove(flight)

    @property
    def sent(self) -> tuple[SentTransaction, ...]:
        """The transactions that were handed over, or may have been when an answer was lost, in order."""
        return tuple(
            SentTransaction(
                flight.action,
                bytes(flight.newest.hash) if flight.receipt is None else flight.receipt.hash,
                flight.receipt is not None,
            )
            for flight in self._flights
        )

    def waiting_below(self, nonce: int) -> set[int]:
        """Return the nonces below this one of transactions that are not known to be mined."""
        return {one.nonce for one in self._flights if one.receipt is None and one.nonce < nonce}

    async def drain(self, awaited: Collection[int]) -> int:
        """Wait until every earlier transaction of the account is mined or gone, but for the nonces `awaited`.

        Returns the newest block that has one of this sender's, -1 without any. Transactions that another process of
        the account sent are known by the account's count alone. Raises `LedgerUnavailable` when some are still under
        way after `SETTLE_LIMIT_S`.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + SETTLE_LIMIT_S
        mined, waiting = await both(
            transactions_of(self._rpc, self._account, "latest"),
            transactions_of(self._rpc, self._account, "pending"),
        )
        while True:
            unknown = set(range(mined, waiting)) - set(awaited)
            for flight in tuple(self._flights):  # others are sent meanwhile
                if (
                    flight.receipt is None
                    and flight.nonce not in awaited
                    and await self._is_open(flight, mined)
                ):
                    unknown.add(flight.nonce)
            if not unknown:
                return max((one.receipt.block.number for one in self._flights if one.receipt), default=-1)
            if clock() >= deadline:
                raise LedgerUnavailable(
                    f"account {self._account}: its transactions with the nonces {sorted(unknown)} were sent earlier "
                    f"and are not mined within {SETTLE_LIMIT_S:.0f} s, so what they will do is unknown: try again "
                    "later, or have them do nothing with `haulout account cancel`"
                )
            await asyncio.sleep(SETTLE_POLL_S)
            mined = await transactions_of(self._rpc, self._account, "latest")

    async def _is_open(self, flight: Flight, mined: int) -> bool:
        """Return whether a transaction is in the endpoint's pool; notes its receipt when it is mined."""
        for version in reversed(flight.versions):
            flight.receipt = await self._rpc.request(
                "eth_getTransactionReceipt", hash_text(version), read=receipt_of(version)
            )
            if flight.receipt is not None:
                return False
        if mined > flight.nonce:
            return False
        for version in flight.versions:
            if await self._rpc.request(
                "eth_getTransactionByHash", hash_text(version), read=known_of(version)
            ):
                return True
        return False


async def transactions_of(rpc: Rpc, account: str, block: Literal["latest", "pending"]) -> int:
    """Return how many transactions of an account are mined ("latest"), or are mined or wait ("pending").

    Some endpoints refuse to tell those that wait; then they are not counted. Raises `LedgerUnavailable`.
    """
    address = to_checksum_address(account)
    try:
        return await rpc.eth.get_transaction_count(address, block)
    except (EndpointError, EndpointFault) as error:
        is_refused = isinstance(error, EndpointError) or error.may_be_size
        if block == "latest" or not is_refused:
            raise
    return await rpc.eth.get_transaction_count(address, "latest")


def hash_text(signed: SignedTransaction) -> str:
    """Return a transaction's hash as endpoints take it."""
    return "0x" + bytes(signed.hash).hex()


def receipt_of(signed: SignedTransaction) -> Callable[[Any], RawReceipt | None]:
    """Return the function that reads the transaction's receipt out of an answer."""
    return lambda result: answers.receipt(result, bytes(signed.hash))


def known_of(signed: SignedTransaction) -> Callable[[Any], bool]:
    """Return the function that reads out of an answer whether the endpoint has the transaction, mined or waiting."""
    return lambda result: answers.is_known(result, bytes(signed.hash))
