"""`haulout stake`: what stakers do on chain."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from committee.cli import NodeArgument
from committee.console import Amount, account_address, chain_command, sending_account, token_amount
from committee.errors import LedgerError
from committee.ledger import Ledger
from committee.printing import PAID, CommandFailed, Result, sent

stake_app = typer.Typer(no_args_is_help=True, help="Stake on nodes.")

UnlockArgument = Annotated[int, typer.Argument(metavar="PERIOD", help="In which it unlocks.", min=0)]


@chain_command(stake_app, "add")
async def add(
    ledger: Ledger,
    node: NodeArgument,
    amount: Amount,
    again: Annotated[
        bool, typer.Option("--again", help="Also when the account has staked as much there lately.")
    ] = False,
) -> Result:
    """Stake tokens on a node; they count from the next selection on, and earn from its period on.

    So that a command typed again after a lost answer does not stake twice, what the account has staked lately is not
    staked again without --again.
    """
    if not again:
        await ledger.drain()
        block = await ledger.staked_lately(node, amount)
        if block is not None:
            raise CommandFailed(
                f"nothing was sent: {sending_account(ledger)} staked as much on node {node} in block {block}; if it is "
                "to be staked once more, say so with --again",
                PAID,
                {"node_id": node, "amount": amount, "block": block},
            )
    return sent(await ledger.stake(node, amount), node_id=node, amount=amount)


@chain_command(stake_app, "list", sends=False)
async def list_stakes(
    ledger: Ledger,
    account: Annotated[
        str | None,
        typer.Argument(
            parser=account_address, metavar="ACCOUNT", help="The key's account when none is named."
        ),
    ] = None,
) -> Result:
    """What an account has staked, is unstaking, and has earned."""
    whose = account or sending_account(ledger)
    positions, earnings, balance = await asyncio.gather(
        ledger.stakes(whose), ledger.earnings(whose), ledger.balance(whose)
    )
    return {
        "account": whose,
        "balance": balance,
        "earnings": earnings,
        "stakes": [dataclasses.asdict(one) for one in positions],
    }


@chain_command(stake_app, "unstake")
async def unstake(
    ledger: Ledger,
    node: NodeArgument,
    amount: Annotated[
        int | None, typer.Option(parser=token_amount, metavar="TOKENS", help="How many; all by default.")
    ] = None,
    cancel: Annotated[
        int | None,
        typer.Option(metavar="PERIOD", help="Let stand what was not to stand from this period on."),
    ] = None,
    sooner: Annotated[
        int | None,
        typer.Option(
            metavar="PERIOD", help="Let what was to leave with this period leave as if unstaked now."
        ),
    ] = None,
) -> Result:
    """Take stake off a node; or cancel that, until a committee is elected without it.

    It stands and earns until the last period whose committee is elected is over; behind the evidence window it can be
    withdrawn (see `list`).
    """
    if cancel is not None and sooner is not None:
        raise LedgerError("--cancel lets stake stand on, --sooner lets it leave: give one of them")
    if sooner is not None:
        return sent(await ledger.unstake_sooner(node, sooner, amount), node_id=node, unlock_period=sooner)
    if cancel is not None:
        return sent(await ledger.cancel_unstaking(node, cancel, amount), node_id=node, unlock_period=cancel)
    return sent(await ledger.unstake(node, amount), node_id=node)


@chain_command(stake_app, "withdraw")
async def withdraw(ledger: Ledger, node: NodeArgument, period: UnlockArgument) -> Result:
    """Withdraw the stake that was unstaked from a period on and is unlocked (see `list`)."""
    return sent(await ledger.withdraw(node, period), node_id=node, unlock_period=period)


@chain_command(stake_app, "rewards")
async def rewards(ledger: Ledger) -> Result:
    """Withdraw the account's commissions; they come with `haulout epoch pay`."""
    return sent(await ledger.withdraw_earnings(), account=sending_account(ledger))
