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

from committee.errors import CommitteeError
from storage.cli import app
from storage.redstuff import RedStuffError

Result = TypeVar("Result")

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


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end; Ctrl-C and SIGTERM cancel it, so that it cleans up first."""

    async def cancellable() -> Result:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(cancellable())
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write("interrupted; everything started has been stopped\n")
        raise SystemExit(INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Say what is wrong in one line and end with status 1."""
    sys.stderr.write(f"haulout: {message}\n")
    raise SystemExit(1)


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
        app()
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
        fail(str(error))


if __name__ == "__main__":
    main()
