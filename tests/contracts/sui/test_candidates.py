"""Who stands for election in the Move package."""

from __future__ import annotations

import pytest

from localnet.sui_double.move.values import Value
from tests.contracts.sui.deployments import USUAL, Deployment
from tests.contracts.sui.double import Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

PLACES = 100
LEAST = 1_000_000
STALL_S = 4 * (USUAL.period_duration_s + USUAL.handover_deadline_s) + 1


class Candidates(Deployment):
    """A deployment with nodes."""

    def become(self, operator_cap: Value) -> None:
        given = (self.registry, self.system, self.staking, operator_cap, self.clock)
        self.call("candidates", "become", *given)

    def leave(self, operator_cap: Value) -> None:
        self.call("candidates", "leave", self.registry, operator_cap)

    def standing(self) -> list[int]:
        standing: list[int] = self.call("registry", "candidates", self.registry)
        return standing


def test_registered_node_stands_until_it_is_withdrawn() -> None:
    network = Candidates()
    caps = [network.add_node(place)[1] for place in range(3)]
    assert network.standing() == [1, 2, 3]
    network.leave(caps[1])
    assert network.events()[-1] == ("CandidateLeft", [2, [0]])
    assert network.standing() == [1, 3]
    with pytest.raises(Refused, match=r"^ENotCandidate$"):
        network.leave(caps[1])
    network.become(caps[1])
    assert network.standing() == [1, 3, 2]
    with pytest.raises(Refused, match=r"^EAlreadyCandidate$"):
        network.become(caps[1])


def test_operator_that_is_replaced_withdraws_nothing() -> None:
    network = Candidates()
    owner_cap, operator_cap = network.add_node(0)
    network.call("registry", "replace_operator", network.registry, owner_cap)
    with pytest.raises(Refused, match=r"^ENotOperator$"):
        network.leave(operator_cap)
    with pytest.raises(Refused, match=r"^ENotOperator$"):
        network.become(operator_cap)


def test_removed_node_waits_for_the_next_period_or_a_standstill() -> None:
    network = Candidates()
    _, cap = network.add_node(0)
    network.add_node(1)
    network.stake(2, LEAST)
    network.begin_period()
    network.call("candidates", "remove", network.registry, 1, 2)
    assert network.events()[-2:] == [("CandidateBarred", [1, 2]), ("CandidateLeft", [1, [1]])]
    with pytest.raises(Refused, match=r"^EBarred$"):
        network.become(cap)
    network.time_s += STALL_S
    network.become(cap)
    network.call("candidates", "remove", network.registry, 1, 2)
    network.begin_period()
    network.become(cap)
    assert network.standing() == [2, 1]


def test_nobody_becomes_a_candidate_while_that_is_paused() -> None:
    network = Candidates()
    _, cap = network.add_node(0)
    network.leave(cap)
    network.call("system", "pause", network.system, network.guardian, 3, network.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        network.become(cap)


def test_more_stake_takes_the_place_of_the_least() -> None:
    network = Candidates()
    caps = [network.add_node(place)[1] for place in range(PLACES + 1)]
    assert network.standing() == list(range(1, PLACES + 1)), "the last one finds no place"
    for node_id in range(1, PLACES + 1):
        network.stake(node_id, 2 * LEAST if node_id in (40, 70) else 3 * LEAST)
    network.stake(PLACES + 1, 2 * LEAST)
    with pytest.raises(Refused, match=r"^ECandidatesFull$"):
        network.become(caps[PLACES])
    network.stake(PLACES + 1, 2 * LEAST)
    network.become(caps[PLACES])
    assert ("CandidateLeft", [70, [2]]) in network.events()[-2:], "of equals the last"
    assert network.standing() == [*range(1, 70), *range(71, PLACES + 2)]
