"""Repair outside the handover: what this node should hold of a live blob and lacks is rebuilt in the background.

It may have been down while the blob was uploaded or a shard was handed over, its disk may have been wiped, or a read or
the scrubber may have found a sliver damaged. Several blobs are at work at once, and one that cannot be repaired yet
waits for its own next try, ever longer: it holds up no other, and nothing here holds up the chain's events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable

from committee import transition
from committee.errors import LedgerError
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlockMark,
    EpochStarted,
    Event,
    ShardsAttested,
)
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.repair import Repair, RepairError
from storage.node.store import SliverStore, StoreError
from storage.node.upkeep.garbage import Garbage, was_live_at_start
from storage.redstuff import Axis, RedStuffError, blob_id_text

log = Log()

BLOBS_AT_ONCE = 4
"""Blobs under repair at once: bounds memory to this node's slivers of so many blobs."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0


class Healing:
    """The line of blobs to look after; to begin with, and with every epoch, every live blob."""

    def __init__(self, view: ChainView, store: SliverStore, repair: Repair, garbage: Garbage) -> None:
        self._view = view
        self._store = store
        self._repair = repair
        self._garbage = garbage
        self._line: OrderedDict[bytes, None] = OrderedDict()
        """Blobs that no worker has begun with. (A dict would look at all that left it to find its first one.)"""
        self._at_work: dict[bytes, bool] = {}
        """Blobs under repair → whether each is to be looked after once more when its repair ends."""
        self._retries: dict[bytes, asyncio.TimerHandle] = {}
        """Blobs that wait for their next try. No blob is in two of the three."""
        self._waited_s: dict[bytes, float] = {}
        """How long a blob waited for its last try; one that was healed, or is to be kept no longer, is not in it."""
        self._more = asyncio.Event()
        self._attested: tuple[int, BlockMark | None, set[int]] = (-1, None, set())
        """(epoch, the block that started it, shards attested in it)."""
        self.repaired_slivers = 0
        """Since the start."""
        loop = asyncio.get_running_loop()
        store.on_damage = lambda blob_id: _tell(loop, self, blob_id)
        view.subscribe(self._on_event)
        self._look_after_all(view.live_blobs())
        if self._line and view.my_shards() and not store.shards():
            log.warning(
                "the store holds no sliver at all; rebuilding from the other nodes",
                shards=len(view.my_shards()),
                blobs=len(self._line),
            )

    @property
    def waiting(self) -> int:
        """Blobs that are to be looked after, those at work included."""
        return len(self._line) + len(self._at_work) + len(self._retries)

    def look_after(self, blob_id: bytes) -> None:
        """Put a blob into the line, once; one that waits for its next try goes on waiting."""
        if blob_id in self._at_work:
            self._at_work[blob_id] = True
        elif blob_id not in self._retries:
            self._line.setdefault(blob_id)
            self._more.set()

    def _look_after_all(self, blob_ids: Iterable[bytes]) -> None:
        for blob_id in blob_ids:
            self.look_after(blob_id)

    def _on_event(self, event: Event) -> None:
        match event:
            case BlobCertified():
                self.look_after(event.blob_id)
            case ShardsAttested() if event.epoch == self._attested[0]:
                self._attested[-1].update(event.shards)
            case BlobDeleted() | BlobInvalidated() if event.blob_id in self._retries:
                self._retry(event.blob_id)
            case EpochStarted():
                # A shard gained in a handover that was overtaken is this one's kept shard: it is healed here.
                # What was certified since the start has an event of its own.
                self._look_after_all(self._view.live_at_start)
                self._retry_all()
            case _:
                pass

    async def run(self) -> None:
        """Heal for ever."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(BLOBS_AT_ONCE):
                    workers.create_task(self._work())
        finally:
            self._retry_all()

    async def _work(self) -> None:
        while True:
            if not self._line:
                self._more.clear()
                await self._more.wait()
                continue
            blob_id, _ = self._line.popitem(last=False)
            self._at_work[blob_id] = False
            why = None
            try:
                await self._heal(blob_id)
            except (RepairError, RedStuffError, StoreError, LedgerError) as error:
                why = str(error)
            except Exception:
                log.exception("healing failed unexpectedly", blob=blob_id_text(blob_id))
                why = "unexpected"
            finally:
                is_asked_again = self._at_work.pop(blob_id)
            if why is not None:
                self._put_off(blob_id, why)
                continue
            self._waited_s.pop(blob_id, None)
            if is_asked_again:
                self.look_after(blob_id)

    def _put_off(self, blob_id: bytes, why: str) -> None:
        """Let the blob wait, twice as long as the last time; the log is told of the first time."""
        tell = log.debug if blob_id in self._waited_s else log.warning
        wait_s = min(2 * self._waited_s.get(blob_id, FIRST_RETRY_S / 2), LONGEST_RETRY_S)
        self._waited_s[blob_id] = wait_s
        self._retries[blob_id] = asyncio.get_running_loop().call_later(wait_s, self._retry, blob_id)
        tell("blob cannot be healed yet", blob=blob_id_text(blob_id), retry_s=wait_s, error=why)

    def _retry(self, blob_id: bytes) -> None:
        self._retries.pop(blob_id).cancel()
        self.look_after(blob_id)

    def _retry_all(self) -> None:
        for blob_id in list(self._retries):
            self._retry(blob_id)

    async def _heal(self, blob_id: bytes) -> None:
        """Fill this node's pairs of a live blob, but for shards that the handover is filling.

        And what was found damaged of shards that it keeps for others: nobody else may have them.
        """
        state = self._view.state
        mine, kept = set(self._view.my_shards()), await self._damaged_but_kept(blob_id)
        if not (self._view.is_live(blob_id) and mine | kept):
            return
        lacking = {axis: await self._lacking(blob_id, axis, mine | kept) for axis in Axis}
        lost = lacking[Axis.PRIMARY] | lacking[Axis.SECONDARY]
        shards = (lost & kept) | await self._mine_to_fill(blob_id, lost & mine)
        if self._view.state is not state:
            self.look_after(blob_id)  # the shards may be another set by now
            return
        if not shards and await asyncio.to_thread(self._store.metadata, blob_id) is not None:
            return
        n_slivers = sum(len(shards & some) for some in lacking.values())
        metadata = await self._repair.metadata(blob_id)
        await self._repair.fill(metadata, sorted(shards), is_wanted=lambda: self._view.is_live(blob_id))
        if not self._view.is_live(blob_id):
            # Deleted, expired or invalid by now, perhaps while its slivers were being written.
            self._garbage.look_at(blob_id)
        elif n_slivers:
            self.repaired_slivers += n_slivers
            log.info("healed a blob", blob=blob_id_text(blob_id), slivers=n_slivers)

    async def _lacking(self, blob_id: bytes, axis: Axis, shards: set[int]) -> set[int]:
        """Return those of the shards whose sliver is not stored."""
        return shards - await asyncio.to_thread(self._store.shards_with, blob_id, axis)

    async def _damaged_but_kept(self, blob_id: bytes) -> set[int]:
        """Shards that are others' now, of which this node found a sliver of the blob damaged, and may not drop any."""
        state, node_id = self._view.state, self._view.node_id
        damaged = {key.shard for key in self._store.damaged if key.blob_id == blob_id}
        damaged -= set(self._view.my_shards())
        if not damaged or state.current is None:
            return set()
        owed = await self._view.ledger.missing_shards(state.epoch, self._view.block)
        plan = transition.plan(
            state.previous, state.current, node_id, stored=damaged, selected=state.next, owed=owed
        )
        return damaged - set(plan.drop_now)

    async def _mine_to_fill(self, blob_id: bytes, lacking: set[int]) -> set[int]:
        """Return the shards but those that the handover fills with the blob: gained in this epoch and not attested."""
        state = self._view.state
        if state.previous is None or not was_live_at_start(self._view, blob_id):
            return lacking
        before = set(state.previous.shards_of(self._view.node_id)) - state.unattested.keys()
        gained = lacking - before
        if gained and self._attested[:2] != (state.epoch, state.started_block):
            attested = set(await self._view.ledger.attested_shards())
            self._attested = (state.epoch, state.started_block, attested)
        return lacking - (gained - self._attested[-1])


def _tell(loop: asyncio.AbstractEventLoop, healing: Healing, blob_id: bytes) -> None:
    """Have the blob looked after, unless the node is stopping; call it from any thread."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(healing.look_after, blob_id)
