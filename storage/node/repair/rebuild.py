"""Local repair: rebuild slivers of a blob from one symbol of each helper, never from the blob.

A secondary sliver needs `p` symbols, one from each of `p` helpers' primary slivers; a primary sliver needs `s` symbols
from secondary slivers (PROTOCOL section 1, "Repair of one sliver pair"). `storage.node.repair.helpers` fetches them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from committee.logs import Log
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair.gathering import Gathering, Rebuilt
from storage.node.repair.helpers import Helpers, RepairError
from storage.node.repair.metadata import MetadataOfBlobs
from storage.node.repair.proofs import Proofs
from storage.node.repair.reputation import Reputation
from storage.node.repair.together import BLOBS_TOGETHER, SYMBOLS_TOGETHER, Together
from storage.node.repair.waste import Waste
from storage.node.store import NewSliver, SliverStore, StoreError
from storage.node.threads import Threads
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    MerkleProof,
    RedStuff,
    RedStuffError,
    RootMismatch,
    SliverRoots,
    blob_id_text,
)

log = Log()

TARGETS_AT_ONCE = 64
"""Slivers rebuilt together, so that small blobs do not drown in round trips."""
BATCH_BYTES = 64 * 2**20
"""Most bytes of one blob's slivers that are rebuilt together, unless a single sliver is larger: bounds memory."""
BLOBS_TOGETHER_BYTES = 4 * 2**20
"""Most bytes of the slivers of a batch of many blobs, unless those of a single blob are larger: bounds memory."""
BATCHES_AT_ONCE = 2
"""Batches of many blobs: while one is computed and stored, the symbols of the next one travel."""


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
class Batch:
    """Slivers of many blobs to be rebuilt together."""

    axis: Axis
    shards: Sequence[int]
    """The shards that lack them, the same of every blob."""
    blobs: Sequence[SliverRoots]
    """Blobs of one symbol size."""
    size_bytes: int
    """Bytes of all slivers."""


class Repair:
    """Rebuilds slivers for one node from its own slivers and its peers' symbols."""

    def __init__(
        self,
        view: ChainView,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        budget: Budget,
    ) -> None:
        self._store = store
        self._code = code
        self._peers = peers
        self._budget = budget
        self.reputation = Reputation()
        self._helpers = Helpers(code, peers, view.node_id, self.reputation, self._budget)
        self._proofs = Proofs(code, peers, self.reputation, self._budget)
        self.threads = Threads()
        """For the long work of repair and handover: the store's small questions must not wait behind all of it."""
        self._metadata = MetadataOfBlobs(store, code, peers, self.reputation, self._budget, self.threads)
        self._together = Together(store, code, peers, self._helpers, self.reputation, self.threads)
        self.on_inconsistent: Callable[[InconsistentBlob], None] = lambda blob: None
        """Told of every inconsistent blob that is met, in any repair; must not block."""

    async def metadata(self, blob_id: bytes) -> BlobMetadata:
        """A blob's metadata: the stored one, or a peer's, which is then stored. Raises `RepairError`."""
        return await self._metadata.get(blob_id)

    async def metadata_of(
        self, blob_ids: Sequence[bytes]
    ) -> tuple[dict[bytes, SliverRoots], dict[bytes, Exception]]:
        """Return the metadata of many blobs, as `metadata` gets it, and why, of each whose metadata cannot be had."""
        return await self._metadata.of(blob_ids)

    async def fill(
        self,
        metadata: BlobMetadata,
        shards: Sequence[int],
        waste: Waste | None = None,
        avoiding: Collection[int] = (),
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Rebuild and store every sliver of the blob that these shards lack: secondaries first, then primaries.

        (The paper's Theorem 1: until enough columns exist a row cannot be rebuilt.) With `waste`, a handover's ledger,
        the cost is recorded with the slivers. Ends as soon as the blob is no longer wanted, storing nothing more.
        Raises as `rebuild` does, and `StoreError`; what was stored by then stays.
        """
        blob_id = metadata.blob_id
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
                    gathering = self._gathering(metadata, axis, some)
                    if not await self._fill_alone(gathering, waste, avoiding, is_wanted):
                        return

    async def fill_together(
        self,
        blobs: Mapping[bytes, SliverRoots],
        shards: Sequence[int],
        waste: Waste,
        avoiding: Callable[[], Collection[int]],
        is_wanted: Callable[[bytes], bool],
    ) -> dict[bytes, Exception]:
        """As `fill`, of many small blobs (`RedStuff.is_small`) together; return why, of each that could not be."""
        failed: dict[bytes, Exception] = {}
        for axis in (Axis.SECONDARY, Axis.PRIMARY):
            left = [blob_id for blob_id in blobs if blob_id not in failed]
            batches = await asyncio.to_thread(self._batches, blobs, left, shards, axis)
            at_once = asyncio.Semaphore(BATCHES_AT_ONCE)

            async def fill(batch: Batch, at_once: asyncio.Semaphore = at_once) -> None:
                async with at_once:
                    failed.update(await self._fill_batch(batch, waste, avoiding(), is_wanted))

            async with asyncio.TaskGroup() as batches_at_work:
                for batch in batches:
                    batches_at_work.create_task(fill(batch))
        return failed

    def _batches(
        self, blobs: Mapping[bytes, SliverRoots], blob_ids: Sequence[bytes], shards: Sequence[int], axis: Axis
    ) -> list[Batch]:
        """Put blobs of one symbol size that lack slivers of the same shards together."""
        lacking: dict[bytes, list[int]] = {blob_id: [] for blob_id in blob_ids}
        for shard in shards:
            for blob_id in self._store.missing(shard, axis, blob_ids):
                lacking[blob_id].append(shard)
        alike: dict[tuple[int, ...], list[bytes]] = defaultdict(list)
        for blob_id, some in lacking.items():
            for first in range(0, len(some), TARGETS_AT_ONCE):
                size = self._code.symbol_size(blobs[blob_id].length)
                alike[size, *some[first : first + TARGETS_AT_ONCE]].append(blob_id)
        batches = []
        for (_, *targets), some_blobs in alike.items():
            sliver_bytes = self._code.sliver_size(blobs[some_blobs[0]].length, axis)
            symbols = len(targets) * self._code.source_symbols(axis)
            by_bytes = BLOBS_TOGETHER_BYTES // (len(targets) * sliver_bytes)
            most = max(1, min(BLOBS_TOGETHER, SYMBOLS_TOGETHER // symbols, by_bytes))
            for first in range(0, len(some_blobs), most):
                roots = [blobs[blob_id] for blob_id in some_blobs[first : first + most]]
                batches.append(Batch(axis, targets, roots, len(roots) * len(targets) * sliver_bytes))
        return batches

    async def _fill_batch(
        self,
        batch: Batch,
        waste: Waste,
        avoiding: Collection[int],
        is_wanted: Callable[[bytes], bool],
    ) -> dict[bytes, Exception]:
        """Rebuild and store a batch; what goes wrong with single blobs is finished alone, or told."""
        gatherings = [self._gathering(one, batch.axis, batch.shards) for one in batch.blobs]
        failed: dict[bytes, Exception] = {}
        try:
            await asyncio.to_thread(self._store.require_room, batch.size_bytes)
            async with self._budget.memory(2 * batch.size_bytes):
                made = await self._together.rebuild(batch.axis, batch.shards, gatherings, avoiding)
                fail_point("handover.slivers-rebuilt")
                pairs = list(zip(gatherings, made, strict=True))
                slivers = await asyncio.to_thread(
                    lambda: [
                        waste.rebuilt(gathering.metadata.blob_id, batch.axis, one)
                        for gathering, some in pairs
                        if some is not None and is_wanted(gathering.metadata.blob_id)
                        for one in some
                    ]
                )
                gatherings = [gathering for gathering, some in pairs if some is None]
                if slivers:
                    await waste.store(self._store, self.threads, slivers)
                    fail_point("handover.slivers-stored")
                while gatherings:
                    gathering = gatherings.pop()
                    blob_id = gathering.metadata.blob_id
                    try:
                        await self._fill_alone(gathering, waste, avoiding, lambda: is_wanted(blob_id))  # noqa: B023
                    except (RepairError, RedStuffError) as error:
                        failed[blob_id] = error
        except StoreError as error:
            for one in batch.blobs:
                failed.setdefault(one.blob_id, error)
            for gathering in gatherings:
                for shard in gathering.targets.values():
                    waste.add(gathering.metadata.blob_id, shard, batch.axis, gathering.came_bytes)
        return failed

    async def _fill_alone(
        self,
        gathering: Gathering,
        waste: Waste | None,
        avoiding: Collection[int],
        is_wanted: Callable[[], bool],
    ) -> bool:
        """Gather what is lacking still, rebuild and store; return False, storing nothing, if it is no longer wanted."""
        blob_id, axis = gathering.metadata.blob_id, gathering.axis
        try:
            rebuilt = await self._finished(gathering, avoiding)
        except RepairError as error:
            if waste is not None:
                for shard in gathering.targets.values():
                    waste.add(blob_id, shard, axis, error.wasted_bytes)
            raise
        fail_point("handover.slivers-rebuilt")
        if not is_wanted():
            return False
        if waste is None:
            slivers = [NewSliver(blob_id, one.shard, axis, one.symbols) for one in rebuilt]
            await self.threads.finished(self._store.put_slivers, slivers)
        else:
            costly = [waste.rebuilt(blob_id, axis, one) for one in rebuilt]
            await waste.store(self._store, self.threads, costly)
        fail_point("handover.slivers-stored")
        return True

    async def rebuild(
        self, metadata: BlobMetadata, axis: Axis, shards: Sequence[int], avoiding: Collection[int] = ()
    ) -> list[Rebuilt]:
        """Rebuild the slivers of `shards` on one axis, each verified; `avoiding` are node ids not to be asked.

        Raises `RepairError` when too few helpers remain, naming the failed; `InconsistentBlob` when every helper's
        symbol is proven and the sliver still has another root.
        """
        return await self._finished(self._gathering(metadata, axis, shards), avoiding)

    def _gathering(self, metadata: SliverRoots, axis: Axis, shards: Sequence[int]) -> Gathering:
        code, blob_id = self._code, metadata.blob_id
        return Gathering(
            metadata,
            axis,
            {code.sliver_index(blob_id, shard, axis): shard for shard in shards},
            code.source_symbols(axis),
            code.symbol_size(metadata.length),
        )

    async def _finished(self, gathering: Gathering, avoiding: Collection[int]) -> list[Rebuilt]:
        """Gather what is lacking still, and rebuild; raises as `rebuild`."""
        await self.threads.finished(self._add_own, gathering)
        try:
            while True:
                await self._helpers.fetch(gathering, avoiding)
                try:
                    return await self.threads.finished(self._recover, gathering)
                except RootMismatch as mismatch:
                    await self._leave_out_liars(gathering, mismatch.indices[0])
        except RepairError as error:
            error.wasted_bytes = gathering.came_bytes
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
        rebuilt = []
        for target, shard in gathering.targets.items():
            symbols = {index: by_target[target] for index, by_target in gathering.symbols.items()}
            sliver = self._code.recover(gathering.metadata, gathering.axis, target, symbols)
            rebuilt.append(gathering.rebuilt(shard, sliver))
        return rebuilt

    async def _leave_out_liars(self, gathering: Gathering, target: int) -> None:
        """Have this node and its helpers prove their symbols for `target`, whose rebuilt sliver has a wrong root.

        Symbols that are not proven are dropped. Raises `InconsistentBlob` when all are proven.
        """
        given = len(gathering.symbols)
        own = await self.threads.finished(self._prove_own, gathering, target)
        proven = await self._proofs.ask(gathering, target, own, self._helpers.overtaken_after_s)
        if len(proven) < given:
            return
        symbols = {index: (gathering.symbols[index][target], proof) for index, proof in proven.items()}
        roots, axis = gathering.metadata, gathering.axis
        metadata = roots if isinstance(roots, BlobMetadata) else await self.metadata(roots.blob_id)
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
