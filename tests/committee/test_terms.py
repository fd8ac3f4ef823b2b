"""The rule by which members' votes set prices and capacity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from committee.terms import LARGEST_CAPACITY, LARGEST_PRICE, Terms, decided_terms

TERMS = Terms(100, 60, 1000)
WEIGHTS = {1: 4, 2: 3, 3: 2, 4: 1}
QUORUM = 7


def decided(prices: dict[int, int], terms: Terms = TERMS) -> Terms | None:
    """What comes of votes on the price alone."""
    votes = {node_id: replace(TERMS, price_per_mib_period=price) for node_id, price in prices.items()}
    return decided_terms(terms, votes, WEIGHTS, QUORUM)


@pytest.mark.parametrize(
    ("prices", "price"),
    [
        ({1: 90, 2: 110, 3: 100, 4: 150}, 110),
        ({1: 90, 2: 110, 3: 100, 4: 60}, 100),
        ({1: 90, 2: 80}, 90),
        ({1: 90, 2: 80, 9: 1}, 90),
        ({1: 10, 2: 10, 3: 10, 4: 10}, 50),
        ({1: 999, 2: 999, 3: 10, 4: 10}, 200),
    ],
)
def test_a_price_is_the_lowest_that_a_quorum_asked_at_most(prices: dict[int, int], price: int) -> None:
    assert decided(prices) == replace(TERMS, price_per_mib_period=price)


@pytest.mark.parametrize("prices", [{}, {1: 90, 3: 90}, {2: 1, 3: 1, 4: 1}, {1: 90, 9: 90, 8: 90}])
def test_fewer_votes_than_a_quorum_change_nothing(prices: dict[int, int]) -> None:
    assert decided(prices) is None


def test_capacity_is_the_largest_that_a_quorum_offered_at_least() -> None:
    offers = {1: 1500, 2: 1300, 3: 1900, 4: 1100}
    votes = {node_id: replace(TERMS, capacity_bytes=offer) for node_id, offer in offers.items()}
    assert decided_terms(TERMS, votes, WEIGHTS, QUORUM) == replace(TERMS, capacity_bytes=1300)


def test_terms_come_back_from_nothing_and_stay_below_the_most() -> None:
    wanted = Terms(LARGEST_PRICE, LARGEST_PRICE, LARGEST_CAPACITY)
    votes = dict.fromkeys(WEIGHTS, wanted)
    assert decided_terms(Terms(1, 0, 0), votes, WEIGHTS, QUORUM) == Terms(2, 1, 1)
    near = Terms(LARGEST_PRICE - 1, LARGEST_PRICE - 1, LARGEST_CAPACITY - 1)
    assert decided_terms(near, votes, WEIGHTS, QUORUM) == wanted
    votes = dict.fromkeys(WEIGHTS, Terms(1, 0, 0))
    assert decided_terms(Terms(1, 1, 1), votes, WEIGHTS, QUORUM) == Terms(1, 0, 0)
