"""The stake on a node in the Move package: what stakers get, by exact fractions; what is refused; what events tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from localnet.sui_double.move.values import Ref, Value
from tests.contracts.sui.double import Refused, Transaction
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

LEAST = 1_000_000
WHOLE = 1_000_000_000
MOST_SLASHED = WHOLE // 10
"""Of a node in one period."""
JOINING, STANDING, LEAVING = range(3)
"""Phases, as the package numbers them."""
FIRST = 3
"""The period in which the node begins."""
MOST_LOST = 60
"""Token units by which roundings of a whole history may change what a stake is worth."""


class Node:
    """A node's stake in the double."""

    def __init__(self) -> None:
        self.transaction = Transaction()
        self.stake_on: Ref = Ref([self.call("new", 1, FIRST)], 0)

    def call(self, name: str, *arguments: Value) -> Any:
        return self.transaction.call("node_stake", name, *arguments)

    def stake(self, amount: int, period: int) -> Ref:
        return Ref([self.call("stake", self.stake_on, amount, period)], 0)

    def standing_stake(self, amount: int = LEAST) -> Ref:
        """Return a stake that stands from the next period on, which is settled up to."""
        stake = self.stake(amount, self.settled + 1)
        self.call("settle", self.stake_on, 0)
        return stake

    @property
    def settled(self) -> int:
        settled: int = self.call("settled", self.stake_on)
        return settled

    def events(self) -> list[tuple[str, Any]]:
        codec = self.transaction.codec
        return [(one.type.name, codec.decode(one.type, one.contents)) for one in self.transaction.host.events]


@dataclass
class Exact:
    """A stake by exact arithmetic: its tokens, and the period with which it leaves or joins."""

    tokens: Fraction
    joins: int
    leaves: int | None = None


class Model:
    """A node's stakes by exact arithmetic, each under the key that the history gives it."""

    def __init__(self) -> None:
        self.stakes: dict[int, Exact] = {}
        self.settled = FIRST

    def settle(self, pay: int) -> None:
        standing = [one for one in self.stakes.values() if self.stands_in(one, self.settled)]
        total = sum(one.tokens for one in standing)
        for one in standing:
            one.tokens += pay * one.tokens / total if total else 0
        self.settled += 1

    def standing_for(self, period: int) -> Fraction:
        return sum((one.tokens for one in self.stakes.values() if self.stands_in(one, period)), Fraction())

    @staticmethod
    def stands_in(one: Exact, period: int) -> bool:
        return one.joins <= period and (one.leaves is None or one.leaves > period)


class History:
    """Random actions, the same in the double and in the model."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.node, self.model = Node(), Model()
        self.objects: dict[int, Ref] = {}
        self.came, self.went = 0, 0
        self.keys = 0

    @property
    def electable(self) -> int:
        """The first period whose committee is not elected: settled up to at a standstill, else one or two ahead."""
        return self.node.settled + self.draw.choice((0, 1, 1, 1, 2, 2))

    def add(self, stake: Ref, exact: Exact) -> None:
        self.keys += 1
        self.objects[self.keys], self.model.stakes[self.keys] = stake, exact

    def one_that(self, is_meant: Callable[[Exact], bool]) -> int | None:
        found = [key for key, exact in self.model.stakes.items() if is_meant(exact)]
        return self.draw.choice(found) if found else None

    def one_that_stands(self) -> int | None:
        settled = self.node.settled
        return self.one_that(lambda one: one.joins <= settled and one.leaves is None)

    def stake(self) -> None:
        amount, period = self.draw.randrange(10 * LEAST, 10**12), self.electable
        self.add(self.node.stake(amount, period), Exact(Fraction(amount), period))
        self.came += amount

    def unstake(self) -> None:
        key = self.one_that_stands()
        if key is not None:
            period = self.electable
            self.node.call("unstake", self.node.stake_on, self.objects[key], period)
            self.model.stakes[key].leaves = period

    def stay(self) -> None:
        electable = self.electable
        key = self.one_that(lambda one: one.leaves is not None and one.leaves >= electable)
        if key is not None:
            self.node.call("stay", self.node.stake_on, self.objects[key], electable)
            self.model.stakes[key].leaves = None

    def split(self) -> None:
        key = self.one_that_stands()
        if key is None:
            return
        shares = shares_of(self.node, self.objects[key])
        taken = self.draw.randrange(shares)
        if min(taken, shares - taken) < LEAST:
            return
        exact = self.model.stakes[key]
        part = Ref([self.node.call("split", self.node.stake_on, self.objects[key], taken)], 0)
        self.add(part, Exact(exact.tokens * taken / shares, exact.joins))
        exact.tokens -= exact.tokens * taken / shares

    def join(self) -> None:
        key, other = self.one_that_stands(), self.one_that_stands()
        if key is None or other is None or key == other:
            return
        self.node.call("join", self.node.stake_on, self.objects[key], self.objects.pop(other).get())
        self.model.stakes[key].tokens += self.model.stakes.pop(other).tokens

    def cancel(self) -> None:
        settled, electable = self.node.settled, self.electable
        key = self.one_that(lambda one: one.joins > settled and one.joins >= electable)
        if key is not None:
            _, amount = self.node.call("cancel", self.node.stake_on, self.objects.pop(key).get(), electable)
            assert amount == self.model.stakes.pop(key).tokens
            self.went += amount

    def withdraw(self) -> None:
        settled = self.node.settled
        key = self.one_that(lambda one: one.leaves is not None and one.leaves <= settled)
        if key is not None:
            amount = self.node.call("withdraw", self.node.stake_on, self.objects.pop(key).get())
            assert abs(amount - self.model.stakes.pop(key).tokens) <= MOST_LOST
            self.went += amount

    def settle(self) -> None:
        standing = self.model.standing_for(self.node.settled)
        pay = self.draw.randrange(int(standing) // 3) if standing else 0
        self.node.call("settle", self.node.stake_on, pay)
        self.model.settle(pay)
        self.came += pay

    def slash(self) -> None:
        settled = self.node.settled
        most = self.node.call("most_slashable", self.node.stake_on, settled)
        fraction, first = self.draw.randint(1, MOST_SLASHED // 3), max(1, settled - self.draw.randrange(3))
        if fraction > most:
            return
        self.went += self.node.call("slash", self.node.stake_on, fraction, first, settled)
        assert self.node.call("most_slashable", self.node.stake_on, settled) == most - fraction
        for one in self.model.stakes.values():
            if one.joins <= settled and (one.leaves is None or one.leaves >= first):
                one.tokens -= one.tokens * fraction / WHOLE

    def check(self) -> None:
        for ahead in (1, 2):
            period = self.node.settled + ahead
            standing = self.node.call("standing_for", self.node.stake_on, period)
            assert abs(standing - self.model.standing_for(period)) <= MOST_LOST

    def run(self, n_actions: int) -> None:
        actions = [
            self.stake,
            self.stake,
            self.unstake,
            self.stay,
            self.split,
            self.join,
            self.cancel,
            self.withdraw,
            self.slash,
            self.settle,
        ]
        for _ in range(n_actions):
            self.draw.choice(actions)()
            self.check()


def shares_of(node: Node, stake: Ref) -> int:
    """Return the shares of a stake that stands; has it join first, which a split of nothing would do too."""
    node.call("unstake", node.stake_on, stake, node.settled + 1)
    shares: int = stake.get()[2][2]
    node.call("stay", node.stake_on, stake, node.settled + 1)
    return shares


@pytest.mark.parametrize("seed", range(6))
def test_each_gets_its_part_and_all_together_get_all(seed: int) -> None:
    history = History(seed)
    history.run(80)
    while history.objects:
        while (key := history.one_that_stands()) is not None:
            history.node.call(
                "unstake", history.node.stake_on, history.objects[key], history.node.settled + 1
            )
            history.model.stakes[key].leaves = history.node.settled + 1
        history.settle()
        for _ in range(len(history.objects)):
            history.withdraw()
    assert history.went == history.came, "the last to leave takes what rounding has left"
    assert not history.node.transaction.host.children, "pools of periods end with their last share"


@pytest.mark.parametrize("seed", range(2))
def test_events_tell_all_of_the_stakes(seed: int) -> None:
    history = History(100 + seed)
    history.run(80)
    phases: dict[bytes, Any] = {}
    settled: Any = [1, FIRST, 0, 0, 0, 0]
    for name, fields in history.node.events():
        match name:
            case "StakeChanged":
                phases[fields[0][0]] = fields[2]
            case "StakeEnded":
                del phases[fields[0][0]]
            case "PeriodSettled":
                settled = fields
            case "PoolChanged":
                settled = [*settled[:2], *fields[1:]]
    assert phases == {stake.get()[0][0][0]: stake.get()[2] for stake in history.objects.values()}
    _, (amount, shares), period, joining, leaving, *_ = history.node.stake_on.get()
    assert settled[1:4] == [period, amount, shares]
    to_come = [phase for phase in phases.values() if phase[0] != STANDING and phase[1] > period]
    assert joining == sum(phase[2] for phase in to_come if phase[0] == JOINING)
    assert leaving == sum(phase[2] for phase in to_come if phase[0] == LEAVING)


def test_stake_stands_from_the_period_it_joins_with_and_earns_from_then_on() -> None:
    node = Node()
    early = node.standing_stake(10 * LEAST)
    late = node.stake(10 * LEAST, node.settled + 1)
    node.call("settle", node.stake_on, 5 * LEAST)
    node.call("settle", node.stake_on, 5 * LEAST)
    for stake in (early, late):
        node.call("unstake", node.stake_on, stake, node.settled + 1)
    node.call("settle", node.stake_on, 0)
    assert node.call("withdraw", node.stake_on, early.get()) == 10 * LEAST + 5 * LEAST + 3 * LEAST
    assert node.call("withdraw", node.stake_on, late.get()) == 10 * LEAST + 2 * LEAST


def test_leaving_stake_stands_until_it_leaves_and_then_earns_no_more() -> None:
    node = Node()
    stays, leaves = node.standing_stake(10 * LEAST), node.standing_stake(10 * LEAST)
    node.call("unstake", node.stake_on, leaves, node.settled + 2)
    assert node.call("standing_for", node.stake_on, node.settled + 1) == 20 * LEAST
    assert node.call("standing_for", node.stake_on, node.settled + 2) == 10 * LEAST
    for _ in range(3):
        node.call("settle", node.stake_on, 2 * LEAST)
    assert node.call("withdraw", node.stake_on, leaves.get()) == 12 * LEAST
    assert node.call("standing_for", node.stake_on, node.settled + 1) == 14 * LEAST
    assert stays.get()[2][0] == JOINING, "it has joined, which is written when it is used"


def test_periods_without_stake_are_passed_over() -> None:
    node = Node()
    node.call("pass_over", node.stake_on, 40)
    assert node.settled == 40
    node.standing_stake()
    node.call("pass_over", node.stake_on, 90)
    assert node.settled == 41


def test_nothing_is_not_staked() -> None:
    with pytest.raises(Refused, match=r"^EZeroAmount$"):
        Node().stake(0, FIRST + 1)


def test_stake_below_the_least_is_refused() -> None:
    node = Node()
    with pytest.raises(Refused, match=r"^EStakeTooSmall$"):
        node.stake(LEAST - 1, FIRST + 1)
    node.standing_stake()
    node.call("settle", node.stake_on, LEAST)
    with pytest.raises(Refused, match=r"^EStakeTooSmall$"):
        node.stake(2 * LEAST - 1, node.settled + 1)
    node.stake(2 * LEAST, node.settled + 1)


@pytest.mark.parametrize("taken", [LEAST - 1, LEAST + 1, 2 * LEAST + 1, 0])
def test_split_leaves_no_part_below_the_least(taken: int) -> None:
    node = Node()
    stake = node.standing_stake(2 * LEAST)
    with pytest.raises(Refused, match=r"^EStakeTooSmall$"):
        node.call("split", node.stake_on, stake, taken)


def test_nothing_joins_or_leaves_with_a_settled_period() -> None:
    node = Node()
    stake = node.standing_stake()
    with pytest.raises(Refused, match=r"^ESettled$"):
        node.stake(LEAST, node.settled - 1)
    with pytest.raises(Refused, match=r"^ESettled$"):
        node.call("unstake", node.stake_on, stake, node.settled - 1)


def test_what_comes_and_goes_at_a_standstill_does_so_at_the_rate_of_then() -> None:
    node = Node()
    first = node.standing_stake(10 * LEAST)
    node.call("settle", node.stake_on, 10 * LEAST)
    second = node.stake(4 * LEAST, node.settled)
    assert second.get()[2] == [STANDING, 2 * LEAST]
    assert node.call("unstake", node.stake_on, first, node.settled) == 20 * LEAST
    assert node.call("standing_for", node.stake_on, node.settled + 1) == 4 * LEAST
    assert node.call("stay", node.stake_on, first, node.settled) == [node.settled, 20 * LEAST]
    assert first.get()[2] == [STANDING, 10 * LEAST]
    node.call("unstake", node.stake_on, first, node.settled)
    assert node.call("withdraw", node.stake_on, first.get()) == 20 * LEAST


def test_what_comes_back_has_the_least_stake() -> None:
    node = Node()
    node.standing_stake(2 * LEAST)
    stake = node.standing_stake(LEAST)
    node.call("settle", node.stake_on, 1)
    node.call("unstake", node.stake_on, stake, node.settled)
    with pytest.raises(Refused, match=r"^EStakeTooSmall$"):  # which rounding made of it
        node.call("stay", node.stake_on, stake, node.settled)


def test_stake_that_a_committee_is_elected_with_is_not_cancelled() -> None:
    node = Node()
    joining = node.stake(LEAST, node.settled + 1)
    with pytest.raises(Refused, match=r"^ENotJoining$"):
        node.call("cancel", node.stake_on, joining.get(), node.settled + 2)
    node.call("settle", node.stake_on, 0)
    with pytest.raises(Refused, match=r"^ENotJoining$"):
        node.call("cancel", node.stake_on, joining.get(), node.settled)
    standing = node.standing_stake()
    with pytest.raises(Refused, match=r"^ENotJoining$"):
        node.call("cancel", node.stake_on, standing.get(), node.settled)


def test_only_what_stands_can_be_unstaked_split_or_joined() -> None:
    node = Node()
    standing, leaving = node.standing_stake(), node.standing_stake()
    joining = node.stake(LEAST, node.settled + 1)
    node.call("unstake", node.stake_on, leaving, node.settled + 1)
    for stake in (joining, leaving):
        with pytest.raises(Refused, match=r"^ENotStanding$"):
            node.call("unstake", node.stake_on, stake, node.settled + 1)
        with pytest.raises(Refused, match=r"^ENotStanding$"):
            node.call("split", node.stake_on, stake, LEAST)
        with pytest.raises(Refused, match=r"^ENotStanding$"):
            node.call("join", node.stake_on, standing, stake.get())


def test_only_what_leaves_can_stay_or_be_withdrawn() -> None:
    node = Node()
    stake = node.standing_stake()
    with pytest.raises(Refused, match=r"^ENotLeaving$"):
        node.call("stay", node.stake_on, stake, node.settled + 1)
    with pytest.raises(Refused, match=r"^ENotLeaving$"):
        node.call("withdraw", node.stake_on, stake.get())


def test_what_a_committee_is_elected_without_leaves() -> None:
    node = Node()
    stake = node.standing_stake()
    node.call("unstake", node.stake_on, stake, node.settled + 1)
    with pytest.raises(Refused, match=r"^ENotLeaving$"):
        node.call("stay", node.stake_on, stake, node.settled + 2)
    node.call("settle", node.stake_on, 0)
    node.call("settle", node.stake_on, 0)
    with pytest.raises(Refused, match=r"^ENotLeaving$"):
        node.call("stay", node.stake_on, stake, node.settled - 1)


def test_leaving_stake_is_not_withdrawn_before_its_period_is_settled() -> None:
    node = Node()
    stake = node.standing_stake()
    node.call("unstake", node.stake_on, stake, node.settled + 1)
    with pytest.raises(Refused, match=r"^ENotSettled$"):
        node.call("withdraw", node.stake_on, stake.get())


def test_stake_of_another_node_is_refused() -> None:
    node = Node()
    stake, other = node.standing_stake(), node.standing_stake()
    other.get()[1] = 2
    for name, *arguments in (
        ("unstake", other, node.settled + 1),
        ("stay", other, node.settled + 1),
        ("split", other, LEAST),
        ("cancel", other.get(), node.settled + 1),
        ("join", stake, other.get()),
        ("withdraw", other.get()),
    ):
        with pytest.raises(Refused, match=r"^EOtherNode$"):
            node.call(name, node.stake_on, *arguments)


def test_pay_needs_someone_to_have_it() -> None:
    node = Node()
    node.stake(LEAST, FIRST + 1)
    with pytest.raises(Refused, match=r"^ENothingStands$"):
        node.call("settle", node.stake_on, 1)


def test_slashing_takes_of_what_stands_and_of_what_can_still_be_judged() -> None:
    node = Node()
    stays, left, gone = (node.standing_stake(10 * LEAST) for _ in range(3))
    node.call("unstake", node.stake_on, gone, node.settled + 1)
    node.call("settle", node.stake_on, 0)
    node.call("unstake", node.stake_on, left, node.settled + 1)
    node.call("settle", node.stake_on, 0)
    joining = node.stake(10 * LEAST, node.settled + 1)
    assert node.call("slash", node.stake_on, WHOLE // 20, node.settled, node.settled) == LEAST
    assert node.call("withdraw", node.stake_on, left.get()) == 10 * LEAST - LEAST // 2
    assert node.call("withdraw", node.stake_on, gone.get()) == 10 * LEAST
    assert node.call("standing_for", node.stake_on, node.settled + 1) == 20 * LEAST - LEAST // 2
    assert joining.get()[2] == [JOINING, node.settled + 1, 10 * LEAST]
    assert node.call("unstake", node.stake_on, stays, node.settled + 1) == 10 * LEAST - LEAST // 2


def test_no_more_than_a_tenth_is_slashed_in_a_period() -> None:
    node = Node()
    node.standing_stake(100 * LEAST)
    for fraction in (0, MOST_SLASHED + 1):
        with pytest.raises(Refused, match=r"^EInvalidFraction$"):
            node.call("slash", node.stake_on, fraction, 1, node.settled)
    node.call("slash", node.stake_on, MOST_SLASHED - 1, 1, node.settled)
    with pytest.raises(Refused, match=r"^EInvalidFraction$"):
        node.call("slash", node.stake_on, 2, 1, node.settled)
    node.call("slash", node.stake_on, 1, 1, node.settled)
    assert node.call("most_slashable", node.stake_on, node.settled) == 0
    node.call("settle", node.stake_on, 0)
    assert node.call("most_slashable", node.stake_on, node.settled) == MOST_SLASHED


def test_node_is_settled_before_it_is_slashed() -> None:
    node = Node()
    node.standing_stake()
    with pytest.raises(Refused, match=r"^ENotSettled$"):
        node.call("slash", node.stake_on, 1, 1, node.settled + 1)
