"""`haulout node init`, `run` and `move`, beside what `committee.cli` has an operator do on chain."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from committee.addresses import MAX_NAME_BYTES, is_name
from committee.console import (
    AllowPrivateOption,
    JsonOption,
    ManifestOption,
    RpcHeadersOption,
    RpcOption,
    network_address,
    node_name,
)
from committee.printing import show


class Destination(enum.StrEnum):
    """Where the segments of a store go."""

    OBJECTS = "objects"
    DISK = "disk"


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
    rpc_headers: RpcHeadersOption = None,
    allow_private: AllowPrivateOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a node's folder: fresh keys, which only you can read, and node.toml. Prints the account to send gas to."""
    from committee.ledger.evm import Deployment, with_headers
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
    if rpc_headers is not None:
        with_headers(rpc, rpc_headers)
        settings["rpc_headers"] = str(rpc_headers.resolve())
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
    from storage.node.__main__ import run

    logs.configure(as_json=json_)
    run(folder)


def move_store(
    folder: Annotated[Path, typer.Argument(help="The folder of a node that does not run.")],
    to: Annotated[
        Destination,
        typer.Option(help="objects: to the object store that node.toml names; disk: back from it."),
    ],
    json_: JsonOption = False,
) -> None:
    """Move all slivers of a node to its object store, or back to its disk. Ended at any moment, it can go on."""
    from storage.node.config import load_config
    from storage.node.object_store import connector
    from storage.node.store import SliverStore

    config = load_config(folder)
    segments, size_bytes = 0, 0
    with SliverStore(folder / "store", connector(config), config.object_store_file_bytes) as store:
        while store.tidy():
            pass
        moving = store.moving.send_all() if to is Destination.OBJECTS else store.moving.fetch_all()
        for moved in moving:
            segments, size_bytes = moved.segments, moved.size_bytes
            if not json_ and sys.stderr is not None and sys.stderr.isatty():
                sys.stderr.write(
                    f"{segments} segments moved; left: {moved.segments_left}, {moved.bytes_left} bytes\n"
                )
    show({"folder": str(folder), "to": to.value, "segments": segments, "bytes": size_bytes}, json_)
