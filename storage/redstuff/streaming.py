"""A blob's metadata in little memory: symbols are made, hashed and forgotten.

The blob's own columns are expanded downwards and hashed some at a time. Those to the right of them, half a blob, come
of expanded rows; no more of them are kept at once than `right_columns` says, and for the next ones all rows are
expanded again, which costs a tenth of the whole. Beside them there are 32 bytes for each of the `n²` symbols.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from storage.redstuff import engine as engines
from storage.redstuff.engine import TOGETHER, Engine
from storage.redstuff.memory import Bytes, inner, slack_array
from storage.redstuff.metadata import BlobMetadata
from storage.redstuff.parameters import HASH_BYTES, Parameters

BAND_BYTES = 4 << 20
"""Rows expanded at once, about."""
RIGHT_BYTES = 16 << 20
"""Columns to the right of the blob's that are held at once: as many bytes, or the RIGHT_SHARE-th part of the blob."""
RIGHT_SHARE = 8


class Source(Protocol):
    """A blob's bytes, read piece by piece. All sources return the same arrays, so that the encoder needs no other."""

    @property
    def length(self) -> int:
        """Bytes of the blob."""

    def read(self, offset: int, size: int) -> Bytes:
        """Return a new uint8 array of `size` bytes: the blob's from `offset` on, then zeros if the blob ends before."""


@dataclass(frozen=True)
class FileSource:
    """A `Source` that reads an open file, from its beginning to its end."""

    descriptor: int
    length: int

    def read(self, offset: int, size: int) -> Bytes:
        """Return `size` bytes of the file from `offset` on, zeros behind its end. Raises `OSError`."""
        found = np.zeros(size, np.uint8)
        place = 0
        while place < size:
            part = os.pread(self.descriptor, size - place, offset + place)
            if not part:
                break
            found[place : place + len(part)] = np.frombuffer(part, np.uint8)
            place += len(part)
        return found


@dataclass(frozen=True)
class MemorySource:
    """A `Source` over bytes in memory."""

    content: Bytes

    @property
    def length(self) -> int:
        """Bytes of the blob."""
        return len(self.content)

    def read(self, offset: int, size: int) -> Bytes:
        """Return a copy of `size` bytes from `offset` on, zeros behind the content's end."""
        found = np.empty(size, np.uint8)
        part = self.content[offset : offset + size]
        found[: len(part)], found[len(part) :] = part, 0
        return found


def right_columns(shape: Parameters, length: int) -> int:
    """Return how many columns to the right of the blob's own are held at once, at least one."""
    most_bytes = max(RIGHT_BYTES, length // RIGHT_SHARE)
    return max(1, most_bytes // (shape.p * shape.symbol_size(length)))


def metadata_of(shape: Parameters, engine: Engine, source: Source) -> BlobMetadata:
    """Return the metadata of a blob. Raises `TooLarge`, and what the source raises."""
    t, n, s = shape.symbol_size(source.length), shape.n_shards, shape.s
    together = max(1, min(TOGETHER, engines.GROUP_BYTES // (n * t)))
    leaves, roots = slack_array(n * (n + 1) * HASH_BYTES), slack_array((2 * n + 1) * HASH_BYTES)

    def hash_columns(first: int, columns: Bytes) -> None:
        """Expand and hash columns `(count, p·t)` in a slack array."""
        count = len(inner(columns)) // (shape.p * t)
        below = slack_array((n - shape.p) * count * t)
        engine.columns(first, columns, count, t, below, t, count * t, leaves, roots)

    def own(first: int) -> None:
        hash_columns(first, _own_columns(shape, source, t, range(first, min(first + together, s))))

    with ThreadPoolExecutor(engine.threads) as pool:
        list(pool.map(own, range(0, s, together)))
        step = right_columns(shape, source.length)
        for first in range(s, n, step):
            right = _right_columns(shape, engine, source, t, range(first, min(first + step, n)))

            def beyond(at: int, right: Bytes = right, first: int = first) -> None:
                group = right[at : at + together].reshape(-1)
                columns = slack_array(len(group))
                inner(columns)[:] = group
                hash_columns(first + at, columns)

            list(pool.map(beyond, range(0, len(right), together)))
            del right
    engine.finish(leaves, roots)
    found = inner(roots)
    return BlobMetadata.from_pairs(
        source.length, found[:-HASH_BYTES].tobytes(), found[-HASH_BYTES:].tobytes()
    )


def _own_columns(shape: Parameters, source: Source, t: int, group: range) -> Bytes:
    """Return columns of the blob's own, one after the other in a slack array."""
    count = len(group)
    given = slack_array(count * shape.p * t)
    columns = inner(given).reshape(count, shape.p, t)
    for r in range(shape.p):
        columns[:, r] = source.read((r * shape.s + group.start) * t, count * t).reshape(count, t)
    return given


def _right_columns(shape: Parameters, engine: Engine, source: Source, t: int, wanted: range) -> Bytes:
    """Return the first `p` symbols of columns from `s` on, `(len(wanted), p·t)`."""
    found = np.empty((len(wanted), shape.p * t), np.uint8)
    fill_columns(shape, engine, source, t, wanted, list(found))
    return found


def fill_columns(
    shape: Parameters, engine: Engine, source: Source, t: int, wanted: Sequence[int], out: Sequence[Bytes]
) -> None:
    """Write to `out` the first `p` symbols of columns from `s` on, `p·t` bytes each: secondary slivers."""
    row = shape.s * t
    at_once = max(1, BAND_BYTES // row)
    for first in range(0, shape.p, at_once):
        count = min(at_once, shape.p - first)
        expanded = engine.rows(source.read(first * row, count * row), count, t)
        for index, column in zip(wanted, out, strict=True):
            column[first * t : (first + count) * t] = expanded[index - shape.s]


def fill_rows(
    shape: Parameters, engine: Engine, source: Source, t: int, wanted: Sequence[int], out: Sequence[Bytes]
) -> None:
    """Write to `out` the first `s` symbols of rows from `p` on, `s·t` bytes each: primary slivers."""
    at_once = max(1, BAND_BYTES // (shape.n_shards * t))
    for first in range(0, shape.s, at_once):
        group = range(first, min(first + at_once, shape.s))
        expanded = engine.below(_own_columns(shape, source, t, group), len(group), t)
        for index, row in zip(wanted, out, strict=True):
            row[first * t : group.stop * t] = expanded[index - shape.p]
