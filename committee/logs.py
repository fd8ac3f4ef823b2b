"""The log of this project's code: silent in a program that does not ask for it.

Events go to the standard library's logger `haulout`, so to nothing unless the program gives that logger, or one above
it, a handler; never to standard output of their own accord. In a process that has configured structlog, as a node has,
they go through structlog with their fields.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

NAME = "haulout"

logging.getLogger(NAME).addHandler(logging.NullHandler())


class Log:
    """Logs events: a text, and fields by name."""

    def debug(self, event: str, **fields: Any) -> None:
        """Log what helps to find faults."""
        _log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log what happens in good order."""
        _log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what may need an operator."""
        _log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what failed."""
        _log(logging.ERROR, event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """Log what ends the process."""
        _log(logging.CRITICAL, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log what failed with the exception that is being handled."""
        _log(logging.ERROR, event, {"exc_info": True, **fields})


def _log(level: int, event: str, fields: dict[str, Any]) -> None:
    if structlog.is_configured():
        structlog.get_logger().log(level, event, **fields)
        return
    logger = logging.getLogger(NAME)
    if logger.isEnabledFor(level):
        exc_info = fields.pop("exc_info", None)
        text = " ".join((event, *(f"{name}={value!r}" for name, value in fields.items())))
        logger.log(level, "%s", text, exc_info=exc_info)
