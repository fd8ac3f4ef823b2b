"""All blob objects that live, of a ledger that gives them in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from committee.ledger import BlobRecord, BlockMark
    from committee.ledger.roles import ClientLedger


async def live_objects(ledger: ClientLedger, at: BlockMark | None = None) -> list[BlobRecord]:
    """Return the blob objects that are neither deleted nor expired at a block (the head when None), by object id."""
    at = at or await ledger.head()
    found, cursor = await ledger.live_page(0, at)
    while cursor:
        page, cursor = await ledger.live_page(cursor, at)
        found += page
    return sorted(found, key=lambda one: one.object_id)
