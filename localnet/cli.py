"""The `haulout` command, put together from the folders' own commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import stamina
import typer
from typer.exceptions import TyperException

from committee.errors import CommitteeError, LedgerRefused
from storage.cli import app
from storage.redstuff import RedStuffError
from storage.redstuff.parameters import MAX_SHARDS, MIN_SHARDS

Result = TypeVar("Result")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM, as shells have it."""


@app.command()
def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files to store; some of the project's own and one of 16 MiB without."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the story.")
    ] = False,
) -> None:
    """Run the main job on a local network: store, certify, lose members, change the epoch, rebuild, read back."""
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
        sys.stdout.write(json.dumps(result.to_json(), indent=2) + "\n")
    else:
        with Screen(Console()) as screen:
            result = run(run_demo(files or (), screen))
            screen.result(result)
    if not result.ok:
        fail("not every check holds")


@app.command()
def localnet(
    folder: Annotated[
        Path | None, typer.Argument(help="Where it lives, an empty folder; by default one that goes with it.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Number of storage nodes.", min=1, max=100)] = 4,
    shards: Annotated[int, typer.Option(help="Number of shards.", min=MIN_SHARDS, max=MAX_SHARDS)] = 10,
) -> None:
    """Run a network on this machine until Ctrl-C: a chain, the contracts, nodes in epoch 1; print how to use it."""
    from localnet.stay import stay

    run(stay(folder, nodes, shards, _say))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end; Ctrl-C and SIGTERM cancel it, so that it cleans up first.

    A second one ends it at once.
    """

    async def cancellable() -> Result:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()

        def stop() -> None:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
            _tell("stopping…")
            task.cancel()

        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(cancellable())
    except (KeyboardInterrupt, asyncio.CancelledError):
        _tell("interrupted; everything started has been stopped")
        raise SystemExit(INTERRUPTED) from None


def _tell(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def fail(message: str, reason: str = "", hint: str = "", status: int = 1) -> NoReturn:
    """Say in one line what is wrong and what to do, and end with a status; with `--json` in one JSON object."""
    if "--json" in sys.argv:
        more = {name: value for name, value in (("reason", reason), ("hint", hint)) if value}
        _tell(json.dumps({"error": message, **more}))
    else:
        _tell(f"haulout: {message}" + (f": {hint}" if hint else ""))
    raise SystemExit(status)


def main() -> None:
    """The entry point: errors of the house come as one line, without a traceback."""
    from localnet.chain import ChainError
    from localnet.demo import DemoFailed
    from localnet.network import NetworkError
    from storage.client.errors import ClientError
    from storage.node.config import ConfigError
    from storage.node.store import StoreError

    stamina.instrumentation.set_on_retry_hooks(())
    try:
        # With --json a wrong option or argument is told as any other error is, not in typer's own box.
        raise SystemExit(app(standalone_mode="--json" not in sys.argv))
    except TyperException as error:
        fail(error.format_message(), status=error.exit_code)
    except (
        ChainError,
        ClientError,
        CommitteeError,
        ConfigError,
        DemoFailed,
        NetworkError,
        RedStuffError,
        StoreError,
    ) as error:
        if isinstance(error, LedgerRefused):
            fail(str(error), error.reason, error.hint)
        fail(str(error))


if __name__ == "__main__":
    main()
