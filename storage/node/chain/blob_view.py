"""Which blobs are registered and live now, and which were live when the epoch started.

Every answer is read from the store; all raise `StoreError` when the disk fails.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from committee.ledger import BlobRecord, EpochState
from storage.node.chain.conditions import Condition, live_at, live_in, registered_in, wanted_since
from storage.node.chain.store import ChainStore
from storage.node.chain.summaries import Registered, Summary
from storage.node.sqlite import StoreDamaged

BLOBS_IN_A_PAGE = 1024
Page = Callable[[bytes, int], list[bytes]]
"""(blob id, most) → the next blobs behind this one in byte order, as many as the limit; empty behind the last one.
Raises `StoreError`; not for the event loop's thread."""


class BlobView(ABC):
    """The blobs of a store, in an epoch's state. Any thread may ask for one blob, any but the event loop's for many."""

    state: EpochState

    def __init__(self, store: ChainStore) -> None:
        self._store = store

    @abstractmethod
    def _damaged(self, error: StoreDamaged) -> None:
        """Note that the store is damaged, as `error` says: it is to be made anew."""

    def summary(self, blob_id: bytes) -> Summary:
        """What all objects that name a blob come to."""
        with self._noting_damage():
            return self._store.summary(blob_id)

    def registered(self, blob_id: bytes) -> Registered:
        """What the objects come to that are registered in the current period; not for the event loop's thread."""
        with self._noting_damage():
            return self._store.registered(blob_id, self.state.period)

    def object(self, blob_id: bytes, object_id: int) -> BlobRecord | None:
        """The object with this id, if it names the blob."""
        with self._noting_damage():
            found = self._store.by_id(object_id)
        return found.record if found is not None and found.record.blob_id == blob_id else None

    def is_known(self, blob_id: bytes) -> bool:
        """Whether any object names the blob."""
        return self.summary(blob_id).count > 0

    def is_registered(self, blob_id: bytes) -> bool:
        """Whether some object of the blob has neither been deleted nor expired."""
        return self.state.period < self.summary(blob_id).registered_until

    def is_live(self, blob_id: bytes, period: int | None = None) -> bool:
        """Whether the blob is live in a period (the current one if None): certified, not invalid, deleted or expired.

        Members have to have a live blob's slivers and heal them. What may not be dropped is more: `those_wanted`.
        """
        return (self.state.period if period is None else period) < self.summary(blob_id).live_until

    def is_invalid(self, blob_id: bytes) -> bool:
        """Whether the blob's writer was proven to have encoded it inconsistently."""
        return self.summary(blob_id).is_invalid

    def those_invalid(self, blob_ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the blobs that are invalid, as `is_invalid` tells of one."""
        with self._noting_damage():
            return self._store.those_invalid(blob_ids)

    def lengths(self, blob_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Blob id → bytes of the blob, as the chain says; without blobs of which it knows no object."""
        with self._noting_damage():
            return self._store.lengths(blob_ids)

    def was_live_at_start(self, blob_id: bytes) -> bool:
        """Whether the blob was live when the current epoch started, and is not invalid."""
        return bool(self.those_live_at_start([blob_id]))

    def live_blobs(self, after: bytes, max_count: int, period: int | None = None) -> list[bytes]:
        """Ids of blobs that are live in a period, the current one if None, behind `after` in byte order.

        Raises `StoreError` also while there is anything that the disk did not take, as `live_at_start` does.
        """
        period = self.state.period if period is None else period
        with self._noting_damage():
            return self._store.blobs_after(after, max_count, live_in(period))

    def live_at_start(self, after: bytes, max_count: int) -> list[bytes]:
        """Ids of blobs that were live when the current epoch started and are not invalid, behind `after` in byte order.

        They are what its gaining members need.
        """
        with self._noting_damage():
            return self._store.blobs_after(after, max_count, self._at_start(wanted_since))

    def inventory(self, after: bytes, max_count: int) -> list[bytes]:
        """Ids of the blobs of the epoch's inventory (PROTOCOL section 8), behind `after` in byte order.

        They are those of `live_at_start` and those that have become invalid since: the same for all members, however
        far each has followed the chain.
        """
        with self._noting_damage():
            return self._store.blobs_after(after, max_count, self._at_start(live_at))

    def those_live_at_start(self, blob_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the blobs for which `was_live_at_start`."""
        with self._noting_damage():
            return self._store.those_with(blob_ids, self._at_start(wanted_since))

    def those_wanted(self, blob_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the blobs that this node may not drop.

        They are the registered ones and those live at the epoch's start, but no invalid ones (PROTOCOL section 5).
        """
        with self._noting_damage():
            registered = self._store.those_with(blob_ids, registered_in(self.state.period))
        return registered | self.those_live_at_start(blob_ids)

    def _at_start(self, condition: Callable[[int, int], Condition]) -> Condition:
        state = self.state
        return condition(state.started_block.number if state.started_block else -1, state.period)

    @contextlib.contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except StoreDamaged as error:
            self._damaged(error)
            raise


def pages(page: Page) -> Iterator[list[bytes]]:
    """Yield all pages of blobs, as `ChainView.live_blobs` or the like gives them. Raises `StoreError`."""
    last = b""
    while blobs := page(last, BLOBS_IN_A_PAGE):
        yield blobs
        last = blobs[-1]
