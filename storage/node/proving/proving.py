"""What a node commits to and opens: its shards' trees over the epoch's inventory, kept in files (PROTOCOL section 8).

    proofs/EPOCH-START/inventory, inventory.tree
    proofs/EPOCH-START/SHARD.tree              over the roots of the shard's pairs
    proofs/EPOCH-START/ROOT.committed          the roots of the shards under a commitment
    proofs/EPOCH-START/DRAW-PAGE.openings      what is shown to fellows (`storage.node.proving.opening_pages`)

START is the hash of the block that started the epoch. A shard's tree is made once, by reading all
of the shard, before the shard is attested, and stays as it is: what becomes invalid later would have other leaves, and
the attestation holds a member to the root that it named. So an opening reads one sliver pair, and no more of the shard.
Everything here blocks, for minutes where there is much; it is not for the event loop's thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from committee.files import FOLDER, NotRegular, clear_away, opened, require_folder, write_whole
from committee.opening import COMMITMENT_BYTES, NOTHING_OPENED, Opening
from storage.node.chain import ChainView, pages
from storage.node.fail_points import fail_point
from storage.node.proving.inventory_file import InventoryFile
from storage.node.proving.progress import Meter, Progress
from storage.node.proving.reading import existing, nodes_under, root_in
from storage.node.proving.term import Term
from storage.node.proving.tree_file import TreeFile
from storage.node.sqlite import told
from storage.node.store import SliverStore
from storage.node.store.records import Symbols
from storage.proofs import (
    Entry,
    EntryProof,
    Inventory,
    Position,
    pair_nodes,
    salt_of,
    sliver_of_symbol,
    symbols_in_pair,
)
from storage.redstuff import Axis, BlobMetadata, MerkleProof, RedStuff, RedStuffError, blob_id_text
from storage.redstuff.merkle import leaf_hash, root_of_hashes
from storage.redstuff.parameters import HASH_BYTES

BLOBS_AT_ONCE = 1024
BYTES_AT_ONCE = 2**20
"""Limits of what is read of a shard at once: it stays in a processor's cache until it is hashed."""
NOTHING = bytes(HASH_BYTES)
"""Stands for the pair of an invalid blob, and for a shard without a tree."""


class Incomplete(Exception):
    """A sliver that is to be in a shard's tree is missing, or the epoch has ended meanwhile."""


class Proving:
    """The trees of one node. Raises `StoreError` when the disk fails."""

    def __init__(
        self, folder: Path, view: ChainView, store: SliverStore, code: RedStuff, public_key: bytes
    ) -> None:
        self._folder = folder
        self._view = view
        self._store = store
        self._code = code
        self._public_key = public_key
        self._making = threading.Lock()
        """Held while a file is made, so that none is made twice."""
        self._lacking: dict[int, Term] = {}
        """Shard → the term for which a pass over it last found slivers missing: the next one asks the index first, as
        it would else read all that is there again and again. A first pass, which mostly finds all, does not ask."""
        self._meter = Meter()

    def inventory(self, term: Term) -> Inventory:
        """Return the epoch's inventory, making it if need be. Raises `Incomplete` when the epoch has ended."""
        with _incomplete():
            return self._inventory(term).inventory()

    def made_inventory(self, term: Term) -> Inventory | None:
        """Return the epoch's inventory if it has been made."""
        with told(f"cannot read the inventory in {self._folder}"):
            return existing(lambda: InventoryFile(self.folder_of(term)).inventory())

    def shard_root(
        self, term: Term, shard: int, is_to_end: Callable[[], bool] = lambda: False
    ) -> tuple[bytes, int]:
        """Return the root with which a shard is attested, and the number of pairs in it.

        Raises `Incomplete`, soon also once `is_to_end`.
        """
        with _incomplete():
            tree = self._tree(term, shard, is_to_end)
            return tree.root(), tree.count

    def progress(self, term: Term, shards: Iterable[int], count: int) -> Progress:
        """Return how far the trees of these shards are, over an inventory of `count` blobs. Does not block."""
        meter = self._meter if self._meter.term == term else Meter(term)
        wanted = tuple(shards)
        done = sum(meter.in_tree.get(shard, 0) for shard in wanted)
        return Progress(done, len(wanted) * count, meter.read, meter.spent_s)

    def commit(self, term: Term, *, to_all: bool = True) -> bytes | None:
        """Return the root over the roots of the member's shards, and keep what is under it.

        None while a tree is not made; or while none is, if it need not be `to_all`: zeros stand for those that are not.
        Openings are made for such a root alone: trees that are made later are not under it.
        """
        nodes = self._shard_nodes(term)
        are_made = list(map(any, nodes))
        if not (all(are_made) if to_all else any(are_made)):
            return None
        root = root_of_hashes(nodes)
        path = self._committed(term, root)
        with told(f"cannot keep the commitment in {self._folder}"):
            if existing(lambda: nodes_under(path, root, len(nodes))) is None:
                path.unlink(missing_ok=True)  # what is damaged
                write_whole(path, b"".join(nodes))
                fail_point("proofs.commitment-kept")
        return root

    def opening(self, term: Term, commitment: bytes, position: Position) -> Opening:
        """Return the opening of a position, to a root that `commit` returned or its first COMMITMENT_BYTES.

        It shows nothing of a shard that is not under that root, and no symbol of a blob that is invalid. Raises
        `Incomplete` when a sliver, or a file, is missing or damaged.
        """
        with _incomplete():
            shards = self._roots_under(term, commitment)
            if shards[position.shard_number] == NOTHING:
                return NOTHING_OPENED
            opening, pair = self._symbol(term, position, self._inventory(term))
            if not pair:
                return opening
            tree = self._tree(term, term.shards[position.shard_number])
            attested = _attested(opening, pair, position, tree)
            beyond = MerkleProof.of(shards, position.shard_number).siblings
            return replace(attested, commitment_path=(*attested.commitment_path, *beyond))

    def entry_at(self, term: Term, offset: int) -> Entry | None:
        """Return the entry of the blob that an offset into the inventory names.

        None while there is no inventory, and for an offset behind its end.
        """
        with told(f"cannot read the inventory in {self._folder}"):
            found = existing(lambda: InventoryFile(self.folder_of(term)))
            return None if found is None or offset >= found.inventory().weight else found.find(offset)[1]

    def entry_of(self, term: Term, blob_id: bytes) -> EntryProof | None:
        """Return a blob's place in the epoch's inventory, which has been made; None of a blob that is not in it.

        Raises `Incomplete` as `opening`.
        """
        with _incomplete():
            return InventoryFile(self.folder_of(term)).proof_of(blob_id)

    def demanded(self, term: Term, position: Position) -> Opening:
        """Return what answers a demand: with the path to the shard's root if its tree is made, and no further.

        It makes neither inventory nor tree, and waits for none. Raises `Incomplete` as `opening`.
        """
        with _incomplete():
            opening, pair = self._symbol(term, position, InventoryFile(self.folder_of(term)))
            path = self.folder_of(term) / f"{term.shards[position.shard_number]}.tree"
            tree = existing(lambda: TreeFile(path)) if pair else None
            return opening if tree is None else _attested(opening, pair, position, tree)

    def _symbol(
        self, term: Term, position: Position, inventory: InventoryFile
    ) -> tuple[Opening, list[bytes]]:
        """Return an opening without a path to a commitment, and the salted nodes of its symbol's pair.

        Of an invalid blob there are neither symbol nor nodes.
        """
        shard = term.shards[position.shard_number]
        index, entry = inventory.find(position.offset)
        blob_id = entry.blob_id
        in_inventory = inventory.tree.proof(index, leaf_hash(entry.leaf())).siblings
        if self._view.is_invalid(blob_id):
            length = self._view.lengths([blob_id])[blob_id]
            return replace(
                NOTHING_OPENED,
                index=index,
                offset=entry.offset,
                inventory_path=in_inventory,
                blob_root=blob_id,
                blob_length=length,
            ), []
        pair, metadata = self._pair(blob_id, shard), self._store.metadata(blob_id)
        if pair is None or metadata is None:
            raise Incomplete(f"blob {blob_id_text(blob_id)} is not here whole")
        roots = BlobMetadata.from_bcs(metadata, blob_id)
        axis, number = sliver_of_symbol(self._code, position.symbol)
        symbol, in_sliver = self._code.prove_symbol(axis, pair[axis], number, entry.symbol_size)
        of_pair = self._code.pair_of_shard(blob_id, shard)
        opening = Opening(
            *(index, entry.offset, roots.root, roots.length, in_inventory, symbol, in_sliver.siblings),
            other_root=roots.sliver_root(axis.other, self._code.sliver_of_pair(of_pair, axis.other)),
            blob_path=MerkleProof.of(roots.pair_nodes(), of_pair).siblings,
            commitment_path=(),
        )
        return opening, pair_nodes(self._salt(term), *pair, entry.symbol_size)

    def folder_of(self, term: Term) -> Path:
        """Return the folder of a term's files; it is there once the inventory is made."""
        return self._folder / f"{term.epoch}-{term.start.hash.hex()}"

    def forget_others(self, term: Term) -> None:
        """Delete what was made for other epochs, as far as that is possible, and nothing outside the node's folder.

        What else stands in the place of the folder of all terms, or of this term's, is cleared away (`clear_away`).
        """
        with told(f"cannot read {self._folder}"):
            with self._making:
                own = self._made(term).name
            with opened(os.open(self._folder, FOLDER)) as folder:
                with os.scandir(folder) as entries:
                    others = [entry.name for entry in entries if entry.name != own]
                for name in others:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=folder)

    # files

    def _made(self, term: Term) -> Path:
        """Return the folder of a term, made if need be; what else has its name is cleared away."""
        for folder in (self._folder, self.folder_of(term)):
            try:
                require_folder(folder)
            except NotRegular:
                clear_away(folder)
                require_folder(folder)
        return folder

    def _inventory(self, term: Term) -> InventoryFile:
        with told(f"cannot keep the inventory in {self._folder}"):
            found = existing(lambda: InventoryFile(self.folder_of(term)))
            if found is not None:  # a file that is made can be read while another one is made
                return found
            with self._making:
                folder = self._made(term)
                found = existing(lambda: InventoryFile(folder))
                if found is None:
                    found = InventoryFile.make(folder, self._blobs(term))
                    fail_point("proofs.inventory-made")
                return found

    def _tree(self, term: Term, shard: int, is_to_end: Callable[[], bool] = lambda: False) -> TreeFile:
        path = self.folder_of(term) / f"{shard}.tree"
        inventory = self._inventory(term)
        with told(f"cannot keep the tree of shard {shard} in {self._folder}"):
            found = existing(lambda: TreeFile(path))
            if found is not None and self._meter.term == term:
                self._meter.in_tree.setdefault(shard, found.count)
                return found
            with self._making:
                if self._meter.term != term:
                    self._meter = Meter(term)
                found = existing(lambda: TreeFile(path))
                if found is None:
                    pairs = self._pairs(term, shard, inventory, is_to_end)
                    found = TreeFile.make(path, self._meter.counted(shard, pairs), inventory.tree.count)
                    fail_point("proofs.tree-made")
                self._meter.in_tree[shard] = found.count
                return found

    def _shard_nodes(self, term: Term) -> list[bytes]:
        """Return the roots of the member's shards, zeros for those without a tree."""
        nodes = []
        for shard in term.shards:
            path = self.folder_of(term) / f"{shard}.tree"
            with told(f"cannot read {path}"):
                nodes.append(existing(partial(root_in, path)) or NOTHING)
        return nodes

    def _roots_under(self, term: Term, root: bytes) -> list[bytes]:
        """Return the shards' roots that a commitment is over. Raises `ValueError` when they are not known any more.

        If what was kept of them is lost, the trees have them still, unless one was made later.
        """
        path = self._committed(term, root)
        kept = existing(lambda: nodes_under(path, root, len(term.shards)))
        nodes = kept or self._shard_nodes(term)
        if root_of_hashes(nodes)[:COMMITMENT_BYTES] != root[:COMMITMENT_BYTES]:
            raise ValueError(f"{path} is lost, and the trees are others by now")
        return nodes

    def _committed(self, term: Term, root: bytes) -> Path:
        return self.folder_of(term) / f"{root[:COMMITMENT_BYTES].hex()}.committed"

    # what is in them

    def _blobs(self, term: Term) -> Iterator[tuple[bytes, int]]:
        """Yield the ids and symbol sizes of the inventory's blobs. Raises `Incomplete` when the epoch has ended."""
        for blobs in pages(self._view.inventory):
            lengths = self._view.lengths(blobs)
            for blob_id in blobs:
                yield blob_id, self._code.symbol_size(lengths[blob_id])
        self._require_current(term)

    def _pairs(
        self, term: Term, shard: int, inventory: InventoryFile, is_to_end: Callable[[], bool]
    ) -> Iterator[bytes]:
        """Yield the root of each pair of a shard, zeros for an invalid blob's. Raises `Incomplete`."""
        if self._lacking.get(shard) == term:
            self._require_all(shard)
        salt = self._salt(term)
        for entries in self._together(inventory.entries()):
            if is_to_end():
                raise Incomplete("the tree is not wanted any more")
            self._require_current(term)
            try:
                roots = self._pair_roots(salt, shard, entries)
            except (Incomplete, RedStuffError):
                inventory.require_whole()  # what is missing may be another blob than was noted
                self._lacking[shard] = term
                raise
            fail_point("proofs.pairs-read")
            yield from roots
        self._require_current(term)

    def _pair_roots(self, salt: bytes, shard: int, entries: Sequence[Entry]) -> list[bytes]:
        """Return the root of each entry's pair in a shard. Raises `Incomplete` if a sliver is missing."""
        blobs = [entry.blob_id for entry in entries]
        invalid = self._view.those_invalid(blobs)
        primary, secondary = (self._slivers(shard, axis, blobs) for axis in Axis)
        roots = dict.fromkeys(invalid, NOTHING)
        by_size: dict[int, list[bytes]] = defaultdict(list)
        for entry in entries:
            if entry.blob_id not in invalid:
                by_size[entry.symbol_size].append(entry.blob_id)
        for size, some in by_size.items():
            if not (primary.keys() >= set(some) and secondary.keys() >= set(some)):
                raise Incomplete(f"slivers of shard {shard} are missing")
            pairs = [(primary[blob_id], secondary[blob_id]) for blob_id in some]
            roots.update(zip(some, self._code.salted_roots(salt, pairs, size), strict=True))
        return [roots[blob_id] for blob_id in blobs]

    def _require_all(self, shard: int) -> None:
        """Raise `Incomplete` if the store's index has not all slivers that are wanted of a shard; read none of them."""
        for blobs in pages(self._view.live_at_start):
            if any(self._store.missing(shard, axis, blobs) for axis in Axis):
                raise Incomplete(f"slivers of shard {shard} are missing")

    def _together(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Yield entries some at a time: BLOBS_AT_ONCE, or those whose pairs have BYTES_AT_ONCE."""
        some: list[Entry] = []
        size_bytes, symbols = 0, symbols_in_pair(self._code)
        for entry in entries:
            some.append(entry)
            size_bytes += symbols * entry.symbol_size
            if len(some) == BLOBS_AT_ONCE or size_bytes >= BYTES_AT_ONCE:
                yield some
                some, size_bytes = [], 0
        yield some

    def _slivers(self, shard: int, axis: Axis, blobs: Sequence[bytes]) -> dict[bytes, Symbols]:
        """Return blob id → sliver of those in a shard."""
        bulk = self._store.bulk
        pieces = bulk.read(bulk.find((shard,), axis, blobs))
        return {key.blob_id: symbols for some in pieces for key, symbols in some if symbols is not None}

    def _pair(self, blob_id: bytes, shard: int) -> tuple[Symbols, Symbols] | None:
        """Return the primary and the secondary sliver of a blob in a shard, if both are here."""
        primary, secondary = (self._store.sliver(blob_id, shard, axis) for axis in Axis)
        return None if primary is None or secondary is None else (primary, secondary)

    def _salt(self, term: Term) -> bytes:
        return salt_of(term.epoch, self._view.node_id, self._public_key, term.salt_seed)

    def _require_current(self, term: Term) -> None:
        """What has been read of the view was of this epoch only if it is the current one still."""
        if (self._view.state.epoch, self._view.state.started_block) != (term.epoch, term.start):
            raise Incomplete(f"epoch {term.epoch} is over, or was started by another block")


def _attested(opening: Opening, pair: list[bytes], position: Position, tree: TreeFile) -> Opening:
    """Return an opening with the path from its symbol, in the salted nodes of its pair, to the root of the shard."""
    path = (
        *MerkleProof.of(pair, position.symbol).siblings,
        *tree.proof(opening.index, root_of_hashes(pair)).siblings,
    )
    return replace(opening, commitment_path=path)


@contextlib.contextmanager
def _incomplete() -> Iterator[None]:
    """Turn what a damaged file leads to into `Incomplete`."""
    try:
        yield
    except (OSError, ValueError, RedStuffError) as error:
        raise Incomplete(str(error)) from error
