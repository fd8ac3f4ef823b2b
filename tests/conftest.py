"""Options of the whole test run."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

SLOW_EXAMPLES = 2000
"""Of a property that names no number of its own, with --slow."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    _stop_ignoring_signals()
    if config.getoption("--slow"):
        settings.register_profile("slow", max_examples=SLOW_EXAMPLES)
        settings.load_profile("slow")


def _stop_ignoring_signals() -> None:
    """Undo it where the run was started with signals ignored, as by `nohup` or behind a script's `&`.

    Tests send them to the processes they start, which would ignore them too.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


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
