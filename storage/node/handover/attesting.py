"""Attest gained shards on chain: each once, only what is durable, and for the block that started the epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

from committee.bls import SecretKey
from committee.ledger import Attestation, BlockMark
from committee.logs import Log
from committee.transition import Plan
from storage.node.chain import ChainView, pages
from storage.node.fail_points import fail_point
from storage.node.handover import attestation
from storage.node.store import SliverStore, StoreError
from storage.redstuff import Axis

log = Log()

SHARDS_AT_ONCE = 200
"""Shards in one transaction, which then takes 10 M gas of the 2^24 that a transaction may take (EIP-7825)."""


class _Incomplete(Exception):
    """A sliver of a shard is missing."""


class Attesting:
    """The attestations of one node."""

    def __init__(self, view: ChainView, store: SliverStore, secret: SecretKey) -> None:
        self._view = view
        self._store = store
        self._secret = secret
        self._one_at_a_time = asyncio.Lock()
        """Held while attesting, so that no shard is attested twice."""
        self._attested_in: int | None = None
        """The newest epoch in which this process has attested anything."""

    async def attest(self, plan: Plan, start: BlockMark, shards: Collection[int]) -> None:
        """Attest those of the gained shards that are complete and not attested yet. Raises `LedgerError`, `StoreError`.

        Nothing once the epoch is over, or was started by another block than `start`, whose live blobs these are.
        As many transactions as it takes.
        """
        async with self._one_at_a_time:
            complete = []
            for shard in sorted(set(shards) - await self._view.ledger.attested_shards()):
                if not self._is_start(plan.epoch, start):
                    return
                if not self._view.is_checked:
                    raise StoreError("what was saved of the chain is still being checked")
                try:
                    digest, count = await asyncio.to_thread(self._digest, plan.epoch, start.hash, shard)
                except _Incomplete:
                    continue
                fail_point("handover.digest-made")
                complete.append(Attestation(shard, digest, count))
            for first in range(0, len(complete), SHARDS_AT_ONCE):
                if not self._is_start(plan.epoch, start):
                    return
                fail_point("handover.attestation-wanted")
                attested = complete[first : first + SHARDS_AT_ONCE]
                await self._view.ledger.attest(plan.epoch, attested)
                self._attested_in = plan.epoch
                log.info("attested", epoch=plan.epoch, shards=[one.shard for one in attested])
                fail_point("handover.attestation-sent")

    def is_settled(self, plan: Plan, start: BlockMark) -> bool:
        """Whether every gained shard is attested on a block that can no longer be reorganised."""
        if self._view.missing & set(plan.attest) or not self._is_start(plan.epoch, start):
            return False
        if self._attested_in == plan.epoch:  # and not before a restart
            log.info("handover complete", epoch=plan.epoch, shards=len(plan.attest))
        fail_point("handover.complete")
        return True

    def _is_start(self, epoch: int, start: BlockMark) -> bool:
        """Whether this is the current epoch still, and this the block that started it."""
        return (self._view.state.epoch, self._view.state.started_block) == (epoch, start)

    def _digest(self, epoch: int, start: bytes, shard: int) -> tuple[bytes, int]:
        """Digest of a shard's bytes as they are on the disk, and the number of its blobs.

        They are the blobs that lived when the epoch started, also what has been deleted since: the same for all
        members, however far each has followed the chain. Raises `_Incomplete` while a sliver is missing.
        """
        for blobs in pages(self._view.live_at_start):
            if any(self._store.missing(shard, axis, blobs) for axis in Axis):
                raise _Incomplete
        return attestation.digest(self._leaves(epoch, start, shard))

    def _leaves(self, epoch: int, start: bytes, shard: int) -> Iterator[bytes]:
        salt = attestation.salt(epoch, shard, self._secret.public_key, start)
        for blobs in pages(self._view.live_at_start):
            for blob_id in blobs:
                primary = self._store.sliver(blob_id, shard, Axis.PRIMARY)
                secondary = self._store.sliver(blob_id, shard, Axis.SECONDARY)
                if primary is None or secondary is None:
                    raise _Incomplete
                yield attestation.leaf(blob_id, salt, primary, secondary)
