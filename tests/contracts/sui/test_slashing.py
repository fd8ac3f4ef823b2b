"""Slashing in the Move package: who may, what it reaches, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.values import Ref, Value
from tests.contracts.sui.deployments import EVIDENCE_S, HAUL, SUPPLY, Deployment, id_of
from tests.contracts.sui.double import Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

AMOUNT = 10**9
WHOLE = 10**9
EVIDENCE = bytes([7]) * 32


class Slashing(Deployment):
    """A deployment in its first period, with stake on node 1, and on node 2 enough for every election."""

    def __init__(self) -> None:
        super().__init__()
        for place in range(3):
            self.add_node(place)
        self.staked = self.stake(1, AMOUNT)
        self.stake(2, 100 * AMOUNT)
        self.begin_period()
        self.settle()

    def settle(self) -> None:
        """Settle node 1 for the next period, without pay."""
        pay = self.coins("into_balance", self.coin(0))
        self.call("staking", "settle", self.staking, self.system, self.registry, 1, [0], pay)

    def slash(self, fraction: int, most_bounty: int = 0, node_id: int = 1) -> int:
        """Slash by right; return the bounty."""
        given = (self.system, node_id, fraction, EVIDENCE, most_bounty, self.clock)
        bounty = self.call("staking", "slash_by_right", self.staking, *given)
        return int(self.transaction.call("balance", "value", bounty, package=SUI, types=(HAUL,)))

    def slash_with(self, cap: Value) -> Any:
        given = (self.system, cap, 1, WHOLE // 100, EVIDENCE, 0, self.clock)
        return self.call("staking", "slash", self.staking, *given)

    def name_slasher(self) -> Value:
        given = (self.system, self.governor, self.clock)
        return self.call("staking", "name_slasher", self.staking, *given)

    def leave(self, stake: Ref) -> None:
        self.call("staking", "unstake", self.staking, self.system, stake, self.clock)

    def supply(self) -> int:
        supply = self.state_of(self.staking)[2]
        return int(self.transaction.call("balance", "supply_value", supply, package=SUI, types=(HAUL,)))


def test_what_is_slashed_is_burnt_but_for_the_bounty() -> None:
    network = Slashing()
    assert network.slash(WHOLE // 100, most_bounty=AMOUNT) == AMOUNT // 1000
    assert network.slash(WHOLE // 100, most_bounty=5) == 5
    burnt = AMOUNT // 100 + AMOUNT * 99 // 10_000
    assert network.supply() == SUPPLY - burnt + AMOUNT // 1000 + 5
    assert network.state_of(network.staking)[1][0] == 101 * AMOUNT - burnt
    told = [fields for name, fields in network.events() if name == "Slashed"]
    assert told == [
        [1, WHOLE // 100, AMOUNT // 100, AMOUNT // 1000, EVIDENCE, 1],
        [1, WHOLE // 100, AMOUNT * 99 // 10_000, 5, EVIDENCE, 1],
    ]


def test_stake_that_left_is_reached_until_the_evidence_window_has_passed() -> None:
    network = Slashing()
    network.leave(network.staked)
    network.begin_period()
    network.settle()
    network.slash(WHOLE // 10)
    network.time_s += EVIDENCE_S - 1
    assert network.events()[-1][1][-1] == 2, "the period with which it left"
    network.time_s += 1
    coin = network.call(
        "staking", "withdraw", network.staking, network.system, network.staked.get(), network.clock
    )
    assert network.coins("value", coin) == AMOUNT - AMOUNT // 10


def test_unlocked_stake_is_not_reached() -> None:
    network = Slashing()
    network.leave(network.staked)
    network.begin_period()
    network.settle()
    network.time_s += EVIDENCE_S
    network.slash(WHOLE // 10)
    assert network.events()[-1][1] == [1, WHOLE // 10, 0, 0, EVIDENCE, 3]


def test_node_is_settled_up_to_the_current_period_before_it_is_slashed() -> None:
    network = Slashing()
    network.begin_period()
    with pytest.raises(Refused, match=r"^ENotSettled$"):
        network.slash(WHOLE // 100)
    with pytest.raises(Refused, match=r"^ENothingStaked$"):
        network.slash(WHOLE // 100, node_id=3)


def test_slasher_counts_once_every_staker_can_have_left() -> None:
    network = Slashing()
    cap = network.name_slasher()
    assert network.events()[-1] == ("SlasherChanged", [[[id_of(cap)]], 3])
    network.begin_period()
    network.settle()
    with pytest.raises(Refused, match=r"^ENotSlasher$"):
        network.slash_with(cap)
    network.begin_period()
    network.settle()
    network.time_s += EVIDENCE_S - 1
    with pytest.raises(Refused, match=r"^ENotSlasher$"):
        network.slash_with(cap)
    network.time_s += 1
    network.slash_with(cap)
    second = network.name_slasher()
    network.slash_with(cap)
    with pytest.raises(Refused, match=r"^ENotSlasher$"):
        network.slash_with(second)
    network.call("staking", "remove_slasher", network.staking, network.governor)
    for removed in (cap, second):
        with pytest.raises(Refused, match=r"^ENotSlasher$"):
            network.slash_with(removed)
