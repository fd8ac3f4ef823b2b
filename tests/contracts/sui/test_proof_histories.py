"""Storage proofs in the Move package: random histories give what they do on the chain in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from committee.ledger.proofs import Round
from tests.contracts.sui.provers import ASKERS, N_NODES, PLACES, Provers
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework


REFUSALS = {
    *(
        "EAlreadyJudged",
        "EAlreadyProven",
        "EDrawNotMade",
        "EEmptyInventory",
        "EEpochNotOver",
        "ENoSuchPosition",
    ),
    *(
        "ENotAMember",
        "ENotCommitted",
        "ENotDemanded",
        "ENotEnoughWeight",
        "ENotInInventory",
        "ERoundNotBegun",
    ),
    *("ETooEarly", "ETooLate", "EWrongPath", "EWrongSymbolSize"),
}
"""What random histories come to; the tests of rounds and demands have them all."""


class History:
    """Random actions, drawn so that rounds and demands come to their ends."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.provers = Provers(self.draw)

    def run(self, n_actions: int) -> None:
        for _ in range(n_actions):
            self.draw.choice(self.actions())()
            if self.draw.random() < 0.2:
                self.provers.time_s += self.draw.choice((1, 10, 30))
            if self.draw.random() < 0.04:
                self.provers.next_epoch()

    @property
    def round(self) -> Round | None:
        return self.provers.memory.rounds.get(self.provers.epoch)

    def node(self) -> int:
        return self.draw.randint(1, N_NODES)

    def actions(self) -> Sequence[Callable[[], object]]:
        """Return what can be done now, and sometimes what cannot."""
        provers, found = self.provers, self.round
        if found is None and self.draw.random() < 0.9:
            return (provers.begin, self.attest)
        demands = (self.demand, self.demand, self.answer_demand, self.answer_demand, self.judge_demand)
        others = (
            *demands,
            self.reclaim,
            self.attest,
            provers.invalidate if self.draw.random() < 0.2 else self.judge,
        )
        is_drawn = found is not None and found.draw is not None
        if not is_drawn and self.draw.random() < 0.95:
            return (*others, self.commit_all, self.commit_all, self.draw_positions, self.draw_positions)
        return (
            *others,
            self.answer,
            self.answer_all,
            self.answer_all,
            self.prove,
            self.judge,
            self.judge,
            self.commit,
        )

    def attest(self) -> None:
        self.provers.attest_some(self.node())

    def commit(self) -> None:
        self.provers.commit(self.node())

    def commit_all(self) -> None:
        for node_id in range(1, N_NODES + 1):
            self.provers.commit(node_id)

    def draw_positions(self) -> None:
        if self.round is not None and self.draw.random() < 0.7:
            self.provers.time_s = max(self.provers.time_s, self.round.commit_by_s - self.draw.choice((0, 1)))
        self.provers.draw_positions()

    def answer(self) -> None:
        self.provers.answer(self.node(), self.draw.randrange(17))

    def answer_all(self) -> None:
        node_id = self.node()
        for place in PLACES:
            self.provers.answer(node_id, place)

    def prove(self) -> None:
        self.provers.prove(self.node())

    def judge(self) -> None:
        if self.round is not None and self.draw.random() < 0.4:
            self.provers.time_s = max(self.provers.time_s, self.round.answer_by_s + self.draw.choice((0, 1)))
        self.provers.judge(self.node())

    def demand(self) -> None:
        self.provers.demand(self.node(), self.draw.choice(ASKERS))

    def asked(self) -> tuple[int, bytes, int]:
        """Return a demand, of this epoch if there is one: node, asker, and the last second of an answer."""
        known = self.provers.memory.demands.items()
        ours = [
            (node_id, bytes.fromhex(asker), one.demand.answer_by_s)
            for (epoch, node_id, asker), one in known
            if epoch == self.provers.epoch
        ]
        return self.draw.choice(ours) if ours else (self.node(), ASKERS[0], 0)

    def answer_demand(self) -> None:
        node_id, asker, _ = self.asked()
        self.provers.answer_demand(node_id, asker)

    def judge_demand(self) -> None:
        node_id, asker, answer_by_s = self.asked()
        if self.draw.random() < 0.3:
            self.provers.time_s = max(self.provers.time_s, answer_by_s + self.draw.choice((0, 1)))
        self.provers.judge_demand(node_id, asker)

    def reclaim(self) -> None:
        known = [
            (epoch, node_id, bytes.fromhex(asker)) for epoch, node_id, asker in self.provers.memory.demands
        ]
        self.provers.reclaim(*self.draw.choice([*known, (1, self.node(), ASKERS[1])]))


def test_rounds_and_demands_are_those_of_the_chain_in_memory() -> None:
    refused: set[str] = set()
    told: set[str] = set()
    for seed in range(3):
        history = History(seed)
        history.run(130)
        refused |= history.provers.refused
        told.update(name for name, _ in history.provers.events())
    assert told >= {
        *("RoundBegun", "Committed", "Drawn", "Answered", "Proven", "Missed", "Punished", "Slashed"),
        *("Demanded", "DemandAnswered", "DemandMissed", "DemandReclaimed", "BlobInvalidated"),
    }
    assert refused >= REFUSALS, refused
