"""Fail points: nothing happens unless the environment says so when the process starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from storage.node import fail_points
from storage.node.fail_points import ENVIRONMENT, NAMES, UnknownFailPoint, fail_point

PASS_TWICE = """
from storage.node.fail_points import fail_point
for _ in range(2):
    fail_point("handover.begun")
    print("passed", flush=True)
"""


def passed(armed: str) -> tuple[int, int]:
    """(exit status, how often the place was passed) of a process armed so."""
    done = subprocess.run(
        [sys.executable, "-c", PASS_TWICE], env={**os.environ, ENVIRONMENT: armed}, capture_output=True
    )
    return done.returncode, done.stdout.count(b"passed")


def test_nothing_is_armed_here() -> None:
    assert fail_points._ARMED not in NAMES
    for name in NAMES:
        fail_point(name)
    assert not fail_points._passed


@pytest.mark.parametrize(
    ("armed", "end"),
    [
        ("", (0, 2)),
        ("handover.complete", (0, 2)),
        ("handover.begun", (-signal.SIGKILL, 0)),
        ("handover.begun:2", (-signal.SIGKILL, 1)),
        ("handover.begun:3", (0, 2)),
    ],
)
def test_an_armed_process_kills_itself_at_its_place(armed: str, end: tuple[int, int]) -> None:
    assert passed(armed) == end


@pytest.mark.parametrize("text", ["nowhere", "handover.begun:x", "handover.begun:-1", ":2", "handover"])
def test_a_place_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(UnknownFailPoint, match="no such fail point"):
        fail_points._read(text)
