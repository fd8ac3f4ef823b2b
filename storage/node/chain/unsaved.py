"""What the chain told while the disk took nothing: it goes before what is on the disk."""

from __future__ import annotations

from collections.abc import Sequence

from committee.ledger import BlobRecord
from storage.node.chain.changes import BlobObject, Change


class Unsaved:
    """The changes since the last one that was saved. One thread adds, any thread reads."""

    def __init__(self) -> None:
        self.change: Change | None = None
        """All changes as one; None while all is saved."""
        self._of: dict[bytes, list[int]] = {}
        """Blob id → ids of its objects in `change`."""

    def with_next(self, change: Change) -> Change:
        """Return what is to be saved when a change has followed."""
        return change if self.change is None else self.change.then(change)

    def add(self, change: Change) -> None:
        """Keep a change that the disk did not take."""
        before, self.change = self.change, self.with_next(change)
        for number, one in change.objects.items():
            if before is None or number not in before.objects:
                self._of.setdefault(one.record.blob_id, []).append(number)

    def of(self, blob_id: bytes) -> dict[int, BlobObject]:
        """Return the objects that name a blob, by object id."""
        numbers = tuple(self._of.get(blob_id, ()))  # before the change, which has all that are listed by now
        change = self.change
        return {} if change is None else {number: change.objects[number] for number in numbers}

    def records_of(self, blob_ids: Sequence[bytes]) -> list[BlobRecord]:
        """Return the objects that name any of the blobs."""
        return [one.record for blob_id in blob_ids for one in self.of(blob_id).values()]

    def by_id(self, object_id: int) -> BlobObject | None:
        """Return the object with this id, if it is among them."""
        change = self.change
        return None if change is None else change.objects.get(object_id)
