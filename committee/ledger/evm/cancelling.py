"""Transfers of nothing, which use up an account's nonces in the place of transactions that are to do nothing."""

from __future__ import annotations

from typing import Any

from committee.errors import LedgerUnavailable
from committee.ledger.evm import fees
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.broadcast import BidTooLow, NonceTaken, broadcast
from committee.ledger.evm.estimates import TRANSFER_GAS
from committee.ledger.evm.outbox import Flight, transactions_of
from committee.ledger.evm.rpc import Rpc


def transfer_of_nothing(account: str, nonce: int) -> dict[str, Any]:
    """Return the fields of a transaction that sends no ether from an account to itself; chain and fees are lacking."""
    return {"to": account, "value": 0, "data": b"", "gas": TRANSFER_GAS, "nonce": nonce}


async def replaced(
    rpc: Rpc, key: AccountKey, chain_id: int, nonce: int, offer: dict[str, int]
) -> Flight | None:
    """Hand over a transfer of nothing with a nonce that is taken; None when another one with it is mined.

    The bid begins with `offer`. Raises `LedgerUnavailable` when the endpoints want more than what it is raised to.
    """
    for _ in range(fees.RAISES + 1):
        fields = {"chainId": chain_id, **transfer_of_nothing(key.address, nonce), **offer}
        flight = Flight("cancelling", fields, [key.sign(fields)], offer)
        try:
            await broadcast(rpc, flight.action, key.address, flight.newest, nonce)
            return flight
        except (NonceTaken, BidTooLow):
            if await transactions_of(rpc, key.address, "latest") > nonce:
                return None
        offer = await fees.raised(rpc, offer, 0)
    raise LedgerUnavailable(
        f"the transaction of {key.address} with nonce {nonce} cannot be replaced: the chain's endpoint wants more "
        f"than {fees.most_per_gas_wei(offer)} wei for a unit of gas; try again later"
    )
