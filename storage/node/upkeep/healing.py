"""Repair outside the handover: what this node should have of a live blob and lacks is rebuilt in the background.

The node may have been down while the blob was uploaded or a shard was handed over, its disk may have been wiped, or a
read or the scrubber may have found a sliver damaged. Several blobs are at work at once, and one that cannot be repaired
yet waits for its own next try, ever longer. It holds up no other blob, and healing does not hold up the chain's events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

from committee import transition
from committee.backoff import next_pause_s
from committee.errors import LedgerError
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    EpochStarted,
    Event,
)
from committee.logs import Log
from storage.node.chain import ChainView
from storage.node.repair import Repair, RepairError
from storage.node.store import SliverStore, StoreError
from storage.node.upkeep.garbage import Garbage
from storage.redstuff import Axis, RedStuffError, blob_id_text

log = Log()

BLOBS_AT_ONCE = 4
"""Blobs under repair at once: bounds memory to this node's slivers of these blobs."""
BLOBS_IN_A_PAGE = 1000
"""Live blobs that are looked through together."""
MOST_IN_LINE = 10_000
"""Blobs found lacking that may wait before the search for others goes on: bounds memory."""
MOST_RETRIES = 10_000
"""Blobs that may wait for their own next try; what else cannot be healed yet is searched for again."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
"""Pauses before the next try: each is twice the one before, up to the longest."""


class Healing:
    """The blobs that one node has to heal: those that others name, and those that a search of all live blobs finds.

    The search is made at the node's start and at each start of an epoch.
    """

    def __init__(self, view: ChainView, store: SliverStore, repair: Repair, garbage: Garbage) -> None:
        self._view = view
        self._store = store
        self._repair = repair
        self._garbage = garbage
        self._line: OrderedDict[bytes, None] = OrderedDict()
        """Blobs to heal that no worker has begun. (A dict would look at all that left it to find its first one.)"""
        self._at_work: dict[bytes, bool] = {}
        """Blobs under repair → whether each is to be looked after once more when its repair ends."""
        self._retries: dict[bytes, asyncio.TimerHandle] = {}
        """Blobs that wait for their next try. No blob is in two of the three."""
        self._waited_s: dict[bytes, float] = {}
        """How long a blob waited for its last try; one that was healed, or is to be kept no longer, is not in it."""
        self._more = asyncio.Event()
        """Set when `_line` has a blob."""
        self._is_searching = True
        """Whether a search of all live blobs is under way or to come."""
        self._search = asyncio.Event()
        """Set when a search of all live blobs is to begin."""
        self._search.set()
        self._has_room = asyncio.Event()
        """Set while the search may put more blobs into the line."""
        self.repaired_slivers = 0
        """Since the start."""
        loop = asyncio.get_running_loop()
        store.on_damage = lambda blob_id: _tell(loop, self, blob_id)
        view.subscribe(self._on_event)

    @property
    def waiting(self) -> int:
        """Blobs to be healed, those being healed included; one more while the search for such blobs goes on."""
        return len(self._line) + len(self._at_work) + len(self._retries) + self._is_searching

    def look_after(self, blob_id: bytes) -> None:
        """Have a blob healed: put it into the line, unless it is there already or waits for its next try."""
        if blob_id in self._at_work:
            self._at_work[blob_id] = True
        elif blob_id not in self._retries:
            self._line.setdefault(blob_id)
            self._more.set()

    def _on_event(self, event: Event) -> None:
        match event:
            case BlobCertified():
                self.look_after(event.blob_id)
            case BlobDeleted() | BlobInvalidated() if event.blob_id in self._retries:
                self._retry(event.blob_id)
            case EpochStarted():
                # This node's shards, and which of them the handover fills, are others now.
                self._is_searching = True
                self._search.set()
                self._retry_all()
            case _:
                pass

    async def run(self) -> None:
        """Heal for ever."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(BLOBS_AT_ONCE):
                    workers.create_task(self._work())
                workers.create_task(self._search_for_ever())
        finally:
            self._retry_all()

    async def _work(self) -> None:
        while True:
            if len(self._line) <= MOST_IN_LINE:
                self._has_room.set()
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
        wait_s = next_pause_s(self._waited_s.get(blob_id, 0.0), FIRST_RETRY_S, LONGEST_RETRY_S)
        if len(self._retries) >= MOST_RETRIES:
            self._waited_s.pop(blob_id, None)
            self._search_again_later()
            return
        self._waited_s[blob_id] = wait_s
        self._retries[blob_id] = asyncio.get_running_loop().call_later(wait_s, self._retry, blob_id)
        tell("blob cannot be healed yet", blob=blob_id_text(blob_id), retry_s=wait_s, error=why)

    def _search_again_later(self) -> None:
        """Have all live blobs searched again after LONGEST_RETRY_S, unless a search is to come anyway.

        Blobs beyond MOST_RETRIES have no next try of their own; the search finds them again.
        """
        if not self._is_searching:
            self._is_searching = True
            asyncio.get_running_loop().call_later(LONGEST_RETRY_S, self._search.set)

    def _retry(self, blob_id: bytes) -> None:
        self._retries.pop(blob_id).cancel()
        self.look_after(blob_id)

    def _retry_all(self) -> None:
        for blob_id in list(self._retries):
            self._retry(blob_id)

    async def _search_for_ever(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            await self._search.wait()
            self._search.clear()
            try:
                await self._search_all()
                self._is_searching = self._search.is_set()
                retry_s = FIRST_RETRY_S
            except (StoreError, LedgerError) as error:
                log.warning("blobs cannot be looked through yet", retry_s=retry_s, error=str(error))
                await asyncio.sleep(retry_s)
                retry_s = next_pause_s(retry_s, FIRST_RETRY_S, LONGEST_RETRY_S)
                self._search.set()

    async def _search_all(self) -> None:
        """Look through all live blobs, page by page, and put those into the line of which anything is lacking."""
        last: bytes | None = b""
        while last is not None:
            mine = set(self._view.my_shards())
            if not mine:
                return
            in_handover = self._shards_in_handover()
            is_empty = last == b"" and not self._store.shards()
            lacking, last = await asyncio.to_thread(self._lacking_on_page, last, mine, in_handover)
            if is_empty and lacking:
                log.warning(
                    "the store holds no sliver at all; rebuilding from the other nodes", shards=len(mine)
                )
            for blob_id in lacking:
                self.look_after(blob_id)
            if len(self._line) > MOST_IN_LINE:
                self._has_room.clear()
                await self._has_room.wait()

    def _lacking_on_page(
        self, after: bytes, mine: set[int], in_handover: set[int]
    ) -> tuple[list[bytes], bytes | None]:
        """Look through BLOBS_IN_A_PAGE live blobs behind `after`; return those to heal, and the last blob looked at.

        To heal are blobs of which the metadata, or a sliver in a shard of `mine`, is not stored. In the shards that are
        `in_handover`, blobs that were live at the epoch's start are left to the handover. The last blob is None when no
        live blob is behind `after`.
        """
        blobs = self._view.live_blobs(after, BLOBS_IN_A_PAGE)
        if not blobs:
            return [], None
        lacking = set(self._store.missing_metadata(blobs))
        at_start = self._view.those_live_at_start(blobs) if in_handover else set()
        since = [one for one in blobs if one not in at_start]
        for shard in mine:
            for axis in Axis:
                lacking.update(self._store.missing(shard, axis, since if shard in in_handover else blobs))
        return [one for one in blobs if one in lacking], blobs[-1]

    async def _heal(self, blob_id: bytes) -> None:
        """Rebuild what this node lacks of a live blob, but for shards that the handover is filling.

        Slivers found damaged in shards that it keeps for other members are rebuilt too: no other node may have them.
        """
        state = self._view.state
        mine, kept = set(self._view.my_shards()), self._damaged_but_kept(blob_id)
        if not (self._view.is_live(blob_id) and mine | kept):
            return
        lacking = {axis: await self._lacking(blob_id, axis, mine | kept) for axis in Axis}
        lost = lacking[Axis.PRIMARY] | lacking[Axis.SECONDARY]
        shards = (lost & kept) | self._mine_to_fill(blob_id, lost & mine)
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

    def _damaged_but_kept(self, blob_id: bytes) -> set[int]:
        """Return other members' shards that this node may not drop yet, whose sliver of the blob was found damaged."""
        state, node_id = self._view.state, self._view.node_id
        damaged = {key.shard for key in self._store.damaged if key.blob_id == blob_id}
        damaged -= set(self._view.my_shards())
        if not damaged or state.current is None:
            return set()
        shards = transition.StoredShards(
            *(node_id, damaged), state.previous, state.current, state.next, self._view.missing
        )
        return damaged.difference(transition.droppable(shards))

    def _mine_to_fill(self, blob_id: bytes, lacking: set[int]) -> set[int]:
        """Return the `lacking` shards without those that the handover fills with this blob."""
        if self._view.state.previous is None or not self._view.was_live_at_start(blob_id):
            return lacking
        return lacking - self._shards_in_handover()

    def _shards_in_handover(self) -> set[int]:
        """Return the node's shards that it gained in this epoch and has not attested.

        The handover fills them with the blobs that were live when the epoch started.
        """
        state = self._view.state
        if state.previous is None or state.current is None:
            return set()
        change = transition.Change(state.previous, state.current, unattested=state.unattested)
        return set(
            self._view.missing.intersection(transition.plan_filling(change, self._view.node_id).attest)
        )


def _tell(loop: asyncio.AbstractEventLoop, healing: Healing, blob_id: bytes) -> None:
    """Have the blob looked after, unless the node is stopping; call it from any thread."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(healing.look_after, blob_id)
