"""Decoding in the blob's own memory: slivers are put where they belong as they come, and the rest is made in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.redstuff.engine import Engine
from storage.redstuff.errors import InconsistentBlob, TooFewShards
from storage.redstuff.memory import SLACK, Bytes, inner
from storage.redstuff.metadata import BlobMetadata
from storage.redstuff.parameters import Axis, Parameters


class Decoding:
    """A blob under decoding from `p` primary slivers, which the caller has checked against their roots.

    Not for several threads at once.
    """

    def __init__(self, shape: Parameters, engine: Engine, metadata: BlobMetadata) -> None:
        self._shape, self._engine, self._metadata = shape, engine, metadata
        self._t = shape.symbol_size(metadata.length)
        # Python clears it page by page, when a page is first used: what has not come yet takes no memory.
        self._room = bytearray(shape.p * shape.s * self._t + 2 * SLACK)
        self._slots: dict[int, int] = {}
        """Sliver → the row in which it lies, until all are here."""

    @property
    def indices(self) -> frozenset[int]:
        """The slivers that are here."""
        return frozenset(self._slots)

    def add(self, index: int, sliver: bytes | memoryview) -> None:
        """Take one of the `p` slivers, of the right size; it is copied.

        A sliver that is no row of the blob lies in a free row, and moves on if that row comes.
        """
        free = max(set(range(self._shape.p)) - set(self._slots.values()))
        slot = index if index < self._shape.p else free
        grid = np.frombuffer(self._room, np.uint8)
        for other in [one for one, at in self._slots.items() if at == slot]:
            rows = inner(grid).reshape(self._shape.p, -1)
            rows[free], self._slots[other] = rows[slot], free
        self._engine.place(Axis.PRIMARY, slot, np.frombuffer(sliver, np.uint8), grid, self._t)
        self._slots[index] = slot

    def blob(self) -> bytearray:
        """Decode, and return the blob, checked against the roots of its source rows; once.

        Raises `TooFewShards`, and `InconsistentBlob` when the slivers are not those of one blob.
        """
        if len(self._slots) < self._shape.p:
            raise TooFewShards(f"needed {self._shape.p} primary slivers to decode, given {len(self._slots)}")
        self._decode()
        del self._room[self._metadata.length + SLACK :]
        del self._room[:SLACK]
        return self._room

    def _decode(self) -> None:
        grid = np.frombuffer(self._room, np.uint8)
        slots = dict(sorted(self._slots.items()))
        self._engine.decode(Axis.PRIMARY, slots, grid, self._t)
        if not has_source_roots(self._shape, self._engine, self._metadata, grid):
            raise inconsistent(Axis.PRIMARY, list(slots))


def has_source_roots(shape: Parameters, engine: Engine, metadata: BlobMetadata, blob: Bytes) -> bool:
    """Return whether the `p` source rows of a grid in a slack array hash to their roots."""
    roots = engine.sliver_roots(Axis.PRIMARY, blob, shape.p, shape.symbol_size(metadata.length))
    return roots.tobytes() == b"".join(metadata.primary_roots[: shape.p])


def inconsistent(axis: Axis, indices: Sequence[int]) -> InconsistentBlob:
    """Return the error of slivers that are all right and yet decode to another blob."""
    return InconsistentBlob(
        f"{axis.label} slivers {indices[:4]}… all hash to their roots and yet decode to another blob: its writer "
        "lied; prove it with symbols of a sliver that cannot be rebuilt"
    )
