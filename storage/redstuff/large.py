"""A blob whose slivers are made when they are wanted: beside the blob itself, memory has only what is under way.

The grid has 4.5 times a blob's bytes. Primary slivers below `p` and secondary ones below `s` are parts of the blob.
Each symbol of any other one is a sum of `p` or `s` of the blob's symbols, each times a constant: dearer than a whole
expansion for all slivers together, and cheaper for one alone. Of slivers that are expected many are made together
(`storage.redstuff.groups`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from storage.redstuff.engine import Engine
from storage.redstuff.groups import Groups
from storage.redstuff.memory import SLACK, Bytes, unguarded
from storage.redstuff.metadata import BlobMetadata
from storage.redstuff.parameters import Axis, BlobId, Parameters
from storage.redstuff.streaming import MemorySource, fill_columns, fill_rows


@dataclass(frozen=True)
class LargeBlob:
    """A blob in memory and its metadata. The content must not change as long as slivers are made of it."""

    shape: Parameters
    engine: Engine
    content: Bytes
    metadata: BlobMetadata

    @property
    def length(self) -> int:
        """Bytes of the blob."""
        return len(self.content)

    @property
    def blob_id(self) -> BlobId:
        """The id."""
        return BlobId(self.metadata.blob_id)

    @cached_property
    def symbol_size(self) -> int:
        """Bytes of a symbol."""
        return self.shape.symbol_size(self.length)

    @cached_property
    def rows(self) -> tuple[Bytes, Bytes]:
        """The first rows of the grid, not copied, and the others, in a copy with zeros behind the blob's end.

        Of the rows that the blob fills the last is copied too, so that kernels may read beyond the first ones.
        """
        row = self.shape.s * self.symbol_size
        first = max(0, self.length // row - 1) * row
        rest = np.zeros(self.shape.p * row - first + SLACK, np.uint8)
        rest[: self.length - first] = self.content[first:]
        return unguarded(self.content[:first]), rest

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self._make, {axis: self.shape.sliver_size(self.length, axis) for axis in Axis})

    def expect(self, axis: Axis, indices: Iterable[int]) -> None:
        """Tell which slivers will be wanted, in their order, by one of several nodes that are sent theirs together."""
        self._groups.expect(axis, (one for one in indices if one >= self.shape.source_symbols(axis.other)))

    def take(self, axis: Axis, index: int) -> Bytes | None:
        """Return a sliver that is made together with others that are expected; None for one to be made alone."""
        return self._groups.take(axis, index)

    def _make(self, axis: Axis, indices: Sequence[int], out: Sequence[Bytes]) -> None:
        """Make slivers that are not parts of the blob, by one pass over it."""
        fill = fill_rows if axis is Axis.PRIMARY else fill_columns
        fill(self.shape, self.engine, MemorySource(self.content), self.symbol_size, indices, out)

    def sliver(self, axis: Axis, index: int) -> LargeSliver:
        """One sliver, of which nothing is made yet."""
        return LargeSliver(self, axis, index)


@dataclass(frozen=True)
class LargeSliver:
    """One sliver of a large blob; any thread may make parts of it."""

    blob: LargeBlob
    axis: Axis
    index: int

    def __len__(self) -> int:
        return self.blob.shape.sliver_size(self.blob.length, self.axis)

    def pieces(self, most_bytes: int, start: int = 0) -> Iterator[Callable[[], memoryview]]:
        """Yield functions that make the sliver's bytes from `start` on: each up to `most_bytes`, or a single symbol."""
        symbols, t = self.blob.shape.source_symbols(self.axis), self.blob.symbol_size
        step = max(1, most_bytes // t)
        begin, known = divmod(start, t)
        whole: list[Bytes | None] = []

        def made(first: int, last: int) -> memoryview:
            if not whole:
                whole.append(self.blob.take(self.axis, self.index))
            return self.symbols(first, last) if whole[0] is None else whole[0][first * t : last * t].data

        for first in range(begin, symbols, step):
            make = partial(made, first, min(first + step, symbols))
            yield make if first > begin else partial(_behind, make, known)

    def symbols(self, first: int, last: int) -> memoryview:
        """Make symbols `first … last`, one after the other."""
        blob, t = self.blob, self.blob.symbol_size
        row = blob.shape.s * t
        across, along = (t, row) if self.axis is Axis.PRIMARY else (row, t)
        if self.index < blob.shape.source_symbols(self.axis.other):
            return self._own(first, last, across, self.index * along)
        out = np.empty((last - first) * t, np.uint8)
        blob.engine.combine(self._factors, blob.rows, first * across, across, along, last - first, t, out)
        return out.data

    def _own(self, first: int, last: int, across: int, start: int) -> memoryview:
        """Return symbols that are the blob's own, `across` bytes apart; not copied where they lie together."""
        t, (filled, rest) = self.blob.symbol_size, self.blob.rows
        if self.axis is Axis.PRIMARY:
            at = start + first * t
            place, rows = (at, filled) if at < len(filled) else (at - len(filled), rest)
            return rows[place : place + (last - first) * t].data.toreadonly()
        out = np.empty((last - first, t), np.uint8)
        for number in range(first, last):
            at = start + number * across
            place, rows = (at, filled) if at < len(filled) else (at - len(filled), rest)
            out[number - first] = rows[place : place + t]
        return out.reshape(-1).data

    @cached_property
    def _factors(self) -> Any:
        return self.blob.engine.factors(self.axis, self.index)


def _behind(make: Callable[[], memoryview], start: int) -> memoryview:
    return make()[start:]
