"""The grid's arithmetic on arrays: encoding, roots of slivers, filling in missing symbols. Knows no metadata.

Slivers and symbols lie in flat uint8 arrays between `SLACK` bytes, which the hashing kernels may read (and mask away).
Work is cut into ranges for a pool of threads; the kernels release the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.redstuff import kernels
from storage.redstuff.parameters import HASH_BYTES, Axis
from storage.redstuff.reed_solomon import Code, code, locator_tables

Bytes = NDArray[np.uint8]
SLACK = 128
"""As `kernels.grid.SLACK`, which is not imported here because that imports numba."""
SCRATCH_BYTES = 384 * 1024
"""Scratch of one thread: it is to stay in the second-level cache."""
ROW_UNIT = 128
"""Scratch rows are multiples of this: two planes of one 64-byte vector."""
TOGETHER = 8
"""Slivers whose trees are hashed side by side, one in each lane."""
ROWS, COLUMNS, ROW_ROOTS, BLOB_ROOT = 1, 2, 4, 8


def slack_array(size: int) -> Bytes:
    """`size` bytes between slack; not zeroed."""
    return np.empty(size + 2 * SLACK, np.uint8)


def inner(array: Bytes) -> Bytes:
    """The bytes between the slack, not copied."""
    return array[SLACK:-SLACK]


@dataclass(frozen=True)
class Engine:
    """The arithmetic for `n` shards with `p` source rows and `s` source columns."""

    n: int
    p: int
    s: int
    threads: int
    kind: str | None

    @property
    def kernels(self) -> kernels.Kernels:
        """Loaded, and perhaps compiled, on first use."""
        return kernels.load(self.kind)

    def code(self, axis: Axis) -> Code:
        """The code that expands a sliver of this axis."""
        return code(self.s if axis is Axis.PRIMARY else self.p, self.n)

    def encode(self, data: Bytes, t: int) -> tuple[Bytes, Bytes, Bytes]:
        """All of a blob: primary slivers `(n, s·t)` and secondary `(n, p·t)`, flat between slack, and the roots:
        `n` times primary and secondary root of a pair, then the blob's.
        """
        n, p, s = self.n, self.p, self.s
        primary, secondary = slack_array(n * s * t), slack_array(n * p * t)
        roots, leaves = slack_array((2 * n + 1) * HASH_BYTES), slack_array(n * (n + 1) * HASH_BYTES)
        primary[SLACK : SLACK + len(data)] = data
        primary[SLACK + len(data) : SLACK + p * s * t] = 0
        rows, columns = self.code(Axis.PRIMARY), self.code(Axis.SECONDARY)
        call, tables = self.kernels.encode, self._tables()

        def part(stages: int, first: int, last: int) -> None:
            staging = slack_array(TOGETHER * (n - p) * t)
            work = _scratch(max(rows.positions, columns.positions), TOGETHER * t)
            call(
                stages, first, last, t, rows.shape, columns.shape, tables, work, primary, secondary,
                staging, slack_array(TOGETHER * (n + 1) * HASH_BYTES), leaves, roots,
            )  # fmt: skip

        if self.threads == 1:
            part(ROWS | COLUMNS | ROW_ROOTS | BLOB_ROOT, 0, n)
        else:
            for stage, count in ((ROWS, p), (COLUMNS, n), (ROW_ROOTS, n)):
                self._in_parallel(count, lambda first, last, stage=stage: part(stage, first, last))  # type: ignore[misc]
            part(BLOB_ROOT, 0, n)
        return primary, secondary, inner(roots)

    def sliver_roots(self, axis: Axis, slivers: Bytes, count: int, t: int) -> Bytes:
        """Roots `(count, 32)` of slivers that lie one after the other in a slack array."""
        shape = self.code(axis)
        roots = np.empty(count * HASH_BYTES, np.uint8)
        call, tables = self.kernels.sliver_roots, self._tables()
        beyond = self.n - shape.k

        def part(first: int, last: int) -> None:
            room = min(TOGETHER, last - first)
            work, staging = _scratch(shape.positions, room * t), slack_array(room * beyond * t)
            nodes = slack_array(TOGETHER * (self.n + 1) * HASH_BYTES)
            for begin in range(first, last, TOGETHER):
                call(
                    slivers, SLACK + begin * shape.k * t, min(TOGETHER, last - begin), t, shape.shape, tables, work,
                    staging, SLACK, beyond * t, t, nodes, nodes, 0, 0, roots, begin * HASH_BYTES, HASH_BYTES,
                )  # fmt: skip

        self._in_parallel(count, part)
        return roots.reshape(count, HASH_BYTES)

    def expanded(self, axis: Axis, sliver: Bytes, t: int) -> Bytes:
        """All symbols of one sliver, `(n, t)`."""
        shape = self.code(axis)
        symbols = np.empty((self.n, t), np.uint8)
        flat = symbols.reshape(-1)
        flat[: shape.k * t] = sliver
        work = _scratch(shape.positions, t)
        self.kernels.expand_vectors(
            flat, 0, 0, t, 1, t, shape.shape, self._tables(), work, flat, shape.k * t, 0, t
        )
        return symbols

    def symbols_root(self, symbols: Bytes, t: int) -> bytes:
        """Root of one expanded sliver: `n` symbols in a slack array."""
        nodes = slack_array((self.n + 1) * HASH_BYTES)
        self.kernels.symbols_root(symbols, self.n, t, nodes)
        return nodes[SLACK : SLACK + HASH_BYTES].tobytes()

    def complete(
        self, axis: Axis, source: Bytes, known: Sequence[int], across: int, vectors: int, t: int,
        target: Bytes, places: dict[int, int], to_across: int,
    ) -> None:  # fmt: skip
        """Fill in symbols of `vectors` codewords of the code of `axis`' slivers.

        `source` holds, one after the other, equal parts for the indices `known`, in which the codewords' symbols lie
        `across` apart. Symbol `i` of the first codeword goes to `target[places[i]]`, that of the next `to_across` on.
        """
        shape = self.code(axis)
        part_size = len(source) // len(known)
        read, write = np.full((2, shape.positions), -1, np.int64)
        read[shape.places[list(known)]] = np.arange(len(known)) * part_size
        write[shape.places[list(places)]] = list(places.values())
        loaded = self.kernels
        locators = locator_tables(shape.k, shape.n, tuple(known), loaded.kind)
        tables = self._tables()

        def part(first: int, last: int) -> None:
            loaded.complete_vectors(
                source, np.where(read < 0, -1, read + first * across), across, last - first, t, shape.m, tables,
                locators, _scratch(2 * shape.positions, (last - first) * t),
                target, np.where(write < 0, -1, write + first * to_across), to_across,
            )  # fmt: skip

        self._in_parallel(vectors, part)

    def _tables(self) -> Any:
        both = (self.code(axis).positions for axis in Axis)
        return self.kernels.tables(max(both))

    def _in_parallel(self, count: int, part: Callable[[int, int], None]) -> None:
        """`part(first, last)` over `count` things, in ranges of whole eights, several for each thread."""
        if self.threads == 1 or count <= TOGETHER:
            part(0, count)
            return
        step = -(-count // (4 * self.threads * TOGETHER)) * TOGETHER
        with ThreadPoolExecutor(self.threads) as pool:
            ranges = [(first, min(first + step, count)) for first in range(0, count, step)]
            list(pool.map(part, *zip(*ranges, strict=True)))


def _scratch(rows: int, wanted_bytes: int) -> Bytes:
    """Scratch of so many rows: as wide as wanted, or as the cache allows."""
    allowed = max(SCRATCH_BYTES // rows // ROW_UNIT, 1)
    return np.empty((rows, ROW_UNIT * min(allowed, -(-wanted_bytes // ROW_UNIT))), np.uint8)
