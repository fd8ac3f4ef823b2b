"""Votes on prices and capacity in the Move package: who votes, and what becomes of it, as on the chain in memory."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from committee.terms import Terms
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Scalar
from localnet.sui_double.move.values import Value
from tests.contracts.sui.deployments import USUAL
from tests.contracts.sui.double import PACKAGE, Refused
from tests.contracts.sui.twins import Twins
from tests.localnet.sui_double.packages import needs_framework
from tests.memory_chain import votes

pytestmark = needs_framework

LEAST = 1_000_000


class Voters(Twins):
    """Both chains with five nodes, four of which stand for election, and what members vote."""

    def __init__(self) -> None:
        super().__init__(USUAL)
        for node_id in range(1, 6):
            self.join_network()
            self.stake_on(node_id, (1 + node_id % 3) * LEAST)
        self.leave(5)
        price, write_price, capacity = self.call("blobs", "terms", self.blobs)
        self.memory = replace(self.memory, terms=Terms(price, write_price, capacity))

    def vote(self, node_id: int, terms: Terms) -> bool:
        return self.both(
            lambda now: votes.vote(now, f"n{node_id - 1}", terms),
            lambda: self.call(
                *("ballot", "vote", self.ballot, self.system, self.registry),
                *(self.caps[node_id], self.terms(terms)),
            ),
        )

    def decide(self) -> bool:
        decided = self.both(
            votes.decide, lambda: self.call("ballot", "decide", self.ballot, self.system, self.blobs)
        )
        assert self.call("blobs", "terms", self.blobs) == self.terms(self.memory.terms)
        return decided

    def terms(self, terms: Terms) -> Value:
        given = (terms.price_per_mib_period, terms.write_price_per_mib, terms.capacity_bytes)
        return self.call("terms", "new", *given)

    def votes_of(self, node_id: int) -> list[tuple[int, Value]]:
        """Return the votes of a node that are kept, each with its first period."""
        table, _ = self.state_of(self.ballot)
        option = Datatype(
            ModuleId(STANDARD, "option"), "Option", (Datatype(ModuleId(PACKAGE, "terms"), "Terms"),)
        )
        types = (Scalar.U32, Datatype(ModuleId(PACKAGE, "changes"), "Changes", (option,)))
        (changes,) = self.transaction.call("table", "borrow", table, node_id, package=SUI, types=types).get()
        return [(period, vote) for period, vote in changes]

    def turn_period(self) -> None:
        """Begin the next period on both; its handover is done."""
        state = self.memory.state
        self.time_s = max(self.time_s, state.regular_handover_done_s + USUAL.period_duration_s)
        self.select_both()
        self.time_s += USUAL.notice_s
        self.start_both()
        if not self.memory.state.handover_done:
            self.time_s += USUAL.handover_deadline_s
            self.close_both()


def test_terms_are_those_of_the_chain_in_memory_after_a_random_history() -> None:
    draw, voters = random.Random(5), Voters()
    refused: set[str] = set()
    decisions = 0
    for _ in range(12):
        for node_id in draw.sample(range(1, 6), 3):
            voters.vote(node_id, Terms(draw.randint(1, 9), draw.randint(0, 9), draw.randrange(1 << 30)))
        for _ in range(2):
            decisions += voters.decide()
        if draw.random() < 0.3 and voters.memory.state.current is not None:
            members = sorted(voters.memory.state.current.by_id)
            voters.eject(members[0], voters.time_s, members[1:])
            if voters.replace_both():
                voters.time_s += USUAL.notice_s
                voters.start_both()
                voters.decide()
        voters.turn_period()
        voters.become(draw.randint(1, 5))
        refused |= voters.refused
    assert {"EAlreadyDecided", "ENoQuorum"} <= refused
    assert decisions > 5
    told = [fields for name, fields in voters.events() if name in ("Decided", "TermsChanged")]
    assert told[-1][-1] == voters.terms(voters.memory.terms)


def test_vote_counts_from_the_next_period_on() -> None:
    voters = Voters()
    voters.turn_period()
    for node_id in range(1, 5):
        voters.vote(node_id, Terms(6, 3, 150 << 20))
    assert not voters.decide()
    voters.turn_period()
    for node_id in range(1, 5):
        voters.vote(node_id, Terms(1, 1, 1))
    assert voters.decide()
    assert voters.memory.terms == Terms(6, 3, 150 << 20)
    assert not voters.decide()


def test_operator_alone_votes_and_no_price_is_nothing() -> None:
    voters = Voters()
    given = (voters.ballot, voters.system, voters.registry, voters.caps[1])
    with pytest.raises(Refused, match=r"^EInvalidPrice$"):
        voters.call("ballot", "vote", *given, voters.terms(Terms(0, 1, 1)))
    voters.call("registry", "resign_operator", voters.registry, voters.caps[1])
    with pytest.raises(Refused, match=r"^ENotOperator$"):
        voters.call("ballot", "vote", *given, voters.terms(Terms(1, 1, 1)))


def test_votes_that_count_no_more_are_forgotten() -> None:
    voters = Voters()
    for price in range(1, 7):
        voters.vote(1, Terms(price, 1, 1))
        voters.turn_period()
    kept = voters.votes_of(1)
    assert [period for period, _ in kept] == [5, 6]


def test_ballot_of_another_version_is_refused() -> None:
    voters = Voters()
    voters.ballot.get()[1] = 2
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        voters.call("ballot", "decide", voters.ballot, voters.system, voters.blobs)
