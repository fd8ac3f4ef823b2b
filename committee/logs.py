"""The log of this project's code: silent in a program that does not ask for it.

Events go to the standard library's logger `haulout`, so to nothing unless the program gives that logger, or one above
it, a handler; never to standard output of their own accord, nor into a log that the program has for itself. A node's
own process has them sent elsewhere, with their fields (`send_to`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

NAME = "haulout"

Destination = Callable[[int, str, dict[str, Any]], None]
"""Takes an event: its level, its text, its fields by name; `exc_info` is among them where there is an exception."""

logging.getLogger(NAME).addHandler(logging.NullHandler())


class Log:
    """Logs events: a text, and fields by name."""

    def debug(self, event: str, **fields: Any) -> None:
        """Log what helps to find faults."""
        _destination(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log what happens in good order."""
        _destination(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what may need an operator."""
        _destination(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what failed."""
        _destination(logging.ERROR, event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """Log what ends the process."""
        _destination(logging.CRITICAL, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log what failed with the exception that is being handled."""
        _destination(logging.ERROR, event, {"exc_info": True, **fields})


class ChangesOnly:
    """A log of something that is checked again and again: a warning that repeats the last one is left out."""

    def __init__(self) -> None:
        self._last: tuple[str, dict[str, Any]] | None = None

    def warning(self, event: str, **fields: Any) -> None:
        """Log what may need an operator, as `Log.warning`, unless it was logged last."""
        if (event, fields) != self._last:
            _destination(logging.WARNING, event, fields)
        self._last = event, fields


def send_to(destination: Destination) -> Destination:
    """Send all events of this process to `destination` from now on; return where they were sent before."""
    global _destination
    before, _destination = _destination, destination
    return before


def to_standard_library(level: int, event: str, fields: dict[str, Any]) -> None:
    """Log an event as one line of text with the standard library's logger `haulout`."""
    logger = logging.getLogger(NAME)
    if logger.isEnabledFor(level):
        fields = dict(fields)
        exc_info = fields.pop("exc_info", None)
        text = " ".join((event, *(f"{name}={value!r}" for name, value in fields.items())))
        logger.log(level, "%s", text, exc_info=exc_info)


_destination: Destination = to_standard_library
