"""The rule for transfers: one that moves is left alone, one that stalls is not. No time passes here."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from storage.client.progress import LEAST_BYTES, PATIENCE_S, RequestProgress, StallRule


def lives_s(bytes_per_s: float, longest_s: int = 600) -> int:
    """Seconds for which a steady transfer is kept, looked at each second; `longest_s` if it is not ended."""
    rule = StallRule(0.0)
    for now_s in range(longest_s):
        if now_s >= rule.due_s(now_s, int(now_s * bytes_per_s)):
            return now_s
    return longest_s


def test_a_drip_of_a_byte_a_second_ends_within_a_minute() -> None:
    assert lives_s(1) <= 60


def test_a_hundred_transfers_that_share_a_megabit_live() -> None:
    assert lives_s(125_000 / 100) == 600


@given(st.floats(1.05 * LEAST_BYTES / (PATIENCE_S - 1), 1e9))
def test_what_moves_steadily_lives(bytes_per_s: float) -> None:
    assert lives_s(bytes_per_s) == 600


@given(st.floats(0, 0.95 * LEAST_BYTES / PATIENCE_S))
def test_what_moves_less_is_ended_in_time(bytes_per_s: float) -> None:
    assert lives_s(bytes_per_s) <= PATIENCE_S


@given(st.integers(LEAST_BYTES, 2**40))
def test_what_stops_after_any_amount_is_ended_in_time(moved_bytes: int) -> None:
    rule = StallRule(0.0)
    assert rule.due_s(100.0, moved_bytes) == 100.0 + PATIENCE_S
    assert rule.due_s(100.0 + PATIENCE_S, moved_bytes + LEAST_BYTES - 1) == 100.0 + PATIENCE_S


async def test_an_answer_that_has_begun_tells_of_a_break_however_soon_it_comes() -> None:
    """A request without one may have met a kept connection that the other side had closed before."""
    moving = RequestProgress(None, 30.0)
    now_s = asyncio.get_running_loop().time()
    assert not moving.has_broken(now_s)
    moving.has_answer = True
    assert moving.has_broken(now_s)
