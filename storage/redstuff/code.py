"""RedStuff: a blob as a grid of symbols; encode, decode, repair of one sliver (PROTOCOL section 1).

The blob fills `p` rows of `s` symbols. Every row is expanded to `n` symbols, every column to `n`; primary sliver `i` is
the first `s` symbols of row `i`, secondary sliver `j` the first `p` symbols of column `j`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from storage.redstuff.errors import RootMismatch, TooFewShards, WrongSize
from storage.redstuff.merkle import MerkleProof, leaf_hash, root_of_hashes
from storage.redstuff.metadata import BlobMetadata
from storage.redstuff.parameters import Axis, Parameters
from storage.redstuff.reed_solomon import Bytes, combine, decoder, generator, to_bytes, to_words

Data = bytes | bytearray | memoryview


@dataclass(frozen=True)
class EncodedBlob:
    """A blob's slivers and metadata: `primary (n, s·t)`, `secondary (n, p·t)`, uint8, by sliver index."""

    metadata: BlobMetadata
    primary: Bytes
    secondary: Bytes

    @property
    def blob_id(self) -> bytes:
        """32 bytes."""
        return self.metadata.blob_id

    def sliver(self, axis: Axis, index: int) -> memoryview:
        """One sliver's symbols, not copied."""
        slivers = self.primary if axis is Axis.PRIMARY else self.secondary
        return memoryview(slivers[index])  # type: ignore[arg-type]


class RedStuff(Parameters):
    """The code for `n_shards`. Everything here may run in threads."""

    def encode(self, data: Data) -> EncodedBlob:
        """All slivers and the metadata. Raises `TooLarge`. The empty blob is legal."""
        t = self.symbol_size(len(data))
        p, s, n = self.p, self.s, self.n_shards
        source = np.zeros(p * s * t, np.uint8)
        source[: len(data)] = np.frombuffer(data, np.uint8)
        words = to_words(source.reshape(p, s, t))
        rows = combine(generator(s, n), words.transpose(1, 0, 2))
        grid = to_bytes(combine(generator(p, n), rows.transpose(1, 0, 2)))
        leaves = [[leaf_hash(grid[r, c].tobytes()) for c in range(n)] for r in range(n)]
        metadata = BlobMetadata(
            len(data),
            tuple(root_of_hashes(row) for row in leaves),
            tuple(root_of_hashes(column) for column in zip(*leaves, strict=True)),
        )
        primary = np.ascontiguousarray(grid[:, :s]).reshape(n, s * t)
        secondary = np.ascontiguousarray(grid[:p].transpose(1, 0, 2)).reshape(n, p * t)
        return EncodedBlob(metadata, primary, secondary)

    def decode(self, metadata: BlobMetadata, axis: Axis, slivers: Mapping[int, Data]) -> bytes:
        """The blob from any `p` primary or any `s` secondary slivers, re-encoded and compared with the id.

        Raises `TooFewShards`, `WrongSize`, or `RootMismatch` naming the slivers that are wrong, or all of them when
        the blob itself was encoded inconsistently.
        """
        needed = self.p if axis is Axis.PRIMARY else self.s
        if len(slivers) < needed:
            raise TooFewShards(f"needed {needed} {axis.name.lower()} slivers to decode, given {len(slivers)}")
        places = tuple(sorted(slivers)[:needed])
        for index in places:
            self.verify_sliver(metadata, axis, index, slivers[index])
        symbols = np.stack([self._symbols(metadata.length, axis, slivers[index]) for index in places])
        source = to_bytes(combine(decoder(needed, self.n_shards, places), to_words(symbols)))
        if axis is Axis.SECONDARY:
            source = source.transpose(1, 0, 2)
        data = source.tobytes()[: metadata.length]
        if self.encode(data).metadata.blob_id != metadata.blob_id:
            raise RootMismatch("the blob decoded from these slivers has another id: its writer lied", places)
        return data

    def verify_sliver(self, metadata: BlobMetadata, axis: Axis, index: int, sliver: Data) -> None:
        """Raises `WrongSize`, or `RootMismatch` when the sliver does not hash to its root in the metadata."""
        if not 0 <= index < self.n_shards or metadata.n_shards != self.n_shards:
            raise WrongSize(
                f"sliver {index} of a blob of {metadata.n_shards} pairs, for {self.n_shards} shards"
            )
        expanded = self._expand(axis, self._symbols(metadata.length, axis, sliver), range(self.n_shards))
        if root_of_hashes([leaf_hash(one.tobytes()) for one in expanded]) != metadata.sliver_root(
            axis, index
        ):
            raise RootMismatch(f"{axis.name.lower()} sliver {index} does not hash to its root", (index,))

    def recovery_symbols(
        self, axis: Axis, sliver: Data, targets: Sequence[int], symbol_size: int
    ) -> dict[int, bytes]:
        """The symbols of a helper's sliver of `axis` at the crossings with the other axis' slivers `targets`."""
        symbols = np.frombuffer(sliver, np.uint8).reshape(-1, symbol_size)
        expanded = self._expand(axis, symbols, targets)
        return {target: one.tobytes() for target, one in zip(targets, expanded, strict=True)}

    def prove_symbol(
        self, axis: Axis, sliver: Data, target: int, symbol_size: int
    ) -> tuple[bytes, MerkleProof]:
        """One such symbol with its proof in the helper's own sliver tree."""
        symbols = np.frombuffer(sliver, np.uint8).reshape(-1, symbol_size)
        expanded = self._expand(axis, symbols, range(self.n_shards))
        nodes = [leaf_hash(one.tobytes()) for one in expanded]
        return expanded[target].tobytes(), MerkleProof.of(nodes, target)

    def recover(self, metadata: BlobMetadata, axis: Axis, target: int, symbols: Mapping[int, bytes]) -> bytes:
        """One sliver from symbols by helper index (slivers of the other axis), checked against its root.

        Exactly `p` symbols are used for a secondary, `s` for a primary sliver. Raises `TooFewShards`, `WrongSize`,
        `RootMismatch`.
        """
        needed = self.source_symbols(axis)
        if len(symbols) < needed:
            raise TooFewShards(f"needed {needed} symbols to rebuild the sliver, given {len(symbols)}")
        places = tuple(sorted(symbols)[:needed])
        t = self.symbol_size(metadata.length)
        if any(len(symbols[place]) != t for place in places):
            raise WrongSize(f"symbols of a blob of {metadata.length} bytes have {t} bytes")
        given = np.stack([np.frombuffer(symbols[place], np.uint8) for place in places])
        sliver = to_bytes(combine(decoder(needed, self.n_shards, places), to_words(given))).tobytes()
        self.verify_sliver(metadata, axis, target, sliver)
        return sliver

    def _symbols(self, length: int, axis: Axis, sliver: Data) -> Bytes:
        size = self.sliver_size(length, axis)
        if len(sliver) != size:
            raise WrongSize(f"a {axis.name.lower()} sliver of {len(sliver)} bytes: it must have {size}")
        return np.frombuffer(sliver, np.uint8).reshape(self.source_symbols(axis), self.symbol_size(length))

    def _expand(self, axis: Axis, symbols: Bytes, targets: Sequence[int]) -> Bytes:
        """The symbols of the expanded sliver at `targets`, `(len(targets), t)`."""
        matrix = generator(self.source_symbols(axis), self.n_shards)
        return to_bytes(combine(matrix[list(targets)], to_words(symbols)))
