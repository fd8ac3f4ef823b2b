"""Blobs' metadata for repair: stored, or fetched from a peer and stored."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

from committee.membership import Member
from storage.client.errors import NodeError, NodeFailure, name_failures
from storage.node.budgets import Budget
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair.helpers import LatestAnswers, RepairError
from storage.node.repair.reputation import Reputation
from storage.node.store import SliverStore
from storage.node.threads import Threads
from storage.redstuff import BlobMetadata, RedStuff, SliverRoots, blob_id_text

METADATA_KEPT = 256
"""Blobs whose metadata is kept at hand: a blob's slivers come one after the other, for shard after shard."""
METADATA_LIMIT_S = 5.0
"""Time limit for one peer's metadata; another peer is asked then."""
SLOW_S = 1.0
"""A peer that answers, with metadata or a refusal, after this time and after TIMES_THE_USUAL of what answers usually
take is asked after all others for a while: members that answer all just in time would else take most of the turns."""


class MetadataOfBlobs:
    """Gets blobs' metadata for one node's repair: from its store, else from a peer, and then stores it.

    The METADATA_KEPT blobs asked for last stay decoded in memory.
    """

    def __init__(
        self,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        reputation: Reputation,
        budget: Budget,
        threads: Threads,
    ) -> None:
        self._store = store
        self._code = code
        self._peers = peers
        self._reputation = reputation
        self._budget = budget
        self._threads = threads
        self._kept: OrderedDict[bytes, BlobMetadata] = OrderedDict()
        self._fetching: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        """One lock for each blob whose metadata is being fetched, so that nothing is fetched twice."""
        self._latest = LatestAnswers()

    async def get(self, blob_id: bytes) -> BlobMetadata:
        """Return a blob's metadata, stored or fetched. Raises `RepairError` when no peer gives it."""
        async with self._fetching.setdefault(blob_id, asyncio.Lock()):
            stored = await asyncio.to_thread(self._store.metadata, blob_id)
            if stored is None:
                metadata = await self._fetch(blob_id)
            else:
                metadata = self._kept.get(blob_id) or BlobMetadata.from_bcs(stored, blob_id)
        self._kept[blob_id] = metadata
        self._kept.move_to_end(blob_id)
        if len(self._kept) > METADATA_KEPT:
            self._kept.popitem(last=False)
        return metadata

    async def of(self, blob_ids: Sequence[bytes]) -> tuple[dict[bytes, SliverRoots], dict[bytes, Exception]]:
        """Return (blob id → metadata, blob id → `RepairError`): each blob is in one of the two, by what `get` does."""
        stored = await asyncio.to_thread(self._store.metadata_of, blob_ids)
        known = {one: self._code.read_metadata(bcs, one, is_checked=True) for one, bcs in stored.items()}
        failed: dict[bytes, Exception] = {}

        async def try_(blob_id: bytes) -> None:
            try:
                known[blob_id] = await self.get(blob_id)
            except RepairError as error:
                failed[blob_id] = error

        async with asyncio.TaskGroup() as asked:
            for blob_id in blob_ids:
                if blob_id not in known:
                    asked.create_task(try_(blob_id))
        return known, failed

    async def _fetch(self, blob_id: bytes) -> BlobMetadata:
        failures: dict[int, NodeFailure] = {}
        others = self._peers.others()
        # Each blob's round begins elsewhere, so that they do not all lean, or wait, on the same ones.
        first = int.from_bytes(blob_id[:4], "big") % max(1, len(others))
        left = others[first:] + others[:first]
        while left:
            try:
                async with self._budget.request():
                    # Chosen when the turn has come: what other requests have met by then counts.
                    member = min(left, key=self._reputation.rank)
                    left.remove(member)
                    metadata = await self._ask(member, blob_id)
            except NodeError as error:
                failures[member.node_id] = NodeFailure(member.name, error.why)
                self._reputation.failed(member, error)
                continue
            encoded = metadata.to_bcs()
            self._budget.charge(len(encoded))
            fail_point("handover.blob-metadata-fetched")
            await self._threads.finished(self._store.put_metadata, blob_id, encoded)
            fail_point("handover.blob-metadata-stored")
            return metadata
        raise RepairError(f"no metadata of blob {blob_id_text(blob_id)}: {name_failures(failures)}")

    async def _ask(self, member: Member, blob_id: bytes) -> BlobMetadata:
        """Return a peer's metadata, and remember a peer that answers much later than usual. Raises `NodeError`."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            return await self._peers.client(member).metadata(blob_id, METADATA_LIMIT_S)
        finally:
            took_s = clock() - began_s
            long_s = self._latest.long_s
            if long_s is not None and took_s > max(SLOW_S, long_s):
                self._reputation.kept_waiting(member)
            self._latest.add(took_s)
