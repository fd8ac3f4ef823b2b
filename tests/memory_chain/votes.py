"""The rules of members' votes on prices and capacity: `contracts/evm/src/Ballot.sol`."""

from __future__ import annotations

from dataclasses import replace

from committee.terms import Terms, decided_terms
from tests.memory_chain.contracts import Contracts, Outcome, Revert


def vote(now: Contracts, account: str, terms: Terms) -> Outcome:
    """Vote for the node that the account operates, from the next period on."""
    node_id = now.node_of(account)
    if node_id == 0:
        raise Revert("NotAnOperator", account=account)
    if terms.price_per_mib_period == 0:
        raise Revert("ZeroPrice")
    period = now.state.period
    counting = max((one for one in now.votes.get(node_id, {}) if one <= period), default=None)
    kept = {} if counting is None else {counting: now.votes[node_id][counting]}
    return replace(now, votes={**now.votes, node_id: {**kept, period + 1: terms}}), ()


def decide(now: Contracts) -> Outcome:
    """Count the votes of the current period, once."""
    if now.decided_period >= now.state.period:
        raise Revert("AlreadyDecided", period=now.state.period)
    decided, committee = decision(now), now.state.current
    if decided is None or committee is None:
        weights = now.regular_weights
        weight = sum(weights[node_id] for node_id in weights if vote_of(now, node_id, now.state.period))
        raise Revert("NoQuorum", weight=weight, needed=0 if committee is None else committee.quorum)
    return replace(now, terms=decided, decided_period=now.state.period), ()


def vote_of(now: Contracts, node_id: int, period: int) -> Terms | None:
    """Return the vote of a node that counts in a period that is not over."""
    votes = now.votes.get(node_id, {})
    return votes.get(max((one for one in votes if one <= period), default=-1))


def decision(now: Contracts) -> Terms | None:
    """Return what the terms become by the votes of the current period; None when too few have voted.

    Members weigh as many votes as they had shards when the period began.
    """
    if now.state.current is None:
        return None
    weights = now.regular_weights
    votes = {node_id: own for node_id in weights if (own := vote_of(now, node_id, now.state.period))}
    return decided_terms(now.terms, votes, weights, now.state.current.quorum)
