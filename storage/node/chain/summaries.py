"""What the objects of one blob come to together, read in one pass and kept in a few numbers.

Anybody may register a blob that another has registered, as often as they pay the gas. So a request that names a blob
must not cost as much as the blob has objects: not on the event loop, and not in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from committee.ledger import BlobRecord
from storage.node.chain.changes import BlobObject
from storage.node.chain.rows import object_of

_SUMMARY = """
SELECT COUNT(*), MAX(invalid_block IS NOT NULL), MAX(CASE WHEN deleted_block IS NULL THEN end_period END),
    MAX(CASE WHEN deleted_block IS NULL AND invalid_block IS NULL AND certified_epoch IS NOT NULL THEN end_period END),
    MAX(CASE WHEN deleted_block IS NULL AND invalid_block IS NULL AND NOT deletable THEN end_period END)
FROM {} WHERE blob_id = ?
"""
_COUNTS = """
SELECT COALESCE(SUM(deletable), 0), COALESCE(SUM(deletable AND certified_epoch IS NOT NULL), 0), MIN(certified_epoch)
FROM {} WHERE blob_id = ? AND deleted_block IS NULL AND end_period > ?
"""
# The columns beside MAX(…) are those of the row that has the maximum.
_LONGEST = """
SELECT *, MAX((certified_epoch IS NOT NULL) * 4294967296 + end_period)
FROM {} WHERE blob_id = ? AND deleted_block IS NULL AND end_period > ? AND NOT deletable
"""
_FIRST = "SELECT object_id FROM {} WHERE blob_id = ? ORDER BY length(object_id), object_id LIMIT 1"


KEPT = 4096
"""Blobs of which what was read is kept in memory, at most."""
COSTLY_OBJECTS = 256
"""A blob of fewer objects is read again in some 100 µs."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a node asks about a blob all the time. A period `…_until` is 0 if no object is of its kind."""

    count: int
    """How many objects name the blob."""
    is_invalid: bool
    """Whether the blob's writer was proven to have encoded it inconsistently."""
    registered_until: int
    """The latest end period of the objects that are not deleted (`BlobRecord.is_registered`)."""
    live_until: int
    """The latest end period of the objects by which the blob is live (`BlobRecord.is_live`)."""
    permanent_until: int
    """The latest end period of the permanent objects that are valid."""

    @classmethod
    def of(cls, objects: Iterable[BlobObject]) -> Summary:
        """Return the summary of these objects, all of one blob."""
        records = [one.record for one in objects]
        left = [one for one in records if not one.deleted]
        valid = [one for one in left if not one.invalid]
        return cls(
            *(len(records), any(one.invalid for one in records), _end(left)),
            _end([one for one in valid if one.certified_epoch is not None]),
            _end([one for one in valid if not one.deletable]),
        )

    @classmethod
    def read(cls, connection: sqlite3.Connection, table: str, blob_id: bytes) -> Summary:
        """Return the summary of a blob's objects in a table."""
        count, invalid, *ends = connection.execute(_SUMMARY.format(table), (blob_id,)).fetchone()
        registered, live, permanent = (end or 0 for end in ends)
        return cls(count, bool(invalid), registered, live, permanent)


@dataclass(frozen=True, slots=True)
class Registered:
    """The objects of a blob that are registered in a period, as a client that asks for the blob's status is told."""

    n_deletable: int
    n_deletable_certified: int
    first_certified_epoch: int | None
    """The epoch of the oldest certificate."""
    permanent: BlobRecord | None
    """The permanent object that ends last, of the certified ones if there are any: those keep the blob readable."""
    first_object_id: int | None
    """The least id of all objects of the blob, registered or not."""

    @classmethod
    def of(cls, objects: Collection[BlobObject], period: int) -> Registered:
        """Return what these objects, all of one blob, come to."""
        records = [one.record for one in objects]
        living = [one for one in records if one.is_registered(period)]
        deletable = [one for one in living if one.deletable]
        return cls(
            *(len(deletable), sum(one.certified_epoch is not None for one in deletable)),
            min((one.certified_epoch for one in living if one.certified_epoch is not None), default=None),
            max(
                (one for one in living if not one.deletable),
                key=lambda one: (one.certified_epoch is not None, one.end_period),
                default=None,
            ),
            min((one.object_id for one in records), default=None),
        )

    @classmethod
    def read(cls, connection: sqlite3.Connection, table: str, blob_id: bytes, period: int) -> Registered:
        """Return what a blob's objects in a table come to."""
        n_deletable, n_certified, first_epoch = connection.execute(
            _COUNTS.format(table), (blob_id, period)
        ).fetchone()
        *longest, end = connection.execute(_LONGEST.format(table), (blob_id, period)).fetchone()
        first = connection.execute(_FIRST.format(table), (blob_id,)).fetchone()
        return cls(
            *(n_deletable, n_certified, first_epoch),
            None if end is None else object_of(tuple(longest)).record,
            None if first is None else int.from_bytes(first[0], "big"),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read of blobs since their objects last changed. Any thread may use it.

    Who reads takes it before, and adds to it what was read: a write has another one take its place.
    """

    summaries: dict[bytes, Summary] = field(default_factory=dict)
    registered: dict[tuple[bytes, int], Registered] = field(default_factory=dict)
    """(blob id, period) → what the objects come to, of costly blobs alone."""

    def add(self, blob_id: bytes, summary: Summary) -> None:
        """Keep a summary. Where there is no room the cheap ones go: anybody may name as many blobs."""
        if len(self.summaries) >= KEPT:
            cheap = [one for one, known in self.summaries.copy().items() if known.count < COSTLY_OBJECTS]
            for one in cheap or self.summaries.copy():
                self.summaries.pop(one, None)
        self.summaries[blob_id] = summary

    def add_registered(self, blob_id: bytes, period: int, found: Registered) -> None:
        """Keep what a blob's objects come to in a period, if that is costly to read."""
        known = self.summaries.get(blob_id)
        if known is None or known.count < COSTLY_OBJECTS:
            return
        if len(self.registered) >= KEPT:
            self.registered.clear()
        self.registered[blob_id, period] = found

    def without(self, changed: Collection[bytes]) -> Kept:
        """Return what is known of the other blobs."""
        return Kept(
            {one: known for one, known in self.summaries.copy().items() if one not in changed},
            {place: found for place, found in self.registered.copy().items() if place[0] not in changed},
        )


def _end(records: Iterable[BlobRecord]) -> int:
    return max((one.end_period for one in records), default=0)
