"""`haulout node init` and `run`, beside what `committee.cli` has an operator do on chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from committee.addresses import MAX_NAME_BYTES, is_name
from committee.console import (
    AllowPrivateOption,
    JsonOption,
    ManifestOption,
    RpcOption,
    network_address,
    node_name,
)
from committee.printing import show


def init_node(
    folder: Annotated[Path, typer.Argument(help="The node's folder; it is made.")],
    rpc: RpcOption,
    deployment: ManifestOption,
    name: Annotated[
        str | None,
        typer.Option(
            parser=node_name,
            metavar="NAME",
            help="1 to 64 printable ASCII characters; the folder's name by default.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where it listens: an address of this machine; 0.0.0.0 or :: for all of them.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port it listens at.", min=1, max=65535)] = 9000,
    public_address: Annotated[
        str | None,
        typer.Option(
            parser=network_address,
            metavar="URL",
            help="What others reach it by, registered on the chain; http://HOST:PORT by default.",
        ),
    ] = None,
    allow_private: AllowPrivateOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a node's folder: fresh keys, which only you can read, and node.toml. Prints the account to send gas to."""
    from committee.ledger.evm import Deployment
    from storage.node.config import ConfigError, parse_settings
    from storage.node.folder import make_folder

    manifest = Deployment.load(deployment)
    name = name or folder.resolve().name
    if not is_name(name):
        raise ConfigError(
            f"the folder's name {name!r} is no name of a node, 1 to {MAX_NAME_BYTES} printable ASCII characters: "
            "give one with --name"
        )
    settings: dict[str, str | int | bool] = {
        "name": name,
        "host": host,
        "port": port,
        "rpc_url": rpc,
        "deployment": str(deployment.resolve()),
    }
    if public_address is not None:
        settings["public_address"] = public_address
    if allow_private is not None:
        settings["allow_private_addresses"] = allow_private
    config = parse_settings(settings, "the settings")
    config.require_reachable(manifest.is_development_chain if allow_private is None else allow_private)
    account = make_folder(folder, settings)
    show({"account": account, "folder": str(folder), "address": config.address}, json_)


def run_node(
    folder: Annotated[Path, typer.Argument(help="The node's folder: node.toml, keys/ and store/.")],
    json_: Annotated[bool, typer.Option("--json", help="Log as JSON lines instead of text.")] = False,
) -> None:
    """Join the network if need be, then serve until stopped."""
    from storage.node import logs
    from storage.node.__main__ import serve

    logs.configure(as_json=json_)
    asyncio.run(serve(folder))
