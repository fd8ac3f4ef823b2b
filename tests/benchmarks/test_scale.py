"""Figures of scale are judged by their growth for ten times the blobs, whatever the sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import bench_scale, scale_filling
from benchmarks.bench_scale import GOALS, IN_THIS_PROCESS, Goal, judged, tenfold


def test_growth_is_told_for_ten_times_the_blobs() -> None:
    assert tenfold(1.0, 10.0, 10.0) == 10.0
    assert math.isclose(tenfold(1.0, 100.0, 100.0), 10.0)
    assert tenfold(0.0, 1.0, 10.0) == math.inf


def test_a_figure_that_grows_faster_than_its_goal_falls_short() -> None:
    figure = next(name for name, goal in GOALS.items() if goal.most_growth == 11)
    assert judged(figure, {100: 1.0, 1000: 10.9}).holds
    assert not judged(figure, {100: 1.0, 1000: 10.0, 10_000: 111.0}).holds


def test_a_figure_with_a_bound_is_within_it_at_every_size() -> None:
    bench_scale.GOALS["x"] = Goal("ms", most=50)
    try:
        assert judged("x", {10: 50.0, 100: 50.0}).holds
        assert not judged("x", {10: 50.1, 100: 1.0}).holds
    finally:
        del bench_scale.GOALS["x"]


async def test_every_part_measures_figures_that_have_goals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_filling, "SHARD_COUNTS", (10,))
    for name, part in IN_THIS_PROCESS.items():
        for figure, value in (await part(20, tmp_path / name)).items():
            assert figure in GOALS
            assert value >= 0
