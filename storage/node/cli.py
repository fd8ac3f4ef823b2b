"""`haulout node …`: what an operator does with a node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run a storage node.")


@app.callback()
def _node() -> None:
    """Run a storage node."""


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="The node's folder: node.toml, keys/ and store/.")],
    json_: Annotated[bool, typer.Option("--json", help="Log as JSON lines instead of text.")] = False,
) -> None:
    """Join the network if need be, then serve until stopped."""
    from storage.node.__main__ import configure_log, serve

    configure_log(as_json=json_)
    asyncio.run(serve(folder))
