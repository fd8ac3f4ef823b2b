"""How many threads compute at once, in containers with a part of the machine's processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.node import threads


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("", 8),
        ("0 0", 8),
        ("4", 8),
        ("-1\n 100000\n", 8),
        ("200000\n 100000\n", 2),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_threads_that_compute_fit_a_containers_share_of_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: int, version: int
) -> None:
    """memgraph/memgraph#4661, ollama/ollama#17916."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    one, two = tmp_path / "quota", tmp_path / "period"
    monkeypatch.setattr(threads, "QUOTA_V2", one if version == 2 else tmp_path / "absent")
    monkeypatch.setattr(threads, "QUOTA_V1", (one, two))
    if version == 2:
        one.write_text(told)
    else:
        quota, _, period = told.partition(" ")
        one.write_text(quota)
        two.write_text(period)
    assert threads.count_processors() == expected


def test_a_process_is_bound_to_some_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "QUOTA_V2", tmp_path / "absent")
    monkeypatch.setattr(threads, "QUOTA_V1", (tmp_path / "absent",) * 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert threads.count_processors() == 1
