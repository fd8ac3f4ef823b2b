"""Copy what shards lack from their old owner, page by page.

A page travels with the metadata that is lacking of its blobs; where that has more bytes than slivers, the stream of the
other axis waits for it rather than have it sent again. A page is prepared in one hop to a thread, and verified and
stored in another, with one transaction: so a small sliver costs no more than its part of a page.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from committee.bls import SecretKey
from committee.logs import Log
from committee.membership import Member
from committee.messages import Intent, ShardTransferRequest, encode
from storage.client import wire
from storage.client.bodies import Bytes
from storage.client.errors import NodeError, NodeRefused, NodeStalled
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.progress import TimeLimit
from storage.client.settling import NotSettled, Settling
from storage.node.budgets import Budget
from storage.node.chain import BLOBS_IN_A_PAGE, ChainView, Page
from storage.node.fail_points import fail_point
from storage.node.handover import sources
from storage.node.handover.sources import Source
from storage.node.peers import Peers
from storage.node.repair import Repair, RepairError, Waste
from storage.node.store import NewSliver, SliverStore
from storage.redstuff import Axis, RedStuff, RedStuffError, SingleRoot, SliverData, SliverRoots

log = Log()

PAGE_SLIVERS = 256
"""Slivers asked for in one page; the source sends fewer when they are large."""
SOURCE_BEHIND_LIMIT_S = 60.0
"""A source that has not seen the epoch by then is left out: it may only say that its block moves."""


@dataclass(frozen=True)
class Part:
    """A shard's slivers on one axis, to be copied in the handover into `waste.epoch`."""

    shard: int
    axis: Axis
    waste: Waste


@dataclass(frozen=True)
class Wanted:
    """The request for one page: whose slivers it is to have, how many bytes come, and the signed message."""

    blob_ids: Sequence[bytes]
    size_bytes: int
    """About the bytes that come: of the slivers, and of metadata."""
    most_bytes: int
    """The most that may come: a page's, or its first sliver with metadata, which alone may have more."""
    with_metadata: bool
    """Whether the blobs' metadata is lacking: of all of them, or of none."""
    is_mostly_metadata: bool
    """Whether metadata comes, with more bytes than the secondary slivers: it is to come for one axis alone."""
    message: bytes
    signature: bytes


@dataclass(frozen=True)
class Good:
    """The verified slivers and metadata of a page, to be stored."""

    slivers: Sequence[NewSliver]
    metadata: dict[bytes, Bytes]
    """Blob id → BCS BlobMetadata that is not stored yet."""
    roots: Mapping[tuple[bytes, int, Axis], SliverRoots]
    """As `Source.roots`, once that is stored."""


class Copying:
    """Copies shards for one node."""

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
        self._reputation = repair.reputation
        self._secret = secret
        self._budget = budget

    async def copy(self, waste: Waste, member: Member, shards: Sequence[int], page: Page) -> None:
        """Copy what shards lack of the blobs from their old owner, as far as it gives it."""
        source = Source(member, [(shard, axis) for shard in reversed(shards) for axis in reversed(Axis)])
        try:
            async with asyncio.TaskGroup() as streams:
                for _ in range(min(sources.STREAMS_FROM_A_SOURCE, len(source.work))):
                    streams.create_task(self._stream(waste, source, page))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _stream(self, waste: Waste, source: Source, page: Page) -> None:
        """Take shards and axes off the source's work until none is left; if it fails, no stream begins another one."""
        while source.work:
            part = Part(*source.work.pop(), waste)
            last: bytes | None = b""
            while last is not None:
                runs, last = await asyncio.to_thread(self._runs_after, last, part, page)
                for run in runs:
                    if not await self._copy(source, part, run):
                        last = None
                        break
        if self._is_too_slow(source):
            self._reputation.kept_waiting(source.member)

    async def _copy(self, source: Source, part: Part, run: Sequence[bytes]) -> bool:
        """Copy a run as far as the source gives it; return whether to go on with the shard's next one."""
        try:
            await self._transfer_when_ready(source, part, run)
        except NodeError as error:
            log.warning(
                "source fails; its slivers will be rebuilt",
                source=source.member.name,
                source_id=source.member.node_id,
                error=error.why,
            )
            self._reputation.failed(source.member, error)
            if not isinstance(error, NodeRefused):
                source.work.clear()
            # 403: it has been asked this too often, for a sliver it lacks. The next run is another question.
            goes_on = isinstance(error, NodeRefused) and error.reason == Reason.REQUEST_UNAUTHORIZED
        else:
            goes_on = True
        if source.is_faulty() or self._is_too_slow(source):
            source.work.clear()
            return False
        return goes_on

    def _runs_after(self, last: bytes, part: Part, page: Page) -> tuple[list[list[bytes]], bytes | None]:
        """Look through a page of blobs behind `last`; return those of which a shard's sliver is lacking, in runs.

        The second value is the last blob of the page, from which the next call goes on; None at the end.

        Between two blobs of one run there is none that the shard has, so that the source's pages bring what is lacking
        alone, also when most of the shard was prefetched.
        """
        blobs = page(last, BLOBS_IN_A_PAGE)
        lacking = set(self._store.missing(part.shard, part.axis, blobs))
        runs: list[list[bytes]] = [[]]
        for blob_id in blobs:
            if blob_id in lacking:
                runs[-1].append(blob_id)
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run], blobs[-1] if blobs else None

    async def _transfer_when_ready(self, source: Source, part: Part, run: Sequence[bytes]) -> None:
        """Transfer a run; a source that has not seen the epoch yet is waited for, as a rebuild costs more bytes."""
        try:
            await self._transfer_run(source, part, run)
        except NodeRefused as refused:
            if refused.reason != Reason.INVALID_EPOCH:
                raise
            settling = Settling(self._view.block.number, self._view.ledger)
            if source.awaited_until_s is None:
                source.awaited_until_s = asyncio.get_running_loop().time() + SOURCE_BEHIND_LIMIT_S
            try:
                async with asyncio.timeout_at(source.awaited_until_s):
                    await settling.until_settled(self._peers.client(source.member), refused)
            except TimeoutError:
                raise NotSettled(
                    *(source.member.name, source.member.address),
                    f"has not come to epoch {part.waste.epoch} within {SOURCE_BEHIND_LIMIT_S:g} s",
                ) from None
            await self._transfer_run(source, part, run)

    async def _transfer_run(self, source: Source, part: Part, run: Sequence[bytes]) -> None:
        """Page through one run, until its end, the source's explicit one, or a page that brings nothing of it."""
        place = 0
        while place < len(run):
            page = await self._page(source, part, run, place)
            passed = page.next_blob_id
            if passed is None:
                return
            if passed <= run[place]:
                source.faults += 1
                self._reputation.lied(source.member, f"shard {part.shard} turns in circles")
                return
            if not any(_is_in(run, place, blob_id) for blob_id, _ in page.slivers):
                # Perhaps it has lost what it was asked for; of what is invalid it gives nothing.
                source.faults += not self._view.is_invalid(run[place])
                return
            if source.is_faulty() or self._is_too_slow(source):
                return
            place = bisect_left(run, passed, place)

    async def _page(self, source: Source, part: Part, run: Sequence[bytes], place: int) -> wire.ShardPage:
        """One page of what a run lacks from `place` on; what is good of it is stored."""
        async with AsyncExitStack() as brought:
            async with source.choosing:
                await source.until_brought(run[place])
                some = run[place : place + PAGE_SLIVERS]
                wanted = await self._repair.threads.finished(self._wanted, source, part, some)
                brought.enter_context(source.bringing(wanted.blob_ids if wanted.is_mostly_metadata else ()))
            fail_point("handover.page-wanted")
            await brought.enter_async_context(self._budget.memory(2 * wanted.most_bytes))
            async with self._budget.request():
                page = await self._asked(source, wanted)
            self._budget.charge(
                sum(len(sliver.symbols) for _, sliver in page.slivers)
                + sum(map(len, (page.metadata or {}).values()))
            )
            fail_point("handover.page-received")
            slivers = [(one, sliver) for one, sliver in page.slivers if _is_in(run, place, one)]
            await self._fetch_metadata(wanted, page, [blob_id for blob_id, _ in slivers])
            threads = self._repair.threads
            good = await threads.finished(self._good, source, part, page.metadata or {}, slivers)
            fail_point("handover.page-verified")
            await part.waste.store(self._store, threads, good.slivers, good.metadata)
            fail_point("handover.page-stored")
            if wanted.is_mostly_metadata:
                source.roots = good.roots
        return page

    def _wanted(self, source: Source, part: Part, blob_ids: Sequence[bytes]) -> Wanted:
        """What to ask a page for: the first of these blobs, as many as all lack metadata or all have it.

        None whose metadata another page brings. Raises `StoreFull` when the disk has no room for it.
        """
        lacking = set(self._store.missing_metadata(blob_ids))
        with_metadata = blob_ids[0] in lacking
        ends = (
            place
            for place, one in enumerate(blob_ids)
            if (one in lacking) != with_metadata or source.brings(one)
        )
        count = next(ends, len(blob_ids))
        blob_ids = blob_ids[:count]
        request = ShardTransferRequest(part.shard, part.axis, blob_ids[0], count, self._secret.public_key)
        message = encode(
            *(Intent.SHARD_TRANSFER, part.waste.epoch, request.to_body(), self._view.parameters.domain)
        )
        lengths = self._view.lengths(blob_ids)  # 0 of a blob that is over
        metadata_bytes = self._code.metadata_size if with_metadata else 0
        sizes = [self._code.sliver_size(lengths.get(one, 0), part.axis) + metadata_bytes for one in blob_ids]
        secondary = (self._code.sliver_size(lengths.get(one, 0), Axis.SECONDARY) for one in blob_ids)
        first_bytes = sizes[0] if blob_ids[0] in lengths else wire.MAX_SLIVER_BYTES + metadata_bytes
        size_bytes = min(sum(sizes), max(wire.PAGE_BYTES, sizes[0]))
        self._store.require_room(size_bytes)
        return Wanted(
            *(blob_ids, size_bytes, max(wire.PAGE_BYTES, first_bytes)),
            *(with_metadata, metadata_bytes * count > sum(secondary)),
            *(message, self._secret.sign(message)),
        )

    async def _asked(self, source: Source, wanted: Wanted) -> wire.ShardPage:
        """Return the source's page. Its time limit begins with its turn on the link. Raises `NodeError`."""
        transfer, member = Transfer(), source.member
        limit_s = 2 * sources.PAGE_LIMIT_S + wanted.size_bytes / sources.LEAST_BYTES_PER_S
        try:
            async with TimeLimit(lambda now_s: transfer.began_s + limit_s):
                return await self._peers.client(member).sync_shard(
                    *(wanted.message, wanted.signature, wanted.size_bytes, sources.PAGE_LIMIT_S, transfer),
                    most_bytes=wanted.most_bytes,
                    with_metadata=wanted.with_metadata,
                )
        except TimeoutError:
            raise NodeStalled(member.name, member.address, "drips a page") from None
        finally:
            source.waited_s += max(0.0, asyncio.get_running_loop().time() - transfer.began_s)

    def _is_too_slow(self, source: Source) -> bool:
        return source.is_too_slow(self._peers.link.bytes_per_s)

    async def _fetch_metadata(self, wanted: Wanted, page: wire.ShardPage, blob_ids: Sequence[bytes]) -> None:
        """Get from peers the metadata of these blobs that were asked for and that the page did not bring, and store it.

        A blob whose metadata no peer gives is left out.
        """
        if not wanted.with_metadata:
            return
        async with asyncio.TaskGroup() as asked:
            for blob_id in blob_ids:
                if page.metadata is None or blob_id not in page.metadata:
                    asked.create_task(self._fetch_one(blob_id))

    async def _fetch_one(self, blob_id: bytes) -> None:
        with suppress(RepairError):
            await self._repair.metadata(blob_id)

    def _good(
        self,
        source: Source,
        part: Part,
        brought: Mapping[bytes, Bytes],
        slivers: Sequence[tuple[bytes, SliverData]],
    ) -> Good:
        """Return what is good of a page, metadata and slivers; what is wrong is held against the source."""
        roots = source.roots
        at_hand = {one: roots.get((one, part.shard, part.axis)) for one, _ in slivers}
        known = {one: root for one, root in at_hand.items() if root is not None}
        stored = self._store.metadata_of([one for one, _ in slivers if one not in known])
        # What is neither is of a blob that is no longer, or not yet, live: nobody's fault.
        there = [(one, sliver, stored.get(one) or brought.get(one)) for one, sliver in slivers]
        whole = [(one, sliver, bcs) for one, sliver, bcs in there if bcs is not None and one not in known]
        read = self._code.read_each([(bcs, one, one in stored) for one, _, bcs in whole])
        new: dict[bytes, Bytes] = {}
        for (blob_id, sliver, bcs), metadata in zip(whole, read, strict=True):
            if isinstance(metadata, RedStuffError):
                source.faults += 1
                self._reputation.lied(source.member, f"metadata: {metadata}")
                part.waste.add(blob_id, part.shard, part.axis, len(sliver.symbols))
                continue
            known[blob_id] = metadata
            if blob_id not in stored:
                new[blob_id] = bcs
        asked = [(blob_id, sliver) for blob_id, sliver in slivers if blob_id in known]
        good: list[NewSliver] = []
        for (blob_id, sliver), wrong in zip(asked, self._wrong(part, known, asked), strict=True):
            if wrong is None:
                good.append(
                    part.waste.sliver(
                        *("transferred", blob_id, part.shard, part.axis, sliver.symbols),
                        received_bytes=len(sliver.symbols),
                    )
                )
                continue
            source.faults += 1
            self._reputation.lied(source.member, f"{part.axis.label} sliver of shard {part.shard}: {wrong}")
            part.waste.add(blob_id, part.shard, part.axis, len(sliver.symbols))
        source.slivers += len(good)
        source.size_bytes += sum(len(one.symbols) for one in good)
        return Good(good, new, self._roots_beside(part, [known[one] for one in new]))

    def _roots_beside(
        self, part: Part, metadata: Sequence[SliverRoots]
    ) -> dict[tuple[bytes, int, Axis], SliverRoots]:
        """Return the roots of a shard's slivers on the other axis, as `Source.roots`."""
        axis, shard = part.axis.other, part.shard
        return {
            (one.blob_id, shard, axis): SingleRoot.of(
                one, axis, self._code.sliver_index(one.blob_id, shard, axis)
            )
            for one in metadata
        }

    def _wrong(
        self, part: Part, known: Mapping[bytes, SliverRoots], slivers: Sequence[tuple[bytes, SliverData]]
    ) -> list[Exception | None]:
        """Return what is wrong with each of these slivers; None for those that are right."""
        indices = [self._code.sliver_index(blob_id, part.shard, part.axis) for blob_id, _ in slivers]
        wrong = self._code.verify_slivers(
            part.axis,
            [
                (known[blob_id], index, sliver.symbols)
                for (blob_id, sliver), index in zip(slivers, indices, strict=True)
            ],
        )
        return [
            error if sliver.index == index else RepairError(f"sliver {sliver.index} in place of {index}")
            for error, (_, sliver), index in zip(wrong, slivers, indices, strict=True)
        ]


def _is_in(run: Sequence[bytes], place: int, blob_id: bytes) -> bool:
    """Return whether a run, which ascends, has a blob at `place` or behind it."""
    found = bisect_left(run, blob_id, place)
    return found < len(run) and run[found] == blob_id
