"""RedStuff: a blob as a grid of symbols; encode, decode, repair of one sliver (PROTOCOL section 1).

The blob fills `p` rows of `s` symbols. Every row is expanded to `n` symbols, every column to `n`; primary
sliver `i` is the first `s` symbols of row `i`, secondary sliver `j` the first `p` symbols of column `j`.
`RedStuff` checks what comes in and what goes out; the arithmetic is in `engine`, and below it in `kernels`.

Source: Danezis et al., "Walrus: An Efficient Decentralized Storage Network" (2025), section 3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedRandom, BufferedReader, FileIO
from typing import BinaryIO, Literal, NoReturn

import numpy as np

from storage.redstuff.checked import Data, array_of, rebuilt_wrong, root_mismatch
from storage.redstuff.decoding import Decoding, has_source_roots, inconsistent
from storage.redstuff.errors import InvalidProof, RootMismatch, TooFewShards, WrongSize
from storage.redstuff.groups import most_kept
from storage.redstuff.inconsistency import InconsistencyProof, ProvenSymbol
from storage.redstuff.large import LargeBlob
from storage.redstuff.many import ManyBlobs
from storage.redstuff.memory import Bytes, inner, slack_array
from storage.redstuff.merkle import MerkleProof, leaf_hash
from storage.redstuff.metadata import BlobMetadata, SliverRoots
from storage.redstuff.parameters import HASH_BYTES, Axis, BlobId
from storage.redstuff.streaming import FileSource, MemorySource, metadata_of

Check = Literal["skip", "default", "strict"]


@dataclass(frozen=True)
class EncodedBlob:
    """A blob's slivers and metadata: `primary (n, s·t)`, `secondary (n, p·t)`, uint8, by sliver index."""

    length: int
    primary: Bytes
    secondary: Bytes
    roots: Bytes
    """For each pair the primary and the secondary root, then the blob's root: `2n + 1` times 32 bytes."""

    @cached_property
    def metadata(self) -> BlobMetadata:
        """Length and sliver roots, made when asked for."""
        return BlobMetadata.from_pairs(
            self.length, self.roots[:-HASH_BYTES].tobytes(), self.roots[-HASH_BYTES:].tobytes()
        )

    @cached_property
    def blob_id(self) -> BlobId:
        """What names the blob."""
        return BlobId(BlobMetadata.id_of(self.length, self.roots[-HASH_BYTES:].tobytes()))

    def sliver(self, axis: Axis, index: int) -> memoryview:
        """Return one sliver's symbols, not copied."""
        slivers = self.primary if axis is Axis.PRIMARY else self.secondary
        return memoryview(slivers[index])


@dataclass(frozen=True)
class RedStuff(ManyBlobs):
    """The code for `n_shards`, working with `threads` threads; any thread may call it.

    `kernels` names a kernel kind ("gfni", "avx2", "portable"); by default the best one the processor has.
    """

    def encode(self, data: Data | BinaryIO) -> EncodedBlob:
        """Encode a blob: all its slivers and the metadata. The empty blob is legal. Raises `TooLarge`."""
        source = array_of(data)
        t = self.symbol_size(len(source))
        primary, secondary, roots = self._engine.encode(source, t)
        n = self.n_shards
        return EncodedBlob(len(source), inner(primary).reshape(n, -1), inner(secondary).reshape(n, -1), roots)

    def encode_large(self, data: Data) -> LargeBlob:
        """Return a blob with its metadata, whose slivers are made when asked for. Raises `TooLarge`.

        `data` must not change while the blob is in use.
        """
        content = array_of(data)
        return LargeBlob(self, self._engine, content, metadata_of(self, self._engine, MemorySource(content)))

    def metadata_of_file(self, file: BinaryIO) -> BlobMetadata:
        """Return the metadata of the content of an open regular file, which is read piece by piece.

        Raises `TooLarge` and `OSError`.
        """
        length = file.seek(0, os.SEEK_END)
        return metadata_of(self, self._engine, FileSource(file.fileno(), length))

    def grid_size(self, length: int) -> int:
        """Bytes of all slivers of a blob. Raises `TooLarge`."""
        return self.n_shards * sum(self.sliver_size(length, axis) for axis in Axis)

    def groups_size(self, length: int) -> int:
        """Most bytes that slivers of a `LargeBlob` take that are made before they are wanted. Raises `TooLarge`."""
        return most_kept(self.n_shards, [self.sliver_size(length, axis) for axis in Axis])

    def blob_id(self, data: Data | BinaryIO) -> BlobId:
        """Return the blob's id; of a file, without having it all in memory. Raises `TooLarge`."""
        if isinstance(data, FileIO | BufferedReader | BufferedRandom):
            return BlobId(self.metadata_of_file(data).blob_id)
        return self.encode(data).blob_id

    def decode(
        self, metadata: BlobMetadata, axis: Axis, slivers: Mapping[int, Data], check: Check = "default"
    ) -> bytes:
        """Return the blob from any `p` primary or any `s` secondary slivers.

        `check="default"` derives the roots of the `p` systematic rows anew and compares; "strict" encodes all
        and compares the id; "skip" is for slivers whose roots were checked, of a blob known to be consistent.
        Raises `TooFewShards`, `WrongSize`, `RootMismatch` naming the slivers that are wrong, or
        `InconsistentBlob` when all are right and yet are not slivers of one blob.
        """
        self._same_shards(metadata)
        needed = self.source_symbols(axis.other)
        if len(slivers) < needed:
            raise TooFewShards(f"needed {needed} {axis.label} slivers to decode, given {len(slivers)}")
        given = {index: slivers[index] for index in sorted(slivers)[:needed]}
        t = self.symbol_size(metadata.length)
        blob, slots = slack_array(self.p * self.s * t), self._engine.slots(axis, list(given))
        for index, sliver in given.items():
            symbols = self._symbols(metadata.length, axis, index, sliver)
            self._engine.place(axis, slots[index], symbols, blob, t)
        self._engine.decode(axis, slots, blob, t)
        if check != "skip" and not self._is_right(metadata, blob, check):
            self._blame(metadata, axis, given)
        return inner(blob)[: metadata.length].tobytes()

    def decoding(self, metadata: BlobMetadata) -> Decoding:
        """A blob to be decoded in its own memory, from primary slivers as they come."""
        self._same_shards(metadata)
        return Decoding(self, self._engine, metadata)

    def verify_sliver(self, metadata: SliverRoots, axis: Axis, index: int, sliver: Data) -> None:
        """Raises `WrongSize`, or `RootMismatch` when the sliver does not hash to its root in the metadata."""
        self._same_shards(metadata)
        symbols = self._symbols(metadata.length, axis, index, sliver)
        root = self._engine.sliver_root(axis, symbols, self.symbol_size(metadata.length))
        if root != metadata.sliver_root(axis, index):
            raise root_mismatch(axis, index)

    def recovery_symbols(
        self, axis: Axis, sliver: Data, targets: Sequence[int], symbol_size: int, out: Bytes | None = None
    ) -> dict[int, memoryview]:
        """Return the symbols of a helper's sliver of `axis` at the crossings with the other axis' slivers `targets`.

        They lie one after the other, in the order of the targets: in `out`, `(len(targets), symbol_size)`, if given.
        """
        there = self._with_symbols(axis, sliver, targets, symbol_size)
        # The indices are known to be good; "clip" lets numpy write into `out` directly.
        symbols: Bytes = np.take(there, list(targets), axis=0, out=out, mode="clip")
        return {target: one.data for target, one in zip(targets, symbols, strict=True)}

    def prove_symbol(
        self, axis: Axis, sliver: Data, target: int, symbol_size: int
    ) -> tuple[bytes, MerkleProof]:
        """Return the symbol at the crossing with sliver `target`, with its proof in the helper's own sliver tree."""
        expanded = self._expanded(axis, sliver, [target], symbol_size)
        nodes = [leaf_hash(one.tobytes()) for one in expanded]
        return expanded[target].tobytes(), MerkleProof.of(nodes, target)

    def recover(self, metadata: SliverRoots, axis: Axis, target: int, symbols: Mapping[int, Data]) -> bytes:
        """Return one sliver from symbols by helper index (slivers of the other axis), checked against its root.

        Exactly `p` symbols are used for a secondary, `s` for a primary sliver. Raises `TooFewShards`,
        `WrongSize`, `RootMismatch` (naming the target; ask for proofs then, to find the helper that lied).
        """
        self._same_shards(metadata)
        self._check_index(axis, target)
        sliver, root = self._recover(metadata.length, axis, symbols)
        if root != metadata.sliver_root(axis, target):
            raise rebuilt_wrong(axis, target)
        return sliver

    def inconsistency_proof(
        self, metadata: SliverRoots, axis: Axis, target: int, proven: Mapping[int, tuple[Data, MerkleProof]]
    ) -> InconsistencyProof:
        """Return evidence that the writer lied: proven symbols, by helper index, that give another sliver `target`.

        Its root, that is, is not the metadata's. Raises `InvalidProof` when they prove no such thing.
        """
        needed = self.source_symbols(axis)
        chosen = sorted(proven)[:needed]
        symbols = tuple(ProvenSymbol(i, bytes(array_of(proven[i][0])), proven[i][1]) for i in chosen)
        proof = InconsistencyProof(axis, target, symbols)
        self.verify_inconsistency_proof(metadata, proof)
        return proof

    def verify_inconsistency_proof(self, metadata: SliverRoots, proof: InconsistencyProof) -> None:
        """Return when the proof holds: the blob's writer lied. Raises `InvalidProof` when it does not."""
        try:
            self._same_shards(metadata)
            self._check_index(proof.axis, proof.target)
            indices = [one.index for one in proof.symbols]
            if len(set(indices)) != len(indices) or len(indices) != self.source_symbols(proof.axis):
                raise InvalidProof(
                    f"{len(indices)} symbols, some perhaps twice; {self.source_symbols(proof.axis)} needed"
                )
            for one in proof.symbols:
                self._check_index(proof.axis.other, one.index)
                root = metadata.sliver_root(proof.axis.other, one.index)
                one.proof.verify(root, one.symbol, proof.target, self.n_shards)
            _, root = self._recover(
                metadata.length, proof.axis, {one.index: one.symbol for one in proof.symbols}
            )
        except (WrongSize, TooFewShards) as error:
            raise InvalidProof(f"not a proof about this blob: {error}") from error
        if root == metadata.sliver_root(proof.axis, proof.target):
            raise InvalidProof("the symbols give the right root: the blob is consistent here")

    def _recover(self, length: int, axis: Axis, symbols: Mapping[int, Data]) -> tuple[bytes, bytes]:
        """Return the sliver the symbols give, and its root."""
        indices, chosen = self._chosen(length, axis, symbols)
        needed, t = self.source_symbols(axis), self.symbol_size(length)
        expanded, root = self._engine.rebuild(axis, indices, bytearray().join(chosen), t)
        return expanded[: needed * t].tobytes(), root

    def _is_right(self, metadata: BlobMetadata, blob: Bytes, check: Check) -> bool:
        if check == "strict":
            # Encoding starts from a zero padding of its own; what was decoded must agree with that too.
            data, padding = np.split(inner(blob), [metadata.length])
            return not padding.any() and self.encode(data).blob_id == metadata.blob_id
        return has_source_roots(self, self._engine, metadata, blob)

    def _blame(self, metadata: BlobMetadata, axis: Axis, slivers: Mapping[int, Data]) -> NoReturn:
        """Say which of the slivers that decode to a wrong blob are wrong, or that the blob is."""
        indices, given = list(slivers), self._stack(metadata.length, axis, slivers)
        roots = self._engine.sliver_roots(axis, given, len(indices), self.symbol_size(metadata.length))
        pairs = zip(indices, roots, strict=True)
        wrong = [index for index, root in pairs if root.tobytes() != metadata.sliver_root(axis, index)]
        if wrong:
            raise RootMismatch(f"{axis.label} slivers {wrong} do not hash to their roots", wrong)
        raise inconsistent(axis, indices)

    def _stack(self, length: int, axis: Axis, slivers: Mapping[int, Data]) -> Bytes:
        """Return slivers one after the other in a slack array, their sizes checked."""
        size = self.sliver_size(length, axis)
        stacked = slack_array(len(slivers) * size)
        for place, (index, sliver) in enumerate(slivers.items()):
            inner(stacked)[place * size : (place + 1) * size] = self._symbols(length, axis, index, sliver)
        return stacked
