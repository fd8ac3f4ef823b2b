"""The ledger of waste: bytes that a handover received and threw away, until a stored sliver's tally takes them over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from storage.client.bodies import Bytes
from storage.node.repair.gathering import Rebuilt
from storage.node.store import NewSliver, SliverStore, StoreError, Tally
from storage.node.store.records import Symbols, Way
from storage.node.threads import Threads
from storage.redstuff import Axis


class Waste:
    """The bytes that the handover into `epoch` has wasted on slivers which are not stored yet. Any thread may call."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._bytes: Counter[tuple[bytes, int, Axis]] = Counter()
        """(blob id, shard, axis) → bytes."""

    def __bool__(self) -> bool:
        """Return whether any bytes wait to be taken over into a stored sliver's tally."""
        return any(self._bytes.values())

    def add(self, blob_id: bytes, shard: int, axis: Axis, size_bytes: int) -> None:
        """Note bytes that were received for a sliver and thrown away."""
        if size_bytes:
            self._bytes[blob_id, shard, axis] += size_bytes

    def of(self, blob_id: bytes, shard: int, axis: Axis) -> int:
        """Return the bytes wasted on a sliver so far."""
        return self._bytes[blob_id, shard, axis]

    def sliver(
        self,
        way: Way,
        blob_id: bytes,
        shard: int,
        axis: Axis,
        symbols: Symbols,
        received_bytes: int,
        wasted_bytes: int = 0,
    ) -> NewSliver:
        """Return a sliver to be stored whose tally has what it cost, and what was wasted on it before."""
        wasted_bytes += self.of(blob_id, shard, axis)
        tally = Tally(self.epoch, shard, blob_id, way, 1, len(symbols), received_bytes, wasted_bytes)
        return NewSliver(blob_id, shard, axis, symbols, tally)

    def rebuilt(self, blob_id: bytes, axis: Axis, one: Rebuilt) -> NewSliver:
        """Return a rebuilt sliver as one to be stored, with its tally."""
        cost = (one.received_bytes, one.wasted_bytes)
        return self.sliver("rebuilt", blob_id, one.shard, axis, one.symbols, *cost)

    async def store(
        self,
        store: SliverStore,
        threads: Threads,
        slivers: Sequence[NewSliver],
        metadata: Mapping[bytes, Bytes] | None = None,
    ) -> None:
        """Store slivers that `sliver` made, with blobs' metadata; what was wasted on them is then in their tallies.

        Raises `StoreError`: all that they cost is wasted then.
        """
        is_refused = False
        try:
            if metadata:
                await threads.finished(store.put_blobs, metadata, slivers)
            else:
                await threads.finished(store.put_slivers, slivers)
        except (StoreError, asyncio.CancelledError) as error:
            is_refused = isinstance(error, StoreError) or isinstance(error.__cause__, StoreError)
            raise
        finally:
            for one in slivers:
                self._bytes.pop((one.blob_id, one.shard, one.axis), None)
                if is_refused and one.tally is not None:
                    self.add(one.blob_id, one.shard, one.axis, one.tally.in_vain.wasted_bytes)
