"""Openings of storage proofs as the Move package has them, and its rules for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields

from committee.opening import Opening
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.transactions import PURE_BYTES_LIMIT
from storage.proofs import Entry, Inventory, Position, symbols_in_pair
from storage.proofs.opening import blob_id_of
from storage.redstuff import BlobMetadata, MerkleProof, Parameters
from storage.redstuff.merkle import depth_of, leaf_hash, root_of_hashes
from tests.contracts.sui.double import Transaction
from tests.storage.proofs.members import HonestMember


@dataclass(frozen=True)
class Judge:
    """The rules of the package, for openings that a member shows."""

    n_shards: int
    shards: tuple[int, ...]
    inventory: Inventory
    root: bytes
    """Of the member's commitment, all 32 bytes."""
    salt: bytes
    attested: dict[int, bytes]

    @classmethod
    def of(cls, one: HonestMember) -> Judge:
        root = root_of_hashes([one.shard_root(shard) for shard in one.shards])
        return cls(
            one.code.n_shards, one.shards, one.inventory, root, one.salt, dict(one.commitment.attested)
        )

    def judge(self, opening: Opening, position: Position, transaction: Transaction | None = None) -> None:
        """Judge as `storage.proofs.judge` where nothing is excused. Raises `Refused`."""
        call = (transaction or Transaction()).call
        shown, place, inventory = self._in_move(call, opening, position)
        shard = self.shards[position.shard_number]
        blob_id = call("opening", "require_in_inventory", shown, place, inventory, self.n_shards)
        assert blob_id == blob_id_of(opening)
        call("opening", "require_symbol", shown, place, shard, blob_id, self.n_shards)
        commitment = call("opening", "new_commitment", self.root, self.salt, len(self.shards))
        attested = self._attested(shard)
        call("opening", "require_committed", shown, place, commitment, attested, inventory, self.n_shards)

    def judge_late(self, opening: Opening, position: Position) -> None:
        """Judge what is attested too late for a commitment. Raises `Refused`."""
        call = Transaction().call
        shown, place, inventory = self._in_move(call, opening, position)
        attested = self._attested(self.shards[position.shard_number])
        call("opening", "require_attested_alone", shown, place, self.salt, attested, inventory, self.n_shards)

    def _attested(self, shard: int) -> Value:
        return [[self.attested[shard]] if shard in self.attested else []]

    def _in_move(self, call: Callable[..., Value], opening: Opening, position: Position) -> list[Value]:
        inventory = self.inventory
        return [
            in_move(call, opening),
            [getattr(position, field.name) for field in fields(Position)],
            call("opening", "new_inventory", inventory.root, inventory.count, inventory.weight),
        ]


def in_move(call: Callable[..., Value], opening: Opening) -> Ref:
    """Return an opening as a transaction makes it: the symbol in parts that arguments can be as long as."""
    first, *more = parts(opening.symbol)
    made = call(
        *("opening", "new", opening.index, opening.offset, list(opening.inventory_path), opening.blob_root),
        *(opening.blob_length, first, list(opening.sliver_path), opening.other_root),
        *(list(opening.blob_path), list(opening.commitment_path)),
    )
    shown = Ref([made], 0)
    for part in more:
        call("opening", "append_symbol", shown, part)
    return shown


def parts(symbol: bytes) -> list[bytes]:
    longest = PURE_BYTES_LIMIT - 3  # beside the bytes of the length
    return [symbol[start : start + longest] for start in range(0, len(symbol), longest)] or [b""]


def largest(size: int) -> tuple[Opening, Position, Judge]:
    """An opening whose paths are as long as with 1000 shards, ten of them the member's, and a million blobs."""
    pick = random.Random(size)
    grid, shards, count = Parameters(1000), tuple(range(10)), 1_000_000

    def path(leaves: int) -> tuple[bytes, ...]:
        return tuple(pick.randbytes(32) for _ in range(depth_of(leaves)))

    length, index, position = size * grid.p * grid.s, 765_432, Position(7, 900, 10**9)
    symbol, salt = pick.randbytes(size), pick.randbytes(32)
    sliver_path, other_root, blob_path = path(grid.n_shards), pick.randbytes(32), path(grid.n_shards)
    root = MerkleProof(sliver_path).root(leaf_hash(symbol), position.symbol - grid.s, grid.n_shards)
    pair, blob_root, blob_id = 0, bytes(32), bytes(32)
    for pair in range(grid.n_shards):
        blob_root = MerkleProof(blob_path).root(leaf_hash(other_root + root), pair, grid.n_shards)
        blob_id = BlobMetadata.id_of(length, blob_root)
        if grid.pair_of_shard(blob_id, shards[position.shard_number]) == pair:
            break
    entry = Entry(blob_id, size, position.offset)
    inventory_path, node = path(count), leaf_hash(salt + symbol)
    inventory = Inventory(
        MerkleProof(inventory_path).root(leaf_hash(entry.leaf()), index, count), count, 2 * position.offset
    )
    commitment_path: tuple[bytes, ...] = ()
    trees = ((position.symbol, symbols_in_pair(grid)), (index, count), (position.shard_number, len(shards)))
    for number, leaves in trees:
        siblings = path(leaves)
        node = MerkleProof(siblings).root(node, number, leaves)
        commitment_path += siblings
    opening = Opening(
        *(index, position.offset, blob_root, length, inventory_path, symbol),
        *(sliver_path, other_root, blob_path, commitment_path),
    )
    return opening, position, Judge(grid.n_shards, shards, inventory, node, salt, {})
