"""Slivers of a large blob that are made together, before they are wanted: one pass over the blob for many of them.

A sliver alone costs a multiplication for each byte of the blob. The transform makes all slivers of an axis for as much
as some ten alone; so as many are made at once as memory allows, those first that are expected to be wanted first.

The memory of two groups is there for as long as the blob, and used in turn: many small pieces, taken and given back by
several threads, would leave several times as much behind.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from storage.redstuff.memory import Bytes
from storage.redstuff.parameters import Axis

GROUP_BYTES = 8 << 20
"""Slivers made by one pass, at most; those of two passes are kept."""
LEAST_GROUP = 16
"""Fewer slivers are not worth a pass."""

Make = Callable[[Axis, Sequence[int], Sequence[Bytes]], None]
"""Make slivers of an axis by their indices, each in the memory that is given for it."""


def most_kept(n_shards: int, sizes: Iterable[int]) -> int:
    """Return the most bytes that `Groups` of slivers of these sizes takes: nothing where no pass would be worth it."""
    return 2 * GROUP_BYTES if any(_worth_a_pass(n_shards, size) for size in sizes) else 0


def _worth_a_pass(expected: int, size_bytes: int) -> bool:
    return min(GROUP_BYTES // size_bytes, expected) >= LEAST_GROUP


class Groups:
    """The slivers of one blob, each of which is taken once; any thread may call."""

    def __init__(self, make: Make, sizes: Mapping[Axis, int]) -> None:
        """`sizes` are the bytes of a sliver of each axis."""
        self._make = make
        self._sizes = sizes
        self._lock = threading.Lock()
        self._expected: dict[Axis, dict[int, int]] = {axis: {} for axis in Axis}
        """Axis → index of a sliver that is not made yet → its place in the order in which they will be wanted."""
        self._memory: list[Bytes] = []
        self._made: list[dict[tuple[Axis, int], Bytes]] = [{}, {}]
        """The slivers of the last pass but one, and of the last, that are not taken; each group in its memory."""

    def expect(self, axis: Axis, indices: Iterable[int]) -> None:
        """Tell which slivers will be wanted, in their order; those of several calls will be wanted side by side."""
        with self._lock:
            for place, index in enumerate(indices):
                self._expected[axis].setdefault(index, place)

    def take(self, axis: Axis, index: int) -> Bytes | None:
        """Return a sliver that was, or is now, made with others; None for one that is to be made alone.

        That is one of few, or of large ones, or one that two later passes have taken the place of.
        """
        with self._lock:
            for group in self._made:
                if (axis, index) in group:
                    return group.pop((axis, index)).copy()
            expected = self._expected[axis]
            if expected.pop(index, None) is None or not _worth_a_pass(len(expected) + 1, self._sizes[axis]):
                return None
            most = GROUP_BYTES // self._sizes[axis]
            chosen = [index, *heapq.nsmallest(most - 1, expected, key=expected.__getitem__)]
            for other in chosen[1:]:
                del expected[other]
            return self._pass(axis, chosen)

    def _pass(self, axis: Axis, chosen: Sequence[int]) -> Bytes:
        """Make slivers in the memory of the last group but one, and return the first."""
        if not self._memory:
            self._memory = [np.empty(GROUP_BYTES, np.uint8) for _ in self._made]
        self._memory.reverse()
        self._made.reverse()
        size_bytes = self._sizes[axis]
        slivers = self._memory[1][: len(chosen) * size_bytes].reshape(-1, size_bytes)
        self._made[1] = {}
        self._make(axis, chosen, list(slivers))
        self._made[1] = {(axis, one): sliver for one, sliver in zip(chosen[1:], slivers[1:], strict=True)}
        first: Bytes = slivers[0].copy()
        return first
