"""A machine's clock beside those of the other members."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.node.clock import RIGHT_S, WRONG_S, Clock, most_ahead_s
from tests.logged import captured
from tests.storage.node.watch_bench import COMMITTEE, ME, MEMBERS, WATCHED, Bench

NOW_S = 1_800_000_000.0
HOUR_S = 3600


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(Clock, "now_s", lambda own: NOW_S)
    return Clock()


def tell(own: Clock, *ahead_s: float, took_s: float = 0.0) -> None:
    """Have members 2, 3, … tell times by which the clock is so much ahead."""
    for node_id, one in enumerate(ahead_s, 2):
        own.note(COMMITTEE, node_id, NOW_S - took_s, int(NOW_S - one))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_that_most_members_differ_from_is_told_once_and_when_it_is_right_again(
    own: Clock, sign: int
) -> None:
    with captured() as lines:
        for _ in range(3):
            tell(own, *[2 * HOUR_S * sign] * 3)
        assert own.ahead_s == pytest.approx(2 * HOUR_S * sign, abs=1)
        (line,) = lines
        assert (line["log_level"], line["minutes"]) == ("warning", 120)
        assert ("ahead of" if sign > 0 else "behind") + " most members'" in line["event"]
        tell(own, *[(RIGHT_S + 10) * sign] * 3)
        assert len(lines) == 1, "it hovers about the limit"
        tell(own, *[(RIGHT_S - 10) * sign] * 3)
        assert "agrees" in lines[1]["event"]
        tell(own, *[(WRONG_S - 10) * sign] * 3)
        assert len(lines) == 2


@pytest.mark.parametrize(
    "lies", [(HOUR_S, 0, 0), (0, 0, -HOUR_S), (HOUR_S,), (HOUR_S, -HOUR_S, HOUR_S)], ids=str
)
def test_members_with_half_the_shards_or_less_make_no_clock_wrong(own: Clock, lies: tuple[int, ...]) -> None:
    with captured() as lines:
        tell(own, *lies)
    assert own.ahead_s == 0 and not lines


def test_a_slow_answer_makes_no_clock_wrong(own: Clock) -> None:
    tell(own, *[2 * HOUR_S] * 3, took_s=3 * HOUR_S)
    assert own.ahead_s == 0


@pytest.mark.parametrize("told", [None, "1", True, 1.8e9, -1, 2**41, float("nan")], ids=repr)
def test_what_is_no_time_counts_as_none(own: Clock, told: object) -> None:
    for node_id in (2, 3, 4):
        own.note(COMMITTEE, node_id, NOW_S, told)
    assert own.ahead_s == 0


def test_nothing_is_known_of_the_clock_of_a_node_that_left_the_committee(own: Clock) -> None:
    tell(own, *[2 * HOUR_S] * 3)
    with captured() as lines:
        own.forget()
    assert own.ahead_s == 0 and not lines


@given(st.dictionaries(st.sampled_from(sorted(MEMBERS.keys() - {ME})), st.integers(-9, 9)))
def test_the_difference_is_the_largest_that_more_than_half_the_shards_have(
    ahead_s: Mapping[int, int],
) -> None:
    def of_more_than_half(least: int, sign: int) -> bool:
        weight = sum(MEMBERS[node_id].weight for node_id, one in ahead_s.items() if sign * one >= least)
        return 2 * weight > COMMITTEE.n_shards

    expected = [sign * one for one in range(1, 10) for sign in (1, -1) if of_more_than_half(one, sign)]
    assert most_ahead_s(COMMITTEE, ahead_s) == (expected[-1] if expected else 0)


async def test_the_watch_takes_the_time_from_an_answer_of_the_members_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Clock, "now_s", lambda own: NOW_S)
    bench = Bench(monkeypatch)

    async def health() -> dict[str, object]:
        return {"unixSeconds": int(NOW_S) - 2 * HOUR_S}

    bench.health = health
    for node_id in (2, 3):
        await bench.watch._poll(MEMBERS[node_id])
    assert bench.watch.clock.ahead_s == 0, "of half the shards"
    await bench.poll()
    assert bench.watch.clock.ahead_s == pytest.approx(2 * HOUR_S, abs=1)

    async def of_another() -> dict[str, object]:
        return {"unixSeconds": int(NOW_S), "nodeId": WATCHED - 1}

    bench.health = of_another
    await bench.poll()
    assert bench.watch.clock.ahead_s > HOUR_S
