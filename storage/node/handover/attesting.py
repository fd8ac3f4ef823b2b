"""Attest gained shards on chain: each once, only what is durable, and for the block that started the epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence

from committee.bls import SecretKey
from committee.ledger import Attestation, BlockMark
from committee.logs import Log
from committee.transition import Plan
from storage.node.chain import ChainView, pages
from storage.node.fail_points import fail_point
from storage.node.store import SliverStore, StoreError
from storage.proofs import salt_of
from storage.redstuff import Axis, GrowingTree, RedStuff
from storage.redstuff.parameters import HASH_BYTES

log = Log()

SHARDS_AT_ONCE = 200
"""Shards in one transaction, which then takes 10 M gas of the 2^24 that a transaction may take (EIP-7825)."""


class _Incomplete(Exception):
    """A sliver of a shard is missing."""


class Attesting:
    """The attestations of one node."""

    def __init__(self, view: ChainView, store: SliverStore, code: RedStuff, secret: SecretKey) -> None:
        self._view = view
        self._store = store
        self._code = code
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
                    root, count = await asyncio.to_thread(self._root, plan.epoch, start.hash, shard)
                except _Incomplete:
                    continue
                fail_point("handover.digest-made")
                complete.append(Attestation(shard, root, count))
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

    def _root(self, epoch: int, start: bytes, shard: int) -> tuple[bytes, int]:
        """Root of a shard as it is on the disk (PROTOCOL section 8), and the number of blobs in it.

        They are the blobs that lived when the epoch started, also what has been deleted or has become invalid since:
        the same for all members, however far each has followed the chain. Raises `_Incomplete` while a sliver is
        missing.
        """
        for blobs in pages(self._view.live_at_start):
            if any(self._store.missing(shard, axis, blobs) for axis in Axis):
                raise _Incomplete
        salt = salt_of(epoch, self._view.node_id, self._secret.public_key, start)
        tree = GrowingTree()
        for blobs in pages(self._view.inventory):
            for pair in self._pairs(salt, shard, blobs):
                tree.add_node(pair)
        return tree.root(), tree.count

    def _pairs(self, salt: bytes, shard: int, blobs: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the root of each blob's pair; zeros for an invalid one's, which no member need have."""
        lengths, invalid = self._view.lengths(blobs), self._view.those_invalid(blobs)
        for blob_id in blobs:
            if blob_id in invalid:
                yield bytes(HASH_BYTES)
                continue
            primary, secondary = (self._store.sliver(blob_id, shard, axis) for axis in Axis)
            if primary is None or secondary is None:
                raise _Incomplete
            yield self._code.salted_root(salt, primary, secondary, self._code.symbol_size(lengths[blob_id]))
