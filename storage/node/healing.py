"""Repair outside the handover: a certified blob whose pair this node lacks is rebuilt in the background.

It may have been down while the blob was uploaded, or its disk was wiped. A blob that cannot be repaired yet goes to the
end of the line and holds up no other.
"""

from __future__ import annotations

import asyncio

import structlog

from committee.ledger import BlobCertified, Event
from storage.node.chain import ChainView
from storage.node.repair import Repair, RepairError
from storage.node.store import StoreError
from storage.redstuff import RedStuffError, blob_id_text

log = structlog.get_logger()

PAUSE_AFTER_FAILURE_S = 5.0


class Healing:
    """The line of blobs to look after; to begin with, every live blob."""

    def __init__(self, view: ChainView, repair: Repair) -> None:
        self._view = view
        self._repair = repair
        self._line: dict[bytes, None] = {}
        self._more = asyncio.Event()
        view.subscribe(self._on_event)
        for blob_id in view.live_blobs():
            self.look_after(blob_id)

    @property
    def waiting(self) -> int:
        """Blobs in the line, the one at work included."""
        return len(self._line)

    def look_after(self, blob_id: bytes) -> None:
        """Put a blob into the line, once."""
        self._line.setdefault(blob_id)
        self._more.set()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BlobCertified):
            self.look_after(event.blob_id)

    async def run(self) -> None:
        """Heal for ever."""
        while True:
            await self._more.wait()
            if not self._line:
                self._more.clear()
                continue
            blob_id = next(iter(self._line))
            try:
                await self._heal(blob_id)
                del self._line[blob_id]
            except (RepairError, RedStuffError, StoreError) as error:
                log.warning("blob cannot be healed yet", blob=blob_id_text(blob_id), error=str(error))
                self._line[blob_id] = self._line.pop(blob_id)
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def _heal(self, blob_id: bytes) -> None:
        """Fill this node's pairs of a live blob, but for shards that the handover is filling."""
        if not self._view.is_live(blob_id):
            return
        shards = set(self._view.my_shards())
        state = self._view.state
        if blob_id in self._view.live_at_start and state.previous is not None:
            shards &= set(state.previous.shards_of(self._view.node_id))
        if shards:
            metadata = await self._repair.metadata(blob_id)
            await self._repair.fill(metadata, sorted(shards))
