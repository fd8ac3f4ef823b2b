"""What a store has on record of handovers, blob by blob; the node itself needs no more than the sums."""

from __future__ import annotations

from storage.node.store import SliverStore, Tally


def tallies(store: SliverStore, epoch: int) -> list[Tally]:
    """Of the handover into an epoch."""
    statement = """
        SELECT epoch, shard, blob_id, way, slivers, symbol_bytes, received_bytes, wasted_bytes
        FROM tally JOIN blob ON blob.number = tally.blob WHERE epoch = ?
        """
    return [Tally(*row) for row in store._index.query(statement, epoch)]
