"""The node's log: one line an event on standard error, JSON where told, whatever the event is made of.

structlog and the standard library's logging, with which aiohttp, asyncio and web3 log, end in the same lines. A line
has at most LINE_BYTES, its control characters are escaped, and an exception is in it as one value without local
variables. At most LINES_A_WINDOW of one kind are written in WINDOW_S; how many were left out is told after that. A line
that cannot be written, as the disk is full or the reader of a pipe has stopped or gone, is counted and lost: logging
neither raises nor waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import structlog

from committee.logs import send_to
from committee.untrusted import printable

LINES_A_WINDOW = 50
WINDOW_S = 10.0
KINDS = 256
"""Kinds of events counted one by one; the events of all further kinds are counted together."""
LINE_BYTES = 4000
"""At most what a pipe takes in one piece (PIPE_BUF, 4096)."""
VALUE_CHARACTERS = (1000, 200, 40)
"""The length at which a value is cut off; the next one is used when the line is too long all the same."""
FRAMES = 6
"""Number of an exception's traceback frames that are logged, the innermost ones."""
KIND = "_kind"
"""The key of an event's kind for the rate limit; without it, the event's text is its kind."""

Event = MutableMapping[str, Any]


class _Render(Protocol):
    def __call__(self, logger: Any, name: str, event: Event, /) -> str | bytes: ...


class RateLimit:
    """Drops events that come too often, kind by kind. A processor for structlog; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._counts: dict[str, int] = {}

    def __call__(self, logger: Any, name: str, event: Event) -> Event:
        """Return the event, or raise `DropEvent` when its kind has had its lines."""
        kind = str(event.pop(KIND, event.get("event", "")))[:200]
        for left_out in self._turn():
            structlog.get_logger().warning("lines left out", **left_out)
        with self._lock:
            if kind not in self._counts and len(self._counts) >= KINDS:
                kind = "other kinds"
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if self._counts[kind] > LINES_A_WINDOW:
                raise structlog.DropEvent
        return event

    def _turn(self) -> list[dict[str, Any]]:
        """Begin a new window if the last one is over; return what it left out."""
        with self._lock:
            now = time.monotonic()
            if now - self._began < WINDOW_S:
                return []
            self._began, counts, self._counts = now, self._counts, {}
        left_out = {kind: count - LINES_A_WINDOW for kind, count in counts.items() if count > LINES_A_WINDOW}
        return [{"of": kind, "lines": lines, KIND: "lines left out"} for kind, lines in left_out.items()]


class Sink:
    """Writes lines to a file descriptor, never waits for it, and counts the lines that it does not take."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_torn = False
        """Whether the last line was written in part."""
        self.lost_lines = 0

    def msg(self, line: str) -> None:
        """Write a line, or count it as lost."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            written = os.write(self._descriptor, b"\n" * self._is_torn + data) if self._takes_more() else 0
        except (OSError, ValueError):
            written = 0
        self._is_torn = 0 < written < len(data) or (self._is_torn and not written)
        self.lost_lines += written < len(data)

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = err = msg

    def _takes_more(self) -> bool:
        """Return whether a write would not wait. A file always takes more, or fails at once."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))


_sink = Sink(2)


def lost_lines() -> int:
    """Return the number of lines that could not be written since the process began."""
    return _sink.lost_lines


def configure(as_json: bool) -> None:
    """Send all logging of this process to standard error.

    Text has colours on a terminal, unless NO_COLOR is set or TERM is "dumb".
    """
    structlog.configure(
        processors=[
            RateLimit(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _Lines(_as_json if as_json else structlog.dev.ConsoleRenderer(colors=_wants_colours())),
        ],
        logger_factory=lambda *_: _sink,
    )
    send_to(lambda level, event, fields: structlog.get_logger().log(level, event, **fields))
    logging.basicConfig(handlers=[_Handler()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )


def _wants_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    structlog.get_logger().critical("uncaught exception", exc_info=error or kind())


class _Lines:
    """The last processor: makes an event one line of limited length."""

    def __init__(self, render: _Render) -> None:
        self._render = render

    def __call__(self, logger: Any, name: str, event: Event) -> str:
        error = _exception(event.pop("exc_info", None))
        if error is not None:
            event["raised"] = describe(error)
        line = ""
        for length in VALUE_CHARACTERS:
            line = str(
                self._render(logger, name, {key[:40]: _cut(value, length) for key, value in event.items()})
            )
            if len(line.encode("utf-8", "backslashreplace")) < LINE_BYTES:
                return line
        few = {key: _cut(event.get(key), 100) for key in ("event", "level", "timestamp")}
        return str(self._render(logger, name, few | {"shortened": True}))


def describe(error: BaseException) -> str:
    """Return an exception in one line: its kind, its message, where it was raised, and what it came from."""
    frames = list(traceback.walk_tb(error.__traceback__))[-FRAMES:]
    where = " < ".join(
        f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in reversed(frames)
    )
    text = _headline(error) + (f" ({where})" if where else "")
    if isinstance(error, BaseExceptionGroup):
        return f"{text} of {'; '.join(map(_headline, error.exceptions[:3]))}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text if cause is None else f"{text} from {_headline(cause)}"


def _headline(error: BaseException) -> str:
    return f"{type(error).__name__}: {_printable(error, VALUE_CHARACTERS[0] // 4)}"


def _exception(exc_info: Any) -> BaseException | None:
    """Return the exception of what `exc_info` may be: an exception, a tuple of three, or true."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info is True or (exc_info and not isinstance(exc_info, BaseException)):
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def _cut(value: Any, length: int) -> Any:
    """Return a value as it is logged: short, of JSON's kinds, and printable."""
    if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int):
        return (
            value if abs(value) < 2**63 else str(value)[:length] if abs(value) < 2**512 else "a huge number"
        )
    text = _printable(value, length)
    if isinstance(value, list | tuple | set | frozenset | Mapping) and len(text) < length:
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return json.loads(
                json.dumps(sorted(value) if isinstance(value, set | frozenset) else value, allow_nan=False)
            )
    return text


def _printable(value: Any, length: int) -> str:
    """Return the text of any value, cut off and on one line."""
    try:
        return printable(str(value), length)
    except Exception as error:
        return f"a {type(value).__name__} without text: {type(error).__name__}"


def _as_json(logger: Any, name: str, event: Event) -> str:
    return json.dumps(event, default=repr).replace("\x7f", r"\u007f")


class _Handler(logging.Handler):
    """Hands the standard library's records on to structlog; the rate limit counts them by logger and level."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record."""
        with contextlib.suppress(Exception):  # of a record whose message does not format
            structlog.get_logger().log(
                max(record.levelno, logging.WARNING),
                record.getMessage().partition("\n")[0],
                logger=record.name,
                exc_info=record.exc_info,
                **{KIND: f"{record.name} {record.levelname}"},
            )
