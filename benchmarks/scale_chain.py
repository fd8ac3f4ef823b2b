"""A chain in memory with many synthetic blobs: their objects are there as if each had been registered and certified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from committee.bls import SecretKey
from committee.ledger import BlobRecord, BlockMark, Event, NodeLedger, Parameters
from tests.memory_chain import WRITER, MemoryChain, MemoryLedger
from tests.memory_chain.contracts import Contracts

N_SHARDS = 10
DOMAIN = bytes(range(32))
PARAMETERS = Parameters(N_SHARDS, 3600, 600, 60, 500, DOMAIN)
SHARDS = {1: (0, 1, 2, 3), 2: (4, 5, 6), 3: (7, 8, 9)}
BLOB_BYTES = 1000
END_PERIOD = 50
PAGE_ITEMS = 200


def blob_ids(n_blobs: int) -> Iterator[bytes]:
    """Yield ids that look like those of blobs, in no order."""
    for number in range(n_blobs):
        yield hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()


def chain_of(n_blobs: int) -> MemoryChain:
    """Return a chain in epoch 1 with three nodes and so many certified blobs."""
    chain = MemoryChain(PARAMETERS)
    for node_id in SHARDS:
        chain.add_node(f"node-{node_id}", f"http://node-{node_id}:1", SecretKey(node_id).public_key)
    chain.start(SHARDS)
    chain.send("fill", filled, n_blobs)
    return chain


def filled(now: Contracts, n_blobs: int) -> tuple[Contracts, tuple[Event, ...]]:
    """A rule: as many certified blob objects more, without events."""
    first = max(now.records, default=0) + 1
    made = {
        number: BlobRecord(number, blob_id, BLOB_BYTES, WRITER, 1, 1, END_PERIOD, deletable=True)
        for number, blob_id in enumerate(blob_ids(n_blobs), first)
    }
    return replace(now, records={**now.records, **made}), ()


class PagedLedger(MemoryLedger):
    """A ledger that finds a page without going through all objects, as the contracts do."""

    def __init__(self, chain: MemoryChain) -> None:
        super().__init__(chain, None)
        self._records = list(chain.records.values())

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """Of the objects that there were at first; the cursor is a place."""
        following = cursor + PAGE_ITEMS
        return self._records[cursor:following], following if following < len(self._records) else 0


def ledger_of(chain: MemoryChain) -> NodeLedger:
    """Return a ledger to follow a chain with many blobs by."""
    return PagedLedger(chain)
