"""Local repair: rebuild slivers of a blob from one symbol of each helper, never from the blob.

A secondary sliver needs `p` symbols, one from each of `p` helpers' primary slivers; a primary sliver needs `s` symbols
from secondary slivers (PROTOCOL section 1, "Repair of one sliver pair"). `storage.node.repair.helpers` fetches them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from committee.logs import Log
from storage.client.errors import NodeError, NodeFailure, name_failures
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair.helpers import Gathering, Helpers, RepairError
from storage.node.repair.proofs import Proofs
from storage.node.repair.standing import Standing
from storage.node.store import NewSliver, SliverStore, StoreError, Tally
from storage.node.threads import Threads
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    MerkleProof,
    RedStuff,
    RedStuffError,
    RootMismatch,
    blob_id_text,
)

log = Log()

TARGETS_AT_ONCE = 64
"""Slivers rebuilt together, so that small blobs do not drown in round trips."""
BATCH_BYTES = 64 * 2**20
"""Symbols of one batch held in memory, unless a single sliver is larger."""
METADATA_KEPT = 256
"""Blobs whose metadata is kept at hand: a blob's slivers come one after the other, for shard after shard."""
METADATA_LIMIT_S = 5.0
"""Time limit for one peer's metadata; another peer is asked then."""


class InconsistentBlob(RepairError):
    """No one can rebuild the sliver: the blob's writer lied, and here is the proof."""

    def __init__(self, metadata: BlobMetadata, proof: InconsistencyProof) -> None:
        super().__init__(
            f"blob {blob_id_text(metadata.blob_id)}: all symbols are proven and {proof.axis.label} sliver "
            f"{proof.target} still has another root: its writer lied"
        )
        self.metadata = metadata
        self.proof = proof


@dataclass(frozen=True)
class Rebuilt:
    """One rebuilt sliver, verified against its root, and what it cost."""

    shard: int
    symbols: bytes = field(repr=False)
    """The sliver: `s·t` bytes (primary) or `p·t` bytes (secondary)."""
    symbol_bytes: int
    """All symbols that entered the rebuild: exactly the sliver's own size."""
    received_bytes: int
    """Bytes of these symbols that crossed the wire; the rest came from slivers that this node holds itself."""
    wasted_bytes: int
    """Symbols received for this sliver and thrown away."""


class Repair:
    """Rebuilds slivers for one node from its own slivers and its peers' symbols."""

    def __init__(
        self,
        view: ChainView,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        budget: Budget | None = None,
    ) -> None:
        self._store = store
        self._code = code
        self._peers = peers
        self._budget = budget or Budget()
        self._kept: OrderedDict[bytes, BlobMetadata] = OrderedDict()
        self._fetching: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        """One lock for each blob whose metadata somebody is getting, so that nothing is fetched twice."""
        self.standing = Standing()
        self._helpers = Helpers(code, peers, view.node_id, self.standing, self._budget)
        self._proofs = Proofs(code, peers, self.standing, self._budget)
        self.threads = Threads()
        """For the long work of repair and handover: the store's small questions must not wait behind all of it."""
        self.on_inconsistent: Callable[[InconsistentBlob], None] = lambda blob: None
        """Told of every inconsistent blob that is met, whoever asked for the repair; must not block."""

    async def metadata(self, blob_id: bytes) -> BlobMetadata:
        """A blob's metadata: the stored one, or a peer's, which is then stored. Raises `RepairError`."""
        async with self._fetching.setdefault(blob_id, asyncio.Lock()):
            stored = await asyncio.to_thread(self._store.metadata, blob_id)
            if stored is None:
                metadata = await self._fetch_metadata(blob_id)
            else:
                metadata = self._kept.get(blob_id) or BlobMetadata.from_bcs(stored, blob_id)
        self._kept[blob_id] = metadata
        self._kept.move_to_end(blob_id)
        if len(self._kept) > METADATA_KEPT:
            self._kept.popitem(last=False)
        return metadata

    async def _fetch_metadata(self, blob_id: bytes) -> BlobMetadata:
        failures: dict[int, NodeFailure] = {}
        others = self._peers.others()
        # Each blob's round begins elsewhere, so that they do not all lean, or wait, on the same ones.
        first = int.from_bytes(blob_id[:4], "big") % max(1, len(others))
        for member in sorted(others[first:] + others[:first], key=self.standing.rank):
            try:
                async with self._budget.request():
                    metadata = await self._peers.client(member).metadata(blob_id, METADATA_LIMIT_S)
            except NodeError as error:
                failures[member.node_id] = NodeFailure(member.name, error.why)
                self.standing.failed(member, error)
                continue
            encoded = metadata.to_bcs()
            self._budget.charge(len(encoded))
            fail_point("handover.blob-metadata-fetched")
            await self.threads.finished(self._store.put_metadata, blob_id, encoded)
            fail_point("handover.blob-metadata-stored")
            return metadata
        raise RepairError(f"no metadata of blob {blob_id_text(blob_id)}: {name_failures(failures)}")

    async def fill(
        self,
        metadata: BlobMetadata,
        shards: Sequence[int],
        tally_epoch: int | None = None,
        avoiding: Collection[int] = (),
        is_wanted: Callable[[], bool] = lambda: True,
        in_vain: Counter[tuple[bytes, int, Axis]] | None = None,
    ) -> None:
        """Rebuild and store every sliver of the blob that these shards lack: secondaries first, then primaries.

        (The paper's Theorem 1: until enough columns exist a row cannot be rebuilt.) With `tally_epoch`, the cost
        is recorded with the slivers; `in_vain` are bytes received before for (blob id, shard, axis) and thrown away,
        which go over into the record. Ends as soon as the blob is no longer wanted, storing nothing more.
        Raises as `rebuild` does, and `StoreError`; what was stored by then stays.
        """
        blob_id = metadata.blob_id
        in_vain = Counter() if in_vain is None else in_vain
        for axis in (Axis.SECONDARY, Axis.PRIMARY):
            stored = await asyncio.to_thread(self._store.shards_with, blob_id, axis)
            lacking = [shard for shard in shards if shard not in stored]
            sliver_bytes = self._code.sliver_size(metadata.length, axis)
            batch = max(1, min(TARGETS_AT_ONCE, BATCH_BYTES // sliver_bytes))
            for first in range(0, len(lacking), batch):
                some = lacking[first : first + batch]
                # On a full disk, nothing is fetched that cannot be stored.
                await asyncio.to_thread(self._store.require_room, len(some) * sliver_bytes)
                async with self._budget.memory(2 * len(some) * sliver_bytes):
                    try:
                        rebuilt = await self.rebuild(metadata, axis, some, avoiding)
                    except RepairError as error:
                        if error.wasted_bytes:
                            in_vain.update(
                                dict.fromkeys(((blob_id, one, axis) for one in some), error.wasted_bytes)
                            )
                        raise
                    fail_point("handover.slivers-rebuilt")
                    if not is_wanted():
                        return
                    slivers = []
                    for one in rebuilt:
                        tally = None
                        if tally_epoch is not None:
                            wasted_bytes = one.wasted_bytes + in_vain[blob_id, one.shard, axis]
                            cost = (one.symbol_bytes, one.received_bytes, wasted_bytes)
                            tally = Tally(tally_epoch, one.shard, blob_id, "rebuilt", 1, *cost)
                        slivers.append(NewSliver(blob_id, one.shard, axis, one.symbols, tally))
                    await self.keep(slivers, in_vain)
                    fail_point("handover.slivers-stored")

    async def keep(self, slivers: Sequence[NewSliver], in_vain: Counter[tuple[bytes, int, Axis]]) -> None:
        """Store slivers, whose tallies have what was `in_vain`: that goes over into the record.

        Raises `StoreError`; all that they have cost is then `in_vain`.
        """
        is_refused = False
        try:
            await self.threads.finished(self._store.put_slivers, slivers)
        except (StoreError, asyncio.CancelledError) as error:
            is_refused = isinstance(error, StoreError) or isinstance(error.__cause__, StoreError)
            raise
        finally:
            for one in slivers:
                in_vain.pop((one.blob_id, one.shard, one.axis), None)
                if is_refused and one.tally is not None:
                    in_vain[one.blob_id, one.shard, one.axis] = one.tally.in_vain.wasted_bytes

    async def rebuild(
        self, metadata: BlobMetadata, axis: Axis, shards: Sequence[int], avoiding: Collection[int] = ()
    ) -> list[Rebuilt]:
        """Rebuild the slivers of `shards` on one axis, each verified; `avoiding` are node ids not to be asked.

        Raises `RepairError` when too few helpers remain, naming who failed; `InconsistentBlob` when every helper's
        symbol is proven and the sliver still has another root.
        """
        code, blob_id = self._code, metadata.blob_id
        gathering = Gathering(
            metadata,
            axis,
            {code.sliver_index(blob_id, shard, axis): shard for shard in shards},
            code.source_symbols(axis),
            code.symbol_size(metadata.length),
        )
        await self.threads.finished(self._add_own, gathering)
        try:
            while True:
                await self._helpers.fetch(gathering, avoiding)
                try:
                    return await self.threads.finished(self._recover, gathering)
                except RootMismatch as mismatch:
                    await self._leave_out_liars(gathering, mismatch.indices[0])
        except RepairError as error:
            error.wasted_bytes = (len(gathering.sources) + gathering.wasted) * gathering.symbol_bytes
            raise

    def _add_own(self, gathering: Gathering) -> None:
        """Take symbols from slivers this node holds itself, found good first: they cost no traffic."""
        metadata, helping = gathering.metadata, gathering.axis.other
        for shard in sorted(self._store.shards_with(metadata.blob_id, helping)):
            if gathering.lacking <= 0:
                return
            sliver = self._store.sliver(metadata.blob_id, shard, helping)
            if sliver is None:
                continue
            index = self._code.sliver_index(metadata.blob_id, shard, helping)
            try:
                self._code.verify_sliver(metadata, helping, index, sliver)
            except RedStuffError as error:
                log.warning("a stored sliver is damaged", shard=shard, error=str(error))
                self._store.discard(metadata.blob_id, shard, helping, sliver)
                continue
            gathering.symbols[index] = self._code.recovery_symbols(
                helping, sliver, list(gathering.targets), gathering.symbol_bytes
            )

    def _recover(self, gathering: Gathering) -> list[Rebuilt]:
        t = gathering.symbol_bytes
        rebuilt = []
        for target, shard in gathering.targets.items():
            symbols = {index: by_target[target] for index, by_target in gathering.symbols.items()}
            sliver = self._code.recover(gathering.metadata, gathering.axis, target, symbols)
            received, wasted = len(gathering.sources) * t, gathering.wasted * t
            rebuilt.append(Rebuilt(shard, sliver, len(symbols) * t, received, wasted))
        return rebuilt

    async def _leave_out_liars(self, gathering: Gathering, target: int) -> None:
        """Have everyone prove the symbols for `target`, whose root did not come out; drop those that cannot.

        Raises `InconsistentBlob` when all can.
        """
        given = len(gathering.symbols)
        own = await self.threads.finished(self._prove_own, gathering, target)
        proven = await self._proofs.ask(gathering, target, own, self._helpers.overtaken_after_s)
        if len(proven) < given:
            return
        symbols = {index: (gathering.symbols[index][target], proof) for index, proof in proven.items()}
        metadata, axis = gathering.metadata, gathering.axis
        proof = await self.threads.finished(self._code.inconsistency_proof, metadata, axis, target, symbols)
        inconsistent = InconsistentBlob(metadata, proof)
        self.on_inconsistent(inconsistent)
        raise inconsistent

    def _prove_own(self, gathering: Gathering, target: int) -> dict[int, MerkleProof]:
        """The proofs of the symbols of this node's own slivers; the symbols of those gone meanwhile are removed."""
        metadata, helping = gathering.metadata, gathering.axis.other
        proofs = {}
        for index in gathering.symbols.keys() - gathering.sources.keys():
            shard = self._code.shard_of_pair(metadata.blob_id, self._code.sliver_of_pair(index, helping))
            sliver = self._store.sliver(metadata.blob_id, shard, helping)
            if sliver is None:
                del gathering.symbols[index]
                continue
            _, proofs[index] = self._code.prove_symbol(helping, sliver, target, gathering.symbol_bytes)
        return proofs
