"""What is reserved and paid for each period in the Move package, and what becomes of it: nothing paid is lost."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from committee.ledger import MEBIBYTE
from localnet.sui_double.move.values import Ref
from tests.contracts.sui.double import Refused, Transaction
from tests.contracts.sui.fields import Fields
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

PARTS = 1000
PRICE = 7
CAPACITY = 40
"""Mebibytes."""
TERMS = [PRICE, 3, CAPACITY * MEBIBYTE + 5]


class Accounts:
    """The accounts in the double, and beside them what they should say."""

    def __init__(self) -> None:
        self.transaction = Transaction()
        self.held = Ref([self.call("new")], 0)
        self.open_period = 0
        self.reserved, self.payments = Counter[int](), Counter[int]()
        self.unearned = self.paid = self.gone = 0

    def call(self, name: str, *arguments: Any) -> Any:
        return self.transaction.call("space", name, *arguments)

    def book(self, mebibytes: int, first: int, end: int) -> bool:
        """Book space for a price; return whether there was enough."""
        arguments = (self.held, TERMS, mebibytes, first, end, mebibytes * PRICE)
        if any(self.reserved[period] + mebibytes > CAPACITY for period in range(first, end)):
            before = [list(one) for one in self.fields["accounts"]]
            with pytest.raises(Refused, match=r"^ENoCapacity$"):
                self.call("book", *arguments)
            self.fields.set(accounts=before)  # a transaction that is refused changes nothing
            return False
        self.call("book", *arguments)
        for period in range(first, end):
            self.reserved[period] += mebibytes
            self.payments[period] += mebibytes * PRICE
            self.paid += mebibytes * PRICE
        return True

    def pay_fee(self, period: int, fee: int) -> None:
        self.call("book_fee", self.held, period, fee)
        self.payments[period] += fee
        self.paid += fee

    def give_back(self, mebibytes: int, first: int, end: int) -> None:
        amount = 0
        for period in range(first, end):
            back = self.payments[period] * mebibytes // self.reserved[period]
            self.payments[period] -= back
            self.reserved[period] -= mebibytes
            amount += back
        assert self.call("give_back", self.held, mebibytes, first, end) == amount
        self.gone += amount

    def close(self, earned: int) -> None:
        """Close the open period, of which members earned so many parts."""
        period = self.open_period
        payment = self.payments.pop(period, 0) + self.unearned
        self.unearned = payment - payment // PARTS * earned
        self.gone += payment - self.unearned
        self.call("close", self.held, PARTS, earned)
        assert self.call("part_value", self.held, period) == payment // PARTS
        self.reserved.pop(period, None)
        self.open_period += 1

    @property
    def fields(self) -> Fields:
        return Fields("space", "Space", self.held.get())

    def check(self) -> None:
        kept = {
            self.open_period + place: tuple(account) for place, account in enumerate(self.fields["accounts"])
        }
        expected = {period: (self.reserved[period], self.payments[period]) for period in kept}
        assert kept == expected
        assert not (self.reserved + self.payments).keys() - kept.keys()
        assert (self.fields["open_period"], self.fields["unearned"]) == (self.open_period, self.unearned)
        assert self.paid == self.payments.total() + self.unearned + self.gone


@pytest.mark.parametrize("seed", range(3))
def test_all_that_was_paid_is_shared_out_given_back_or_there(seed: int) -> None:
    draw, accounts = random.Random(seed), Accounts()
    outcomes = Counter[bool]()
    booked: list[tuple[int, int, int]] = []
    for _ in range(120):
        action, first = draw.random(), accounts.open_period + draw.randrange(3)
        if action < 0.5:
            span = (draw.randint(1, 15), first, first + draw.randint(1, 9))
            is_booked = accounts.book(*span)
            outcomes[is_booked] += 1
            if is_booked:
                booked.append(span)
        elif action < 0.7:
            accounts.pay_fee(first, draw.randrange(5000))
        elif action < 0.85 and booked:
            mebibytes, first, end = booked.pop(draw.randrange(len(booked)))
            accounts.give_back(mebibytes, max(first, accounts.open_period), end)
        elif draw.random() < 0.6:
            accounts.close(draw.choice((0, draw.randrange(PARTS + 1), PARTS)))
        accounts.check()
    assert accounts.open_period > 3
    assert min(outcomes.values()) > 3


def test_space_for_all_periods_is_booked_at_once_or_not_at_all() -> None:
    accounts = Accounts()
    assert accounts.book(CAPACITY, 2, 3)
    assert not accounts.book(1, 0, 3)
    assert accounts.book(CAPACITY, 0, 2)


def test_costs_are_by_the_mebibyte_and_do_not_overflow() -> None:
    accounts = Accounts()
    for size, mebibytes in ((0, 0), (1, 1), (MEBIBYTE, 1), (MEBIBYTE + 1, 2), (2**64 - 1, 2**44)):
        assert accounts.call("mebibytes", size) == mebibytes
    assert accounts.call("cost", TERMS, 5, 3) == 5 * 3 * PRICE
    assert accounts.call("write_cost", TERMS, 5) == 5 * 3
    most = 2**64 - 1
    assert accounts.call("cost", [most, most, most], most, 53) == most * most * 53
    assert accounts.call("write_cost", [most, most, most], most) == most * most
