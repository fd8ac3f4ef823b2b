"""The commands of `haulout`, put together from the folders' own, and how their errors end them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from typer.exceptions import TyperException

from committee import running
from committee.errors import HauloutError
from committee.printing import FAILED, INTERRUPTED, CommandFailed, error_text, put
from committee.running import Interrupted
from storage.cli import app
from storage.redstuff.parameters import MAX_SHARDS, MIN_SHARDS

Result = TypeVar("Result")

BLOB_ID = re.compile(r"-[A-Za-z0-9_-]{42}")
"""A blob id that looks like options."""
NOT_THERE = os.strerror(errno.ENOENT)
"""All that is said where the current folder has been deleted and its path is asked for."""


@app.command()
def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files to store; by default some of the project's own and one of 16 MiB."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the story.")
    ] = False,
) -> None:
    """Run the main job on a local network: store, certify, lose members, replace them, rebuild, read back."""
    from rich.console import Console

    from localnet.demo import run_demo
    from localnet.screen import Screen, Silence

    for path in files or ():
        if path.is_dir():
            fail(f"{path} is a directory: name files to store, or none for the built-in ones")
        if not path.is_file():
            fail(f"no file {path}: name files to store, or none for the built-in ones")
    if json_:
        result = run(run_demo(files or (), Silence()))
        put(json.dumps(result.to_json(), indent=2) + "\n", result.to_json())
    else:
        with Screen(Console()) as screen:
            result = run(run_demo(files or (), screen))
            screen.result(result)
    failed = [f"{check.statement} ({check.detail})" for check in result.checks if not check.holds]
    if failed:
        fail("not every check holds: " + "; ".join(failed))


@app.command()
def localnet(
    folder: Annotated[
        Path | None,
        typer.Argument(help="An empty or new folder it lives in; by default one that is deleted at the end."),
    ] = None,
    nodes: Annotated[int, typer.Option(help="Number of storage nodes.", min=1, max=100)] = 4,
    shards: Annotated[int, typer.Option(help="Number of shards.", min=MIN_SHARDS, max=MAX_SHARDS)] = 10,
    epoch_s: Annotated[
        int, typer.Option(help="Seconds of a period; the nodes move the epochs on.", min=12)
    ] = 60,
    json_: Annotated[
        bool, typer.Option("--json", help="Print how to use it as one JSON object instead of shell lines.")
    ] = False,
) -> None:
    """Run a network on this machine until Ctrl-C: a chain, the contracts, nodes in epoch 1; print how to use it."""
    from localnet.stay import stay

    run(stay(folder, nodes, shards, epoch_s, _say, as_json=json_))


def _say(text: str) -> None:
    put(text + "\n", {})


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end; Ctrl-C, SIGTERM and SIGHUP cancel it, so that it cleans up first.

    A second Ctrl-C or SIGTERM ends it at once.
    """
    try:
        return running.run(work, lambda: _tell("stopping…\n"))
    except Interrupted:
        _tell("interrupted; everything started has been stopped\n")
        raise SystemExit(INTERRUPTED) from None


def _tell(text: str) -> None:
    """Write to standard error; where that is impossible the exit status has to do."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def fail(message: str) -> NoReturn:
    """Say in one line what is wrong and what to do, and end with status 1; with `--json` in one JSON object."""
    end(CommandFailed(message, FAILED, {}))


def end(error: Exception) -> NoReturn:
    """Say what went wrong on standard error, and end with the error's exit status, 1 unless it has one."""
    _tell(error_text(error, "--json" in sys.argv))
    raise SystemExit(error.status if isinstance(error, CommandFailed) else FAILED)


def _misused(error: TyperException) -> NoReturn:
    """Say what is wrong with the words of the command, as any other error, and to people how the command is used.

    In typer's own box a path would be folded, and the control characters of a file's name would reach the terminal.
    """
    context = getattr(error, "ctx", None)
    if not error.format_message():  # no words at all: the help has been printed
        raise SystemExit(error.exit_code)
    if context is not None and "--json" not in sys.argv:
        _tell(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
    end(CommandFailed(error.format_message(), error.exit_code, {}))


def _argument(word: str) -> str:
    """Return a word of the command line such that a blob id, and a file named by one, is an argument.

    One id in 64 begins with "-", as options do; with "./" before it, it is none (`storage.client.cli` takes that off).
    """
    return f"./{word}" if BLOB_ID.fullmatch(word) else word


def _lack(error: Exception) -> str | None:
    """Return what the machine or container lacks that has raised the error; None if that is not why."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "there is not enough memory for this: allow the process more, or do less at once"
    if isinstance(error, FileNotFoundError) and (error.filename, error.strerror) == (None, NOT_THERE):
        return "the current folder is gone: change to one that is there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if "start new thread" in str(error):
        return "no thread can be started: allow the process more of them (ulimit -u, a container's limit of processes)"
    return None


def main() -> None:
    """Run the command that is named; our own errors, and what the machine lacks, come as one line without a traceback.

    Standard output takes any text: what its encoding lacks comes as an escape.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        raise SystemExit(app(args=[_argument(word) for word in sys.argv[1:]], standalone_mode=False))
    except TyperException as error:
        _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        end(CommandFailed("interrupted", INTERRUPTED, {}))
    except BrokenPipeError:
        raise SystemExit(FAILED) from None
    except (MemoryError, OSError, RuntimeError) as error:
        lack = _lack(error)
        if lack is None:
            raise
        end(CommandFailed(lack, FAILED, {}))
    except HauloutError as error:
        end(error)
