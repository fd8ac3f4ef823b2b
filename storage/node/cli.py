"""`haulout node init` and `run`, beside what `committee.cli` has an operator do on chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from committee.console import JsonOption, ManifestOption, RpcOption, network_address
from committee.printing import show


def init_node(
    folder: Annotated[Path, typer.Argument(help="The node's folder; it is made.")],
    rpc: RpcOption,
    deployment: ManifestOption,
    name: Annotated[str | None, typer.Option(help="1 to 64 bytes; the folder's name by default.")] = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9000,
    public_address: Annotated[
        str | None,
        typer.Option(
            parser=network_address,
            metavar="URL",
            help="What others reach it by; http://HOST:PORT by default.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Make a node's folder: fresh keys, which only you can read, and node.toml. Prints the account to send gas to."""
    from committee.ledger.evm import Deployment
    from storage.node.config import load_config
    from storage.node.folder import make_folder

    Deployment.load(deployment)
    settings: dict[str, str | int] = {
        "name": name or folder.resolve().name,
        "host": host,
        "port": port,
        "rpc_url": rpc,
        "deployment": str(deployment.resolve()),
    }
    if public_address:
        settings["public_address"] = public_address
    account = make_folder(folder, settings)
    show({"account": account, "folder": str(folder), "address": load_config(folder).address}, json_)


def run_node(
    folder: Annotated[Path, typer.Argument(help="The node's folder: node.toml, keys/ and store/.")],
    json_: Annotated[bool, typer.Option("--json", help="Log as JSON lines instead of text.")] = False,
) -> None:
    """Join the network if need be, then serve until stopped."""
    from storage.node import logs
    from storage.node.__main__ import serve

    logs.configure(as_json=json_)
    asyncio.run(serve(folder))
