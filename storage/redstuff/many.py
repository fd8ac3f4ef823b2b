"""Slivers of many blobs: small ones share the kernels' vectors, and what they have in common is prepared once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from storage.redstuff.checked import Checked, Data, array_of, rebuilt_wrong, root_mismatch
from storage.redstuff.errors import InvalidEncoding, RedStuffError, RootMismatch, WrongSize
from storage.redstuff.memory import Bytes, inner, slack_array
from storage.redstuff.metadata import BlobMetadata, EncodedMetadata, SliverRoots
from storage.redstuff.parameters import Axis

SINGLE_BYTES = 256
"""Symbols of up to this size are computed one by one; of larger ones the transform makes all at once as soon."""
SINGLE_WORK = 2**24
"""Slivers of `k` symbols of `t` bytes are recovered symbol by symbol while `k²·t` is less, else by transforms."""
COPIED_BYTES = 2**20
"""Slivers copied together to be verified together, unless one alone is larger."""
Encoded = bytes | memoryview
"""BCS of metadata."""


@dataclass(frozen=True)
class ManyBlobs(Checked):
    """Reads and rebuilds slivers of many blobs together, all of the same number of shards."""

    def read_metadata(self, bcs: Encoded, blob_id: bytes, *, is_checked: bool = False) -> SliverRoots:
        """Return metadata from BCS, as `read_each` does, and raise what is wrong with them."""
        (read,) = self.read_each([(bcs, blob_id, is_checked)])
        if isinstance(read, RedStuffError):
            raise read
        return read

    def read_each(self, wanted: Sequence[tuple[Encoded, bytes, bool]]) -> list[SliverRoots | RedStuffError]:
        """Return metadata of (BCS, blob id, whether the id was compared before), in their order.

        Single roots are read when they are asked for. In the place of metadata that are none, or have another id,
        stands `InvalidEncoding`; of those for another number of shards, `WrongSize`.
        """
        read: list[SliverRoots | RedStuffError] = []
        unchecked: list[tuple[int, EncodedMetadata]] = []
        for place, (bcs, blob_id, is_checked) in enumerate(wanted):
            encoded = EncodedMetadata.of(bcs, blob_id)
            try:
                metadata = encoded or BlobMetadata.from_bcs(bcs, None if is_checked else blob_id)
                self._same_shards(metadata)
                read.append(metadata)
            except RedStuffError as error:
                read.append(error)
                continue
            if encoded is not None and not is_checked:
                unchecked.append((place, encoded))
        roots = self._engine.blob_roots(encoded.nodes() for _, encoded in unchecked)
        for (place, encoded), root in zip(unchecked, roots, strict=True):
            if BlobMetadata.id_of(encoded.length, root) != encoded.blob_id:
                read[place] = InvalidEncoding("metadata of another blob: its id is not the one asked for")
        return read

    def verify_slivers(
        self, axis: Axis, slivers: Sequence[tuple[SliverRoots, int, Data]]
    ) -> list[RedStuffError | None]:
        """Verify slivers of `axis` of any blobs, given as (metadata, index, sliver), as `verify_sliver` does each.

        Returns what is wrong with each, None for those that are right. Those of one size are computed together.
        """
        wrong: list[RedStuffError | None] = [None] * len(slivers)
        by_size: dict[int, list[int]] = defaultdict(list)
        for place, (metadata, index, sliver) in enumerate(slivers):
            try:
                self._same_shards(metadata)
                self._symbols(metadata.length, axis, index, sliver)
                by_size[self.symbol_size(metadata.length)].append(place)
            except RedStuffError as error:
                wrong[place] = error
        for t, places in by_size.items():
            for roots, some in self._roots_of(axis, slivers, places, t):
                for place, root in zip(some, roots, strict=True):
                    metadata, index, _ = slivers[place]
                    if root.tobytes() != metadata.sliver_root(axis, index):
                        wrong[place] = root_mismatch(axis, index)
        return wrong

    def _roots_of(
        self, axis: Axis, slivers: Sequence[tuple[SliverRoots, int, Data]], places: Sequence[int], t: int
    ) -> Iterator[tuple[Bytes, Sequence[int]]]:
        """Yield the roots of the slivers at `places`, all of symbols of `t` bytes, as many at a time as are copied."""
        size_bytes = self.source_symbols(axis) * t
        at_once = max(1, COPIED_BYTES // size_bytes)
        for first in range(0, len(places), at_once):
            some = places[first : first + at_once]
            stacked = slack_array(len(some) * size_bytes)
            inner(stacked)[:] = _joined([slivers[place][2] for place in some])
            yield self._engine.sliver_roots(axis, stacked, len(some), t), some

    def salted_roots(self, salt: bytes, pairs: Sequence[tuple[Data, Data]], symbol_size: int) -> list[bytes]:
        """Return the root over each pair's symbols, the primary sliver's first, each behind the salt.

        These are the pair roots of PROTOCOL section 8. The pairs are (primary, secondary), all with symbols of that
        size. Raises `WrongSize`.
        """
        n, roots = self.s + self.p, list[bytes]()
        at_once = max(1, COPIED_BYTES // (n * (len(salt) + symbol_size)))
        for first in range(0, len(pairs), at_once):
            some = pairs[first : first + at_once]
            for slivers in some:
                for axis, sliver in zip(Axis, slivers, strict=True):
                    self._require_sliver(axis, sliver, symbol_size)
            primary, secondary = (
                array_of(b"".join(slivers) if len(some) > 1 else slivers[0])
                for slivers in zip(*some, strict=True)
            )
            found = self._engine.salted_roots(array_of(salt), primary, secondary, len(some), symbol_size)
            roots += map(bytes, found)
        return roots

    def crossing_symbols(
        self, axis: Axis, slivers: Sequence[Data], targets: Sequence[Sequence[int]], symbol_size: int
    ) -> Bytes:
        """The symbols of helpers' slivers of `axis` at the crossings with slivers `targets[i]` of the other axis.

        Each sliver gives as many; the result is `(slivers, targets, symbol_size)`. Small symbols are computed one by
        one, and no more of a sliver than is asked for. Raises `WrongSize`.
        """
        if set(map(len, slivers)) - {self.source_symbols(axis) * symbol_size}:
            for sliver in slivers:
                self._require_sliver(axis, sliver, symbol_size)
        wanted = np.array(targets, np.int64).reshape(len(slivers), len(targets[0]) if targets else 0)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.n_shards):
            raise WrongSize(
                f"symbols {wanted.min()} to {wanted.max()} of a sliver: there are {self.n_shards}"
            )
        out: Bytes = np.empty((*wanted.shape, symbol_size), np.uint8)
        if not slivers:
            return out
        if symbol_size <= SINGLE_BYTES:
            stacked = _joined(slivers)
            numbers = np.repeat(np.arange(len(slivers)), wanted.shape[1])
            self._engine.crossing(axis, stacked, numbers, wanted.reshape(-1), symbol_size, out.reshape(-1))
        else:
            for sliver, some, room in zip(slivers, wanted, out, strict=True):
                there = self._with_symbols(axis, sliver, some.tolist(), symbol_size)
                np.take(there, some, axis=0, out=room, mode="clip")
        return out

    def is_small(self, length: int) -> bool:
        """Whether a blob's symbols are so small that slivers of many such blobs are best recovered together."""
        t = self.symbol_size(length)
        return t <= SINGLE_BYTES and self.s**2 * t <= SINGLE_WORK

    def recover_each(
        self, axis: Axis, wanted: Sequence[tuple[SliverRoots, int, Mapping[int, Data]]]
    ) -> list[bytes | RedStuffError]:
        """Slivers of blobs of one symbol size, each as `recover` makes it of (metadata, index, symbols by helper).

        In the place of a sliver that cannot be made stands why.
        """
        made: list[bytes | RedStuffError] = [RootMismatch("not made")] * len(wanted)
        whole = []
        for place, (metadata, target, symbols) in enumerate(wanted):
            try:
                self._same_shards(metadata)
                self._check_index(axis, target)
                whole.append((place, *self._chosen(metadata.length, axis, symbols)))
            except RedStuffError as error:
                made[place] = error
        if not whole:
            return made
        t, size_bytes = len(whole[0][2][0]), self.sliver_size(wanted[whole[0][0]][0].length, axis)
        joined = array_of(bytearray().join(symbol for _, _, chosen in whole for symbol in chosen))
        slivers = self._engine.originals(
            axis, joined, np.array([known for _, known, _ in whole], np.int64), t
        )
        roots = self._engine.sliver_roots(axis, slivers, len(whole), t)
        for number, (place, _, _) in enumerate(whole):
            metadata, target, _ = wanted[place]
            if roots[number].tobytes() == metadata.sliver_root(axis, target):
                made[place] = inner(slivers)[number * size_bytes : (number + 1) * size_bytes].tobytes()
            else:
                made[place] = rebuilt_wrong(axis, target)
        return made


def _joined(slivers: Sequence[Data]) -> Bytes:
    """Return the bytes of slivers one after the other; many small ones are joined faster than by numpy."""
    return np.frombuffer(bytearray().join(cast(Any, slivers)), np.uint8)
