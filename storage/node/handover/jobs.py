"""Carry out what `committee.transition` planned: prefetch, transfer, rebuild, attest, drop.

For the selected committee there is one job and for the current one another; when the selected epoch starts, its job
goes on as the current one's, so that nothing under way is fetched twice. Every gained shard ends attested, or the next
epoch overtakes the plan, and its job is dropped with its attestation. What cannot be had yet is tried again, ever more
patiently. All progress is in the store, so that a restarted node goes on where it was.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from committee import transition
from committee.backoff import next_pause_s
from committee.bls import SecretKey
from committee.errors import LedgerError
from committee.ledger import (
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    MemberEjected,
    ShardsAttested,
)
from committee.logs import Log
from committee.membership import Committee
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.fail_points import fail_point
from storage.node.handover.attesting import Attesting
from storage.node.handover.copying import Copying
from storage.node.handover.filling import Filling
from storage.node.handover.report import NodeReport
from storage.node.peers import Peers
from storage.node.proving import Proving
from storage.node.repair import Repair
from storage.node.store import SliverStore, StoreError
from storage.node.threads import cancelled, finished
from storage.node.watch import Watch
from storage.redstuff import RedStuff

log = Log()

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
RESTS_AS_LONG = 4.0
"""The pause after a scan for what to prefetch, as a multiple of the scan's time; at most LONGEST_RETRY_S."""
LOOK_AGAIN_S = 5.0
"""The committees are looked at so often even when no event tells of a change: a view may have loaded the state anew."""


@dataclass(eq=False)
class _Job:
    """What is under way for one committee."""

    committee: Committee
    task: asyncio.Task[None]
    start: BlockMark | None = None
    """The block that started its epoch, once that has been seen."""

    def is_for(self, committee: Committee | None) -> bool:
        """Whether the committee is the same for this job: its members' addresses may have changed."""
        return committee is not None and _shards(committee) == _shards(self.committee)

    def goes_on(self, state: EpochState) -> bool:
        """Whether the chain still has the committee, and the start of its epoch where it was."""
        if self.is_for(state.current):
            return self.start in (None, state.started_block)
        return self.is_for(state.next) and self.start is None


class Handover:
    """The handovers of one node, into the current epoch and ahead of the selected one."""

    def __init__(
        self,
        view: ChainView,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        repair: Repair,
        watch: Watch,
        secret: SecretKey,
        budget: Budget,
        proving: Proving,
    ) -> None:
        self._view = view
        self._store = store
        self._code = code
        self._watch = watch
        copying = Copying(view, store, code, peers, repair, secret, budget)
        self._filling = Filling(store, code, repair, copying)
        self._news = asyncio.Event()
        self._attesting = Attesting(view, proving)
        self._drop_due = True
        view.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        match event:
            case ShardsAttested() | CommitteeSelected() | EpochStarted() | MemberEjected():
                self._drop_due = True
            case _:
                pass
        self._news.set()
        self._news = asyncio.Event()

    def plan(self) -> transition.Plan | None:
        """The node's part of the change into the current epoch; None when there is nothing to take over from."""
        state = self._view.state
        if state.current is None or state.previous is None:
            return None
        departed = self._departed(state.previous)
        change = transition.Change(state.previous, state.current, departed, state.unattested)
        return transition.plan_filling(change, self._view.node_id)

    async def run(self) -> None:
        """Keep a job for the current and one for the selected committee, for ever.

        When a reorganisation has the epoch start at another block, or not yet, its job is done anew: what it attested,
        to which blobs and with which salt, was for the block that is gone.
        """
        jobs: list[_Job] = []
        self._drop_due = True
        try:
            while True:
                news, state = self._news, self._view.state
                overtaken = [job for job in jobs if not job.goes_on(state)]
                jobs = [job for job in jobs if job not in overtaken]
                await cancelled([job.task for job in overtaken])
                if self._drop_due:
                    self._drop_due = False  # until there is news, which may come while shards are dropped
                    if not await self._drop_old_shards():
                        self._drop_due = True
                for committee in (state.current, state.next):
                    if committee is not None and not any(job.is_for(committee) for job in jobs):
                        jobs.append(_Job(committee, asyncio.create_task(self._work(committee))))
                for job in jobs:
                    job.start = state.started_block if job.is_for(state.current) else None
                await _wait(news, LOOK_AGAIN_S)
        finally:
            await cancelled([job.task for job in jobs])

    async def _work(self, committee: Committee) -> None:
        """Fetch ahead until the committee's epoch starts; from then on fill and attest, until all is done."""
        ahead = asyncio.create_task(self._fetch_ahead(committee))
        try:
            await self._wait_for_start(committee)
            # What is here already does not wait for a source that keeps the rest waiting.
            await self._try(self._attest_what_is_here, committee)
            await ahead
        finally:
            await cancelled([ahead])
        retry_s = FIRST_RETRY_S
        while not await self._try(self._fill_and_attest, committee, retry_s):
            await asyncio.sleep(retry_s)
            retry_s = next_pause_s(retry_s, FIRST_RETRY_S, LONGEST_RETRY_S)

    async def _fetch_ahead(self, committee: Committee) -> None:
        retry_s = FIRST_RETRY_S
        clock = asyncio.get_running_loop()
        while not self._is_current(committee):
            news, began_s = self._news, clock.time()
            if await self._try(self._prefetch, committee, retry_s):
                retry_s = FIRST_RETRY_S
                # Each look goes through all blobs: many certificates must not make it go round and round.
                await self._pause(committee, RESTS_AS_LONG * (clock.time() - began_s))
                await _wait(news, LONGEST_RETRY_S)
            else:
                await self._pause(committee, retry_s)
                retry_s = next_pause_s(retry_s, FIRST_RETRY_S, LONGEST_RETRY_S)

    async def _pause(self, committee: Committee, limit_s: float) -> None:
        """Pause for `limit_s`, at most LONGEST_RETRY_S, and not beyond the start of the committee's epoch."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(limit_s, LONGEST_RETRY_S)):
                await self._wait_for_start(committee)

    async def _try(
        self, step: Callable[[Committee], Awaitable[bool | None]], committee: Committee, retry_s: float = 0.0
    ) -> bool:
        """Whether all that the step is for is done; a failure is told, and the step is to be tried again."""
        try:
            return bool(await step(committee))
        except (LedgerError, StoreError) as error:
            log.warning("handover waits", epoch=committee.epoch, retry_s=retry_s, error=str(error))
        except Exception:
            log.exception("handover failed unexpectedly", epoch=committee.epoch, retry_s=retry_s)
        return False

    async def _wait_for_start(self, committee: Committee) -> None:
        while not self._is_current(committee):
            await self._news.wait()

    def _is_current(self, committee: Committee) -> bool:
        return committee.epoch == self._view.state.epoch

    # before the start

    async def _prefetch(self, committee: Committee) -> bool:
        """Fetch what is certified already of the shards to be gained; whether all of it is here."""
        # Not the job's own committee: its members are where the chain has them now.
        current, selected = self._view.state.current, self._view.state.next
        if current is None or selected is None or selected.epoch != committee.epoch:
            return False  # the epoch is just starting, or another committee will be selected
        change = transition.Change(current, selected, self._departed(current))
        plan = transition.plan_filling(change, self._view.node_id)
        if not plan.attest:
            return True
        epoch = committee.epoch
        period = self._view.state.next_period
        live = functools.partial(self._view.live_blobs, period=period)
        fail_point("prefetch.begun")
        filled = self._filling.filled(
            plan,
            live,
            avoiding=lambda: self._departed(current).keys(),
            is_wanted=lambda blob_id: self._view.is_live(blob_id, period),
            to_the_end=False,
        )
        async with aclosing(filled):
            async for shards in filled:
                if self._is_current(committee):  # the epoch has started meanwhile
                    await self._attest_what_is_here(committee, shards)
        complete = await asyncio.to_thread(self._filling.has_all, plan.attest, live)
        if complete:
            log.info("prefetched", epoch=epoch, shards=len(plan.attest))
            fail_point("prefetch.complete")
        return complete

    def _departed(self, owners: Committee | None) -> dict[int, transition.Departure]:
        """node id → why an owner of before hands nothing over, whatever committee it is in now."""
        if owners is None:
            return {}
        silent = self._watch.silent_members()
        departed = {one: transition.Departure.SILENT for one in owners.by_id if one in silent}
        for node_id in owners.by_id:
            if self._view.was_ejected(node_id, owners.epoch):
                departed[node_id] = transition.Departure.EJECTED
        return departed

    # after it

    async def _attest_what_is_here(self, committee: Committee, shards: frozenset[int] | None = None) -> None:
        """Attest those of these gained shards, or of all, that are complete."""
        plan, start = self.plan(), self._view.state.started_block
        if plan is not None and start is not None and self._is_current(committee):
            await self._attesting.attest(plan, start, plan.attest if shards is None else shards)

    async def _fill_and_attest(self, committee: Committee) -> bool:
        """Fill and attest every gained shard as far as can be; whether all is done, and on a block that stays."""
        plan, start = self.plan(), self._view.state.started_block
        if not self._is_current(committee):
            return False  # overtaken, and about to be cancelled
        if plan is None or start is None or not plan.attest:
            return True
        ledger = self._view.ledger
        if not set(plan.attest) - await ledger.attested_shards():
            return self._attesting.is_settled(plan, start)
        log.info(
            "handover begins",
            epoch=plan.epoch,
            kept=len(plan.kept),
            transferred=len(plan.transferred),
            rebuilt=len(plan.rebuilt),
        )
        fail_point("handover.begun")
        await self._attesting.attest(plan, start, plan.attest)
        left = set(plan.attest) - await ledger.attested_shards()
        filled = self._filling.filled(
            plan.only(left),
            self._view.live_at_start,
            avoiding=lambda: self._departed(self._view.state.previous).keys(),
            is_wanted=lambda blob_id: not self._view.is_invalid(blob_id),
            to_the_end=True,
        )
        async with aclosing(filled):
            async for shards in filled:
                await self._attesting.attest(plan, start, shards)
        left = set(plan.attest) - await ledger.attested_shards()
        if left:
            log.warning("handover is incomplete", epoch=plan.epoch, shards=len(left))
        return not left and self._attesting.is_settled(plan, start)

    # what was given up

    async def _drop_old_shards(self) -> bool:
        """Drop the shards that `transition.droppable` names; return whether none is left to be dropped in this epoch.

        An error of the disk or the chain is logged, so that it holds up no handover.
        """
        try:
            return await self._drop()
        except (LedgerError, StoreError) as error:
            log.warning("old shards stay for now", error=str(error))
            return False

    async def _drop(self) -> bool:
        state = self._view.state
        if state.current is None:
            return True
        shards = transition.StoredShards(
            *(self._view.node_id, self._store.shards()), state.previous, state.current, state.next
        )
        # None of these: what is missing makes them fewer, and need not be asked for.
        if not transition.droppable(shards):
            return True
        grace_ends_s = state.started_at_s + self._view.parameters.certificate_grace_s
        if await self._view.ledger.chain_time_s() < grace_ends_s:
            return False
        # At a block that stays, as all endpoints tell it: what is dropped does not come back.
        if await self._view.ledger.block_time_s(self._view.block.number, is_followed=True) < grace_ends_s:
            return False
        shards = replace(shards, missing=self._view.missing)
        if self._view.state is not state or not (self._view.is_confirmed and self._view.ledger.is_confirmed):
            return False
        for shard in transition.droppable(shards):
            fail_point("handover.shard-to-drop")
            slivers = await finished(self._store.drop_shard, shard, functools.partial(self._concerns, shard))
            fail_point("handover.shard-dropped")
            log.info("dropped a shard that is others' now", shard=shard, slivers=slivers)
        return True

    def _concerns(self, shard: int) -> bool:
        """Whether the shard was, is or becomes this node's. For any thread: the state is taken in whole."""
        return self._view.state.concerns(self._view.node_id, shard)

    # report

    def report(self) -> NodeReport:
        """What this node did for the handover into the current epoch, from the store's own record."""
        epoch = self._view.state.epoch
        return NodeReport.added_up(
            *(epoch, self._view.node_id),
            self._store.tallies.by_shard(epoch),
            self._store.tallies.largest_share(epoch, (self._code.p, self._code.s)),
        )


def _shards(committee: Committee) -> tuple[int, dict[int, frozenset[int]]]:
    """Return the epoch, and the shards of each member in it."""
    return committee.epoch, {member.node_id: frozenset(member.shards) for member in committee.members}


async def _wait(news: asyncio.Event, limit_s: float) -> None:
    """Until there is news, or the limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await news.wait()
