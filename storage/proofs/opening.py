"""Openings: what shows that a member has one symbol of one blob, and the rules that judge it (PROTOCOL section 8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from committee.opening import COMMITMENT_BYTES, Opening
from storage.proofs.commitment import symbol_node
from storage.proofs.draw import Position, sliver_of_symbol, symbols_in_pair
from storage.proofs.inventory import Entry, EntryProof, Inventory
from storage.redstuff import Axis, BlobMetadata, InvalidProof, MerkleProof, Parameters, RedStuffError
from storage.redstuff.merkle import depth_of, leaf_hash


class WrongOpening(RedStuffError):
    """An opening does not show what it should; each subclass is one rule."""


class WrongPath(WrongOpening):
    """A path has another length than its tree's, or an index is not below its count."""


class NotInInventory(WrongOpening):
    """The blob is not at its number in the inventory."""


class NotDrawn(WrongOpening):
    """The opening is of another blob than the one that was drawn."""


class WrongSymbolSize(WrongOpening):
    """The symbol has not the size of the blob's symbols."""


class NotOfTheBlob(WrongOpening):
    """The symbol is not the one at this place of the blob's grid."""


class NotAttested(WrongOpening):
    """The member attested the shard, in this epoch, with another root."""


class NotCommitted(WrongOpening):
    """The member committed to something else at this place, or to nothing."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a member's openings are judged by, beside the inventory."""

    root: bytes
    """The first COMMITMENT_BYTES of it, which is what the chain keeps."""
    salt: bytes
    shards: Sequence[int]
    """The member's, in the committee's order."""
    attested: Mapping[int, bytes]
    """Shards that the member attested in this epoch, and their roots."""
    lacking: Collection[int] = ()
    """Shards that it neither kept nor attested before commitments were refused: it need not have them."""

    @property
    def is_over_nothing(self) -> bool:
        """Whether the member need not have any of its shards: it shows the chain that, and no commitment."""
        return set(self.shards) <= set(self.lacking)

    def is_excused_of(self, shard: int) -> bool:
        """Whether the member need not even answer a demand of a shard: it has not attested that later either."""
        return shard in self.lacking and shard not in self.attested


def blob_id_of(opening: Opening) -> bytes:
    """Return the id of an opening's blob: by its root and length, or as it is named where no symbol is shown."""
    return BlobMetadata.id_of(opening.blob_length, opening.blob_root) if opening.symbol else opening.blob_root


def require_entry(inventory: Inventory, shown: EntryProof) -> None:
    """Raises `WrongPath` or `NotInInventory` unless the inventory has the entry at its number."""
    if _root(shown.path, leaf_hash(shown.entry.leaf()), shown.index, inventory.count) != inventory.root:
        raise NotInInventory(f"the path of blob {shown.index} leads to another inventory")


def require_in_inventory(
    grid: Parameters, inventory: Inventory, opening: Opening, position: Position
) -> None:
    """Raises `WrongPath`, `NotInInventory` or `NotDrawn` unless the opening is about the blob that was drawn.

    This much is shown, too, of a blob that has become invalid, whose symbol nobody need have.
    """
    if opening.blob_length > grid.max_blob_bytes:
        raise NotInInventory(f"a blob of {opening.blob_length} bytes fits no inventory")
    entry = Entry(blob_id_of(opening), grid.symbol_size(opening.blob_length), opening.offset)
    require_entry(inventory, EntryProof(entry, opening.index, opening.inventory_path))
    if not entry.covers(position.offset):
        raise NotDrawn(f"{position.offset} names another blob than that at {opening.offset}")


def require_symbol(grid: Parameters, shard: int, opening: Opening, position: Position) -> None:
    """Raises `WrongSymbolSize`, `WrongPath` or `NotOfTheBlob` unless the symbol is the blob's at this position."""
    size = grid.symbol_size(opening.blob_length)
    if len(opening.symbol) != size:
        raise WrongSymbolSize(f"a symbol of {len(opening.symbol)} bytes: the blob's have {size}")
    axis, number = sliver_of_symbol(grid, position.symbol)
    pair = grid.pair_of_shard(blob_id_of(opening), shard)
    root = _root(opening.sliver_path, leaf_hash(opening.symbol), number, grid.n_shards)
    roots = (root, opening.other_root) if axis is Axis.PRIMARY else (opening.other_root, root)
    if _root(opening.blob_path, leaf_hash(b"".join(roots)), pair, grid.n_shards) != opening.blob_root:
        raise NotOfTheBlob(f"this is not symbol {number} of the {axis.label} sliver of pair {pair}")


def require_attested(
    grid: Parameters, inventory: Inventory, commitment: Commitment, opening: Opening, position: Position
) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the root of the shard's tree that the symbol leads to, and the rest of the path to a commitment.

    Raises `WrongPath`, or `NotAttested` if the shard was attested, in this epoch, with another root.
    """
    node, path = symbol_node(commitment.salt, opening.symbol), opening.commitment_path
    for number, count in ((position.symbol, symbols_in_pair(grid)), (opening.index, inventory.count)):
        depth = depth_of(count)
        node, path = _root(path[:depth], node, number, count), path[depth:]
    shard = commitment.shards[position.shard_number]
    if commitment.attested.get(shard, node) != node:
        raise NotAttested(f"shard {shard} was attested with another root")
    return node, path


def require_attested_alone(
    grid: Parameters, inventory: Inventory, commitment: Commitment, opening: Opening, position: Position
) -> None:
    """Require that an opening leads to the attested root of its shard, and ends there: no commitment has the shard."""
    _, path = require_attested(grid, inventory, commitment, opening, position)
    if path:
        raise WrongPath(f"{len(path)} nodes above the root of a shard")


def require_committed(
    grid: Parameters, inventory: Inventory, commitment: Commitment, opening: Opening, position: Position
) -> None:
    """Raises `WrongPath`, `NotAttested` or `NotCommitted` unless the member committed to the symbol at this place."""
    node, path = require_attested(grid, inventory, commitment, opening, position)
    node = _root(path, node, position.shard_number, len(commitment.shards))
    if node[:COMMITMENT_BYTES] != commitment.root:
        raise NotCommitted("the path leads to another commitment")


def judge(
    grid: Parameters,
    inventory: Inventory,
    commitment: Commitment,
    opening: Opening,
    position: Position,
    is_invalid: Callable[[bytes], bool] = lambda blob_id: False,
) -> bool:
    """Return whether a symbol is shown at a position. Raises the first `WrongOpening` that an opening breaks there.

    A place whose shard the member need not have is excused, whatever is shown. So is one without a symbol, of a blob in
    the inventory that `is_invalid` by now.
    """
    if commitment.shards[position.shard_number] in commitment.lacking:
        return False
    require_in_inventory(grid, inventory, opening, position)
    if not opening.symbol and is_invalid(blob_id_of(opening)):
        return False
    require_symbol(grid, commitment.shards[position.shard_number], opening, position)
    require_committed(grid, inventory, commitment, opening, position)
    return True


def judge_demanded(
    grid: Parameters,
    inventory: Inventory,
    commitment: Commitment,
    opening: Opening,
    position: Position,
    is_invalid: Callable[[bytes], bool] = lambda blob_id: False,
) -> None:
    """Judge an opening that answers a demand, as `judge` does, but it need not lead to the commitment.

    A position is excused whose shard the member neither kept nor has attested by now. Of a shard that was attested too
    late for the commitment the opening leads to the root that was attested, and ends there.
    """
    shard = commitment.shards[position.shard_number]
    if commitment.is_excused_of(shard):
        return
    require_in_inventory(grid, inventory, opening, position)
    if not opening.symbol and is_invalid(blob_id_of(opening)):
        return
    require_symbol(grid, shard, opening, position)
    if shard in commitment.lacking:
        require_attested_alone(grid, inventory, commitment, opening, position)


def _root(path: tuple[bytes, ...], node: bytes, index: int, count: int) -> bytes:
    try:
        return MerkleProof(path).root(node, index, count)
    except InvalidProof as error:
        raise WrongPath(str(error)) from None
