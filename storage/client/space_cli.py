"""`haulout space …`: what owners of reservations do."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from committee.console import AccountArgument, account_address, chain_command, sending_account
from committee.ledger import MEBIBYTE, Ledger
from committee.printing import PAID, CommandFailed, Result, sent
from storage.client.cli import PeriodsOption

app = typer.Typer(no_args_is_help=True, help="Reserve space for blobs, and give it on.")

ReservationArgument = Annotated[int, typer.Argument(metavar="RESERVATION", help="Its id.", min=1)]
MebibytesArgument = Annotated[int, typer.Argument(metavar="MEBIBYTES", help="How much.", min=1)]


@chain_command(app, "reserve")
async def reserve(
    ledger: Ledger,
    mebibytes: MebibytesArgument,
    periods: PeriodsOption = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Also when the account has an unused reservation like it.")
    ] = False,
) -> Result:
    """Reserve and pay space, from the current period on; `blob register --reservation` uses it.

    So that a command typed again after a lost answer does not pay twice, space like that of a reservation which began
    in this period or the last one, and which no blob uses, is not reserved without --again.
    """
    size_bytes = mebibytes * MEBIBYTE
    if not again:
        await ledger.drain()
        await _require_none_like_it(ledger, size_bytes, periods)
    resource_id, transaction = await ledger.reserve_space(size_bytes, periods)
    return sent(transaction, resource_id=resource_id, size_bytes=size_bytes, periods=periods)


async def _require_none_like_it(ledger: Ledger, size_bytes: int, periods: int) -> None:
    """Raise `CommandFailed` if the account has an unused reservation of this size that began lately."""
    account = sending_account(ledger)
    state = await ledger.epoch_state(await ledger.newest())
    for one in await ledger.reservations(account):
        lasts = one.end_period - one.start_period
        if (one.size_bytes, lasts) == (size_bytes, periods) and one.start_period >= state.period - 1:
            raise CommandFailed(
                f"nothing was sent: {account} has reservation {one.resource_id} of as much space for as many periods, "
                "which no blob uses; if there is to be one more, say so with --again",
                PAID,
                {"resource_id": one.resource_id, "size_bytes": size_bytes, "periods": periods},
            )


@chain_command(app, "list", sends=False)
async def list_(
    ledger: Ledger,
    owner: Annotated[
        str | None, typer.Option(parser=account_address, metavar="ACCOUNT", help="The account's by default.")
    ] = None,
) -> Result:
    """List an account's reservations that have not ended and that no blob uses."""
    account = owner or ledger.account
    if account is None:
        raise typer.BadParameter("whose: give --owner ACCOUNT, or a key")
    found = await ledger.reservations(account)
    return {"owner": account, "reservations": [dataclasses.asdict(one) for one in found]}


@chain_command(app, "transfer")
async def transfer(ledger: Ledger, reservation: ReservationArgument, account: AccountArgument) -> Result:
    """Give a reservation of the account's to another account."""
    return sent(
        await ledger.transfer_reservation(reservation, account), resource_id=reservation, owner=account
    )


@chain_command(app, "split")
async def split(
    ledger: Ledger,
    reservation: ReservationArgument,
    mebibytes: Annotated[
        int | None, typer.Option(help="What it keeps; the rest is the new one's.", min=1)
    ] = None,
    period: Annotated[
        int | None, typer.Option(help="The first period of the new one; it keeps those before.", min=1)
    ] = None,
) -> Result:
    """Split a reservation in two, by size or by period; nothing is paid or lost."""
    if mebibytes is not None and period is None:
        new_id, transaction = await ledger.split_reservation_by_size(reservation, mebibytes * MEBIBYTE)
    elif period is not None and mebibytes is None:
        new_id, transaction = await ledger.split_reservation_by_period(reservation, period)
    else:
        raise typer.BadParameter("give --mebibytes or --period, one of them")
    return sent(transaction, resource_id=reservation, new_resource_id=new_id)


@chain_command(app, "merge")
async def merge(
    ledger: Ledger,
    reservation: ReservationArgument,
    other: Annotated[int, typer.Argument(metavar="OTHER", help="That becomes part of it.", min=1)],
) -> Result:
    """Join two reservations: of one size with adjoining periods, or for the same periods."""
    return sent(await ledger.merge_reservations(reservation, other), resource_id=reservation)


@chain_command(app, "refund")
async def refund(ledger: Ledger, reservation: ReservationArgument) -> Result:
    """Get back what was paid for a reservation behind the current period, when epochs have come to a standstill."""
    return sent(await ledger.refund_reservation(reservation), resource_id=reservation)
