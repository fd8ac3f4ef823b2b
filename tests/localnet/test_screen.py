"""What a person sees of a demo, on a terminal and without one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from localnet.screen import Screen


class Clock:
    """Stands still until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def screen(is_terminal: bool = False) -> tuple[Screen, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return Screen(Console(file=out, force_terminal=is_terminal, width=60), clock), out, clock


def test_without_a_terminal_progress_is_told_at_a_change_and_once_a_second_at_most() -> None:
    shown, out, clock = screen()
    for done in range(5):
        shown.progress("nodes", done, 17)
        clock.now_s += 0.3
    shown.progress("nodes", 5, 17)  # 0.3 s after 4 of 17 was told
    clock.now_s += 5
    shown.progress("nodes", 4, 17)  # no change
    shown.progress("nodes", 16, 17, "almost")
    shown.progress("nodes", 17, 17)
    shown.progress("nodes", 17, 17)
    told = [line.strip() for line in out.getvalue().splitlines()]
    assert told == ["nodes: 4 of 17", "nodes: 16 of 17, almost", "nodes: 17 of 17"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_last_state_stays_where_the_progress_was_to_be_seen(is_terminal: bool) -> None:
    shown, out, clock = screen(is_terminal)
    shown.progress("quick", 0, 17)
    shown.progress("quick", 17, 17)
    shown.progress("slow", 0, 17)
    clock.now_s += 2
    shown.progress("slow", 17, 17)
    assert "slow: 17 of 17" in out.getvalue()
    assert "quick: 17" not in out.getvalue()


def test_without_a_terminal_no_line_is_folded() -> None:
    shown, out, _ = screen()
    shown.say("x" * 200)
    assert out.getvalue() == "   " + "x" * 200 + "\n"
