"""What the members' votes make of prices and capacity: the rule of `contracts/evm/src/Ballot.sol`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MOST_FACTOR = 2
"""The largest factor by which a term grows or shrinks in a period."""
LARGEST_PRICE = 2**80 - 1
LARGEST_CAPACITY = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Terms:
    """What space costs, and how much of it there is; prices in the token's smallest unit."""

    price_per_mib_period: int
    """Price of a MiB (2^20 bytes) of encoded size for one period; above 0."""
    write_price_per_mib: int
    """Price of registering a MiB of encoded size."""
    capacity_bytes: int
    """Encoded bytes that may be reserved for any one period."""


def decided_terms(
    terms: Terms, votes: Mapping[int, Terms], weights: Mapping[int, int], quorum: int
) -> Terms | None:
    """Return what the votes of a period make of the terms; None when too few members have voted.

    A price is the lowest that members with a quorum of the shards asked at most, the capacity the largest that such
    members offered at least; no term changes by more than `MOST_FACTOR`. `weights` are the shards of the members with
    which the period began, `votes` by node id, those of other nodes do not count.
    """
    voters = {node_id: votes[node_id] for node_id in weights if node_id in votes}
    if sum(weights[node_id] for node_id in voters) < quorum:
        return None

    def least(values: Mapping[int, int]) -> int:
        weight = 0
        for node_id in sorted(values, key=values.__getitem__):
            weight += weights[node_id]
            if weight >= quorum:
                return values[node_id]
        raise AssertionError("the voters are a quorum")

    price = least({node_id: one.price_per_mib_period for node_id, one in voters.items()})
    write_price = least({node_id: one.write_price_per_mib for node_id, one in voters.items()})
    capacity = -least({node_id: -one.capacity_bytes for node_id, one in voters.items()})
    return Terms(
        max(1, _towards(terms.price_per_mib_period, price, LARGEST_PRICE)),
        _towards(terms.write_price_per_mib, write_price, LARGEST_PRICE),
        _towards(terms.capacity_bytes, capacity, LARGEST_CAPACITY),
    )


def _towards(term: int, wanted: int, most: int) -> int:
    """Return the value nearest to `wanted` that a period may bring a term to."""
    highest = 1 if term == 0 else min(MOST_FACTOR * term, most)
    return min(max(wanted, term // MOST_FACTOR), highest)
