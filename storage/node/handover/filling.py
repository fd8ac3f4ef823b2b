"""Fill shards with the slivers of many blobs: copied from the old owner, or else rebuilt from helpers' symbols.

What a source does not give, gives wrongly or gives too slowly falls back to local repair, sliver by sliver. Everything
is verified before it is stored, and what is stored is never fetched again: all progress is in the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence

from committee.logs import Log
from committee.membership import Member
from committee.transition import Plan
from storage.node.chain import BLOBS_IN_A_PAGE, Page
from storage.node.fail_points import fail_point
from storage.node.handover.copying import Copying
from storage.node.repair import Repair, RepairError, Waste
from storage.node.store import SliverStore, StoreError
from storage.node.threads import cancelled
from storage.redstuff import Axis, RedStuff, RedStuffError, blob_id_text

log = Log()

BLOBS_AT_ONCE = 64
"""Large blobs under repair at once. The budget bounds their memory."""
BLOBS_LOOKED_FOR = 256
"""Blobs that lack slivers, found before their repair begins."""


class Filling:
    """Fills shards of one node."""

    def __init__(self, store: SliverStore, code: RedStuff, repair: Repair, copying: Copying) -> None:
        self._store = store
        self._code = code
        self._repair = repair
        self._copying = copying
        self._waste: dict[int, Waste] = {}
        """Epoch → what was thrown away in the handover into it."""

    async def filled(
        self,
        plan: Plan,
        page: Page,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
        *,
        to_the_end: bool,
    ) -> AsyncGenerator[frozenset[int]]:
        """Fill the plan's shards with the blobs of these pages; yield shards once they are filled as far as can be.

        The shards of each old owner are copied, and those of departed ones rebuilt, all side by side. `avoiding` tells
        the node ids not to be asked for symbols, `is_wanted` whether a blob is still to be kept. `to_the_end`, what an
        old owner has not given is rebuilt. To be closed (`contextlib.aclosing`): all work then ends.
        """
        self._waste = {epoch: one for epoch, one in self._waste.items() if epoch >= plan.epoch - 1}
        waste = self._waste.setdefault(plan.epoch, Waste(plan.epoch))

        async def copied(source: Member, shards: list[int]) -> frozenset[int]:
            await self._copying.copy(waste, source, shards, page)
            if to_the_end:
                await self._rebuild(waste, shards, page, avoiding, is_wanted)
            return frozenset(shards)

        async def rebuilt(shards: list[int]) -> frozenset[int]:
            await self._rebuild(waste, shards, page, avoiding, is_wanted)
            return frozenset(shards)

        by_source: dict[Member, list[int]] = defaultdict(list)
        for shard, source in plan.transferred.items():
            by_source[source].append(shard)
        tasks = [asyncio.create_task(copied(source, shards)) for source, shards in by_source.items()]
        if plan.rebuilt:
            tasks.append(asyncio.create_task(rebuilt(sorted(plan.rebuilt))))
        try:
            for ended in asyncio.as_completed(tasks):
                yield await ended
        finally:
            await cancelled(tasks)

    async def _rebuild(
        self,
        waste: Waste,
        shards: Sequence[int],
        page: Page,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
    ) -> None:
        """Rebuild what shards lack of the blobs. One that cannot be rebuilt is logged, and holds up no other."""
        last: bytes | None = b""
        while last is not None:
            lacking, last = await asyncio.to_thread(self._lacking_after, last, shards, page)
            known, failed = await self._repair.metadata_of(lacking)
            small = {one: roots for one, roots in known.items() if self._code.is_small(roots.length)}
            failed |= await self._repair.fill_together(small, shards, waste, avoiding, is_wanted)
            large = [blob_id for blob_id in known if blob_id not in small]
            failed |= await self._fill_large(large, shards, waste, avoiding, is_wanted)
            for blob_id, error in failed.items():
                log.warning("blob cannot be rebuilt yet", blob=blob_id_text(blob_id), error=str(error))

    async def _fill_large(
        self,
        blob_ids: Sequence[bytes],
        shards: Sequence[int],
        waste: Waste,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
    ) -> dict[bytes, Exception]:
        """Fill blobs one by one, some at once; return why, of each that could not be filled."""
        at_once, failed = asyncio.Semaphore(BLOBS_AT_ONCE), dict[bytes, Exception]()

        async def fill(blob_id: bytes) -> None:
            async with at_once:
                try:
                    metadata = await self._repair.metadata(blob_id)
                    await self._repair.fill(metadata, shards, waste, avoiding(), lambda: is_wanted(blob_id))
                    fail_point("handover.blob-filled")
                except (RepairError, RedStuffError, StoreError) as error:
                    failed[blob_id] = error

        async with asyncio.TaskGroup() as blobs_at_work:
            for blob_id in blob_ids:
                blobs_at_work.create_task(fill(blob_id))
        return failed

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
        while len(found) < BLOBS_LOOKED_FOR:
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
