"""Fill shards with the slivers of many blobs: copied from the old owner, or else rebuilt from helpers' symbols.

What a source does not give, gives wrongly or gives too slowly falls back to local repair, sliver by sliver. Everything
is verified before it is stored, and what is stored is never fetched again: all progress is in the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import structlog

from committee.bls import SecretKey
from committee.membership import Member
from committee.messages import Intent, ShardTransferRequest, encode
from storage.client import wire
from storage.client.errors import NodeError, NodeRefused
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair import Repair, RepairError
from storage.node.repair.standing import LIAR
from storage.node.store import NewSliver, SliverStore, StoreError, Tally
from storage.node.threads import finished
from storage.redstuff import Axis, BlobMetadata, RedStuff, RedStuffError, blob_id_text

log = structlog.get_logger()

BLOBS_AT_ONCE = 64
"""Blobs under repair at once: what they ask of the same helper goes together. The budget bounds their memory."""
STREAMS_FROM_A_SOURCE = 2
"""Pages asked for at once from one source: while one is verified and stored, the next one travels."""
PAGE_SLIVERS = 256
"""Slivers asked for in one page; the source sends fewer when they are large."""
PAGE_LIMIT_S = 15.0
"""For one page, apart from what its size takes."""

Wasted = dict[tuple[bytes, int, Axis], int]
"""Bytes received in vain, by blob id, shard and axis, until a good sliver takes them into its record."""


class Filling:
    """Fills shards of one node."""

    def __init__(
        self,
        view: ChainView,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        repair: Repair,
        secret: SecretKey,
        budget: Budget,
    ) -> None:
        self._view = view
        self._store = store
        self._code = code
        self._peers = peers
        self._repair = repair
        self._secret = secret
        self._budget = budget
        self._wasted: Wasted = {}

    # transfer

    async def transfer(self, epoch: int, sources: Mapping[int, Member], blobs: Sequence[bytes]) -> None:
        """Copy what shards lack of the blobs from their old owners, shard → owner, all owners side by side.

        Blobs ascend. `epoch` is the one in which the shards are this node's. What cannot be copied is left out.
        """
        by_source: dict[Member, list[int]] = defaultdict(list)
        for shard, source in sources.items():
            by_source[source].append(shard)
        await asyncio.gather(
            *(self._transfer_from(epoch, source, shards, blobs) for source, shards in by_source.items())
        )

    async def _transfer_from(
        self, epoch: int, source: Member, shards: Sequence[int], blobs: Sequence[bytes]
    ) -> None:
        """All streams from one source; when one fails, the others end after their page."""
        work = [(shard, axis) for shard in reversed(shards) for axis in reversed(Axis)]
        try:
            async with asyncio.TaskGroup() as streams:
                for _ in range(min(STREAMS_FROM_A_SOURCE, len(work))):
                    streams.create_task(self._stream(epoch, source, work, blobs))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _stream(
        self, epoch: int, source: Member, work: list[tuple[int, Axis]], blobs: Sequence[bytes]
    ) -> None:
        """Take shards and axes off `work` until none is left or the source fails, which ends the other streams too."""
        while work:
            if self._repair.standing.rank(source) == LIAR:
                work.clear()
                return
            shard, axis = work.pop()
            try:
                for run in await asyncio.to_thread(self._runs, shard, axis, blobs):
                    await self._transfer_run(epoch, source, shard, axis, run)
            except NodeError as error:
                log.warning("source fails; its slivers will be rebuilt", source=source.name, error=error.why)
                self._repair.standing.failed(source, error)
                if not isinstance(error, NodeRefused):
                    work.clear()

    def _runs(self, shard: int, axis: Axis, blobs: Sequence[bytes]) -> list[list[bytes]]:
        """What a shard lacks on an axis, in runs: between two blobs of one run there is none that it has.

        So that pages bring what is lacking alone, also when most of the shard was prefetched.
        """
        lacking = set(self._store.missing(shard, axis, blobs))
        runs: list[list[bytes]] = [[]]
        for blob_id in blobs:
            if blob_id in lacking:
                runs[-1].append(blob_id)
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run]

    async def _transfer_run(
        self, epoch: int, source: Member, shard: int, axis: Axis, run: Sequence[bytes]
    ) -> None:
        """Page through one run, to its end or the source's explicit one."""
        left = dict.fromkeys(run)
        cursor: bytes | None = run[0]
        while cursor is not None and left and cursor <= run[-1]:
            request = ShardTransferRequest(
                shard, axis, cursor, min(PAGE_SLIVERS, len(left)), self._secret.public_key
            )
            message = encode(Intent.SHARD_TRANSFER, epoch, request.to_body(), self._view.parameters.domain)
            size_bytes = await self._page_bytes(cursor, axis)
            fail_point("handover.page-wanted")
            async with self._budget.memory(2 * size_bytes):
                async with self._budget.request():
                    signature = self._secret.sign(message)
                    page = await self._peers.client(source).sync_shard(
                        message, signature, size_bytes, PAGE_LIMIT_S
                    )
                self._budget.charge(sum(len(sliver.symbols) for _, sliver in page.slivers))
                fail_point("handover.page-received")
                known = await self._metadata([blob_id for blob_id, _ in page.slivers if blob_id in left])
                good = await asyncio.to_thread(self._good, epoch, source, shard, axis, known, page)
                fail_point("handover.page-verified")
                await finished(self._store.put_slivers, good)
                fail_point("handover.page-stored")
            for blob_id, _ in page.slivers:
                left.pop(blob_id, None)
            if self._repair.standing.rank(source) == LIAR:
                return
            if page.next_blob_id is not None and page.next_blob_id <= cursor:
                self._repair.standing.lied(source, f"shard {shard} turns in circles")
                return
            cursor = page.next_blob_id

    async def _page_bytes(self, first_blob_id: bytes, axis: Axis) -> int:
        """As much as a page that begins there can hold."""
        known = await self._metadata([first_blob_id])
        return max([wire.PAGE_BYTES, *(self._code.sliver_size(one.length, axis) for one in known.values())])

    async def _metadata(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobMetadata]:
        """The metadata of those blobs whose metadata can be had."""
        known = {}
        for blob_id in blob_ids:
            with suppress(RepairError):
                known[blob_id] = await self._repair.metadata(blob_id)
        return known

    def _good(
        self,
        epoch: int,
        source: Member,
        shard: int,
        axis: Axis,
        known: Mapping[bytes, BlobMetadata],
        page: wire.ShardPage,
    ) -> list[NewSliver]:
        """The slivers of a page that match their blobs' metadata; a wrong one is held against the source."""
        good = []
        for blob_id, sliver in page.slivers:
            metadata = known.get(blob_id)
            if metadata is None:
                continue  # of a blob that is no longer, or not yet, live: nobody's fault
            size = len(sliver.symbols)
            try:
                index = self._code.sliver_index(blob_id, shard, axis)
                if sliver.index != index:
                    raise RepairError(f"sliver {sliver.index} in place of {index}")
                self._code.verify_sliver(metadata, axis, index, sliver.symbols)
            except (RedStuffError, RepairError) as error:
                self._repair.standing.lied(source, f"{axis.label} sliver of shard {shard}: {error}")
                key = (blob_id, shard, axis)
                self._wasted[key] = self._wasted.get(key, 0) + size
                continue
            in_vain = self._wasted.pop((blob_id, shard, axis), 0)
            tally = Tally(epoch, shard, blob_id, "transferred", 1, size, size, in_vain)
            good.append(NewSliver(blob_id, shard, axis, sliver.symbols, tally))
        return good

    # rebuild

    async def rebuild(
        self,
        epoch: int,
        shards: Sequence[int],
        blobs: Sequence[bytes],
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
    ) -> dict[bytes, str]:
        """Rebuild what shards lack of the blobs; blob id → why it could not be done.

        `avoiding` tells the node ids not to be asked, `is_wanted` whether a blob is still to be kept. One blob that
        cannot be rebuilt holds up no other.
        """
        lacking = await asyncio.to_thread(self.lacking, shards, blobs)
        at_once = asyncio.Semaphore(BLOBS_AT_ONCE)
        failures: dict[bytes, str] = {}

        async def fill(blob_id: bytes) -> None:
            async with at_once:
                try:
                    metadata = await self._repair.metadata(blob_id)
                    await self._repair.fill(
                        metadata, shards, epoch, avoiding(), lambda: is_wanted(blob_id), self._wasted
                    )
                    fail_point("handover.blob-filled")
                except (RepairError, RedStuffError, StoreError) as error:
                    failures[blob_id] = str(error)
                    log.warning("blob cannot be rebuilt yet", blob=blob_id_text(blob_id), error=str(error))

        for first in range(0, len(lacking), PAGE_SLIVERS):
            async with asyncio.TaskGroup() as blobs_at_work:
                for blob_id in lacking[first : first + PAGE_SLIVERS]:
                    blobs_at_work.create_task(fill(blob_id))
        return failures

    def lacking(self, shards: Sequence[int], blobs: Sequence[bytes]) -> list[bytes]:
        """The blobs of which any of the shards lacks a sliver, in their order."""
        lacking: set[bytes] = set()
        for shard in shards:
            for axis in Axis:
                lacking.update(self._store.missing(shard, axis, blobs))
        return [blob_id for blob_id in blobs if blob_id in lacking]
