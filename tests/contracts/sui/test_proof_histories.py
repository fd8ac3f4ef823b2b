"""Storage proofs in the Move package: random histories are as in memory, and events tell all."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from committee.ledger.proofs import Round
from tests.contracts.sui.provers import ASKERS, N_NODES, PLACES, Provers
from tests.localnet.sui_double.packages import needs_framework
from tests.memory_chain.contracts import Part

pytestmark = needs_framework


def rebuilt(events: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return all that the package keeps of storage proofs, by its events alone."""
    rounds: dict[int, list[Any]] = {}
    parts: defaultdict[tuple[int, int], Part] = defaultdict(Part)
    demands: dict[tuple[int, int, str], tuple[int, int]] = {}
    misses: dict[int, int] = {}
    punished: Counter[int] = Counter()
    weights: dict[int, dict[int, int]] = {}
    period = 0
    for name, (epoch, *fields) in events:
        if name == "CommitteeSelected":
            of_period, _, node_ids, shards, _ = fields
            if of_period > period:
                weights[of_period] = dict(zip(node_ids, map(len, shards), strict=True))
        elif name == "EpochStarted":
            period = fields[0]
        elif name == "RoundBegun":
            rounds[epoch] = [*fields, [[]], 0]
        elif name == "Drawn":
            rounds[epoch][4:] = [[[fields[0]]], fields[2]]
        elif name in PART_EVENTS:
            key = (epoch, fields[0])
            parts[key] = PART_EVENTS[name](parts[key], *fields[1:])
            if name == "Missed":
                misses[fields[0]] = fields[1]
            elif name == "Proven" and (parts[key].has_shown or len(parts[key].answered) < len(PLACES)):
                misses.pop(fields[0], None)
            elif name == "Punished":
                punished[period] += weights[period][fields[0]]
        elif name.startswith("Demand"):
            key = (epoch, fields[0])
            asked = (*key, bytes(fields[1]).hex())
            if name == "Demanded":
                demands[asked] = (fields[2], fields[3])
            else:
                del demands[asked]
            change = 1 if name == "Demanded" else -1
            parts[key] = replace(parts[key], open_demands=parts[key].open_demands + change)
    return {
        "rounds": rounds,
        "parts": {key: part for key, part in parts.items() if part != Part()},
        "demands": demands,
        "misses": misses,
        "punished": dict(punished),
    }


PART_EVENTS: dict[str, Callable[..., Part]] = {
    "Committed": lambda part, root: replace(part, commitment=bytes(root)),
    "Answered": lambda part, place, is_excused: replace(
        part, answered=part.answered | {place}, has_shown=part.has_shown or not is_excused
    ),
    "Proven": lambda part: replace(part, is_proven=True),
    "Missed": lambda part, _: replace(part, is_missed=True),
    "Punished": lambda part, _: replace(part, is_punished=True),
}
"""What events say of a node's part in a round."""


def kept(provers: Provers) -> dict[str, Any]:
    """Return the same as the package keeps it."""
    state = provers.proofs_state
    rounds = {epoch: [*value[0], *value[1:4]] for epoch, value in provers.table(state["rounds"]).items()}
    return {
        "rounds": rounds,
        "parts": provers.kept_parts(),
        "demands": provers.kept_demands(),
        "misses": provers.table(state["misses"]),
        "punished": provers.table(state["punished"]),
    }


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
        "ERoundNotBegun",
    ),
    *("ETooEarly", "ETooLate"),
}
"""What random histories come to; the tests of rounds and demands have them all."""
OF_OPENINGS = {"EWrongPath", "ENotInInventory", "EWrongSymbolSize", "ENotOfTheBlob", "ENotAttested"}
"""Refusals of changed openings, of which they come to some."""


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
            if not self.provers.answer(node_id, place) and self.draw.random() < 0.7:
                return

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


def test_rounds_and_demands_are_those_of_the_chain_in_memory_and_events_tell_all_of_them() -> None:
    refused: set[str] = set()
    told: set[str] = set()
    for seed in range(3):
        history = History(seed)
        history.run(110)
        refused |= history.provers.refused
        told.update(name for name, _ in history.provers.events())
        assert rebuilt(history.provers.events()) == kept(history.provers)
    assert told >= {
        *("RoundBegun", "Committed", "Drawn", "Answered", "Proven", "Missed", "Punished", "Slashed"),
        *("Demanded", "DemandAnswered", "DemandMissed", "DemandReclaimed", "BlobInvalidated"),
    }
    assert refused >= REFUSALS, refused
    assert refused & OF_OPENINGS
