"""What pays for a transaction: which coins, at what price, and how much at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from committee.errors import INSUFFICIENT_FUNDS, LedgerRefused
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.methods import GET_EPOCH, SIMULATE_TRANSACTION, mask
from committee.ledger.sui.objects import Objects, address_text
from committee.ledger.sui.outcomes import Outcome, outcome_of, refusal_of
from committee.ledger.sui.package import Package
from committee.ledger.sui.transactions import Gas, Version, transaction_digest
from committee.ledger.sui.types import SUI, Datatype, type_text
from committee.ledger.sui.wire import v2

SUI_COIN = type_text(Datatype(SUI, "coin", "Coin", (Datatype(SUI, "sui", "SUI"),)))
COINS_READ = 600
"""Coins of an account that are looked at."""
COINS_LIMIT = 256
"""The most coins that may pay for a transaction. They become one: an account that is sent many has few."""
SIMULATED_BUDGET = 10 * 10**9
"""What a simulated transaction may pay, in MIST, if the account has twice as much: the budget is taken out of the coins
that pay before the transaction can use them."""
HIGHEST_PRICE = 100_000
"""Of a unit of gas, in MIST: an endpoint that tells more is not believed, for the account would pay it."""
LEAST_UNITS = 1000
"""Units of gas that every transaction pays for, and those that a budget has to spare."""
SPARE_PERCENT = 20
"""Part of a simulation's gas that a budget has to spare, for state that changes until the transaction is executed."""


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin of SUI of the account's."""

    version: Version
    mist: int


@dataclass(frozen=True, slots=True)
class Market:
    """The chain's epoch, and the price of a unit of gas in it, in MIST."""

    epoch: int
    price: int


async def coins_for(objects: Objects, account: bytes, used: Sequence[bytes]) -> list[Coin]:
    """Return the coins that are to pay for a transaction of an account which uses these objects, the largest first."""
    found = await objects.owned(account, SUI_COIN, COINS_READ)
    coins = [
        Coin(Version(coin.id, coin.version, coin.digest), int.from_bytes(coin.contents[32:40], "little"))
        for coin in found
        if coin.id not in used and coin.type == SUI_COIN
    ]
    return sorted(coins, key=lambda coin: coin.mist, reverse=True)[:COINS_LIMIT]


class Gassing:
    """Finds what a transaction costs, by simulating it."""

    def __init__(self, rpc: SuiRpc) -> None:
        self._rpc = rpc

    async def market(self) -> Market:
        """Return the present epoch and its price. Raises `LedgerUnavailable`."""

        def read(answer: v2.GetEpochResponse) -> Market:
            epoch = answer.epoch
            if epoch is None or epoch.epoch is None or not epoch.reference_gas_price:
                raise ValueError("an epoch lacks its number or its gas price")
            if epoch.reference_gas_price > HIGHEST_PRICE:
                raise ValueError(
                    f"a gas price of {epoch.reference_gas_price} MIST, and {HIGHEST_PRICE} is the most"
                )
            return Market(epoch.epoch, epoch.reference_gas_price)

        return await self._rpc.ask(
            GET_EPOCH, v2.GetEpochRequest(read_mask=mask("epoch", "reference_gas_price")), read
        )

    async def gas(
        self,
        action: str,
        account: bytes,
        coins: Sequence[Coin],
        market: Market,
        data: Callable[[Gas], bytes],
        package: Package,
    ) -> Gas:
        """Return what is to pay for the transaction whose bytes are `data` of it.

        Raises `LedgerRefused` when it would fail, or the account does not have what it takes.
        """
        versions, total = [coin.version for coin in coins], sum(coin.mist for coin in coins)
        least = LEAST_UNITS * market.price
        if total < least:
            raise _poor(action, account, total, least)
        budget = min(max(least, total // 2), SIMULATED_BUDGET)
        outcome = await self._simulated(data(Gas(versions, market.price, budget)), budget)
        if outcome.lacks_gas and budget < SIMULATED_BUDGET:
            budget = min(total, SIMULATED_BUDGET)
            outcome = await self._simulated(data(Gas(versions, market.price, budget)), budget)
        if outcome.lacks_gas and budget == total:
            raise _poor(action, account, total, outcome.most_gas_mist)
        if outcome.failure is not None:
            raise refusal_of(action, outcome.failure, package)
        needed = outcome.most_gas_mist * (100 + SPARE_PERCENT) // 100 + least
        if needed > total:
            raise _poor(action, account, total, needed)
        return Gas(versions, market.price, needed)

    async def _simulated(self, data: bytes, budget: int) -> Outcome:
        digest = transaction_digest(data)
        request = v2.SimulateTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=data)), read_mask=mask("transaction.effects")
        )

        def read(answer: v2.SimulateTransactionResponse) -> Outcome:
            outcome = outcome_of(answer.transaction, digest)
            if outcome.failure is None and outcome.most_gas_mist > budget:
                raise ValueError(
                    f"a transaction that used {outcome.most_gas_mist} MIST of a budget of {budget}"
                )
            return outcome

        return await self._rpc.ask(SIMULATE_TRANSACTION, request, read)


def _poor(action: str, account: bytes, balance_mist: int, needed_mist: int) -> LedgerRefused:
    lacking: dict[str, object] = {
        "account": address_text(account),
        "balance_mist": balance_mist,
        "needed_mist": needed_mist,
    }
    return LedgerRefused(action, INSUFFICIENT_FUNDS, lacking)
