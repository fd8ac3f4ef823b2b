from __future__ import annotations

import pytest

from committee.backoff import next_pause_s


@pytest.mark.parametrize(
    ("last_s", "growth", "pause_s"),
    [(0, 2, 1), (0.1, 2, 1), (1, 2, 2), (2, 1.5, 3), (4, 2, 8), (5, 2, 8), (8, 2, 8), (100, 2, 8)],
)
def test_a_pause_grows_from_the_first_to_the_longest(last_s: float, growth: float, pause_s: float) -> None:
    assert next_pause_s(last_s, first_s=1, longest_s=8, growth=growth) == pause_s
