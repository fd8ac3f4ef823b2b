"""`haulout node run`, beside what `committee.cli` has an operator do on chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def run_node(
    folder: Annotated[Path, typer.Argument(help="The node's folder: node.toml, keys/ and store/.")],
    json_: Annotated[bool, typer.Option("--json", help="Log as JSON lines instead of text.")] = False,
) -> None:
    """Join the network if need be, then serve until stopped."""
    from storage.node.__main__ import configure_log, serve

    configure_log(as_json=json_)
    asyncio.run(serve(folder))
