"""Attest gained shards on chain: each once, only what is durable, and for the block that started the epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

from committee.ledger import Attestation, BlockMark
from committee.logs import Log
from committee.transition import Plan
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.proving import Incomplete, Proving, Term
from storage.node.store import StoreError
from storage.node.threads import finished_or_told

log = Log()

SHARDS_AT_ONCE = 200
"""Shards in one transaction, which then takes 10 M gas of the 2^24 that a transaction may take (EIP-7825)."""
LONGEST_WAIT_S = 600
"""Nothing is attested in the last tenth of a round's window for commitments, and at most in its last 600 s."""


class Attesting:
    """The attestations of one node."""

    def __init__(self, view: ChainView, proving: Proving) -> None:
        self._view = view
        self._proving = proving
        self._one_at_a_time = asyncio.Lock()
        """Held while attesting, so that no shard is attested twice."""
        self._attested_in: int | None = None
        """The newest epoch in which this process has attested anything."""

    async def attest(self, plan: Plan, start: BlockMark, shards: Collection[int]) -> None:
        """Attest those of the gained shards that are complete and not attested yet. Raises `LedgerError`, `StoreError`.

        Nothing once the epoch is over, or was started by another block than `start`, whose live blobs these are; and
        nothing just before a round refuses commitments (`_is_to_wait`). As many transactions as it takes.
        """
        async with self._one_at_a_time:
            complete = []
            term = Term.now(self._view)
            if term is None or (term.epoch, term.start) != (plan.epoch, start):
                return
            await asyncio.to_thread(self._proving.forget_others, term)
            for shard in sorted(set(shards) - await self._view.ledger.attested_shards()):
                if not self._is_start(plan.epoch, start):
                    return
                if not self._view.is_checked:
                    raise StoreError("what was saved of the chain is still being checked")
                try:
                    root, count = await finished_or_told(partial(self._proving.shard_root, term, shard))
                except Incomplete:
                    continue
                fail_point("handover.digest-made")
                complete.append(Attestation(shard, root, count))
            for first in range(0, len(complete), SHARDS_AT_ONCE):
                if not self._is_start(plan.epoch, start) or await self._is_to_wait(plan.epoch):
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

    async def _is_to_wait(self, epoch: int) -> bool:
        """Whether commitments to the epoch's round are about to be refused (PROTOCOL section 8).

        What is attested in time for the round has to be opened to the commitment. If the one that has it came too late,
        the node would miss the round with everything on its disk. What is attested later, the round does not ask for.
        """
        ledger = self._view.ledger
        found = await ledger.proof_round(epoch)
        if found is None:
            return False
        left_s = found.commit_by_s - await ledger.chain_time_s()
        window_s = (await ledger.proof_terms()).commit_window_s
        return 0 < left_s <= min(LONGEST_WAIT_S, window_s // 10)

    def _is_start(self, epoch: int, start: BlockMark) -> bool:
        """Whether this is the current epoch still, and this the block that started it."""
        return (self._view.state.epoch, self._view.state.started_block) == (epoch, start)
