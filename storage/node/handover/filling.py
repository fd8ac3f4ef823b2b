"""Fill shards with the slivers of many blobs: copied from the old owner, or else rebuilt from helpers' symbols.

What a source does not give, gives wrongly or gives too slowly falls back to local repair, sliver by sliver. Everything
is verified before it is stored, and what is stored is never fetched again: all progress is in the store.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from committee.bls import SecretKey
from committee.logs import Log
from committee.membership import Member
from committee.messages import Intent, ShardTransferRequest, encode
from committee.transition import Plan
from storage.client import wire
from storage.client.errors import NodeError, NodeRefused, NodeStalled
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.settling import NotSettled, Settling
from storage.node.budgets import Budget
from storage.node.chain import BLOBS_IN_A_PAGE, ChainView, Page
from storage.node.fail_points import fail_point
from storage.node.handover import sources
from storage.node.handover.sources import Source
from storage.node.peers import Peers
from storage.node.repair import Repair, RepairError
from storage.node.store import NewSliver, SliverStore, StoreError, Tally
from storage.redstuff import Axis, BlobMetadata, RedStuff, RedStuffError, blob_id_text

log = Log()

BLOBS_AT_ONCE = 64
"""Blobs under repair at once: what they ask of the same helper goes together. The budget bounds their memory."""
PAGE_SLIVERS = 256
"""Slivers asked for in one page; the source sends fewer when they are large."""
SOURCE_BEHIND_LIMIT_S = 60.0
"""A source that has not seen the epoch by then is left out: it may only say that its block moves."""


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
        self._in_vain: dict[int, Counter[tuple[bytes, int, Axis]]] = defaultdict(Counter)
        """Epoch → bytes thrown away, by blob id, shard and axis, until a good sliver takes them into its record."""

    def ways(
        self,
        plan: Plan,
        page: Page,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
        *,
        to_the_end: bool,
    ) -> list[Coroutine[Any, Any, frozenset[int]]]:
        """How the plan's shards are filled with the blobs of these pages: to be awaited side by side.

        One way leads from each old owner, one is the repair of what departed; none waits for another, and each returns
        the shards it has filled as far as could be. `avoiding` tells the node ids not to be asked for symbols,
        `is_wanted` whether a blob is still to be kept. `to_the_end`, what an old owner has not given is rebuilt.
        """
        for epoch in [one for one in self._in_vain if one < plan.epoch - 1]:
            del self._in_vain[epoch]

        async def copied(source: Member, shards: list[int]) -> frozenset[int]:
            await self._transfer(plan.epoch, source, shards, page)
            if to_the_end:
                await self._rebuild(plan.epoch, shards, page, avoiding, is_wanted)
            return frozenset(shards)

        async def rebuilt(shards: list[int]) -> frozenset[int]:
            await self._rebuild(plan.epoch, shards, page, avoiding, is_wanted)
            return frozenset(shards)

        by_source: dict[Member, list[int]] = defaultdict(list)
        for shard, source in plan.transferred.items():
            by_source[source].append(shard)
        ways = [copied(source, shards) for source, shards in by_source.items()]
        return [*ways, rebuilt(sorted(plan.rebuilt))] if plan.rebuilt else ways

    # transfer

    async def _transfer(self, epoch: int, member: Member, shards: Sequence[int], page: Page) -> None:
        """Copy what shards lack of the blobs from their old owner, as far as it gives it.

        `epoch` is the one in which the shards are this node's.
        """
        source = Source(member, [(shard, axis) for shard in reversed(shards) for axis in reversed(Axis)])
        try:
            async with asyncio.TaskGroup() as streams:
                for _ in range(min(sources.STREAMS_FROM_A_SOURCE, len(source.work))):
                    streams.create_task(self._stream(epoch, source, page))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _stream(self, epoch: int, source: Source, page: Page) -> None:
        """Take shards and axes off the source's work until none is left; if it fails, no stream begins another one."""
        while source.work:
            shard, axis = source.work.pop()
            last: bytes | None = b""
            while last is not None:
                runs, last = await asyncio.to_thread(self._runs_after, last, shard, axis, page)
                for run in runs:
                    if not await self._copy(epoch, source, shard, axis, run):
                        last = None
                        break
        if self._is_too_slow(source):
            self._repair.standing.kept_waiting(source.member)

    async def _copy(self, epoch: int, source: Source, shard: int, axis: Axis, run: Sequence[bytes]) -> bool:
        """Copy a run as far as the source gives it; return whether to go on with the shard's next one."""
        try:
            await self._transfer_when_ready(epoch, source, shard, axis, run)
        except NodeError as error:
            log.warning(
                "source fails; its slivers will be rebuilt",
                source=source.member.name,
                source_id=source.member.node_id,
                error=error.why,
            )
            self._repair.standing.failed(source.member, error)
            if not isinstance(error, NodeRefused):
                source.work.clear()
                return False
            if error.reason != Reason.REQUEST_UNAUTHORIZED:
                return False
            # It has been asked this too often, for a sliver it lacks: the next run is another question.
        if source.is_faulty() or self._is_too_slow(source):
            source.work.clear()
            return False
        return True

    def _runs_after(
        self, last: bytes, shard: int, axis: Axis, page: Page
    ) -> tuple[list[list[bytes]], bytes | None]:
        """Look through a page of blobs behind `last`; return those of which a shard's sliver is lacking, in runs.

        The second value is the last blob of the page, from which the next call goes on; None at the end.

        Between two blobs of one run there is none that the shard has, so that the source's pages bring what is lacking
        alone, also when most of the shard was prefetched.
        """
        blobs = page(last, BLOBS_IN_A_PAGE)
        lacking = set(self._store.missing(shard, axis, blobs))
        runs: list[list[bytes]] = [[]]
        for blob_id in blobs:
            if blob_id in lacking:
                runs[-1].append(blob_id)
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run], blobs[-1] if blobs else None

    async def _transfer_when_ready(
        self, epoch: int, source: Source, shard: int, axis: Axis, run: Sequence[bytes]
    ) -> None:
        """Transfer a run; a source that has not seen the epoch yet is waited for, as a rebuild costs more bytes."""
        try:
            await self._transfer_run(epoch, source, shard, axis, run)
        except NodeRefused as refused:
            if refused.reason != Reason.INVALID_EPOCH:
                raise
            settling = Settling(self._view.block.number, self._view.ledger)
            try:
                async with asyncio.timeout(SOURCE_BEHIND_LIMIT_S):
                    await settling.until_settled(self._peers.client(source.member), refused)
            except TimeoutError:
                raise NotSettled(
                    *(source.member.name, source.member.address),
                    f"has not come to epoch {epoch} within {SOURCE_BEHIND_LIMIT_S:g} s",
                ) from None
            await self._transfer_run(epoch, source, shard, axis, run)

    async def _transfer_run(
        self, epoch: int, source: Source, shard: int, axis: Axis, run: Sequence[bytes]
    ) -> None:
        """Page through one run, until its end, the source's explicit one, or a page that brings nothing of it."""
        place = 0
        while place < len(run):
            page = await self._page(epoch, source, shard, axis, run, place)
            passed = page.next_blob_id
            if passed is None:
                return
            if passed <= run[place]:
                source.faults += 1
                self._repair.standing.lied(source.member, f"shard {shard} turns in circles")
                return
            if not any(_is_in(run, place, blob_id) for blob_id, _ in page.slivers):
                # Perhaps it has lost what it was asked for; of what is invalid it gives nothing.
                source.faults += not self._view.is_invalid(run[place])
                return
            if source.is_faulty() or self._is_too_slow(source):
                return
            place = bisect_left(run, passed, place)

    async def _page(
        self, epoch: int, source: Source, shard: int, axis: Axis, run: Sequence[bytes], place: int
    ) -> wire.ShardPage:
        """One page of what a run lacks from `place` on; what is good of it is stored."""
        wanted = run[place : place + PAGE_SLIVERS]
        request = ShardTransferRequest(shard, axis, wanted[0], len(wanted), self._secret.public_key)
        message = encode(Intent.SHARD_TRANSFER, epoch, request.to_body(), self._view.parameters.domain)
        sizes = [self._size(blob_id, axis) for blob_id in wanted]
        size_bytes = max(wire.PAGE_BYTES, sizes[0])
        await asyncio.to_thread(self._store.require_room, min(sum(sizes), size_bytes))
        fail_point("handover.page-wanted")
        clock = asyncio.get_running_loop()
        async with self._budget.memory(2 * size_bytes):
            async with self._budget.request():
                transfer = Transfer()
                try:
                    async with asyncio.timeout(
                        2 * sources.PAGE_LIMIT_S + size_bytes / sources.LEAST_BYTES_PER_S
                    ):
                        page = await self._peers.client(source.member).sync_shard(
                            message,
                            self._secret.sign(message),
                            min(sum(sizes), size_bytes),
                            sources.PAGE_LIMIT_S,
                            transfer,
                        )
                except TimeoutError:
                    raise NodeStalled(source.member.name, source.member.address, "drips a page") from None
                finally:
                    source.waited_s += max(0.0, clock.time() - transfer.began_s)
            self._budget.charge(sum(len(sliver.symbols) for _, sliver in page.slivers))
            fail_point("handover.page-received")
            known = await self._metadata({one for one, _ in page.slivers if _is_in(run, place, one)})
            good = await self._repair.threads.finished(self._good, epoch, source, shard, axis, known, page)
            fail_point("handover.page-verified")
            await self._repair.keep(good, self._in_vain[epoch])
            fail_point("handover.page-stored")
        return page

    def _is_too_slow(self, source: Source) -> bool:
        return source.is_too_slow(self._peers.link.bytes_per_s)

    def _size(self, blob_id: bytes, axis: Axis) -> int:
        """Bytes of the blob's slivers on an axis, by what the chain says of its length; 0 once the blob is over."""
        objects = self._view.objects(blob_id)
        return self._code.sliver_size(objects[0].length, axis) if objects else 0

    async def _metadata(self, blob_ids: Collection[bytes]) -> dict[bytes, BlobMetadata]:
        """The metadata of those blobs whose metadata can be had."""
        known = {}

        async def get(blob_id: bytes) -> None:
            with suppress(RepairError):
                known[blob_id] = await self._repair.metadata(blob_id)

        async with asyncio.TaskGroup() as asked:
            for blob_id in blob_ids:
                asked.create_task(get(blob_id))
        return known

    def _good(
        self,
        epoch: int,
        source: Source,
        shard: int,
        axis: Axis,
        known: Mapping[bytes, BlobMetadata],
        page: wire.ShardPage,
    ) -> list[NewSliver]:
        """The slivers of a page that match their blobs' metadata; a wrong one is held against the source."""
        good, in_vain = [], self._in_vain[epoch]
        for blob_id, sliver in page.slivers:
            metadata = known.get(blob_id)
            if metadata is None:
                continue  # not asked for, or of a blob that is no longer, or not yet, live: nobody's fault
            size = len(sliver.symbols)
            try:
                index = self._code.sliver_index(blob_id, shard, axis)
                if sliver.index != index:
                    raise RepairError(f"sliver {sliver.index} in place of {index}")
                self._code.verify_sliver(metadata, axis, index, sliver.symbols)
            except (RedStuffError, RepairError) as error:
                source.faults += 1
                self._repair.standing.lied(source.member, f"{axis.label} sliver of shard {shard}: {error}")
                in_vain[blob_id, shard, axis] += size
                continue
            wasted_bytes = in_vain[blob_id, shard, axis]
            tally = Tally(epoch, shard, blob_id, "transferred", 1, size, size, wasted_bytes)
            good.append(NewSliver(blob_id, shard, axis, sliver.symbols, tally))
        source.slivers += len(good)
        source.size_bytes += sum(len(one.symbols) for one in good)
        return good

    # rebuild

    async def _rebuild(
        self,
        epoch: int,
        shards: Sequence[int],
        page: Page,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
    ) -> None:
        """Rebuild what shards lack of the blobs. One that cannot be rebuilt is logged, and holds up no other."""
        at_once = asyncio.Semaphore(BLOBS_AT_ONCE)

        async def fill(blob_id: bytes) -> None:
            async with at_once:
                try:
                    metadata = await self._repair.metadata(blob_id)
                    await self._repair.fill(
                        metadata, shards, epoch, avoiding(), lambda: is_wanted(blob_id), self._in_vain[epoch]
                    )
                    fail_point("handover.blob-filled")
                except (RepairError, RedStuffError, StoreError) as error:
                    log.warning("blob cannot be rebuilt yet", blob=blob_id_text(blob_id), error=str(error))

        last: bytes | None = b""
        while last is not None:
            lacking, last = await asyncio.to_thread(self._lacking_after, last, shards, page)
            async with asyncio.TaskGroup() as blobs_at_work:
                for blob_id in lacking:
                    blobs_at_work.create_task(fill(blob_id))

    def has_all(self, shards: Sequence[int], page: Page) -> bool:
        """Whether the shards have all slivers of the blobs."""
        lacking, _ = self._lacking_after(b"", shards, page)
        return not lacking

    def _lacking_after(
        self, last: bytes, shards: Sequence[int], page: Page
    ) -> tuple[list[bytes], bytes | None]:
        """Return the next blobs behind `last` of which a sliver is lacking in any of the shards.

        The second value is the last blob that was looked at, from which the next call goes on; None at the end. The
        list is empty only then.
        """
        found: list[bytes] = []
        while len(found) < PAGE_SLIVERS:
            blobs = page(last, BLOBS_IN_A_PAGE)
            if not blobs:
                return found, None
            lacking: set[bytes] = set()
            for shard in shards:
                for axis in Axis:
                    lacking.update(self._store.missing(shard, axis, blobs))
            found += [blob_id for blob_id in blobs if blob_id in lacking]
            last = blobs[-1]
        return found, last


def _is_in(run: Sequence[bytes], place: int, blob_id: bytes) -> bool:
    """Return whether a run, which ascends, has a blob at `place` or behind it."""
    found = bisect_left(run, blob_id, place)
    return found < len(run) and run[found] == blob_id
