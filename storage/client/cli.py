"""`haulout blob …`: what owners of blobs do."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from committee.console import (
    AccountArgument,
    AllowPrivateOption,
    account_address,
    chain_command,
    require_new_file,
)
from committee.errors import LedgerError, LedgerRefused
from committee.ledger import BlobRecord, Ledger
from committee.printing import Result, sent
from storage.client.client import Client
from storage.client.files import (
    STANDARD,
    FileError,
    content_of,
    is_stream,
    metadata_of,
    source_of,
    write_new,
    write_stream,
)
from storage.client.live_objects import live_objects_of
from storage.client.many_files import store_files
from storage.client.purchase import StoredBlob, extend_until, registered_meanwhile, waiting_object
from storage.redstuff import InvalidEncoding, Parameters, RedStuff, blob_id_text, parse_blob_id

TOLD_EVERY_S = 20.0
"""Time between two lines about a wait."""
STORED_EVERY_S = 2.0
"""Time between two lines about how many files are stored."""
WAITS = {
    "start": "the chain has settled the start of the first epoch: {left} of {total} blocks to go",
    "finality": "the chain's endpoint tells a settled block; was it just restarted? {left} of {total} s to go",
    "link": "a member answers, as none does; is this machine's network away? {left} of {total} s to go",
    "settle": "the nodes have taken in the registration: {left} of {total} blocks to go",
}
"""Stage of a command's progress → what is waited for."""
STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Other names of `-`: by these, a file that the shell has opened for the output would be one that exists."""
MOST_PERIODS = 53
"""The most periods ahead for which the contract sells space."""

app = typer.Typer(no_args_is_help=True, help="Register, certify and look after blobs.")


def blob_id_of(text: str) -> bytes:
    """Return the id that a text is; "./" stands before one that begins with "-" (`localnet.commands`)."""
    try:
        return parse_blob_id(text.removeprefix("./"))
    except InvalidEncoding as error:
        raise typer.BadParameter(str(error)) from None


def _source(text: str) -> Path:
    """A file to be read, checked before anything else is done. Raises `typer.BadParameter`."""
    try:
        return source_of(text)
    except FileError as error:
        raise typer.BadParameter(str(error)) from None


def _sources(names: list[str]) -> list[str]:
    """The names of files to be stored, checked if it is one; of several, one that fails holds up no other."""
    if len(names) == 1:
        _source(names[0])
    return names


def _target(text: str) -> Path:
    """Return the file to write to. Raises `typer.BadParameter` for a folder's name, and for none."""
    if not text:
        raise typer.BadParameter("no file is named: is a variable of the shell empty?")
    if text.endswith("/"):
        raise typer.BadParameter(f"{text} names a folder: name a file")
    return STANDARD if text in STANDARD_OUTPUT else Path(text)


FileArgument = Annotated[
    Path,
    typer.Argument(parser=_source, metavar="FILE", help="The blob: a file, a pipe, or - for standard input."),
]
FilesArgument = Annotated[
    list[str],
    typer.Argument(
        callback=_sources,
        metavar="FILE…",
        help="The blobs: files, pipes, or - for standard input; each is a blob.",
    ),
]
OutputArgument = Annotated[
    Path,
    typer.Argument(
        parser=_target,
        metavar="OUTPUT",
        help="Where it is written: nothing that exists, a pipe, or - for standard output.",
    ),
]
ObjectArgument = Annotated[int, typer.Argument(metavar="OBJECT", help="The blob object's id.", min=1)]
DeletableOption = Annotated[bool, typer.Option("--deletable", help="May be deleted before its end.")]
BlobArgument = Annotated[
    bytes, typer.Argument(parser=blob_id_of, metavar="BLOB", help="The blob's id, 43 characters.")
]
PeriodsOption = Annotated[
    int, typer.Option(help="Periods to pay for, the current one included.", min=1, max=MOST_PERIODS)
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Register and pay anew, whatever an earlier command has paid for.")
]
UntilOption = Annotated[
    int | None,
    typer.Option(help="The period in which it is to end; nothing is paid if it lasts as long.", min=1),
]
ReservationOption = Annotated[
    int | None,
    typer.Option(
        "--reservation", metavar="RESERVATION", help="Use this reservation of the account's instead.", min=1
    ),
]
MorePeriodsOption = Annotated[
    int | None, typer.Option(help="How many to add behind the blob's last one.", min=1, max=MOST_PERIODS)
]


@chain_command(app, "register")
async def register(
    ledger: Ledger,
    file: FileArgument,
    periods: PeriodsOption = 1,
    deletable: DeletableOption = False,
    force: ForceOption = False,
    reservation: ReservationOption = None,
) -> Result:
    """Reserve space for a blob and register it; nothing is uploaded yet (see `certify`).

    An object of the account's that waits for its certificate and lasts as long is not registered again. With
    --reservation a new object lasts as long as the reservation, which it uses up.
    """
    metadata = await metadata_of(RedStuff((await ledger.parameters()).n_shards), file)
    blob, told = (metadata.root, metadata.length), {"blob_id": blob_id_text(metadata.blob_id)}
    quote = await ledger.quote(metadata.length, periods if reservation is None else 0)
    paying = told if reservation is not None else told | dataclasses.asdict(quote)
    async with ledger.only_payer(metadata.root):
        waiting, known = None, None
        if not force:
            waiting, known = await waiting_object(ledger, metadata, periods, deletable, Waiting())
        try:
            if reservation is not None:
                placed = reservation, *blob, deletable
                object_id, transaction = await ledger.register_blob_in(*placed, known_up_to=known)
            elif waiting is not None:
                return _registered_before(waiting, paying)
            else:
                object_id, transaction = await ledger.register_blob(
                    *blob, periods, deletable, known_up_to=known, max_cost=quote.cost
                )
        except LedgerRefused as refused:
            return _registered_before(await registered_meanwhile(ledger, refused), paying)
    return sent(transaction, object_id=object_id, **paying)


def _registered_before(record: BlobRecord, paying: Result) -> Result:
    outcome = "was registered before; nothing was paid"
    return {"object_id": record.object_id, **paying, "end_period": record.end_period, "outcome": outcome}


@chain_command(app, "certify")
async def certify(
    ledger: Ledger,
    object_id: ObjectArgument,
    file: FileArgument,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Upload a registered blob to the committee and certify it."""
    data = await _content(ledger, file)
    async with Client(ledger, allow_private=allow_private) as client:
        return _stored(await client.certify(object_id, data, Waiting()))


@chain_command(app, "store")
async def store(
    ledger: Ledger,
    files: FilesArgument,
    periods: PeriodsOption = 1,
    deletable: DeletableOption = False,
    force: ForceOption = False,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Register, upload and certify a blob, as far as it is not done already: what was paid is not paid again.

    Several files are stored together, much faster than one by one; one that fails holds up no other.
    """
    async with Client(ledger, allow_private=allow_private) as client:
        if len(files) == 1:
            data = await _content(ledger, source_of(files[0]))
            return _stored(await client.store(data, periods, deletable, Waiting(), force=force))
        symbol_size = Parameters((await ledger.parameters()).n_shards).symbol_size
        options = periods, deletable, force
        return {"stored": await store_files(client, files, *options, symbol_size, Waiting())}


@chain_command(app, "read", sends=False)
async def read(
    ledger: Ledger,
    blob: BlobArgument,
    output: OutputArgument,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Read a blob from the committee, checked against its id."""
    if not is_stream(output):
        require_new_file(output)
    async with Client(ledger, allow_private=allow_private) as client:
        data = await client.read(blob, Waiting())
    if is_stream(output):
        await write_stream(output, data)
        return {}
    await write_new(output, data)
    return {"blob_id": blob_id_text(blob), "size_bytes": len(data), "file": str(output)}


@chain_command(app, "status", sends=False)
async def status(ledger: Ledger, blob: BlobArgument) -> Result:
    """All objects of a blob that live: their owners, whether they are certified, until when they live.

    As of the newest block, which nodes may take in some minutes later. All live objects of the network are looked
    through for them, page by page.
    """
    newest = await ledger.newest()
    state = await ledger.epoch_state(newest)
    records = await live_objects_of(ledger, blob, newest)
    if not records:
        raise LedgerError(
            f"blob {blob_id_text(blob)} has no object up to block {newest.number}, the endpoint's newest, which is "
            f"{await _age_s(ledger)} s old: it was registered in a later one, never, or is deleted or expired"
        )
    return {
        "blob_id": blob_id_text(blob),
        "epoch": state.epoch,
        "period": state.period,
        "live": any(one.is_live(state.period) for one in records),
        "objects": [_object(one) for one in records],
    }


@chain_command(app, "list", sends=False)
async def list_(
    ledger: Ledger,
    owner: Annotated[
        str | None,
        typer.Option(parser=account_address, metavar="ACCOUNT", help="Whose; everybody's by default."),
    ] = None,
    most: Annotated[
        int,
        typer.Option(help="It ends with the page that has the last of them.", min=1, max=10_000),
    ] = 1000,
    after: Annotated[
        int, typer.Option(metavar="PLACE", help="Where the list before this one ended: its `next`.", min=0)
    ] = 0,
) -> Result:
    """List blob objects that are neither deleted nor expired, in the contract's order, as of the newest block."""
    newest = await ledger.newest()
    found: list[BlobRecord] = []
    place = after
    while len(found) < most:
        page, place = await ledger.live_page(place, newest)
        found += [one for one in page if owner in (None, one.owner)]
        if place == 0:
            break
    objects = [{"blob_id": blob_id_text(one.blob_id), **_object(one)} for one in found]
    return {"block": newest.number, "objects": objects, **({"next": place} if place else {})}


@chain_command(app, "extend")
async def extend(
    ledger: Ledger,
    object_id: ObjectArgument,
    periods: MorePeriodsOption = None,
    until: UntilOption = None,
    reservation: ReservationOption = None,
) -> Result:
    """Reserve and pay more periods for a certified blob object, whose owner may be another, one by default.

    With --until the same command may be typed again, whatever became of it: what is paid for is not paid again. With
    --reservation the object lasts as long as a reservation of the account's of its size, and nothing is paid.
    """
    if reservation is not None:
        if periods is not None or until is not None:
            raise typer.BadParameter("give --reservation, --periods or --until, one of them")
        transaction = await ledger.extend_blob_with(object_id, reservation)
        return sent(transaction, object_id=object_id, resource_id=reservation)
    if until is None:
        periods = periods or 1
        return sent(await ledger.extend_blob(object_id, periods), object_id=object_id, periods=periods)
    if periods is not None:
        raise typer.BadParameter("give --periods or --until, not both")
    record = await ledger.blob_object(object_id)
    async with ledger.only_payer(record.blob_id):
        end, extended = await extend_until(ledger, object_id, until)
    if extended is None:
        return {
            "object_id": object_id,
            "end_period": end,
            "outcome": "lasts as long already; nothing was paid",
        }
    return sent(extended, object_id=object_id, periods=until - end, end_period=until)


@chain_command(app, "transfer")
async def transfer(ledger: Ledger, object_id: ObjectArgument, account: AccountArgument) -> Result:
    """Give a blob object of the account's, while it lives, to another account."""
    return sent(await ledger.transfer_blob(object_id, account), object_id=object_id, owner=account)


@chain_command(app, "delete")
async def delete(ledger: Ledger, object_id: ObjectArgument) -> Result:
    """Delete a deletable blob object of the account's; its space comes back as a reservation."""
    return sent(await ledger.delete_blob(object_id), object_id=object_id)


@chain_command(app, "refund")
async def refund(ledger: Ledger, object_id: ObjectArgument) -> Result:
    """Get back what was paid for a blob's periods behind the current one, when epochs have come to a standstill."""
    return sent(await ledger.refund_blob(object_id), object_id=object_id)


class Waiting:
    """The progress of a command, of which people at a terminal are told the parts that may take minutes."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        """Stage → when it is told of next."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say on standard error, every TOLD_EVERY_S, what is waited for and how much of it is to go."""
        now = time.monotonic()
        if stage == "store" and now >= self._next.get(stage, now) and sys.stderr.isatty():
            self._next[stage] = now + STORED_EVERY_S
            typer.echo(f"{done} of {total} files stored", err=True)
        if stage in WAITS and now >= self._next.get(stage, now) and sys.stderr.isatty():
            self._next[stage] = now + TOLD_EVERY_S
            typer.echo(f"waiting until {WAITS[stage].format(left=total - done, total=total)}", err=True)


async def _content(ledger: Ledger, path: Path) -> bytearray:
    """What a file holds. Raises `TooLarge` before it reads what the network's shards cannot take, and `FileError`."""
    return await content_of(path, Parameters((await ledger.parameters()).n_shards).symbol_size)


async def _age_s(ledger: Ledger) -> int:
    """Return the age of the endpoint's newest block in seconds."""
    return max(0, round(time.time() - await ledger.chain_time_s()))


def _stored(blob: StoredBlob) -> Result:
    return {**dataclasses.asdict(blob), "blob_id": blob_id_text(blob.blob_id)}


def _object(record: BlobRecord) -> dict[str, Any]:
    """An object as `status` lists it, below the blob's id."""
    fields = dataclasses.asdict(record)
    del fields["blob_id"]
    return fields
