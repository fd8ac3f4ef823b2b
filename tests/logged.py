"""What the project's code logs, for tests to look at."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from committee.logs import send_to


@contextlib.contextmanager
def captured() -> Iterator[list[dict[str, Any]]]:
    """The events that are logged in the block: their fields, with the text as `event` and the level as `log_level`."""
    events: list[dict[str, Any]] = []

    def keep(level: int, event: str, fields: dict[str, Any]) -> None:
        events.append({"event": event, "log_level": logging.getLevelName(level).lower(), **fields})

    before = send_to(keep)
    try:
        yield events
    finally:
        send_to(before)
