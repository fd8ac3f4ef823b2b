"""How much of an amount is young in the Move package: what came within an age, and no more than within three."""

from __future__ import annotations

import random

import pytest

from localnet.sui_double.move.values import Ref
from tests.contracts.sui.double import Transaction
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

AGE_S = 100


class Recents:
    """Amounts that come and go, in the double and with their times."""

    def __init__(self) -> None:
        self.transaction = Transaction()
        self.kept = Ref([self.transaction.call("recents", "new")], 0)
        self.now_s = 10_000
        self.came: list[tuple[int, int]] = []
        """When, and how much."""

    def add(self, amount: int) -> None:
        self.transaction.call("recents", "add", self.kept, amount, AGE_S, self.now_s)
        self.came.append((self.now_s, amount))

    def take(self, amount: int) -> None:
        self.transaction.call("recents", "take", self.kept, amount, AGE_S, self.now_s)

    def young(self) -> int:
        return int(self.transaction.call("recents", "young", self.kept, AGE_S, self.now_s))

    def came_within(self, age_s: int) -> int:
        return sum(amount for at_s, amount in self.came if self.now_s - at_s < age_s)


@pytest.mark.parametrize("seed", range(3))
def test_what_came_is_young_for_one_to_three_ages(seed: int) -> None:
    draw, recents = random.Random(seed), Recents()
    for _ in range(150):
        recents.now_s += draw.choice((0, 1, 7, AGE_S // 2, AGE_S - 1, AGE_S, 2 * AGE_S))
        assert recents.came_within(AGE_S) <= recents.young() <= recents.came_within(3 * AGE_S)
        if draw.random() < 0.7:
            recents.add(draw.randrange(100))
    recents.now_s += 3 * AGE_S
    assert recents.young() == 0


def test_what_goes_is_taken_off_the_young_and_of_these_off_the_newer_first() -> None:
    recents = Recents()
    recents.add(10)
    recents.now_s += AGE_S
    recents.add(20)
    assert recents.young() == 30
    recents.take(25)
    assert recents.young() == 5
    recents.now_s += AGE_S
    assert recents.young() == 0, "the rest was of the older"
    recents.add(7)
    recents.take(100)
    recents.add(1)
    assert recents.young() == 1, "no more goes off than was young"
