"""The live objects of one blob, found among all live objects of the network, of which there may be millions."""

from __future__ import annotations

from committee.errors import LedgerStateGone
from committee.ledger import BlobRecord, BlockMark, Ledger


async def live_objects_of(ledger: Ledger, blob_id: bytes, at: BlockMark) -> list[BlobRecord]:
    """Return a blob's objects that are neither deleted nor expired, by object id.

    All live objects are read, page by page, and none but the blob's are kept. Reading begins at block `at`; where no
    endpoint keeps the state of a block until all is read, it goes on at a newer block: what is registered or deleted
    meanwhile may be in the list or not. Raises `LedgerStateGone` when there is no newer block, and other `LedgerError`.
    """
    found: dict[int, BlobRecord] = {}
    cursor = 0
    while True:
        try:
            page, cursor = await ledger.live_page(cursor, at)
        except LedgerStateGone:
            newest = await ledger.newest()
            if newest.number <= at.number:
                raise
            at = newest
            continue
        found |= {one.object_id: one for one in page if one.blob_id == blob_id}
        if cursor == 0:
            return [found[object_id] for object_id in sorted(found)]
