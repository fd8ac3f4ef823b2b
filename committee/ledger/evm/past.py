"""The blob objects at a block whose state the endpoints no longer keep: those of today, what happened since undone.

An ordinary node of the chain keeps the state of some 128 blocks; an epoch is far longer, and whoever begins to follow
within one must know what was live at its start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from committee.errors import LedgerReorganised, LedgerUnavailable
from committee.ledger.events import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
    EpochStarted,
    Event,
)
from committee.ledger.evm import decode
from committee.ledger.evm.reader import Reader
from committee.ledger.records import BlobRecord, BlockMark

KEYS_AT_ONCE = 50
"""Objects searched for in one request for logs."""


async def blobs_at(reader: Reader, at: BlockMark, head: BlockMark, first_block: int) -> list[BlobRecord]:
    """The blob objects that were neither deleted nor expired at the block `at`, by object id.

    `at` is of the period that runs at `head`, so that of the blobs that live at `head` none has expired meanwhile; the
    contracts were deployed in `first_block`. End periods and owners are those at `head`: only what has not ended is
    ever extended, so that the end tells the same of who was live. Raises `LedgerUnavailable`, also when a period began
    between the two blocks, `LedgerReorganised` when one of the blocks was replaced, `KeyError` when the events do not
    fit the objects.
    """
    newest = await reader.live_blobs(head, is_confirmed=True)
    records = {record.object_id: record for record in newest}
    events = await reader.events(at.number + 1, head.number)
    for mark in (at, head):
        if (await reader.block(mark.number)).mark != mark:
            raise LedgerReorganised(f"block {mark.number} was replaced")
    if any(isinstance(one, EpochStarted) for one in events):
        raise LedgerUnavailable(
            f"an epoch began between blocks {at.number} and {head.number} while they were read: read the newer one"
        )
    undo(records, events)
    new = {one.object_id for one in events if isinstance(one, BlobRegistered)}
    deleted = [one.object_id for one in events if isinstance(one, BlobDeleted) and one.object_id not in new]
    for first in range(0, len(deleted), KEYS_AT_ONCE):
        some = deleted[first : first + KEYS_AT_ONCE]
        records.update(await _before_deletion(reader, some, at, first_block))
    invalidated = {one.blob_id for one in events if isinstance(one, BlobInvalidated)}
    for object_id in deleted:
        blob_id = records[object_id].blob_id
        is_invalid = await reader.call(reader.blobs, "isInvalid", decode.blob_number(blob_id), at=head)
        if is_invalid and blob_id not in invalidated:
            records[object_id] = dataclasses.replace(records[object_id], invalid=True)
    return [records[object_id] for object_id in sorted(records)]


def undo(records: dict[int, BlobRecord], events: Sequence[Event]) -> None:
    """Take back what these events, in chain order, did to the objects that they did not delete."""
    deleted = {one.object_id for one in events if isinstance(one, BlobDeleted)}
    for event in reversed(events):
        match event:
            case BlobRegistered() if event.object_id not in deleted:
                del records[event.object_id]
            case BlobCertified(is_extension=False) if event.object_id not in deleted:
                before = dataclasses.replace(records[event.object_id], certified_epoch=None)
                records[event.object_id] = before
            case BlobInvalidated():
                for object_id, record in records.items():
                    if record.blob_id == event.blob_id:
                        records[object_id] = dataclasses.replace(record, invalid=False)
            case _:
                pass


async def _before_deletion(
    reader: Reader, object_ids: Iterable[int], at: BlockMark, first_block: int
) -> dict[int, BlobRecord]:
    """Objects by what the logs up to a block tell of them."""
    lacking = set(object_ids)
    certified: dict[int, BlobCertified] = {}
    """The newest event, which tells the certificate's epoch also when it is an extension."""
    records: dict[int, BlobRecord] = {}
    search = reader.newest_first(
        reader.blobs, ("BlobRegistered", "BlobCertified"), sorted(lacking), first_block, at.number
    )
    async for log, block in search:
        event = decode.event(log, block)
        if isinstance(event, BlobCertified):
            certified.setdefault(event.object_id, event)
        elif isinstance(event, BlobRegistered):
            newest = certified.get(event.object_id)
            records[event.object_id] = BlobRecord(
                object_id=event.object_id,
                blob_id=event.blob_id,
                length=event.length,
                owner=event.owner,
                registered_epoch=event.epoch,
                certified_epoch=newest.epoch if newest else None,
                end_period=newest.end_period if newest else event.end_period,
                deletable=event.deletable,
            )
            lacking.discard(event.object_id)
            if not lacking:
                return records
    raise LedgerUnavailable(f"no logs tell of the registration of the blob objects {sorted(lacking)}")
