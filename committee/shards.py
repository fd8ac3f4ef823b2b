"""Stake → shards: the owner of each shard in the next epoch (PROTOCOL section 3).

`assign` is the whole election of a period's committee in three steps, each a function of its own; `replaced` is the
replacement of ejected members within a period:

1. `apportion`: how many shards each stake earns (Hagenbach-Bischoff, among the nodes of `worth_a_shard`);
2. `tolerate`: undo moves that stem from stake changes too small to matter (the tolerance band);
3. `reassign`: which shards move, the least possible number of them.

1 and 3 are Walrus' rules (MystenLabs/walrus, contracts/walrus/sources/staking: staking_inner.move and
committee.move), but that Walrus caps a node's shards and lets stakes count that are not worth one; 2 is ours. The
contract elects by the same rules; all is in integers, so that both give the same result to the shard.

Candidates are (node id, stake) in candidate order, the order of becoming a candidate; earlier candidates
win ties.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from heapq import heapify, heapreplace

from committee.errors import ElectionError

Candidates = Sequence[tuple[int, int]]
"""(node id, stake) in candidate order."""

BAND_MILLIS = 500
"""The default tolerance band: half a shard."""
LARGEST_STAKE = 1 << 128
LARGEST_N_SHARDS = 0xFFFF

_QUOTIENT_BITS = 64
"""Quotients are 64.64 fixed point, rounded down: what is closer than that counts as a tie."""


def assign(
    previous: Mapping[int, Sequence[int]] | None,
    candidates: Candidates,
    n_shards: int,
    band_millis: int = BAND_MILLIS,
) -> dict[int, tuple[int, ...]]:
    """Return the next committee: node id → its shards, by ascending node id.

    `previous` is the committee before it in the same form, None for the first. `band_millis` is the
    tolerance band in thousandths of a shard; 0 switches it off. The order of a member's shards matters: it
    gives up from the tail.

    Raises `ElectionError` without stake, for a stake over 2^128, for a node named twice, and when
    `previous` does not hold each shard once.
    """
    counts = apportion(candidates, n_shards)
    if not previous:
        return _first_committee(counts)
    _require_whole(previous, n_shards)
    return reassign(previous, tolerate(previous, candidates, counts, band_millis))


def replaced(
    in_office: Mapping[int, Sequence[int]], ejected: Collection[int], regular_weights: Mapping[int, int]
) -> dict[int, tuple[int, ...]]:
    """Return the committee without its ejected members, in the form of `assign`. A member that stays keeps its shards.

    `regular_weights` are the numbers of shards with which the members of `in_office` began the period. The shards of
    the ejected are dealt by Webster's divisors: the next one to the member with the greatest
    `regular weight / (2 * shards + 1)`, ties to the lower node id. If the members that stay began with two thirds of
    all shards, a member of weight `w` comes to at most `ceil(3 * w / 2)`, however many replacements there were.

    Raises `ElectionError` when no member stays.
    """
    counts = {node_id: len(held) for node_id, held in sorted(in_office.items()) if node_id not in ejected}
    if not counts:
        raise ElectionError(f"all {len(in_office)} members are ejected: a replacement needs one that stays")

    def bid(node_id: int) -> tuple[Fraction, int]:
        return -Fraction(regular_weights[node_id], 2 * counts[node_id] + 1), node_id

    bids = [bid(node_id) for node_id in counts]
    heapify(bids)
    for _ in range(sum(map(len, in_office.values())) - sum(counts.values())):
        _, node_id = bids[0]
        counts[node_id] += 1
        heapreplace(bids, bid(node_id))
    return reassign(in_office, counts)


def worth_a_shard(candidates: Candidates, n_shards: int) -> list[tuple[int, int]]:
    """Return the candidates that count, in candidate order: none of them has less stake than a shard is worth.

    A shard is worth `total / n_shards`, where `total` is the stake of those that count: the least stake, of equals the
    later candidate's, is dropped until this holds. Raises `ElectionError`.
    """
    _require_candidates(candidates, n_shards)
    by_stake = sorted(range(len(candidates)), key=lambda place: (-candidates[place][1], place))
    total = sum(stake for _, stake in candidates)
    while candidates[by_stake[-1]][1] * n_shards < total:
        total -= candidates[by_stake.pop()][1]
    return [candidates[place] for place in sorted(by_stake)]


def apportion(candidates: Candidates, n_shards: int) -> dict[int, int]:
    """Return node id → number of shards, in candidate order; a node that gets none is left out.

    Nodes with a part `x` of the stake of the `k` nodes that are given shards get at most `x * (n_shards + k)`, however
    they share their stake out among themselves. Raises `ElectionError`.
    """
    voters = worth_a_shard(candidates, n_shards)
    divisor = sum(stake for _, stake in voters) // (n_shards + 1) + 1
    counts = [stake // divisor for _, stake in voters]

    def bid(place: int) -> tuple[int, int]:
        return -((voters[place][1] << _QUOTIENT_BITS) // (counts[place] + 1)), place

    bids = [bid(place) for place in range(len(voters))]
    heapify(bids)
    for _ in range(n_shards - sum(counts)):
        _, place = bids[0]
        counts[place] += 1
        heapreplace(bids, bid(place))
    return {node_id: count for (node_id, _), count in zip(voters, counts, strict=True) if count}


def tolerate(
    previous: Mapping[int, Sequence[int]],
    candidates: Candidates,
    counts: Mapping[int, int],
    band_millis: int,
) -> dict[int, int]:
    """Undo moves within the tolerance band: counts of `apportion` → counts to reassign by.

    A member that would shrink although it holds no more than the band over its exact share,
    `n * stake / total`, and no more than the bound of `apportion`, `(n + members) * stake / total`, gets one shard back
    from the growing member farthest over its own share, the member with the least excess first. No member gives up its
    only shard, so that each node of `worth_a_shard` is a member; nodes that are not get none back. Raises
    `ElectionError` for a negative band, or counts that do not sum to the shards of `previous`.
    """
    if band_millis < 0:
        raise ElectionError(f"tolerance band of {band_millis} thousandths of a shard: it cannot be negative")
    if band_millis == 0:
        return dict(counts)
    n_shards = _require_same_total(previous, counts)
    stakes = dict(worth_a_shard(candidates, n_shards))
    total = sum(stakes.values())
    held = {node_id: len(previous.get(node_id, ())) for node_id in stakes}
    settled = {node_id: counts.get(node_id, 0) for node_id in stakes}

    def over_share(node_id: int, count: int) -> int:
        """Return `count - share`, times `total` to stay in integers."""
        return count * total - n_shards * stakes[node_id]

    def may_keep(node_id: int) -> bool:
        """Return whether what a member holds is within the band and the bound."""
        within_bound = held[node_id] * total <= (n_shards + len(stakes)) * stakes[node_id]
        return within_bound and 1000 * over_share(node_id, held[node_id]) <= band_millis * total

    # `stakes` is in candidate order, which sorted() keeps among equals, and max() takes the first of equals.
    shrinking = [node_id for node_id in stakes if settled[node_id] < held[node_id] and may_keep(node_id)]
    for node_id in sorted(shrinking, key=lambda one: over_share(one, held[one])):
        growing = [other for other in stakes if settled[other] > max(held[other], 1)]
        if not growing:
            break
        settled[max(growing, key=lambda other: over_share(other, settled[other]))] -= 1
        settled[node_id] += 1
    return settled


def reassign(previous: Mapping[int, Sequence[int]], counts: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Move as few shards as possible: node id → its shards, by ascending node id.

    `counts` (in candidate order) must sum to the shards of `previous`, else `ElectionError`. The number moved
    is that of `least_moves`. Freed shards are a stack, filled by the members in ascending id order: one
    that left gives its list as it is, one that shrinks gives from its tail; first new members take from it in
    candidate order, then growing ones in ascending id order.
    """
    _require_same_total(previous, counts)
    kept: dict[int, list[int]] = {}
    freed: list[int] = []
    for node_id in sorted(previous):
        shards = list(previous[node_id])
        count = counts.get(node_id, 0)
        if count == 0:
            freed.extend(shards)
            continue
        while len(shards) > count:
            freed.append(shards.pop())
        kept[node_id] = shards
    joining = [node_id for node_id, count in counts.items() if count and node_id not in previous]
    for node_id in joining + sorted(kept):
        shards = kept.setdefault(node_id, [])
        while len(shards) < counts[node_id]:
            shards.append(freed.pop())
    return {node_id: tuple(kept[node_id]) for node_id in sorted(kept)}


def least_moves(previous: Mapping[int, Sequence[int]], current: Mapping[int, Sequence[int]]) -> int:
    """Return the least number of shards that any assignment with these counts moves: `sum(max(0, old - new))`."""
    return sum(max(0, len(held) - len(current.get(node_id, ()))) for node_id, held in previous.items())


def _first_committee(counts: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Deal the shards in sequence, in candidate order."""
    assigned: dict[int, tuple[int, ...]] = {}
    first = 0
    for node_id, count in counts.items():
        assigned[node_id] = tuple(range(first, first + count))
        first += count
    return dict(sorted(assigned.items()))


def _require_candidates(candidates: Candidates, n_shards: int) -> None:
    if not 1 <= n_shards <= LARGEST_N_SHARDS:
        raise ElectionError(f"{n_shards} shards: there must be 1..{LARGEST_N_SHARDS}")
    seen: set[int] = set()
    for node_id, stake in candidates:
        if node_id in seen:
            raise ElectionError(f"node {node_id} is a candidate twice")
        seen.add(node_id)
        if not 0 <= stake <= LARGEST_STAKE:
            raise ElectionError(f"stake {stake} of node {node_id} is not in 0..2^128")
    if not any(stake for _, stake in candidates):
        raise ElectionError(f"none of the {len(candidates)} candidates has stake; stake on at least one")


def _require_same_total(previous: Mapping[int, Sequence[int]], counts: Mapping[int, int]) -> int:
    n_shards = sum(map(len, previous.values()))
    if sum(counts.values()) != n_shards:
        raise ElectionError(
            f"counts for {sum(counts.values())} shards: the previous committee holds {n_shards}"
        )
    return n_shards


def _require_whole(previous: Mapping[int, Sequence[int]], n_shards: int) -> None:
    held = sorted(shard for shards in previous.values() for shard in shards)
    if held != list(range(n_shards)):
        raise ElectionError(f"the previous committee does not hold each of the {n_shards} shards once")
