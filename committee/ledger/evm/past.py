"""What is searched for back through time: deleted blob objects, why a node does not stand, who attested a shard last.

What was live when an epoch started is to be had until it ends, also what has been deleted since; and an ordinary node
of the chain keeps the state of some 128 blocks, which is far less than an epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from committee.errors import LedgerUnavailable
from committee.ledger.events import BlobCertified, BlobRegistered
from committee.ledger.evm import answers, decode
from committee.ledger.evm.reader import Reader
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.together import both
from committee.ledger.records import Absence, BlobRecord, BlockMark
from committee.membership import Member

KEYS_AT_ONCE = 50
"""Objects searched for in one request for logs."""
LONGEST_SEARCH_EPOCHS = 53
"""Epochs back up to which the node that attested a shard last is looked for; else the owner of then is named."""


async def lost_objects(
    reader: Reader, object_ids: Sequence[int], at: BlockMark, first_block: int
) -> list[BlobRecord]:
    """Return the objects as they were at a block, of those that existed then and have been deleted since.

    They are found by the logs since `first_block`, in which the contracts were deployed. Their end periods and owners
    are those of the events up to the block. Raises `LedgerUnavailable` when no logs tell of an object.
    """
    records: dict[int, BlobRecord] = {}
    for first in range(0, len(object_ids), KEYS_AT_ONCE):
        records |= await _before_deletion(reader, object_ids[first : first + KEYS_AT_ONCE], at, first_block)
    for object_id, record in records.items():
        if await reader.call(reader.blobs, "isInvalid", decode.blob_number(record.blob_id)):
            records[object_id] = dataclasses.replace(record, invalid=True)
    return [records[object_id] for object_id in sorted(records)]


async def _before_deletion(
    reader: Reader, object_ids: Iterable[int], at: BlockMark, first_block: int
) -> dict[int, BlobRecord]:
    """Return the objects by what the logs up to a block tell of them."""
    lacking = set(object_ids)
    certified: dict[int, BlobCertified] = {}
    """The newest event, which tells the certificate's epoch also when it is an extension."""
    records: dict[int, BlobRecord] = {}
    search = reader.newest_first(
        reader.blobs, ("BlobRegistered", "BlobCertified"), [sorted(lacking)], first_block, at.number
    )
    async for log, block in search:
        event = decode.event(log, block)
        if isinstance(event, BlobCertified):
            certified.setdefault(event.object_id, event)
        elif isinstance(event, BlobRegistered):
            newest = certified.get(event.object_id)
            records[event.object_id] = dataclasses.replace(
                event.record,
                certified_epoch=newest.epoch if newest else None,
                end_period=newest.end_period if newest else event.end_period,
            )
            lacking.discard(event.object_id)
            if not lacking:
                return records
    raise LedgerUnavailable(f"no logs tell of the registration of the blob objects {sorted(lacking)}")


async def absence(rpc: Rpc, reader: Reader, node_id: int, first_block: int) -> Absence:
    """Return why a node does not stand for election, by the logs since the contracts' deployment in `first_block`."""
    last = (await reader.block("latest")).mark
    names = (decode.REGISTERED, decode.STOOD, *decode.ABSENCES)
    end: Absence | None = None
    async for log, _ in reader.newest_first(reader.registry, names, [[node_id]], first_block, last.number):
        if log.name == decode.REGISTERED:
            return end or Absence.NEVER_STOOD
        if log.name == decode.STOOD and end is not None:
            return end
        if log.name == decode.STOOD:
            break
        end = decode.ABSENCES[log.name]
    raise LedgerUnavailable(f"{rpc} tells no logs from which node {node_id} would not stand")


async def unattested(
    reader: Reader, epoch: int, n_shards: int, block: BlockMark, is_followed: bool
) -> dict[int, Member]:
    """Return the shards missing when an epoch ended, each with the member that kept or attested it last.

    All is read from the state at a block.
    """
    held: dict[int, Member] = {}
    left = await missing_shards(reader, epoch, block, is_followed)
    for before in range(epoch - 1, 0, -1):
        if not left:
            break
        missing, view = await both(
            missing_shards(reader, before, block, is_followed),
            reader.call(reader.committee, "committeeOf", before, at=block, is_confirmed=is_followed),
        )
        committee = decode.committee(view, n_shards)
        if committee is None:
            raise answers.Unreadable(f"no committee of epoch {before}, which is over")
        found = left if epoch - before == LONGEST_SEARCH_EPOCHS else left - missing
        held.update((shard, committee.owner_of[shard]) for shard in found)
        left -= found
    return held


async def missing_shards(
    reader: Reader, epoch: int, at: BlockMark | None, is_followed: bool
) -> frozenset[int]:
    """Return the shards neither kept nor attested at the end of an epoch, or up to the block if it goes on then."""
    told = await reader.call(reader.committee, "missingShards", epoch, at=at, is_confirmed=is_followed)
    return frozenset(told)
