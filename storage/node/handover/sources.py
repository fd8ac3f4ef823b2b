"""The sources of a handover: what an old owner has given, and when it is left for local repair. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from committee.membership import Member
from storage.redstuff import Axis, SliverRoots

STREAMS_FROM_A_SOURCE = 2
"""Pages asked for at once from one source: while one is verified and stored, the next one travels."""
PAGE_LIMIT_S = 15.0
"""Patience for one page; and for a source beyond what it has given."""
SLOWEST_SLIVERS_PER_S = 16.0
SLOWEST_BYTES_PER_S = 2**20
"""A source that gives fewer slivers and fewer bytes is left: repair is faster."""
SLOWEST_SHARE = 8
"""On a slower link a source must give the link's rate divided by this, or LEAST_BYTES_PER_S if that is more."""
LEAST_BYTES_PER_S = 2**14
FAULTS_BORNE = 3
"""Wrong slivers of a source, and pages in which nothing was that had been asked for, before it is left."""
SLIVERS_A_FAULT = 100
"""One more fault is borne for this many good slivers: a large shard has its losses."""


@dataclass(eq=False)
class Source:
    """An old owner while its shards are copied from it, and what it has given so far."""

    member: Member
    work: list[tuple[int, Axis]]
    """Shards and axes that no stream has begun with."""
    slivers: int = 0
    """Good slivers that the member has given so far."""
    size_bytes: int = 0
    """Bytes of these slivers."""
    waited_s: float = 0.0
    """Seconds for which the member's pages were waited for, all streams together."""
    faults: int = 0
    """Wrong slivers, and pages in which nothing was that had been asked for."""

    awaited_until_s: float | None = None
    """Loop time until which the member is waited for, once it has said that it has not seen the epoch: for all its
    shards together, as it may say so of each."""

    choosing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a stream chooses what to ask a page for, until that is in `bringing`."""
    roots: Mapping[tuple[bytes, int, Axis], SliverRoots] = field(default_factory=dict)
    """(blob id, shard, axis) → what slivers are verified against that go with the metadata last stored: those of the
    other axis, which come next. To read metadata of 1000 shards again takes as long as to verify a small sliver."""
    _bringing: dict[bytes, asyncio.Event] = field(default_factory=dict)
    """Blob whose metadata a page is to bring → set once that page is done with."""

    def brings(self, blob_id: bytes) -> bool:
        """Return whether a page is under way that is to bring a blob's metadata."""
        return blob_id in self._bringing

    async def until_brought(self, blob_id: bytes) -> None:
        """Wait until no page under way is to bring a blob's metadata."""
        while (done := self._bringing.get(blob_id)) is not None:
            await done.wait()

    @contextmanager
    def bringing(self, blob_ids: Collection[bytes]) -> Iterator[None]:
        """Have a page bring the metadata of these blobs in the block, so that no other page is asked for them too."""
        done = asyncio.Event()
        self._bringing.update(dict.fromkeys(blob_ids, done))
        try:
            yield
        finally:
            for blob_id in blob_ids:
                del self._bringing[blob_id]
            done.set()

    def is_too_slow(self, link_bytes_per_s: float) -> bool:
        """Return whether its pages took longer than the slowest rate allowed over such a link, for what it gave."""
        slowest = min(SLOWEST_BYTES_PER_S, max(LEAST_BYTES_PER_S, link_bytes_per_s / SLOWEST_SHARE))
        given_s = max(self.size_bytes / slowest, self.slivers / SLOWEST_SLIVERS_PER_S)
        return self.waited_s > STREAMS_FROM_A_SOURCE * (PAGE_LIMIT_S + given_s)

    def is_faulty(self) -> bool:
        """Return whether it has more faults than are borne."""
        return self.faults > FAULTS_BORNE + self.slivers // SLIVERS_A_FAULT
