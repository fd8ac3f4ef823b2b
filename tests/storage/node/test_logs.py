"""The node's log: one line an event, whatever it is made of, and nothing that it cannot write stops it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from committee.logs import send_to, to_standard_library
from storage.node import logs

Lines = Callable[[], list[dict[str, Any]]]
log = structlog.get_logger()


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging as it was, when the test has ended."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    before = send_to(to_standard_library)
    for where, name in ((sys, "excepthook"), (threading, "excepthook"), (logging, "raiseExceptions")):
        monkeypatch.setattr(where, name, getattr(where, name))
    monkeypatch.setattr(logs, "_sink", logs.Sink(2))
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    yield
    structlog.reset_defaults()
    send_to(before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(restored: None, capfd: pytest.CaptureFixture[str]) -> Lines:
    """`lines()`: the lines logged as JSON since the last call."""
    logs.configure(as_json=True)

    def read() -> list[dict[str, Any]]:
        text = capfd.readouterr().err
        assert text.isascii() and (not text or text.endswith("\n"))
        assert all(len(line) < logs.LINE_BYTES for line in text.splitlines())
        return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]

    return read


def test_an_event_is_one_json_line(lines: Lines) -> None:
    log.warning("serving", port=1, name="baffin", shards=[6, 7], ready=True)
    (line,) = lines()
    assert line.pop("timestamp")
    assert line == {
        "event": "serving", "level": "warning", "port": 1, "name": "baffin", "shards": [6, 7], "ready": True
    }  # fmt: skip


VALUES = st.recursive(
    st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(event=st.text(), values=st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), VALUES))
def test_whatever_is_logged_is_one_short_json_line(event: str, values: dict[str, Any]) -> None:
    written: list[str] = []
    render = logs._Lines(logs._as_json)
    written.append(render(None, "info", {"event": event, **values}))
    (line,) = written
    assert line.isascii() and line.isprintable()
    assert len(line) < logs.LINE_BYTES
    json.loads(line, parse_constant=pytest.fail)


@given(event=st.text(), values=st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), VALUES))
def test_whatever_is_logged_as_text_has_no_control_characters(event: str, values: dict[str, Any]) -> None:
    line = logs._Lines(structlog.dev.ConsoleRenderer(colors=False))(None, "info", {"event": event, **values})
    assert line.isprintable()
    assert len(line.encode()) < logs.LINE_BYTES


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7,
        "\u1234" * 10**6,
        [["deep"] * 100] * 100,
        10**5000,
        Unprintable(),
        ValueError("x" * 10**7),
    ],
    ids=["long", "wide", "large", "huge", "unprintable", "error"],
)
def test_a_large_value_is_cut_off(lines: Lines, value: Any) -> None:
    log.error("failed", why=value, **{f"more{number}": value for number in range(20)})
    (line,) = lines()
    assert line["event"] == "failed"


def sign(secret: str) -> None:
    raise ValueError(f"a fee of\n-{len(secret)}")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_is_one_line_without_the_frames_variables(
    restored: None, capfd: pytest.CaptureFixture[str], as_json: bool
) -> None:
    logs.configure(as_json=as_json)
    try:
        sign("do not tell " + "this")
    except ValueError:
        log.exception("a duty failed")
        logging.getLogger("asyncio").exception("a task failed:\nand more")
    told = capfd.readouterr().err
    assert told.count("\n") == 2
    assert told.count(r"ValueError: a fee of\\n-16") == 2
    assert told.count(" sign < ") == 2
    assert "do not tell this" not in told


def test_what_an_exception_came_from_is_told(lines: Lines) -> None:
    try:
        try:
            sign("")
        except ValueError as error:
            raise ExceptionGroup("both", [OSError(28, "full"), TypeError()]) from error
    except ExceptionGroup:
        log.exception("failed")
    (line,) = lines()
    assert line["raised"].startswith("ExceptionGroup: both (2 sub-exceptions) (test_logs.py:")
    assert line["raised"].endswith(" of OSError: [Errno 28] full; TypeError: ")


async def test_what_asyncio_says_is_one_line(lines: Lines) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler(
        {"message": "socket.accept() out of system resource", "exception": OSError(24)}
    )
    (line,) = lines()
    assert (line["logger"], line["event"]) == ("asyncio", "socket.accept() out of system resource")


def test_warnings_and_uncaught_exceptions_are_lines() -> None:
    text = _run(
        "import threading, warnings; from storage.node import logs; logs.configure(as_json=True);"
        "warnings.warn('old'); thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join();"
        "raise ValueError('the end')"
    )
    events = [json.loads(line) for line in text.splitlines()]
    assert len(events) == 3
    assert events[0]["event"].endswith("UserWarning: old")
    assert events[1]["raised"].startswith("ZeroDivisionError: ")
    assert events[2]["raised"].startswith("ValueError: the end")


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
    return done.stderr.decode()


# how often


def test_what_comes_too_often_is_counted(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    logs.configure(as_json=True)
    for number in range(100_000 // 50):
        log.info("malformed request", number=number)
        logging.getLogger("aiohttp.server").error("error %d", number)
    log.info("serving")
    told = lines()
    assert len(told) == 2 * logs.LINES_A_WINDOW + 1
    assert told[-1]["event"] == "serving", "one kind takes nothing from another"
    clock.now += logs.WINDOW_S
    log.info("serving")
    left_out = 2000 - logs.LINES_A_WINDOW
    assert [(one["event"], one.get("of"), one.get("lines")) for one in lines()] == [
        ("lines left out", "malformed request", left_out),
        ("lines left out", "aiohttp.server ERROR", left_out),
        ("serving", None, None),
    ]


def test_kinds_that_are_made_up_are_counted_together(lines: Lines) -> None:
    for number in range(10 * logs.KINDS):
        log.info(f"event {number}")
    assert len(lines()) == logs.KINDS + logs.LINES_A_WINDOW


# what cannot be written


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = logs.Sink(full.fileno())
        for _ in range(3):
            sink.msg("line")
    assert sink.lost_lines == 3


def test_a_descriptor_that_is_closed_loses_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = logs.Sink(writing)
    sink.msg("nobody reads this")
    os.close(writing)
    sink.msg("nor this")
    assert sink.lost_lines == 2


def test_a_pipe_whose_reader_has_stopped_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    sink = logs.Sink(writing)
    line = "x" * (logs.LINE_BYTES - 1)
    for _ in range(100):
        sink.msg(line)
    assert 0 < sink.lost_lines < 100
    written = os.read(reading, 2**20)
    sink.msg("read again")
    assert written == (line + "\n").encode() * (100 - sink.lost_lines), "whole lines only"
    assert os.read(reading, 2**20) == b"read again\n"
    os.close(reading)
    os.close(writing)


def test_a_line_after_one_that_was_torn_begins_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb", buffering=0) as file:
        sink = logs.Sink(file.fileno())
        write = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        sink.msg("torn")
        monkeypatch.undo()
        sink.msg("whole")
    assert (tmp_path / "log").read_text() == "tor\nwhole\n"
    assert sink.lost_lines == 1


# colours


@pytest.mark.parametrize(
    ("environment", "as_json", "has_colours"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm"}, True, False),
    ],
    ids=str,
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], as_json: bool, has_colours: bool
) -> None:
    ours, theirs = pty.openpty()
    code = (
        f"from storage.node import logs; logs.configure(as_json={as_json});"
        "import structlog; structlog.get_logger().info('serving')"
    )
    others = {name: value for name, value in os.environ.items() if name not in ("TERM", "NO_COLOR")}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=others | environment)
    os.close(theirs)
    told = os.read(ours, 4096)
    os.close(ours)
    assert b"serving" in told
    assert (b"\x1b" in told) is has_colours


def test_the_log_has_no_colours_where_nobody_sees_them(
    restored: None, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(as_json=False)
    log.warning("serving", port=1)
    told = capfd.readouterr().err
    assert "serving" in told
    assert "\x1b" not in told
