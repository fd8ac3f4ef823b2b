"""Tokens staked on nodes of the Move package: when they join, stand, leave and are unlocked; who is paid what."""

from __future__ import annotations

from typing import Any

import pytest

from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import Owner, OwnerKind
from tests.contracts.sui.deployments import (
    EVIDENCE_S,
    HAUL,
    OWNER,
    SUPPLY,
    USUAL,
    Deployment,
)
from tests.contracts.sui.double import Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

AMOUNT = 10**9
JOINING, STANDING, LEAVING = range(3)
STALL_S = 4 * (USUAL.period_duration_s + USUAL.handover_deadline_s) + 1


class Stakes(Deployment):
    """A deployment with two nodes, and a third whose stake is enough for every election."""

    def __init__(self) -> None:
        super().__init__()
        for place in range(3):
            self.add_node(place)
        self.stake(3, 100 * AMOUNT)

    def call_staking(self, name: str, *arguments: Value) -> Any:
        return self.call("staking", name, self.staking, *arguments)

    def unstake(self, stake: Ref) -> None:
        self.call_staking("unstake", self.system, stake, self.clock)

    def stay(self, stake: Ref) -> None:
        self.call_staking("stay", self.system, stake, self.clock)

    def end(self, name: str, stake: Ref) -> int:
        """Withdraw or cancel a stake; return the amount of the coin."""
        coin = self.call_staking(name, self.system, stake.get(), self.clock)
        amount: int = self.coins("value", coin)
        return amount

    def settle(self, node_id: int, *amounts: int) -> None:
        """Settle a node's next periods with these amounts, out of the purse."""
        pay = self.coins("into_balance", self.coin(sum(amounts)))
        self.call_staking("settle", self.system, self.registry, node_id, list(amounts), pay)

    def counted(self, node_id: int = 1) -> int:
        (stake,) = self.call_staking("stakes_on", self.system, [node_id], self.clock)
        counted: int = stake
        return counted

    @property
    def held(self) -> int:
        """All tokens that are staked on the two nodes."""
        held: int = self.state_of(self.staking)[1][0]
        return held - 100 * AMOUNT


def test_stake_joins_stands_leaves_and_is_paid_out_with_what_it_earned() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    assert stake.get()[1:] == [1, [JOINING, 1, AMOUNT]]
    assert network.counted() == network.held == AMOUNT
    network.begin_period()
    network.settle(1, 0)
    network.unstake(stake)
    assert stake.get()[2] == [LEAVING, 2, AMOUNT]
    assert network.counted() == 0, "it stands for no committee to come"
    network.begin_period()
    network.settle(1, 1000)
    network.time_s += EVIDENCE_S
    assert network.end("withdraw", stake) == AMOUNT + 900, "the node's commission is a tenth"
    assert network.held == 0


def test_commission_goes_to_the_receiver_and_is_told() -> None:
    network = Stakes()
    network.stake(1, AMOUNT)
    network.begin_period()
    network.begin_period()
    network.begin_period()
    network.settle(1, 0, 1000, 2005)
    paid = [one for one in network.transaction.host.outputs.values() if one.type.arguments == (HAUL,)]
    (coin,) = (one for one in paid if one.type.name == "Coin")
    assert coin.owner == Owner(OwnerKind.ADDRESS, OWNER)
    assert coin.value[1] == [300]
    rewarded = [fields for name, fields in network.events() if name == "Rewarded"]
    assert rewarded == [[1, 1, OWNER, 1000, 100], [1, 2, OWNER, 2005, 200]]
    assert network.held == AMOUNT + 2705
    assert network.call_staking("settled_period", network.system, 1) == 3


def test_node_on_which_nothing_stands_earns_for_its_receiver() -> None:
    network = Stakes()
    network.stake(1, AMOUNT)
    network.settle(1, 500)
    (coin,) = (one for one in network.transaction.host.outputs.values() if one.type.name == "Coin")
    assert coin.value[1] == [500]
    assert network.held == AMOUNT


def test_stake_on_a_node_that_had_none_passes_over_its_periods() -> None:
    network = Stakes()
    for _ in range(3):
        network.begin_period()
    assert network.call_staking("settled_period", network.system, 2) == 3
    stake = network.stake(2, AMOUNT)
    assert stake.get()[2] == [JOINING, 4, AMOUNT]
    assert network.call_staking("settled_period", network.system, 2) == 3


def test_stake_that_leaves_stays_while_no_committee_is_elected_without_it() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    network.unstake(stake)
    network.stay(stake)
    assert stake.get()[2] == [STANDING, AMOUNT]
    assert network.counted() == AMOUNT
    network.unstake(stake)
    network.begin_period()
    with pytest.raises(Refused, match=r"^ENotLeaving$"):
        network.stay(stake)


def test_stake_is_bonded_until_the_evidence_window_has_passed() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    network.unstake(stake)
    with pytest.raises(Refused, match=r"^EStillBonded$"):
        network.end("withdraw", stake)
    network.begin_period()
    network.settle(1, 0)
    network.time_s += EVIDENCE_S - 1
    with pytest.raises(Refused, match=r"^EStillBonded$"):
        network.end("withdraw", stake)
    network.time_s += 1
    assert network.end("withdraw", stake) == AMOUNT


def test_node_is_settled_before_stake_is_withdrawn() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    network.unstake(stake)
    network.begin_period()
    network.time_s += EVIDENCE_S
    with pytest.raises(Refused, match=r"^ENotSettled$"):
        network.end("withdraw", stake)


def test_after_sixty_four_periods_nothing_is_bonded() -> None:
    network = Stakes()
    for _ in range(65):
        network.begin_period()
    assert network.call_staking("is_unlocked", network.system, 1, network.clock)
    assert not network.call_staking("is_unlocked", network.system, 65, network.clock)
    assert not network.call_staking("is_unlocked", network.system, 66, network.clock)


def test_standstill_unlocks_and_gives_back_what_was_to_join() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    late = network.stake(1, AMOUNT)
    with pytest.raises(Refused, match=r"^ENotStalled$"):
        network.end("cancel", late)
    network.unstake(stake)
    network.time_s += STALL_S
    assert network.end("cancel", late) == AMOUNT
    with pytest.raises(Refused, match=r"^ENotSettled$"):
        network.end("withdraw", stake)
    network.settle(1, 0)
    assert network.end("withdraw", stake) == AMOUNT
    again = network.stake(1, AMOUNT)
    assert again.get()[2] == [STANDING, AMOUNT], "the next period's rate is known"


def test_stake_is_young_at_a_standstill_for_a_period_at_least() -> None:
    network = Stakes()
    network.stake(1, AMOUNT)
    network.begin_period()
    network.time_s += STALL_S
    assert network.counted() == AMOUNT
    network.stake(1, 5 * AMOUNT)
    assert network.counted() == AMOUNT
    network.time_s += USUAL.period_duration_s - 1
    assert network.counted() == AMOUNT
    network.time_s += 1 + USUAL.period_duration_s
    assert network.counted() == 6 * AMOUNT


def test_what_goes_at_a_standstill_is_young_first() -> None:
    network = Stakes()
    network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    network.time_s += STALL_S
    young = network.stake(1, 5 * AMOUNT)
    network.end("cancel", young)
    assert network.counted() == AMOUNT
    network.settle(1, 0)
    other = network.stake(1, 2 * AMOUNT)
    assert network.counted() == AMOUNT
    network.unstake(other)
    assert network.counted() == AMOUNT
    network.stay(other)
    assert network.counted() == AMOUNT, "what stays on is young anew"


def test_all_stake_counts_before_the_first_period() -> None:
    network = Stakes()
    network.time_s += STALL_S
    network.stake(1, AMOUNT)
    assert network.counted() == AMOUNT
    assert network.counted(2) == 0


def test_stake_is_split_and_joined() -> None:
    network = Stakes()
    stake = network.stake(1, AMOUNT)
    network.begin_period()
    network.settle(1, 0)
    part = Ref([network.call_staking("split", stake, AMOUNT // 4)], 0)
    assert [one.get()[2] for one in (stake, part)] == [[STANDING, 3 * AMOUNT // 4], [STANDING, AMOUNT // 4]]
    network.call_staking("join", part, stake.get())
    assert part.get()[2] == [STANDING, AMOUNT]


def test_nobody_stakes_on_a_node_that_is_none_or_while_that_is_paused() -> None:
    network = Stakes()
    for node_id in (0, 4):
        with pytest.raises(Refused, match=r"^EUnknownNode$"):
            network.stake(node_id, AMOUNT)
    network.call("system", "pause", network.system, network.guardian, 4, network.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        network.stake(1, AMOUNT)


def test_staking_of_another_version_is_refused() -> None:
    network = Stakes()
    network.staking.get()[1] = 2
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        network.stake(1, AMOUNT)
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        network.counted()


def test_nobody_can_mint_once_the_deployment_is_created() -> None:
    network = Stakes()
    supply = network.state_of(network.staking)[2]
    assert network.transaction.call("balance", "supply_value", supply, package=SUI, types=(HAUL,)) == SUPPLY
