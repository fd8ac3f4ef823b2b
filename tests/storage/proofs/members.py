"""A member with real slivers of real blobs, and honest openings of any position: what the tests of proofs use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from committee.opening import COMMITMENT_BYTES, Opening
from storage.proofs.commitment import pair_nodes, salt_of
from storage.proofs.draw import Position, sliver_of_symbol
from storage.proofs.inventory import Entry, Inventory, entries_of, inventory_of
from storage.proofs.opening import Commitment
from storage.redstuff import Axis, EncodedBlob, MerkleProof, RedStuff
from storage.redstuff.merkle import leaf_hash, root_of_hashes

EPOCH, NODE_ID = 7, 3
PUBLIC_KEY, SALT_SEED, DRAW = bytes(range(48)), b"\x51" * 32, b"\xd4" * 32


@dataclass(frozen=True)
class HonestMember:
    """A member that has all that it should."""

    code: RedStuff
    blobs: tuple[EncodedBlob, ...]
    """By ascending id."""
    shards: tuple[int, ...]
    salt: bytes = salt_of(EPOCH, NODE_ID, PUBLIC_KEY, SALT_SEED)

    @property
    def entries(self) -> list[Entry]:
        """The inventory's entries."""
        return list(entries_of((bytes(one.blob_id), self.symbol_size(one)) for one in self.blobs))

    @property
    def inventory(self) -> Inventory:
        """What is signed of them."""
        return inventory_of(self.entries)

    @property
    def commitment(self) -> Commitment:
        """The member's, with every other shard attested in this epoch."""
        roots = [self.shard_root(shard) for shard in self.shards]
        attested = dict(list(zip(self.shards, roots, strict=True))[::2])
        return Commitment(root_of_hashes(roots)[:COMMITMENT_BYTES], self.salt, self.shards, attested)

    def symbol_size(self, blob: EncodedBlob) -> int:
        """`t` of a blob."""
        return self.code.symbol_size(blob.length)

    def pair(self, blob: EncodedBlob, shard: int) -> tuple[memoryview, memoryview]:
        """The slivers of a blob in a shard."""
        primary, secondary = (
            blob.sliver(axis, self.code.sliver_index(blob.blob_id, shard, axis)) for axis in Axis
        )
        return primary, secondary

    def pair_roots(self, shard: int) -> list[bytes]:
        """The leaves' nodes of a shard's tree."""
        return [
            self.code.salted_roots(self.salt, [self.pair(blob, shard)], self.symbol_size(blob))[0]
            for blob in self.blobs
        ]

    def shard_root(self, shard: int) -> bytes:
        """The root that attests a shard."""
        return root_of_hashes(self.pair_roots(shard))

    def opening(self, position: Position) -> Opening:
        """An honest opening."""
        entries, shard = self.entries, self.shards[position.shard_number]
        index = next(i for i, entry in enumerate(entries) if entry.covers(position.offset))
        blob, size = self.blobs[index], entries[index].symbol_size
        axis, number = sliver_of_symbol(self.code, position.symbol)
        sliver_index = self.code.sliver_index(blob.blob_id, shard, axis)
        expanded = self._expanded(blob, axis, sliver_index)
        metadata = blob.metadata
        pair = self.code.pair_of_shard(blob.blob_id, shard)
        others = self.code.sliver_of_pair(pair, axis.other)
        pairs = zip(metadata.primary_roots, reversed(metadata.secondary_roots), strict=True)
        leaves = [leaf_hash(primary + secondary) for primary, secondary in pairs]
        inventory = [leaf_hash(entry.leaf()) for entry in entries]
        return Opening(
            index=index,
            offset=entries[index].offset,
            blob_root=metadata.root,
            blob_length=blob.length,
            inventory_path=MerkleProof.of(inventory, index).siblings,
            symbol=expanded[number],
            sliver_path=MerkleProof.of([leaf_hash(one) for one in expanded], number).siblings,
            other_root=metadata.sliver_root(axis.other, others),
            blob_path=MerkleProof.of(leaves, pair).siblings,
            commitment_path=(
                *MerkleProof.of(
                    pair_nodes(self.salt, *self.pair(blob, shard), size), position.symbol
                ).siblings,
                *MerkleProof.of(self.pair_roots(shard), index).siblings,
                *MerkleProof.of(
                    [self.shard_root(one) for one in self.shards], position.shard_number
                ).siblings,
            ),
        )

    def _expanded(self, blob: EncodedBlob, axis: Axis, index: int) -> list[bytes]:
        """All symbols of a sliver, taken from the slivers that cross it."""
        size = self.symbol_size(blob)
        crossing = [bytes(blob.sliver(axis.other, one)) for one in range(self.code.n_shards)]
        known = self.code.source_symbols(axis.other)
        if index < known:
            return [one[index * size : (index + 1) * size] for one in crossing]
        symbols = (self.code.recovery_symbols(axis.other, one, [index], size)[index] for one in crossing)
        return [bytes(one) for one in symbols]


def member(n_shards: int, lengths: Sequence[int], shards: Sequence[int], seed: int = 1) -> HonestMember:
    """Return a member with these shards of blobs of these lengths, of random bytes."""
    code, choose = RedStuff(n_shards), random.Random(seed)
    blobs = sorted((code.encode(choose.randbytes(length)) for length in lengths), key=lambda one: one.blob_id)
    return HonestMember(code, tuple(blobs), tuple(shards))
