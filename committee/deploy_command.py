"""`haulout deploy`: put the contracts on a chain, in one go or in several.

The command's options are those of `PARAMETERS` and `ROLES`, named as the fields of `DeploymentParameters` and `Roles`
that they fill; these are imported when the command runs, for they take most of a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from committee.console import (
    DryRunOption,
    JsonOption,
    KeyOption,
    RpcHeadersOption,
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
    from committee.ledger.evm.deployment import Deployment


def finality_tag(text: str) -> str:
    """Return `text` if it is a JSON-RPC tag by which blocks can be settled. Raises `typer.BadParameter`."""
    if text not in ("latest", "safe", "finalized"):
        raise typer.BadParameter(f"{text!r} is none of latest, safe, finalized")
    return text


class Option(NamedTuple):
    """An option of the command."""

    annotation: Any
    """Its type, with its name and help, as typer takes it."""
    default: Any = inspect.Parameter.empty
    """None where the contracts' deployment chooses; without one the option must be given."""


def _number(name: str, help_: str, least: int, most: int | None = None) -> Any:
    return Annotated[int, typer.Option(name, help=help_, min=least, max=most)]


def _number_or_none(name: str, help_: str) -> Any:
    return Annotated[int | None, typer.Option(name, help=help_, min=0)]


def _tokens(name: str, help_: str) -> Any:
    return Annotated[int | None, typer.Option(name, parser=token_amount, metavar="TOKENS", help=help_)]


def _account(name: str, help_: str) -> Any:
    return Annotated[str | None, typer.Option(name, parser=account_address, metavar="ACCOUNT", help=help_)]


DAY_S = 24 * 3600
PARAMETERS: Mapping[str, Option] = {
    "price_per_mib_period": Option(_number("--price", "Price of a MiB for a period, in smallest units.", 1)),
    "write_price_per_mib": Option(
        _number("--write-price", "Price of registering a MiB, in smallest units.", 0)
    ),
    "n_shards": Option(_number("--shards", "Number of shards, for life.", 4, 1000), 1000),
    "period_duration_s": Option(
        _number("--epoch-s", "Seconds of a period; its storage proofs take a sixth of it.", 12), 14 * DAY_S
    ),
    "handover_deadline_s": Option(
        _number("--deadline-s", "Seconds until a handover can be closed.", 1), DAY_S
    ),
    "patience_s": Option(
        _number("--patience-s", "Seconds of silence after which a member is ejected.", 1), 600
    ),
    "evidence_window_s": Option(
        _number("--evidence-s", "Seconds after a period in which its stake can be slashed.", 0), 7 * DAY_S
    ),
    "timelock_delay_s": Option(
        _number("--timelock-s", "Seconds by which the governor's changes are delayed.", 0), 2 * DAY_S
    ),
    "certificate_grace_s": Option(
        _number_or_none(
            "--grace-s",
            "Seconds after a start in which the old committee's certificates count; an hour by default.",
        ),
        None,
    ),
    "notice_s": Option(
        _number_or_none("--notice-s", "Seconds from a selection to its start at least; an hour by default."),
        None,
    ),
    "opening_members": Option(
        _number("--opening-members", "Number of members without which the first epoch waits.", 1, 100), 4
    ),
    "opening_stake": Option(
        _tokens(
            "--opening-stake",
            "Stake without which the first epoch waits; on a chain that is not for development it must be named.",
        ),
        None,
    ),
    "opening_s": Option(
        _number("--opening-s", "Seconds for which the first epoch waits at most.", 0), 7 * DAY_S
    ),
    "supply": Option(
        _tokens("--supply", "Tokens that the deployer has to begin with; none by default."), None
    ),
    "finality": Option(
        Annotated[
            str | None,
            typer.Option(
                "--finality",
                parser=finality_tag,
                metavar="TAG",
                help="Settled blocks: finalized (the default), safe, or latest for a chain that has neither.",
            ),
        ],
        None,
    ),
}
"""Field of `DeploymentParameters` → the option that fills it."""
ROLES: Mapping[str, Option] = {
    "minter": Option(_account("--minter", "Account that may make tokens; the timelock by default."), None),
    "guardian": Option(
        _account("--guardian", "Account that may pause functions; the deployer by default."), None
    ),
    "proposer": Option(
        _account("--proposer", "Account that may announce changes to the timelock; the deployer by default."),
        None,
    ),
    "executor": Option(
        _account("--executor", "Account that may execute announced changes; any account by default."), None
    ),
}
"""Field of `Roles` → the option that fills it."""


def deploy_command(
    manifest: Annotated[Path, typer.Argument(help="Where the deployment manifest is written.")],
    rpc: RpcOption,
    *,
    first_nonce: Annotated[
        int | None,
        typer.Option(help="Go on with a deployment that began with this nonce of the account.", min=0),
    ] = None,
    rpc_headers: RpcHeadersOption = None,
    key_file: KeyOption = None,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
    **given: Any,
) -> None:
    """Put the contracts on a chain and write the manifest that is all a node needs to join."""
    from committee.ledger.evm import DeploymentParameters, DeploymentUnfinished, Roles, deploy, with_headers

    key = require_key(key_file)
    chosen = {name: value for name, value in given.items() if value is not None}
    parameters = DeploymentParameters(**{name: chosen[name] for name in PARAMETERS if name in chosen})
    roles = Roles(**{name: chosen[name] for name in ROLES if name in chosen})
    require_new_file(manifest)
    providers = with_headers(rpc, rpc_headers)
    try:
        deployment = run(deploy(providers, key, parameters, roles, dry_run=dry_run, first_nonce=first_nonce))
    except DryRun as stopped:
        show(planned(stopped), json_)
        return
    except (DeploymentUnfinished, Interrupted) as error:
        sent_before = error.sent if isinstance(error, DeploymentUnfinished) else ()
        raise as_failure(error, sent_before) or error from error
    _save(deployment, manifest)
    show({"manifest": str(manifest), **dataclasses.asdict(deployment)}, json_, is_paid=True)


def _signature() -> inspect.Signature:
    """Return the command's own parameters, with the options of `PARAMETERS` and `ROLES` behind the first two."""
    hints = get_type_hints(deploy_command, include_extras=True)
    own = [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(deploy_command).parameters.values()
    ]
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=option.annotation, default=option.default
        )
        for name, option in {**PARAMETERS, **ROLES}.items()
    ]
    return inspect.Signature([*own[:2], *options, *own[2:-1]])


deploy_command.__signature__ = _signature()  # type: ignore[attr-defined]


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
