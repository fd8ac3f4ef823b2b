"""The part of the EVM adapter by which members set prices and capacity."""

from __future__ import annotations

from committee.errors import LedgerRefused
from committee.ledger.evm.staking import StakingWriter
from committee.ledger.records import Transaction
from committee.terms import Terms

UNDECIDED = frozenset({"NoQuorum", "WrongEpoch"})
"""The errors by which the contract tells that there is no decision: too few votes, or no committee."""


class VotingWriter(StakingWriter):
    """Votes on prices and capacity, and reads votes and their outcome; a part of `EvmLedger`."""

    async def terms(self) -> Terms:
        """Return what space costs now, and how much of it there is."""
        return Terms(*await self._reader.call(self._reader.blobs, "terms"))

    async def vote_of(self, node_id: int, period: int) -> Terms | None:
        """Return the vote of a node that counts in a period which is not over; None when it has not voted."""
        told = await self._reader.call(self._reader.ballot, "voteOf", node_id, period)
        return Terms(told["price"], told["writePrice"], told["capacity"]) if told["price"] else None

    async def decision(self) -> Terms | None:
        """Return what the votes of the current period make of the terms."""
        reader = self._reader
        if await reader.call(reader.ballot, "decidedPeriod") >= await reader.call(reader.committee, "period"):
            return None
        try:
            told = await reader.call(reader.ballot, "decision")
        except LedgerRefused as refusal:
            if refusal.reason in UNDECIDED:
                return None
            raise
        return Terms(told["price"], told["writePrice"], told["capacity"])

    async def vote(self, terms: Terms) -> Transaction:
        """Vote on the terms for the node that the account operates, from the next period on until it votes again."""
        call = (terms.price_per_mib_period, terms.write_price_per_mib, terms.capacity_bytes)
        return (await self._send(self._reader.ballot, "vote", *call)).transaction

    async def decide_terms(self) -> Transaction:
        """Have the votes of the current period counted and the terms changed, once a period; anyone may."""
        return (await self._send(self._reader.ballot, "decide")).transaction
