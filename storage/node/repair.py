"""Local repair: rebuild slivers of a blob from one symbol of each helper, never from the blob.

A secondary sliver needs `p` symbols, one from each of `p` helpers' primary slivers; a primary sliver needs `s` symbols
from secondary slivers (PROTOCOL section 1, "Repair of one sliver pair"). Symbols travel without proofs; only when a
rebuilt sliver does not match its root are proofs fetched, the liar found and left out.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from committee.membership import Member
from storage.client.errors import NodeError, name_failures
from storage.node.chain import ChainView
from storage.node.peers import Peers
from storage.node.store import NewSliver, SliverStore, Tally
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

log = structlog.get_logger()

TARGETS_AT_ONCE = 64
"""Slivers rebuilt together, so that small blobs do not drown in round trips."""
BATCH_BYTES = 64 * 2**20
"""Symbols of one batch held in memory, unless a single sliver is larger."""


class RepairError(Exception):
    """A sliver could not be rebuilt; the message says what was needed, what was reachable and who failed."""


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
    """Of these, what crossed the wire; the rest came from slivers this node holds itself."""
    wasted_bytes: int
    """Symbols received for this sliver and thrown away."""


@dataclass
class _Gathering:
    """Symbols for some slivers of one blob, as they come in from helpers."""

    metadata: BlobMetadata
    axis: Axis
    """Of the slivers to be rebuilt; the helpers' are of the other one."""
    targets: dict[int, int]
    """sliver index → shard."""
    symbols: dict[int, Mapping[int, bytes]] = field(default_factory=dict)
    """helping sliver's index → target → symbol."""
    sources: dict[int, tuple[Member, int]] = field(default_factory=dict)
    """helping sliver's index → who sent it, for which shard; this node's own slivers are missing here."""
    failures: dict[str, str] = field(default_factory=dict)
    """node name → why it does not help."""
    refused: set[tuple[int, int]] = field(default_factory=set)
    """(node id, shard) not to be asked again."""
    wasted: int = 0
    """Symbols for each target received and thrown away."""


class Repair:
    """Rebuilds slivers for one node from its own slivers and its peers' symbols."""

    def __init__(self, view: ChainView, store: SliverStore, code: RedStuff, peers: Peers) -> None:
        self._view = view
        self._store = store
        self._code = code
        self._peers = peers
        self.on_inconsistent: Callable[[InconsistentBlob], None] = lambda blob: None
        """Told of every inconsistent blob that is met, whoever asked for the repair; must not block."""

    async def metadata(self, blob_id: bytes) -> BlobMetadata:
        """A blob's metadata: the stored one, or a peer's, which is then stored. Raises `RepairError`."""
        stored = await asyncio.to_thread(self._store.metadata, blob_id)
        if stored is not None:
            return BlobMetadata.from_bcs(stored, blob_id)
        failures: dict[str, str] = {}
        for member in self._peers.others():
            try:
                metadata = await self._peers.client(member).metadata(blob_id)
            except NodeError as error:
                failures[member.name] = error.why
                continue
            await asyncio.to_thread(self._store.put_metadata, blob_id, metadata.to_bcs())
            return metadata
        raise RepairError(f"no metadata of blob {blob_id_text(blob_id)}: {name_failures(failures)}")

    async def fill(
        self,
        metadata: BlobMetadata,
        shards: Sequence[int],
        tally_epoch: int | None = None,
        avoiding: Collection[int] = (),
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Rebuild and store every sliver of the blob that these shards lack: secondaries first, then primaries.

        (The paper's Theorem 1: until enough columns exist a row cannot be rebuilt.) With `tally_epoch`, the cost
        is recorded with the slivers. Ends as soon as the blob is no longer wanted, storing nothing more. Raises as
        `rebuild` does; what was stored by then stays.
        """
        blob_id = metadata.blob_id
        for axis in (Axis.SECONDARY, Axis.PRIMARY):
            lacking = [
                shard
                for shard in shards
                if not await asyncio.to_thread(self._store.has_sliver, blob_id, shard, axis)
            ]
            sliver_bytes = self._code.sliver_size(metadata.length, axis)
            batch = max(1, min(TARGETS_AT_ONCE, BATCH_BYTES // sliver_bytes))
            for first in range(0, len(lacking), batch):
                rebuilt = await self.rebuild(metadata, axis, lacking[first : first + batch], avoiding)
                if not is_wanted():
                    return
                slivers = []
                for one in rebuilt:
                    cost = (one.symbol_bytes, one.received_bytes, one.wasted_bytes)
                    tally = None
                    if tally_epoch is not None:
                        tally = Tally(tally_epoch, one.shard, blob_id, "rebuilt", 1, *cost)
                    slivers.append(NewSliver(blob_id, one.shard, axis, one.symbols, tally))
                await asyncio.to_thread(self._store.put_slivers, slivers)

    async def rebuild(
        self, metadata: BlobMetadata, axis: Axis, shards: Sequence[int], avoiding: Collection[int] = ()
    ) -> list[Rebuilt]:
        """Rebuild the slivers of `shards` on one axis, each verified; `avoiding` are node ids not to be asked.

        Raises `RepairError` when too few helpers remain, naming who failed; `InconsistentBlob` when every helper's
        symbol is proven and the sliver still has another root.
        """
        code, blob_id = self._code, metadata.blob_id
        gathering = _Gathering(
            metadata, axis, {code.sliver_index(blob_id, shard, axis): shard for shard in shards}
        )
        needed = code.source_symbols(axis)
        await self._add_own(gathering, needed)
        while True:
            await self._fetch(gathering, needed, avoiding)
            try:
                return await asyncio.to_thread(self._recover, gathering)
            except RootMismatch as mismatch:
                await self._leave_out_liars(gathering, mismatch.indices[0])

    async def _add_own(self, gathering: _Gathering, needed: int) -> None:
        """Take symbols from slivers this node holds itself, found good first: they cost no traffic."""
        await asyncio.to_thread(self._add_own_now, gathering, needed)

    def _add_own_now(self, gathering: _Gathering, needed: int) -> None:
        metadata, helping = gathering.metadata, gathering.axis.other
        t = self._code.symbol_size(metadata.length)
        for shard in sorted(self._store.shards_with(metadata.blob_id, helping))[:needed]:
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
                helping, sliver, list(gathering.targets), t
            )

    async def _fetch(self, gathering: _Gathering, needed: int, avoiding: Collection[int]) -> None:
        """Ask helpers until there are exactly `needed` symbols for each target."""
        holders = self._peers.holders(avoiding)
        while lacking := needed - len(gathering.symbols):
            requests = self._spread(gathering, holders, lacking)
            asked = sum(map(len, requests.values()))
            if asked < lacking:
                raise RepairError(
                    f"needed {needed} of {self._code.n_shards} shards to rebuild slivers of blob "
                    f"{blob_id_text(gathering.metadata.blob_id)}, reachable {len(gathering.symbols) + asked}: "
                    f"{name_failures(gathering.failures)}"
                )
            await asyncio.gather(*(self._ask(gathering, one, shards) for one, shards in requests.items()))

    def _spread(
        self, gathering: _Gathering, holders: dict[int, list[Member]], lacking: int
    ) -> dict[Member, list[int]]:
        """member → shards to ask it for: `lacking` shards where there are as many, evenly over the members.

        The round begins behind this node's own id, so that several rebuilding nodes do not all lean on the same ones.
        """
        offers: dict[Member, list[int]] = defaultdict(list)
        for shard, members in holders.items():
            index = self._code.sliver_index(gathering.metadata.blob_id, shard, gathering.axis.other)
            willing = [one for one in members if (one.node_id, shard) not in gathering.refused]
            if willing and index not in gathering.symbols:
                offers[willing[0]].append(shard)
        me = self._view.node_id
        order = sorted(offers, key=lambda member: (member.node_id < me, member.node_id))
        requests: dict[Member, list[int]] = defaultdict(list)
        while lacking and any(offers.values()):
            for member in order:
                if lacking and offers[member]:
                    requests[member].append(offers[member].pop())
                    lacking -= 1
        return requests

    async def _ask(self, gathering: _Gathering, member: Member, shards: list[int]) -> None:
        """Take one member's symbols in; what it does not give is not asked of it again."""
        blob_id, targets = gathering.metadata.blob_id, gathering.targets
        t = self._code.symbol_size(gathering.metadata.length)
        try:
            answer = await self._peers.client(member).decoding_symbols(
                blob_id, gathering.axis, list(targets), shards
            )
        except NodeError as error:
            gathering.failures[member.name] = error.why
            gathering.refused.update((member.node_id, shard) for shard in shards)
            return
        for shard in shards:
            index = self._code.sliver_index(blob_id, shard, gathering.axis.other)
            symbols = answer.get(index, {})
            if symbols.keys() != targets.keys() or any(len(one) != t for one in symbols.values()):
                gathering.failures[member.name] = f"has no good symbols of shard {shard}"
                gathering.refused.add((member.node_id, shard))
                continue
            gathering.symbols[index] = symbols
            gathering.sources[index] = (member, shard)

    def _recover(self, gathering: _Gathering) -> list[Rebuilt]:
        t = self._code.symbol_size(gathering.metadata.length)
        rebuilt = []
        for target, shard in gathering.targets.items():
            symbols = {index: by_target[target] for index, by_target in gathering.symbols.items()}
            sliver = self._code.recover(gathering.metadata, gathering.axis, target, symbols)
            received, wasted = len(gathering.sources) * t, gathering.wasted * t
            rebuilt.append(Rebuilt(shard, sliver, len(symbols) * t, received, wasted))
        return rebuilt

    async def _leave_out_liars(self, gathering: _Gathering, target: int) -> None:
        """Have every helper prove its symbol for `target`, whose root did not come out; drop those that cannot.

        Raises `InconsistentBlob` when all can.
        """
        indices = list(gathering.symbols)
        proofs = await asyncio.gather(*(self._proves(gathering, index, target) for index in indices))
        proven = {index: proof for index, proof in zip(indices, proofs, strict=True) if proof is not None}
        liars = [index for index in indices if index not in proven]
        if not liars:
            metadata, axis = gathering.metadata, gathering.axis
            proof = await asyncio.to_thread(
                self._code.inconsistency_proof,
                metadata,
                axis,
                target,
                {index: (gathering.symbols[index][target], one) for index, one in proven.items()},
            )
            inconsistent = InconsistentBlob(metadata, proof)
            self.on_inconsistent(inconsistent)
            raise inconsistent
        for index in liars:
            del gathering.symbols[index]
            if index not in gathering.sources:
                continue
            member, shard = gathering.sources.pop(index)
            gathering.wasted += 1
            gathering.failures[member.name] = "sent a wrong symbol"
            gathering.refused.update((member.node_id, one) for one in range(self._code.n_shards))
            log.warning("a helper lied", helper=member.name, shard=shard)

    async def _proves(self, gathering: _Gathering, index: int, target: int) -> MerkleProof | None:
        """The proof, by who gave it, of just the symbol given before; None when there is none."""
        metadata, axis = gathering.metadata, gathering.axis
        try:
            if index in gathering.sources:
                member, shard = gathering.sources[index]
                answer = await self._peers.client(member).recovery_symbols(
                    metadata.blob_id, axis, target, [shard]
                )
                symbol, proof = answer[index]
            else:
                symbol, proof = await asyncio.to_thread(self._prove_own, metadata, axis.other, index, target)
            proof.verify(metadata.sliver_root(axis.other, index), symbol, target, self._code.n_shards)
        except (NodeError, RedStuffError, KeyError):
            return None
        return proof if symbol == gathering.symbols[index][target] else None

    def _prove_own(
        self, metadata: BlobMetadata, axis: Axis, index: int, target: int
    ) -> tuple[bytes, MerkleProof]:
        """The symbol of a sliver of this node's own, proven. Raises `KeyError` when it is gone meanwhile."""
        pair = self._code.sliver_of_pair(index, axis)
        sliver = self._store.sliver(metadata.blob_id, self._code.shard_of_pair(metadata.blob_id, pair), axis)
        if sliver is None:
            raise KeyError(index)
        return self._code.prove_symbol(axis, sliver, target, self._code.symbol_size(metadata.length))
