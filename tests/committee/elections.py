"""What tests of elections have in common: committees with a history, candidates, and what moves between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from committee import shards

Holdings = dict[int, tuple[int, ...]]


def sizes(holdings: Mapping[int, Sequence[int]]) -> dict[int, int]:
    return {node_id: len(held) for node_id, held in holdings.items()}


def moved(before: Mapping[int, Sequence[int]], after: Mapping[int, Sequence[int]]) -> int:
    owner = {shard: node_id for node_id, held in before.items() for shard in held}
    return sum(owner[shard] != node_id for node_id, held in after.items() for shard in held)


stake = st.one_of(
    st.integers(0, 20),
    st.integers(0, 10**6),
    st.sampled_from([0, 1, 10**18, 10**27, 2**128]),
    st.integers(0, 2**128),
)


@st.composite
def candidates(draw: st.DrawFn, largest_n: int = 30) -> list[tuple[int, int]]:
    """Candidates out of id order, at least one with stake."""
    node_ids = draw(st.lists(st.integers(1, 40), min_size=1, max_size=largest_n, unique=True))
    stakes = draw(st.lists(stake, min_size=len(node_ids), max_size=len(node_ids)).filter(any))
    return list(zip(node_ids, stakes, strict=True))


@st.composite
def elections(draw: st.DrawFn) -> tuple[Holdings, list[tuple[int, int]], int]:
    """(a committee with a history, the candidates for the next, number of shards)."""
    n_shards = draw(st.sampled_from([10, 13, 31, 100]))
    holdings: Holdings | None = None
    for _ in range(draw(st.integers(1, 3))):
        holdings = shards.assign(
            holdings, draw(candidates()), n_shards, draw(st.sampled_from([0, 500, 3000]))
        )
    assert holdings is not None
    if draw(st.booleans()):
        return holdings, draw(candidates()), n_shards
    # Small changes about the present stakes, where the tolerance band matters.
    near = [
        (node_id, max(0, 1000 * len(held) + draw(st.integers(-1500, 1500))))
        for node_id, held in draw(st.permutations(list(holdings.items())))
    ]
    if not any(weight for _, weight in near):
        near[0] = (near[0][0], 1)
    return holdings, near, n_shards
