"""Carry out what `committee.transition` planned: transfer, rebuild, attest. This module decides nothing.

Every gained shard ends attested, or the next epoch overtakes the plan. What a source does not give falls back to
local repair, sliver by sliver; what cannot be repaired yet is tried again, ever more patiently. All progress is in the
store, so that a restarted node goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import structlog

from committee import transition
from committee.bls import SecretKey
from committee.errors import LedgerError
from committee.ledger import Attestation
from committee.membership import Member
from committee.messages import Intent, ShardTransferRequest, encode
from storage.client.errors import NodeError
from storage.node import attestation
from storage.node.chain import ChainView
from storage.node.peers import Peers
from storage.node.repair import Repair, RepairError
from storage.node.report import NodeReport, ShardReport
from storage.node.store import NewSliver, SliverStore, Tally
from storage.node.watch import Watch
from storage.redstuff import Axis, BlobMetadata, RedStuff, RedStuffError

log = structlog.get_logger()

BLOBS_AT_ONCE = 2
"""Blobs under repair at once: bounds memory to the gained slivers of so many blobs."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
PAGE_SLIVERS = 256
"""Slivers asked for in one page; the source sends fewer when they are large."""


class Handover:
    """The handover of one node into the current epoch. One at a time: `run` is cancelled when the next epoch starts."""

    def __init__(
        self,
        view: ChainView,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        repair: Repair,
        watch: Watch,
        secret: SecretKey,
    ) -> None:
        self._view = view
        self._store = store
        self._code = code
        self._peers = peers
        self._repair = repair
        self._watch = watch
        self._secret = secret

    def plan(self) -> transition.Plan | None:
        """The node's part of the change into the current epoch; None when there is nothing to take over from."""
        state = self._view.state
        if state.current is None or state.previous is None:
            return None
        return transition.plan(state.previous, state.current, self._view.node_id, self._departures())

    async def run(self) -> None:
        """Fill and attest every gained shard, then drop what is nobody's business here any more."""
        await self._drop_old_shards()
        plan = self.plan()
        if plan is None or not plan.attest:
            return
        log.info(
            "handover begins",
            epoch=plan.epoch,
            kept=len(plan.kept),
            transferred=len(plan.transferred),
            rebuilt=len(plan.rebuilt),
        )
        blobs = self._view.live_at_start
        retry_s = FIRST_RETRY_S
        while True:
            try:
                metadata = [await self._repair.metadata(blob_id) for blob_id in blobs]
                await self._transfer(plan, blobs)
                await self._attest(plan, blobs)
                await self._rebuild(plan, metadata)
                if await self._attest(plan, blobs):
                    log.info("handover complete", epoch=plan.epoch, shards=len(plan.attest))
                    return
            except (RepairError, LedgerError) as error:
                log.warning("handover waits", epoch=plan.epoch, retry_s=retry_s, error=str(error))
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    def _departures(self) -> dict[int, transition.Departure]:
        """node id → why it is no source: members of the previous committee that left, were ejected, or are silent."""
        previous, current = self._view.state.previous, self._view.state.current
        departures = {}
        for node_id in previous.by_id if previous else ():
            if current is not None and node_id not in current.by_id:
                ejected = self._view.was_ejected(node_id, current.epoch - 1)
                departures[node_id] = transition.Departure.EJECTED if ejected else transition.Departure.LEFT
            elif node_id in self._watch.silent_members():
                departures[node_id] = transition.Departure.SILENT
        return departures

    async def _drop_old_shards(self) -> None:
        """Drop the shards that were this node's neither in the previous epoch, nor are now or next.

        The previous epoch's handover is done by the time the current epoch starts, so that a shard lost in it has
        been served for one whole epoch more.
        """
        state = self._view.state
        wanted = {
            shard
            for committee in (state.previous, state.current, state.next)
            if committee is not None
            for shard in committee.shards_of(self._view.node_id)
        }
        for shard in sorted(await asyncio.to_thread(self._store.shards) - wanted):
            slivers = await asyncio.to_thread(self._store.drop_shard, shard)
            log.info("dropped a shard given up an epoch ago", shard=shard, slivers=slivers)

    # transfer

    async def _transfer(self, plan: transition.Plan, blobs: Sequence[bytes]) -> None:
        """Copy the shards whose old owner is still a member, all sources side by side."""
        by_source: dict[Member, list[int]] = defaultdict(list)
        for shard, source in plan.transferred.items():
            by_source[source].append(shard)
        await asyncio.gather(
            *(self._transfer_from(plan.epoch, source, shards, blobs) for source, shards in by_source.items())
        )

    async def _transfer_from(
        self, epoch: int, source: Member, shards: Iterable[int], blobs: Sequence[bytes]
    ) -> None:
        try:
            for shard in shards:
                for axis in Axis:
                    await self._transfer_shard(epoch, source, shard, axis, blobs)
        except NodeError as error:
            log.warning("source fails; its slivers will be rebuilt", source=source.name, error=str(error))

    async def _transfer_shard(
        self, epoch: int, source: Member, shard: int, axis: Axis, blobs: Sequence[bytes]
    ) -> None:
        """Page through one axis of a shard, from the first blob that is lacking to the source's explicit end."""
        lacking = set(await asyncio.to_thread(self._store.missing, shard, axis, blobs))
        cursor = min(lacking, default=None)
        while cursor is not None and lacking:
            request = ShardTransferRequest(shard, axis, cursor, PAGE_SLIVERS, self._secret.public_key)
            message = encode(Intent.SHARD_TRANSFER, epoch, request.to_body(), self._view.parameters.domain)
            page = await self._peers.client(source).sync_shard(message, self._secret.sign(message))
            good = []
            for blob_id, sliver in page.slivers:
                symbols = sliver.symbols
                if blob_id in lacking and await self._is_good(blob_id, shard, axis, symbols, source):
                    size = len(symbols)
                    tally = Tally(epoch, shard, blob_id, "transferred", 1, size, size)
                    good.append(NewSliver(blob_id, shard, axis, symbols, tally))
                    lacking.discard(blob_id)
            await asyncio.to_thread(self._store.put_slivers, good)
            if page.next_blob_id is not None and page.next_blob_id <= cursor:
                log.warning("source turns in circles", source=source.name, shard=shard)
                return
            cursor = page.next_blob_id

    async def _is_good(
        self, blob_id: bytes, shard: int, axis: Axis, symbols: bytes | memoryview, source: Member
    ) -> bool:
        """Whether a sliver matches the blob's metadata; a wrong one is named and left to repair."""
        metadata = await self._repair.metadata(blob_id)
        index = self._code.sliver_index(blob_id, shard, axis)
        try:
            await asyncio.to_thread(self._code.verify_sliver, metadata, axis, index, symbols)
        except RedStuffError as error:
            log.warning("source sent a wrong sliver", source=source.name, shard=shard, error=str(error))
            return False
        return True

    # rebuild

    async def _rebuild(self, plan: transition.Plan, blobs: Iterable[BlobMetadata]) -> None:
        """Rebuild what the gained shards still lack: departed members' slivers, and what sources failed to give."""
        at_once = asyncio.Semaphore(BLOBS_AT_ONCE)

        async def fill(metadata: BlobMetadata) -> None:
            async with at_once:
                await self._repair.fill(metadata, plan.attest, plan.epoch, self._departures())

        failures = await asyncio.gather(*(fill(one) for one in blobs), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    # attest

    async def _attest(self, plan: transition.Plan, blobs: Sequence[bytes]) -> bool:
        """Attest the gained shards that are complete and not attested yet; whether all gained ones now are."""
        attested = await self._view.ledger.attested_shards()
        state = self._view.state
        if state.epoch != plan.epoch or state.started_block is None:
            return False
        complete = []
        for shard in sorted(set(plan.attest) - attested):
            digest = await asyncio.to_thread(self._digest, plan.epoch, state.started_block.hash, shard, blobs)
            if digest is not None:
                complete.append(Attestation(shard, digest, len(blobs)))
        if complete:
            await self._view.ledger.attest(plan.epoch, complete)
        return len(complete) == len(set(plan.attest) - attested)

    def _digest(self, epoch: int, start: bytes, shard: int, blobs: Sequence[bytes]) -> bytes | None:
        """Digest of a shard's bytes as they are on the disk; None while a sliver is missing."""
        salt = attestation.salt(epoch, shard, self._secret.public_key, start)
        leaves = []
        for blob_id in blobs:
            primary = self._store.sliver(blob_id, shard, Axis.PRIMARY)
            secondary = self._store.sliver(blob_id, shard, Axis.SECONDARY)
            if primary is None or secondary is None:
                return None
            leaves.append(attestation.leaf(blob_id, salt, primary, secondary))
        return attestation.digest(leaves)

    # report

    def report(self) -> NodeReport:
        """What this node did for the handover into the current epoch, from the store's own record."""
        epoch = self._view.state.epoch
        shards: dict[int, Counter[str]] = defaultdict(Counter)
        received: Counter[bytes] = Counter()
        for row in self._store.tallies(epoch):
            counts = shards[row.shard]
            counts[f"{row.way}_slivers"] += row.slivers
            counts[f"{row.way}_bytes"] += row.symbol_bytes
            counts["received_bytes"] += row.received_bytes
            counts["wasted_bytes"] += row.wasted_bytes
            received[row.blob_id] += row.received_bytes + row.wasted_bytes
        shares = [0.0]
        for blob_id, size_bytes in received.items():
            length = self._view.objects(blob_id)[0].length
            source_bytes = self._code.p * self._code.s * self._code.symbol_size(length)
            shares.append(size_bytes / source_bytes)
        return NodeReport(
            epoch=epoch,
            node_id=self._view.node_id,
            shards=tuple(ShardReport(shard, **counts) for shard, counts in sorted(shards.items())),
            largest_share_of_a_blob=max(shares),
        )
