"""`haulout epoch`: what anyone may look at, and do to move the epochs on."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from committee.cli import registered_node
from committee.console import chain_command
from committee.errors import LedgerError
from committee.ledger import Ledger, next_step
from committee.printing import Result, sent

epoch_app = typer.Typer(no_args_is_help=True, help="Look at the epoch, and push it on; anyone may.")


@chain_command(epoch_app, "status", sends=False)
async def epoch_status(ledger: Ledger) -> Result:
    """The epoch and period in the newest block, the members of its committees, and when its next step is due."""
    newest = await ledger.newest()
    state, parameters = await asyncio.gather(ledger.epoch_state(newest), ledger.parameters())
    now_s, missing, terms = await asyncio.gather(
        ledger.chain_time_s(), ledger.missing_shards(state.epoch), ledger.terms()
    )
    step = next_step(state, parameters, now_s)
    return {
        "epoch": state.epoch,
        "period": state.period,
        "block": state.block.number,
        "handover_done": state.handover_done,
        "missing_shards": sorted(missing),
        **dataclasses.asdict(terms),
        "next_step": str(step.kind),
        "due_in_s": max(0, step.since_s - now_s),
        "committees": [
            {
                "epoch": committee.epoch,
                "node_id": member.node_id,
                "name": member.name,
                "shards": member.weight,
            }
            for committee in (state.previous, state.current, state.next)
            if committee is not None
            for member in committee.members
        ],
    }


@chain_command(epoch_app, "owner", sends=False)
async def owner(
    ledger: Ledger,
    shard: Annotated[int, typer.Argument(metavar="SHARD", help="Its number, from 0 on.", min=0)],
    epoch: Annotated[int | None, typer.Option(help="The current one by default.", min=1)] = None,
) -> Result:
    """Which node has a shard in an epoch that has begun, however long ago, or is selected."""
    n_shards = (await ledger.parameters()).n_shards
    if shard >= n_shards:
        raise LedgerError(f"no shard has the number {shard}: they are 0 to {n_shards - 1}")
    epoch = epoch or (await ledger.epoch_state(await ledger.newest())).epoch
    node_id = await ledger.owner_of(epoch, shard)
    return {
        "epoch": epoch,
        "shard": shard,
        "node_id": node_id,
        "name": (await registered_node(ledger, node_id)).name,
    }


@chain_command(epoch_app, "owed", sends=False)
async def owed(
    ledger: Ledger,
    period: Annotated[
        int | None, typer.Option(help="One that is over; the newest such by default.", min=1)
    ] = None,
) -> Result:
    """List what nodes earned in a period and are still to be paid, in smallest units; `epoch pay` pays it."""
    if period is None:
        period = (await ledger.epoch_state(await ledger.newest())).period - 1
        if period < 1:
            raise LedgerError("no period is over yet: nothing is owed")
    nodes = sorted(await ledger.members_of(period))
    amounts = await asyncio.gather(*(ledger.owed(period, node_id) for node_id in nodes))
    rows = [{"node_id": one, "owed": amount} for one, amount in zip(nodes, amounts, strict=True)]
    return {"period": period, "nodes": rows}


@chain_command(epoch_app, "select")
async def select(ledger: Ledger) -> Result:
    """Elect the next committee; from half a period after the end of the current period's first handover on."""
    return sent(await ledger.select())


@chain_command(epoch_app, "replace")
async def replace(ledger: Ledger) -> Result:
    """Select the committee in office without its ejected members, whose shards the others take over."""
    return sent(await ledger.replace())


@chain_command(epoch_app, "start")
async def start(ledger: Ledger) -> Result:
    """Start the selected epoch: with a new period once the last one has lasted, with a replacement after the notice."""
    return sent(await ledger.start())


@chain_command(epoch_app, "close")
async def close(ledger: Ledger) -> Result:
    """End a handover whose deadline has passed."""
    return sent(await ledger.close_handover())


@chain_command(epoch_app, "decide")
async def decide(ledger: Ledger) -> Result:
    """Count the members' votes on prices and capacity for this period, once; anyone may."""
    return {**sent(await ledger.decide_terms()), **dataclasses.asdict(await ledger.terms())}


@chain_command(epoch_app, "pay")
async def pay(
    ledger: Ledger,
    nodes: Annotated[
        list[int] | None, typer.Argument(metavar="[NODE]…", help="All nodes when none is named.")
    ] = None,
    until: Annotated[
        int | None, typer.Option(metavar="PERIOD", help="The first period not to be paid.", min=1)
    ] = None,
) -> Result:
    """Pay nodes what they earned in periods that are over, into their stakers' pools; anyone may."""
    transactions = await ledger.pay_out(nodes or None, until)
    return {"transactions": [sent(one) for one in transactions]}
