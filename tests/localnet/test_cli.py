"""The error line of the `haulout` command, and what it does when it is interrupted before it has begun."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from committee.errors import LedgerError, LedgerRefused
from localnet import cli, commands

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202egnp\x9b31m\ud800"


def fail_with(error: Exception, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command that raises `error`."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "app", fail)
    monkeypatch.setattr(sys, "argv", ["haulout", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit, match="1"):
        cli.main()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        LedgerError(HOSTILE),
        LedgerError(HOSTILE * 10**6),
        LedgerRefused("Staking.stake", "Error", {"message": HOSTILE}),
    ],
    ids=["a provider's words", "too many of them", "a contract's"],
)
def test_what_strangers_say_cannot_write_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: LedgerError, as_json: bool
) -> None:
    fail_with(error, as_json, monkeypatch)
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert line.startswith('{"error": ' if as_json else "haulout: ")
    assert len(line) < 50_000
    if as_json:
        assert json.loads(line)["error"].isprintable()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(12, "Cannot allocate memory"), "not enough memory"),
        (RuntimeError("can't start new thread"), "no thread can be started"),
        (OSError(24, "Too many open files", "/some/file"), "/some/file: Too many open files"),
    ],
    ids=["memory", "memory for an array", "threads", "descriptors"],
)
def test_what_the_machine_lacks_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    told: str,
    as_json: bool,
) -> None:
    fail_with(error, as_json, monkeypatch)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and told in line


def test_a_fault_of_the_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        commands.main()


def test_help_is_written_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["haulout", "blob", "store", "--help"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    sys.stdout.flush()
    assert rb"\u2026" in written.getvalue()


@pytest.mark.parametrize("columns", ["0", "1", "-5", "wide"])
def test_a_width_that_is_none_hides_no_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, columns)
    monkeypatch.setattr(sys, "argv", ["haulout", "blob", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "No such command 'nonsense'" in capsys.readouterr().err
    assert "TERMINAL_WIDTH" not in os.environ  # typer fails on it when it is imported


COUNT = """
import sys, threading
from pathlib import Path
from localnet import cli
sys.argv = ["haulout", "demo", "--help"]
try:
    cli.main()
except SystemExit:
    import numpy
print("threads", len(list(Path("/proc/self/task").iterdir())))
"""


def test_no_thread_is_started_for_arithmetic_that_nothing_does() -> None:
    """One for each processor, where a container's limit of processes may be lower."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    ended = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.splitlines()[-1] == "threads 1"


class InterruptedImport:
    """A finder that sends this process a signal when the commands are imported."""

    def __init__(self, number: int) -> None:
        self.number = number

    def find_spec(self, name: str, *_: object) -> None:
        if name == "localnet.commands":
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_import_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, as_json: bool
) -> None:
    monkeypatch.delitem(sys.modules, "localnet.commands")
    monkeypatch.delattr("localnet.commands")
    monkeypatch.setattr(sys, "meta_path", [InterruptedImport(number), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["haulout", "blob-id", *(["--json"] if as_json else [])])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    line = capsys.readouterr().err
    assert line == ('{"error": "interrupted"}\n' if as_json else "haulout: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) == before


LEFT = """
import sys, threading
from localnet import cli, commands
commands.main = threading.Thread(target=threading.Event().wait).start
cli.main()
print("left", flush=True)
"""


def test_ctrl_c_while_python_waits_for_a_thread_ends_it_without_a_traceback() -> None:
    """Supervisor/supervisor#1539, seeing-things/track#111: who presses it twice meets the interpreter's end."""
    with subprocess.Popen(
        [sys.executable, "-c", LEFT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "left\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == ""
    assert process.returncode == -signal.SIGINT
