"""`haulout deploy`: put the contracts on a chain, in one go or in several."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from committee.console import (
    DryRunOption,
    JsonOption,
    KeyOption,
    RpcOption,
    account_address,
    as_failure,
    require_key,
    require_new_file,
    token_amount,
)
from committee.ledger import DryRun
from committee.printing import PAID, CommandFailed, planned, show, write_out
from committee.running import Interrupted, run

if TYPE_CHECKING:
    from committee.ledger.evm.deployment import Deployment, Finality


def finality_tag(text: str) -> str:
    """The JSON-RPC tag of the blocks that nodes take for settled. Raises `typer.BadParameter`."""
    if text not in ("latest", "safe", "finalized"):
        raise typer.BadParameter(f"{text!r} is none of latest, safe, finalized")
    return text


def deploy_command(
    manifest: Annotated[Path, typer.Argument(help="Where the deployment manifest is written.")],
    rpc: RpcOption,
    price: Annotated[int, typer.Option(help="For a MiB and epoch, smallest units.", min=1)],
    write_price: Annotated[int, typer.Option(help="For registering a MiB, smallest units.", min=0)],
    shards: Annotated[int, typer.Option(help="Number of shards, for life.", min=4, max=1000)] = 1000,
    epoch_s: Annotated[int, typer.Option(help="Seconds of an epoch.", min=1)] = 14 * 24 * 3600,
    deadline_s: Annotated[int, typer.Option(help="Seconds until a handover can be closed.", min=1)] = 86_400,
    patience_s: Annotated[int, typer.Option(help="Silence after which a member is ejected.", min=1)] = 600,
    evidence_s: Annotated[
        int, typer.Option(help="Seconds behind an epoch in which its stake can be slashed.", min=0)
    ] = 7 * 24 * 3600,
    timelock_s: Annotated[int, typer.Option(help="Delay of the governor's changes.", min=0)] = 2 * 24 * 3600,
    grace_s: Annotated[
        int | None,
        typer.Option(help="In which an old committee's certificates count; an hour by default.", min=0),
    ] = None,
    notice_s: Annotated[
        int | None, typer.Option(help="From a selection to its start at least; an hour by default.", min=0)
    ] = None,
    opening_members: Annotated[
        int, typer.Option(help="Members without whom the first epoch waits.", min=1, max=100)
    ] = 4,
    opening_stake: Annotated[
        int | None,
        typer.Option(
            parser=token_amount,
            metavar="TOKENS",
            help="Stake without which the first epoch waits; any by default.",
        ),
    ] = None,
    opening_s: Annotated[
        int, typer.Option(help="Seconds for which the first epoch waits at most.", min=0)
    ] = 7 * 24 * 3600,
    supply: Annotated[
        int | None,
        typer.Option(parser=token_amount, metavar="TOKENS", help="That the deployer has to begin with."),
    ] = None,
    minter: Annotated[
        str | None,
        typer.Option(
            parser=account_address, metavar="ACCOUNT", help="That may make tokens; the timelock by default."
        ),
    ] = None,
    guardian: Annotated[
        str | None,
        typer.Option(
            parser=account_address,
            metavar="ACCOUNT",
            help="That may pause functions; the deployer by default.",
        ),
    ] = None,
    proposer: Annotated[
        str | None,
        typer.Option(
            parser=account_address,
            metavar="ACCOUNT",
            help="That may announce what the timelock does; the deployer by default.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            parser=account_address, metavar="ACCOUNT", help="That may have it done; anyone by default."
        ),
    ] = None,
    finality: Annotated[
        str | None,
        typer.Option(
            parser=finality_tag,
            metavar="TAG",
            help="Settled blocks: finalized (the default), safe, or latest for a chain that has neither.",
        ),
    ] = None,
    first_nonce: Annotated[
        int | None,
        typer.Option(help="Go on with a deployment that began with this nonce of the account.", min=0),
    ] = None,
    key_file: KeyOption = None,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Put the contracts on a chain and write the manifest that is all a node needs to join."""
    from committee.ledger.evm import DeploymentParameters, DeploymentUnfinished, Roles, deploy

    key = require_key(key_file)
    parameters = DeploymentParameters(
        shards,
        epoch_s,
        deadline_s,
        patience_s,
        price_per_mib_epoch=price,
        write_price_per_mib=write_price,
        evidence_window_s=evidence_s,
        timelock_delay_s=timelock_s,
        finality=cast("Finality | None", finality),
        certificate_grace_s=grace_s,
        notice_s=notice_s,
        opening_members=opening_members,
        opening_stake=opening_stake or 0,
        opening_s=opening_s,
        supply=supply or 0,
    )
    roles = Roles(minter, guardian, proposer, executor)
    require_new_file(manifest)
    try:
        deployment = run(deploy(rpc, key, parameters, roles, dry_run=dry_run, first_nonce=first_nonce))
    except DryRun as stopped:
        show(planned(stopped), json_)
        return
    except (DeploymentUnfinished, Interrupted) as error:
        sent_before = error.sent if isinstance(error, DeploymentUnfinished) else ()
        raise as_failure(error, sent_before) or error from error
    _save(deployment, manifest)
    show({"manifest": str(manifest), **dataclasses.asdict(deployment)}, json_, is_paid=True)


def _save(deployment: Deployment, manifest: Path) -> None:
    """Write the manifest; where that is impossible print it. Raises `CommandFailed`."""
    try:
        deployment.save(manifest)
    except OSError as error:
        with contextlib.suppress(OSError):
            write_out(deployment.to_json())
        raise CommandFailed(
            f"the contracts are deployed, but {manifest} cannot be written ({error.strerror}): "
            "keep the manifest that is printed instead in a file, as JSON",
            PAID,
            {"result": json.loads(deployment.to_json())},
        ) from None
