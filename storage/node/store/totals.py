"""How much of each shard is stored, kept along with the rows: health and metrics ask often, the index would be slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Totals:
    """Slivers and their bytes, by shard. One thread changes them at a time; any thread may read meanwhile."""

    def __init__(self, rows: Iterable[tuple[int, int, int]] = ()) -> None:
        """`rows` has (shard, slivers, bytes) of what is stored already."""
        self._slivers: Counter[int] = Counter()
        self._size_bytes: Counter[int] = Counter()
        for shard, slivers, size_bytes in rows:
            self._slivers[shard], self._size_bytes[shard] = slivers, size_bytes

    @property
    def slivers(self) -> int:
        """Slivers of all shards."""
        return self._slivers.copy().total()

    @property
    def size_bytes(self) -> int:
        """Bytes of the slivers of all shards."""
        return self._size_bytes.copy().total()

    def shards(self) -> frozenset[int]:
        """Return the shards of which any sliver is stored."""
        return frozenset(shard for shard, slivers in self._slivers.copy().items() if slivers)

    def add(self, shard: int, size_bytes: int) -> None:
        """Count a sliver that was stored."""
        self._slivers[shard] += 1
        self._size_bytes[shard] += size_bytes

    def subtract(self, shard: int, size_bytes: int) -> None:
        """Count a sliver no longer."""
        self._slivers[shard] -= 1
        self._size_bytes[shard] -= size_bytes

    def drop_shard(self, shard: int) -> None:
        """Count no sliver of a shard any longer."""
        del self._slivers[shard], self._size_bytes[shard]
