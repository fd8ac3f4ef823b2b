"""Search the chain for the objects of blobs by their roots: what an account, or another, has paid for already.

The contract looks through object ids, the newest first (`Blobs.newestWith`). Several blobs are searched for in one call
a window of ids: the contract then reads each id's slot from its disk once, and for the others from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from committee.ledger.evm import answers, decode
from committee.ledger.evm.reader import PAGE_ITEMS, Call, Reader
from committee.ledger.records import BlobObjects, BlobRecord, BlockMark

IDS_PER_SEARCH = 4000
"""Object ids that one call looks through for a blob's: some 10 M gas, of the 50 M that nodes give a call."""
ID_GAS, KNOWN_ID_GAS = 2500, 400
"""About what an id costs a call, and what it costs once the call has looked at it for another blob."""
MOST_SEARCHES = 50
"""The most such windows for one blob: an object behind the newest 200 000 ids may not be found."""
MOST_OBJECTS = 32
"""The most live objects of one blob that are returned, the newest ones."""
BLOBS_TOGETHER = 64
"""Blobs searched for together; more take turns."""


@dataclass(slots=True, eq=False)
class _Search:
    """What was found of one blob."""

    root: bytes
    length: int
    records: list[BlobRecord] = field(default_factory=list)


async def objects_of(reader: Reader, blobs: Sequence[tuple[bytes, int]], has_block: int) -> list[BlobObjects]:
    """Return the live objects of each blob, given by root and length, at the newest block, `has_block` or later.

    An endpoint, or the machine of a provider that a request comes to, may be behind that for a while.
    """

    async def search() -> list[BlobObjects]:
        at = await reader.newest_once(has_block)
        known_up_to = int(await reader.call(reader.blobs, "blobCount", at=at))
        searches = [_Search(*blob) for blob in blobs]
        for first in range(0, len(searches), BLOBS_TOGETHER):
            await _search(reader, searches[first : first + BLOBS_TOGETHER], known_up_to, at)
        return [BlobObjects(tuple(one.records), known_up_to) for one in searches]

    return await reader.once_there(search)


async def _search(reader: Reader, searches: Sequence[_Search], known_up_to: int, at: BlockMark) -> None:
    """Look for all blobs in one window of ids after the other."""
    ids = max(1, IDS_PER_SEARCH * ID_GAS // (ID_GAS + (len(searches) - 1) * KNOWN_ID_GAS))
    last = max(1, known_up_to + 1 - MOST_SEARCHES * IDS_PER_SEARCH)
    end = known_up_to + 1
    while end > last:
        begin = max(last, end - ids)
        await _look_through(reader, searches, begin, end, at)
        end = begin


async def _look_through(
    reader: Reader, searches: Sequence[_Search], begin: int, end: int, at: BlockMark
) -> None:
    """Add what the ids from `begin` to before `end` have of each blob."""
    found: list[tuple[_Search, int]] = []
    places = [(one, end) for one in searches if len(one.records) < MOST_OBJECTS]
    while places:
        calls: list[Call] = [("newestWith", (one.root, before, before - begin)) for one, before in places]
        told = await reader.calls(reader.blobs, calls, at=at, read=_read_search(places, begin))
        places = [(one, object_id) for (one, _), object_id in zip(places, told, strict=True) if object_id]
        found += places
        places = [(one, object_id) for one, object_id in places if object_id > begin]
    for first in range(0, len(found), PAGE_ITEMS):
        some = found[first : first + PAGE_ITEMS]
        views = await reader.calls(reader.blobs, [("blob", (object_id,)) for _, object_id in some], at=at)
        for (one, _), view in zip(some, views, strict=True):
            is_over = view["length"] != one.length or view["status"] in decode.OVER
            if not is_over and len(one.records) < MOST_OBJECTS:
                one.records.append(decode.blob_record(view))


def _read_search(places: Sequence[tuple[_Search, int]], begin: int) -> Callable[[Any], list[int]]:
    """Return what reads the object ids that were found below each place, 0 for none."""

    def read(told: Sequence[tuple[int, int]]) -> list[int]:
        for (object_id, _), (_, before) in zip(told, places, strict=True):
            if object_id and not begin <= object_id < before:
                raise answers.Unreadable(f"object {object_id}, sought from {begin} to before {before}")
        return [object_id for object_id, _ in told]

    return read
