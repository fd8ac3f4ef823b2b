"""Encoding from an open file, for blobs whose slivers do not fit into memory.

Rows first: a band of rows at a time is expanded to the right. Then columns, eight at a time, each expanded
downwards and hashed. What comes in and goes out lies in files (or, where only the id is asked for, the right
part in memory: half the blob); in memory are only the bands and 32 bytes for each of the `n²` symbols.

Slivers are written to a folder as `primary-0000`, `secondary-0000`… by sliver index: their symbols and
nothing else.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from storage.redstuff.engine import TOGETHER, Engine
from storage.redstuff.memory import Bytes, inner, slack_array
from storage.redstuff.metadata import BlobMetadata
from storage.redstuff.parameters import HASH_BYTES, Axis, Parameters

BAND_BYTES = 32 << 20
"""Rows expanded at once, about."""


class Slivers(Protocol):
    """Where slivers go, and whence the secondary ones from column `s` on come back."""

    def write(self, axis: Axis, index: int, offset: int, symbols: Bytes) -> None:
        """Write some symbols of a sliver, from byte `offset` on."""

    def right(self, index: int) -> Bytes:
        """Return the secondary sliver `index`, which was written before."""


class Folder:
    """Slivers as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, axis: Axis, index: int) -> Path:
        """Return the file of a sliver."""
        return self._folder / f"{axis.label}-{index:04}"

    def write(self, axis: Axis, index: int, offset: int, symbols: Bytes) -> None:
        """As `Slivers.write`."""
        descriptor = os.open(self.path(axis, index), os.O_WRONLY | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(offset)
            file.write(symbols.data)

    def right(self, index: int) -> Bytes:
        """As `Slivers.right`."""
        return np.fromfile(self.path(Axis.SECONDARY, index), np.uint8)


class RightPart:
    """Keeps the secondary slivers from column `s` on in memory, and forgets all others."""

    def __init__(self, shape: Parameters, t: int) -> None:
        self._s = shape.s
        self._kept = np.empty((shape.n_shards - shape.s, shape.p * t), np.uint8)

    def write(self, axis: Axis, index: int, offset: int, symbols: Bytes) -> None:
        """As `Slivers.write`."""
        if axis is Axis.SECONDARY and index >= self._s:
            self._kept[index - self._s, offset : offset + len(symbols)] = symbols

    def right(self, index: int) -> Bytes:
        """As `Slivers.right`."""
        kept: Bytes = self._kept[index - self._s]
        return kept


def encode_file(shape: Parameters, engine: Engine, file: BinaryIO, folder: Path | None) -> BlobMetadata:
    """Encode a seekable file from its beginning to its end; slivers go to `folder`, if one is given.

    Raises `TooLarge`, and `OSError` from the files.
    """
    length = file.seek(0, os.SEEK_END)
    t, n, s = shape.symbol_size(length), shape.n_shards, shape.s
    slivers: Slivers = Folder(folder) if folder else RightPart(shape, t)
    _expand_rows(shape, engine, file, t, slivers)
    leaves, roots = slack_array(n * (n + 1) * HASH_BYTES), slack_array((2 * n + 1) * HASH_BYTES)

    def column_group(first: int) -> None:
        end = min(first + TOGETHER, s if first < s else n)
        _expand_columns(shape, engine, file.fileno(), t, slivers, range(first, end), leaves, roots)

    with ThreadPoolExecutor(engine.threads) as pool:
        list(pool.map(column_group, [*range(0, s, TOGETHER), *range(s, n, TOGETHER)]))
    engine.finish(leaves, roots)
    found = inner(roots)
    return BlobMetadata.from_pairs(length, found[:-HASH_BYTES].tobytes(), found[-HASH_BYTES:].tobytes())


def _expand_rows(shape: Parameters, engine: Engine, file: BinaryIO, t: int, slivers: Slivers) -> None:
    row = shape.s * t
    at_once = max(1, BAND_BYTES // row)
    for first in range(0, shape.p, at_once):
        count = min(at_once, shape.p - first)
        band = _read(file.fileno(), first * row, count * row)
        for r in range(count):
            slivers.write(Axis.PRIMARY, first + r, 0, band[r * row : (r + 1) * row])
        for j, symbols in enumerate(engine.rows(band, count, t)):
            slivers.write(Axis.SECONDARY, shape.s + j, first * t, symbols)


def _expand_columns(
    shape: Parameters, engine: Engine, descriptor: int, t: int, slivers: Slivers, group: range,
    leaves: Bytes, roots: Bytes,
) -> None:  # fmt: skip
    """Expand up to eight columns, all of the blob's own or all to the right of them."""
    p, s, n, count = shape.p, shape.s, shape.n_shards, len(group)
    given, below = slack_array(count * p * t), slack_array((n - p) * count * t)
    columns = inner(given).reshape(count, p, t)
    if group.start >= s:
        for place, index in enumerate(group):
            columns[place] = slivers.right(index).reshape(p, t)
    else:
        for r in range(p):
            symbols = _read(descriptor, (r * s + group.start) * t, count * t)
            columns[:, r] = symbols.reshape(count, t)
    engine.columns(group.start, given, count, t, below, t, count * t, leaves, roots)
    if group.start < s:
        for place, index in enumerate(group):
            slivers.write(Axis.SECONDARY, index, 0, columns[place].reshape(-1))
        for r, symbols in enumerate(inner(below).reshape(n - p, count * t)):
            slivers.write(Axis.PRIMARY, p + r, group.start * t, symbols)


def _read(descriptor: int, offset: int, size: int) -> Bytes:
    """Return `size` bytes of the blob from `offset` on, with zeros after its end."""
    found = np.zeros(size, np.uint8)
    place = 0
    while place < size:
        part = os.pread(descriptor, size - place, offset + place)
        if not part:
            break
        found[place : place + len(part)] = np.frombuffer(part, np.uint8)
        place += len(part)
    return found
