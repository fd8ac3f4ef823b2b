"""Demands: symbols that anyone has this node open on chain, for a bond (PROTOCOL section 8)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from committee.ledger.proofs import Demand, Round
from committee.logs import ChangesOnly
from committee.opening import NOTHING_OPENED
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.proving import Incomplete, Proving, Term
from storage.node.rounds.sending import Sending
from storage.node.store import StoreError
from storage.proofs import position_at, position_count
from storage.redstuff import RedStuff


class Demands:
    """Answers what is demanded of one node."""

    def __init__(self, view: ChainView, code: RedStuff, proving: Proving) -> None:
        self._view = view
        self._code = code
        self._proving = proving
        self._changes = ChangesOnly()
        self._sending = Sending()

    async def answer(self, term: Term) -> object:
        """Answer what is demanded of this node in its epoch; return the demands. Raises `LedgerError`."""
        ledger = self._view.ledger
        round_ = await ledger.proof_round(term.epoch) if ledger.account is not None else None
        if round_ is None:
            return None
        demands = await ledger.demands(self._view.node_id)
        for demand in demands:
            try:
                await self._answer(term, round_, demand)
            except (Incomplete, StoreError) as error:  # the others may be answered all the same
                self._changes.warning("a demand cannot be answered", position=demand.position, why=str(error))
        return demands

    async def _answer(self, term: Term, round_: Round, demand: Demand) -> None:
        if demand.position >= position_count(self._code, len(term.shards), round_.weight):
            # The chain's newest block is in the next epoch already, which this node has yet to see settled.
            raise Incomplete("it is behind the end of this node's line")
        position = position_at(self._code, round_.weight, demand.position)
        shard = term.shards[position.shard_number]
        held = (await self._view.ledger.held_since([shard]))[shard]
        opening = NOTHING_OPENED
        if held.since_s:
            opening = await asyncio.to_thread(self._proving.demanded, term, position)
        if held.was_in_time(round_.commit_by_s):
            opening = replace(
                opening, commitment_path=()
            )  # it would cost gas, and the chain does not look at it
        fail_point("proofs.demand-answer-wanted")
        answering = self._view.ledger.answer_demand(self._view.node_id, demand.asker, opening)
        named = {"asker": demand.asker, "position": demand.position}
        await self._sending.send("answered a demand", answering, **named)
        fail_point("proofs.demand-answered")
