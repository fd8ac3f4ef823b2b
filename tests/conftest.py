"""Options of the whole test run."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

SLOW_EXAMPLES = 2000
"""Of a property that names no number of its own, with --slow."""
IN_MEMORY = Path("/dev/shm")
"""A file system in memory, where the system has one."""
LEAST_ROOM_BYTES = 2 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    _stop_ignoring_signals()
    _make_folders_in_memory()
    settings.register_profile("usual", deadline=None)  # no test depends on how fast the machine is
    settings.register_profile("slow", deadline=None, max_examples=SLOW_EXAMPLES)
    settings.load_profile("slow" if config.getoption("--slow") else "usual")


def _stop_ignoring_signals() -> None:
    """Undo it where the run was started with signals ignored, as by `nohup` or behind a script's `&`.

    Tests send them to the processes they start, which would ignore them too.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _make_folders_in_memory() -> None:
    """Have pytest make its temporary folders in memory, where there is room, unless the environment names a place.

    The stores of the tests sync thousands of times, and on a disk they wait for it.
    """
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= LEAST_ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        (dropped if item.get_closest_marker("slow") else kept).append(item)
    items[:] = kept
    if dropped:
        config.hook.pytest_deselected(items=dropped)
