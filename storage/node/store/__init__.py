"""What a node keeps on its disk: slivers, metadata and what handovers cost, durable when a call returns."""

from storage.node.sqlite import StoreDamaged, StoreError, StoreFull, StoreInUse, StoreUnavailable
from storage.node.store.records import NewSliver, Page, ShardTally, SliverKey, Tally
from storage.node.store.sliver_store import RESERVE_BYTES, SliverStore

__all__ = [
    "RESERVE_BYTES",
    "NewSliver",
    "Page",
    "ShardTally",
    "SliverKey",
    "SliverStore",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreInUse",
    "StoreUnavailable",
    "Tally",
]
