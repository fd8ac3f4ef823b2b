"""What handovers cost, as the index keeps it: bytes by epoch, shard, blob and way, of the newest epochs alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from storage.node.store import statements as sql
from storage.node.store.index import StoreIndex, numbers_of
from storage.node.store.records import ShardTally, Tally

TALLY_EPOCHS = 8
"""Epochs whose tallies are kept, the newest included."""
TALLIES_FORGOTTEN = 2048
"""Old tallies that one transaction drops at most."""


class Tallies:
    """The tallies of one store. Any thread may ask. Raises `StoreError`."""

    def __init__(self, index: StoreIndex) -> None:
        self._index = index
        self.added = 0
        """Tallies added since the store was made; grows when the transaction that added some is done."""

    def by_shard(self, epoch: int) -> list[ShardTally]:
        """Return what the handover into an epoch cost, by shard and way, over all blobs."""
        return [ShardTally(*row) for row in self._index.query(sql.TALLIES_BY_SHARD, epoch)]

    def largest_share(self, epoch: int, slivers_of_a_blob: Sequence[int]) -> float:
        """Return the most that was received and wasted for one blob, as a share of the blob.

        `slivers_of_a_blob` is how many slivers of each axis make up one blob.
        """
        return self._index.query(sql.LARGEST_SHARE, epoch, *slivers_of_a_blob)[0][0] or 0.0


def add_tallies(writer: sqlite3.Connection, tallies: Sequence[Tally]) -> None:
    """Add tallies within a transaction, and drop a part of those that have become too old."""
    if tallies:
        numbers = numbers_of(writer, {tally.blob_id for tally in tallies})
        writer.executemany(sql.ADD_TALLY, (_row_of(tally, numbers[tally.blob_id]) for tally in tallies))
        oldest = max(tally.epoch for tally in tallies) - TALLY_EPOCHS
        writer.execute(sql.FORGET_TALLIES, (oldest, TALLIES_FORGOTTEN))


def _row_of(tally: Tally, number: int) -> tuple[Any, ...]:
    return (
        *(tally.epoch, tally.shard, number, tally.way),
        *(tally.slivers, tally.symbol_bytes, tally.received_bytes, tally.wasted_bytes),
    )
