"""The grid's arithmetic on arrays: encoding, roots of slivers, filling in missing symbols. Knows no metadata.

Slivers and symbols lie in flat uint8 arrays between `SLACK` bytes, which the hashing kernels may read (and
mask away). Work is cut into ranges for a pool of threads; the kernels release the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from storage.redstuff import field, kernels
from storage.redstuff.field import Words
from storage.redstuff.memory import NODE, SLACK, Bytes, Nodes, inner, slack_array
from storage.redstuff.parameters import HASH_BYTES, Axis
from storage.redstuff.reed_solomon import Code, Completion, Ints, code, completion

SCRATCH_BYTES = 192 * 1024
"""Scratch of one thread: it is to stay in the second-level cache."""
ROW_UNIT = 128
"""Scratch rows are multiples of this: two planes of one 64-byte vector."""
TOGETHER = 8
"""Slivers whose trees are hashed side by side, one in each lane."""
COMBINED_BYTES = 32 * 1024
"""Bytes of symbols that are summed up at a time: the sums are to stay in a near cache."""
GROUP_BYTES = 8 << 20
"""Expanded slivers that a thread holds in a step of a hashing that keeps none; one at least."""
ALONE_BYTES = 4 << 20
"""An expanded grid this small is done before other threads have started. A symbol counts as a hash block at least."""
BLOCK_BYTES = 128
ROWS, COLUMNS, ROW_ROOTS, BLOB_ROOT = 1, 2, 4, 8
Part = Callable[[int, int], None]
"""Work on the things from a first one to before a last one."""


@dataclass(frozen=True)
class Engine:
    """The arithmetic for `n` shards with `p` source rows and `s` source columns."""

    n: int
    p: int
    s: int
    threads: int
    kind: str | None

    @cached_property
    def kernels(self) -> kernels.Kernels:
        """Loaded, and perhaps compiled, on first use."""
        return kernels.load(self.kind)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without what is loaded on first use for this process and processor."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def code(self, axis: Axis) -> Code:
        """Return the code that expands a sliver of this axis."""
        return code(self.s if axis is Axis.PRIMARY else self.p, self.n)

    def encode(self, data: Bytes, t: int) -> tuple[Bytes, Bytes, Bytes]:
        """Return all slivers and roots of a blob.

        Primary slivers `(n, s·t)` and secondary `(n, p·t)`, flat between slack, and the roots: `n` times
        primary and secondary root of a pair, then the blob's.
        """
        n, p, s = self.n, self.p, self.s
        primary, secondary = slack_array(n * s * t), slack_array(n * p * t)
        roots, leaves = slack_array((2 * n + 1) * HASH_BYTES), slack_array(n * (n + 1) * HASH_BYTES)
        blob = inner(primary)[: p * s * t]
        rows, columns = self.code(Axis.PRIMARY), self.code(Axis.SECONDARY)
        call, tables = self.kernels.encode, self._tables

        def prepare(stages: int) -> Part:
            staging = slack_array(min(TOGETHER, n - s) * (n - p) * t if stages & COLUMNS else 0)
            work = _scratch(max(rows.positions, columns.positions), TOGETHER * t)
            nodes = slack_array(TOGETHER * (n + 1) * HASH_BYTES)

            def part(first: int, last: int) -> None:
                if stages & ROWS:
                    begin, end = first * s * t, last * s * t
                    given = data[begin:end]
                    blob[begin : begin + len(given)] = given
                    blob[begin + len(given) : end] = 0
                call(
                    stages, first, last, t, rows.shape, columns.shape, tables, work, primary, secondary,
                    staging, nodes, leaves, roots,
                )  # fmt: skip

            return part

        if self.threads == 1 or n * n * max(t, BLOCK_BYTES) <= ALONE_BYTES:
            prepare(ROWS | COLUMNS | ROW_ROOTS | BLOB_ROOT)(0, n)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                self._share(pool, p, partial(prepare, ROWS), unit=1)
                self._share(pool, n, partial(prepare, COLUMNS))
                self._share(pool, n, partial(prepare, ROW_ROOTS))
            prepare(BLOB_ROOT)(0, n)
        return primary, secondary, inner(roots)

    def sliver_roots(self, axis: Axis, slivers: Bytes, count: int, t: int) -> Bytes:
        """Return the roots `(count, 32)` of slivers that lie one after the other in a slack array."""
        shape = self.code(axis)
        roots = np.empty(count * HASH_BYTES, np.uint8)
        call, tables = self.kernels.sliver_roots, self._tables
        beyond = self.n - shape.k
        room = max(1, min(TOGETHER, count, GROUP_BYTES // (self.n * t)))

        def prepare() -> Part:
            work, staging = _scratch(shape.positions, room * t), slack_array(room * beyond * t)
            nodes = slack_array(TOGETHER * (self.n + 1) * HASH_BYTES)

            def part(first: int, last: int) -> None:
                for begin in range(first, last, room):
                    call(
                        slivers, SLACK + begin * shape.k * t, min(room, last - begin), t, shape.shape, tables,
                        work, staging, SLACK, beyond * t, t, nodes, nodes, 0, 0,
                        roots, begin * HASH_BYTES, HASH_BYTES,
                    )  # fmt: skip

            return part

        self._in_parallel(count, prepare)
        return roots.reshape(count, HASH_BYTES)

    def columns(
        self, first: int, slivers: Bytes, count: int, t: int, target: Bytes, across: int, along: int,
        leaves: Bytes, roots: Bytes,
    ) -> None:  # fmt: skip
        """Expand up to eight columns of the grid from column `first` on.

        Their secondary slivers lie one after the other. Symbol `p + i` of column `v` goes to `v·across +
        i·along` in `target`; leaves and roots as in `encode`.
        """
        shape = self.code(Axis.SECONDARY)
        tree = (self.n + 1) * HASH_BYTES
        self.kernels.sliver_roots(
            slivers, SLACK, count, t, shape.shape, self._tables, _scratch(shape.positions, count * t),
            target, SLACK, across, along, slack_array(TOGETHER * tree),
            leaves, SLACK + first * HASH_BYTES, tree,
            roots, SLACK + (2 * (self.n - 1 - first) + 1) * HASH_BYTES, -2 * HASH_BYTES,
        )  # fmt: skip

    def rows(self, source: Bytes, count: int, t: int) -> Bytes:
        """Return the symbols from column `s` on of `count` rows of the grid, `(n-s, count·t)`."""
        shape = self.code(Axis.PRIMARY)
        right = np.empty((self.n - self.s, count * t), np.uint8)
        self.kernels.expand_vectors(
            source, 0, self.s * t, t, count, t, shape.shape, self._tables, _scratch(shape.positions, count * t),
            right.reshape(-1), 0, t, count * t,
        )  # fmt: skip
        return right

    def below(self, columns: Bytes, count: int, t: int) -> Bytes:
        """Return the symbols from row `p` on of columns `(count, p·t)` in a slack array, `(n-p, count·t)`."""
        shape = self.code(Axis.SECONDARY)
        found = np.empty((self.n - self.p, count * t), np.uint8)
        self.kernels.expand_vectors(
            columns, SLACK, self.p * t, t, count, t, shape.shape, self._tables, _scratch(shape.positions, count * t),
            found.reshape(-1), 0, t, count * t,
        )  # fmt: skip
        return found

    def factors(self, axis: Axis, index: int) -> Any:
        """The originals' factors in each symbol of sliver `index` of `axis`, not a source one; as tables."""
        matrix = self._generators[axis]
        return self.kernels.tables_of(matrix[index - matrix.shape[1]])

    @cached_property
    def _generators(self) -> dict[Axis, Words]:
        """By the axis of slivers, `(n - k, k)`: the factors in the symbols beyond the originals, by their expansion."""
        found = {}
        for axis in Axis:
            shape = self.code(axis.other)
            k, beyond = shape.k, self.n - shape.k
            units, matrix = (
                np.eye(k, dtype="<u2").reshape(-1).view(np.uint8),
                np.empty(2 * beyond * k, np.uint8),
            )
            self.kernels.expand_vectors(
                units, 0, 2 * k, 2, k, 2, shape.shape, self._tables, _scratch(shape.positions, 2 * k),
                matrix, 0, 2, 2 * k,
            )  # fmt: skip
            found[axis] = matrix.view("<u2").reshape(beyond, k)
        return found

    def combine(
        self, factors: Any, rows: tuple[Bytes, Bytes], start: int, across: int, along: int, count: int, t: int,
        out: Bytes,
    ) -> None:  # fmt: skip
        """Make one symbol of each of `count` codewords in `out`, by `factors`.

        Original `i` of codeword `v` lies at `start + v·across + i·along` in the grid's rows, which are in two arrays.
        """
        work = np.empty(COMBINED_BYTES, np.uint8)
        self.kernels.combine_vectors(*rows, start, across, along, len(factors), count, t, factors, work, out)

    def finish(self, leaves: Bytes, roots: Bytes) -> None:
        """Compute the primary roots and the blob's root from all leaves and secondary roots."""
        none, tree = slack_array(0), (self.n + 1) * HASH_BYTES
        self.kernels.encode(
            ROW_ROOTS | BLOB_ROOT, 0, self.n, 2, self.code(Axis.PRIMARY).shape, self.code(Axis.SECONDARY).shape,
            self._tables, _scratch(1, 1), none, none, none, slack_array(TOGETHER * tree), leaves, roots,
        )  # fmt: skip

    def blob_roots(self, nodes: Iterable[Nodes]) -> list[bytes]:
        """Return the root of each blob, of its `2n` nodes: the primary and the secondary root of each pair."""
        roots, none = slack_array((2 * self.n + 1) * HASH_BYTES), slack_array(0)
        # Fresh memory for each blob would cost as much as its hashing.
        room, leaves = inner(roots)[:-HASH_BYTES].view(NODE), slack_array((self.n + 1) * HASH_BYTES)
        work, found = _scratch(1, 1), []
        for some in nodes:
            room[:] = some
            self.kernels.encode(
                BLOB_ROOT, 0, self.n, 2, self.code(Axis.PRIMARY).shape, self.code(Axis.SECONDARY).shape,
                self._tables, work, none, none, none, leaves, none, roots,
            )  # fmt: skip
            found.append(inner(roots)[-HASH_BYTES:].tobytes())
        return found

    def expanded(self, axis: Axis, sliver: Bytes, t: int) -> Bytes:
        """Return all symbols of one sliver, `(n, t)`."""
        return inner(self._expand(axis, sliver, t)).reshape(self.n, t)

    def sliver_root(self, axis: Axis, sliver: Bytes, t: int) -> bytes:
        """Return the root of one sliver."""
        return self._root(self._expand(axis, sliver, t), t)

    def _expand(self, axis: Axis, sliver: Bytes, t: int) -> Bytes:
        """Return all symbols of one sliver, in a slack array."""
        shape = self.code(axis)
        symbols = slack_array(self.n * t)
        symbols[SLACK : SLACK + shape.k * t] = sliver
        work = _scratch(shape.positions, t)
        self.kernels.expand_vectors(
            symbols, SLACK, 0, t, 1, t, shape.shape, self._tables, work, symbols, SLACK + shape.k * t, 0, t
        )
        return symbols

    def _root(self, symbols: Bytes, t: int) -> bytes:
        """Return the root of the sliver of which all symbols lie in a slack array."""
        return self._roots(symbols, 1, self.n, t).tobytes()

    def _roots(self, symbols: Bytes, count: int, n: int, t: int) -> Bytes:
        """Return the roots over `n` symbols each, `(count, 32)`, which lie one after the other in a slack array."""
        nodes = slack_array(min(count, TOGETHER) * (n + 1) * HASH_BYTES)
        roots = np.empty((count, HASH_BYTES), np.uint8)
        self.kernels.symbols_roots(symbols, count, n, t, nodes, roots.reshape(-1))
        return roots

    def salted_roots(self, salt: Bytes, primary: Bytes, secondary: Bytes, count: int, t: int) -> Bytes:
        """Return the roots, `(count, 32)`, of pairs whose slivers lie one after the other by axis.

        Each is over the symbols of the primary sliver, then those of the secondary one, each behind the salt.
        """
        n, before = self.s + self.p, len(salt)
        messages = slack_array(count * n * (before + t))
        rows = inner(messages).reshape(count, n, before + t)
        rows[:, :, :before] = salt
        rows[:, : self.s, before:] = primary.reshape(count, self.s, t)
        rows[:, self.s :, before:] = secondary.reshape(count, self.p, t)
        return self._roots(messages, count, n, before + t)

    def crossing(self, axis: Axis, slivers: Bytes, numbers: Ints, wanted: Ints, t: int, out: Bytes) -> None:
        """Write symbol `wanted[i]` of sliver `numbers[i]` of `axis` to `out[i·t]`; small symbols only.

        The slivers lie one after the other.
        """
        code, (log, exp) = self.code(axis), field.short_tables()
        self.kernels.crossing_symbols(
            slivers, numbers, wanted, t, code.shape, log, exp, code.crossing_sums, out
        )

    def originals(self, axis: Axis, symbols: Bytes, known: Ints, t: int) -> Bytes:
        """Slivers of `axis`, one after the other in a slack array, each from its symbols `known`; small ones only.

        `known` is `(slivers, k)`, ascending in each row; the symbols lie one after the other.
        """
        code, (log, exp) = self.code(axis), field.short_tables()
        slivers = slack_array(known.size * t)
        self.kernels.complete_each(
            symbols, known, t, code.places, code.k, log, exp, code.original_sums, inner(slivers)
        )
        return slivers

    def rebuild(self, axis: Axis, indices: Sequence[int], symbols: bytearray, t: int) -> tuple[Bytes, bytes]:
        """Return one sliver of `axis` from its symbols `indices`, joined: all its `n` symbols, flat, and its root."""
        shape = self.code(axis)
        plan = completion(shape.k, shape.n, tuple(indices), self.kernels.kind)
        expanded, given = slack_array(self.n * t), np.frombuffer(symbols, np.uint8)
        flat = inner(expanded)
        flat.reshape(self.n, t)[plan.known] = given.reshape(-1, t)
        self._complete(plan, plan.given, shape, given, 0, t, 1, t, flat, plan.missing, 0, t)
        return flat, self._root(expanded, t)

    def slots(self, axis: Axis, indices: Sequence[int]) -> dict[int, int]:
        """Return index → place in the grid, before it is decoded, of each of `k` slivers.

        A source sliver lies at its own place, any other one at that of a source sliver that is not given.
        """
        k = self.code(axis.other).k
        free = iter(sorted(set(range(k)) - set(indices)))
        return {index: index if index < k else next(free) for index in sorted(indices)}

    def place(self, axis: Axis, slot: int, sliver: Bytes, blob: Bytes, t: int) -> None:
        """Put a sliver into a row or column of the grid `blob`, flat in a slack array."""
        grid = inner(blob).reshape(self.p, self.s, t)
        if axis is Axis.PRIMARY:
            grid[slot] = sliver.reshape(self.s, t)
        else:
            grid[:, slot] = sliver.reshape(self.p, t)

    def decode(self, axis: Axis, slots: Mapping[int, int], blob: Bytes, t: int) -> None:
        """Turn the grid whose `slots` (index → place) hold slivers into the blob, zero-padded; in its own memory."""
        shape, vectors = self.code(axis.other), self.code(axis).k
        plan = completion(shape.k, shape.n, tuple(slots), self.kernels.kind)
        wanted = np.where(plan.missing < shape.k, plan.missing, -1)
        if wanted.max() < 0:
            return
        given = np.where(plan.given >= 0, np.fromiter(slots.values(), np.int64)[plan.given], -1)
        # Across a primary sliver lie the symbols of columns, side by side; across a secondary one those of rows.
        across, along = (t, self.s * t) if axis is Axis.PRIMARY else (self.s * t, t)
        grid = inner(blob)
        # All given symbols of a codeword are read before the first is written.
        self._complete(plan, given, shape, grid, across, along, vectors, t, grid, wanted, across, along)

    def _complete(
        self, plan: Completion, given: Ints, shape: Code, source: Bytes, across: int, along: int, vectors: int, t: int,
        target: Bytes, wanted: Ints, to_across: int, to_along: int,
    ) -> None:  # fmt: skip
        """Fill in the symbols `wanted` (as `plan.missing`) of codewords from those `given` (as `plan.given`).

        Given symbol `i` of codeword `v` lies at `v·across + i·along`; symbol `i` of it goes to `v·to_across +
        i·to_along`.
        """
        loaded, tables = self.kernels, self._tables

        def prepare() -> Part:
            work = _scratch(2 * shape.positions, vectors * t)

            def part(first: int, last: int) -> None:
                loaded.complete_vectors(
                    source, first * across, across, along, given, last - first, t, shape.m, tables,
                    plan.locators, work, target, first * to_across, to_across, to_along, wanted,
                )  # fmt: skip

            return part

        self._in_parallel(vectors, prepare)

    @cached_property
    def _tables(self) -> Any:
        both = (self.code(axis).positions for axis in Axis)
        return self.kernels.tables(max(both))

    def _in_parallel(self, count: int, prepare: Callable[[], Part]) -> None:
        """Run `part(first, last)` over `count` things, on this thread or on a pool of threads."""
        if self.threads == 1 or count <= TOGETHER:
            prepare()(0, count)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            self._share(pool, count, prepare)

    def _share(
        self, pool: ThreadPoolExecutor, count: int, prepare: Callable[[], Part], unit: int = TOGETHER
    ) -> None:
        """Run `part(first, last)` over `count` things in ranges of whole units; each thread prepares a part."""
        step = -(-count // (8 * self.threads * unit)) * unit
        pending = iter([(first, min(first + step, count)) for first in range(0, count, step)])

        def worker() -> None:
            part = prepare()
            for first, last in pending:
                part(first, last)

        for done in [pool.submit(worker) for _ in range(self.threads)]:
            done.result()


def _scratch(rows: int, wanted_bytes: int) -> Bytes:
    """Return scratch of `rows` rows, each as wide as wanted or as the cache allows."""
    allowed = max(SCRATCH_BYTES // rows // ROW_UNIT, 2)
    return np.empty((rows, ROW_UNIT * min(allowed, -(-wanted_bytes // ROW_UNIT))), np.uint8)
