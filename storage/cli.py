"""`haulout …`: the commands of committee, client and node put together, and what needs no network."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from committee.cli import account_app, node_app
from committee.deploy_command import deploy_command
from committee.epoch_cli import epoch_app
from committee.printing import put
from committee.stake_cli import stake_app
from storage.client.cli import FileArgument
from storage.client.cli import app as blob_app
from storage.client.files import metadata_of
from storage.client.proofs_cli import app as proofs_app
from storage.client.space_cli import app as space_app
from storage.node.cli import init_node, move_store, run_node
from storage.redstuff.parameters import MAX_SHARDS, MIN_SHARDS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Haulout: a storage network that rebuilds only what departed.",
)
app.command("deploy")(deploy_command)
node_app.command("init")(init_node)
node_app.command("run")(run_node)
node_app.command("move")(move_store)
app.add_typer(account_app, name="account")
app.add_typer(node_app, name="node")
app.add_typer(stake_app, name="stake")
app.add_typer(epoch_app, name="epoch")
app.add_typer(blob_app, name="blob")
app.add_typer(space_app, name="space")
app.add_typer(proofs_app, name="proofs")


@app.command("blob-id")
def blob_id(
    file: FileArgument,
    shards: Annotated[
        int, typer.Option(help="Shards of the network it is for.", min=MIN_SHARDS, max=MAX_SHARDS)
    ] = 1000,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the 43 characters that name a blob."""
    from storage.redstuff import RedStuff, blob_id_text

    metadata = asyncio.run(metadata_of(RedStuff(shards), file))
    name = blob_id_text(metadata.blob_id)
    answer = {"blob_id": name, "size_bytes": metadata.length, "n_shards": shards}
    put((json.dumps(answer) if json_ else name) + "\n", answer)
