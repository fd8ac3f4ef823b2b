"""Where a blob is in an inventory: no member is believed, whatever it says, and any honest one is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from committee.bls import SecretKey
from committee.membership import Committee, Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.inventories import NotLocated, entry_of
from storage.client.member_client import MemberClient
from storage.proofs import EntryProof, entries_of
from storage.proofs.inventory import inventory_of
from storage.redstuff import MerkleProof
from storage.redstuff.merkle import leaf_hash

BLOBS = [bytes([number]) * 32 for number in range(1, 6)]
ENTRIES = list(entries_of((blob, 2 * size) for size, blob in enumerate(BLOBS, 1)))
INVENTORY = inventory_of(ENTRIES)
COMMITTEE = Committee(
    1,
    4,
    tuple(
        Member(number, f"node-{number}", f"http://node-{number}", SecretKey(number).public_key, (number - 1,))
        for number in range(1, 5)
    ),
)
"""Of two of its members one is correct."""
Answer = Callable[[int], EntryProof]
"""Index of the blob that is asked for -> what a member shows."""


def true(index: int) -> EntryProof:
    nodes = [leaf_hash(entry.leaf()) for entry in ENTRIES]
    return EntryProof(ENTRIES[index], index, MerkleProof.of(nodes, index).siblings)


def other_offset(index: int) -> EntryProof:
    return replace(true(index), entry=replace(ENTRIES[index], offset=ENTRIES[index].offset + 2))


def other_size(index: int) -> EntryProof:
    return replace(true(index), entry=replace(ENTRIES[index], symbol_size=100))


def other_place(index: int) -> EntryProof:
    return replace(true(index), index=(index + 1) % len(BLOBS))


def behind_the_end(index: int) -> EntryProof:
    return replace(true(index), index=len(BLOBS))


def longer_path(index: int) -> EntryProof:
    return replace(true(index), path=(*true(index).path, bytes(32)))


def other_blob(index: int) -> EntryProof:
    return true((index + 1) % len(BLOBS))


def silent(index: int) -> EntryProof:
    raise NodeUnreachable("it", "there", "no answer in time")


def denied(index: int) -> EntryProof:
    raise NodeRefused("it", "there", 404, Reason.METADATA_NOT_FOUND, "not in the inventory")


def busy(index: int) -> EntryProof:
    raise NodeRefused("it", "there", 503, Reason.UNAVAILABLE, "the inventory is being made")


LIES = (other_offset, other_size, other_place, behind_the_end, longer_path, other_blob)


class Told:
    """A member's client."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def entry_of(self, blob_id: bytes) -> EntryProof:
        return self._answer(BLOBS.index(blob_id))


async def offset(index: int, *answers: Answer) -> int:
    """What is found out of members that answer so, in this order."""
    clients: dict[int, Any] = {number: Told(answer) for number, answer in enumerate(answers, 1)}
    found = await entry_of(cast(dict[int, MemberClient], clients), COMMITTEE, INVENTORY, BLOBS[index])
    return found.offset


@pytest.mark.parametrize("wrong", [*LIES, silent, busy, denied], ids=lambda one: one.__name__)
async def test_an_honest_member_is_enough_behind_one_that_tells_nothing_true(wrong: Answer) -> None:
    for index, entry in enumerate(ENTRIES):
        assert await offset(index, wrong, true) == entry.offset


async def test_nothing_is_believed_that_does_not_lead_to_the_certified_root() -> None:
    with pytest.raises(
        NotLocated, match=r"no member shows.*lied.*another blob.*--position or --random"
    ) as caught:
        await offset(2, other_offset, silent, other_blob, denied)
    assert "no answer from node-2" in str(caught.value)


async def test_a_blob_is_not_there_if_a_correct_member_says_so() -> None:
    asked = []

    def not_asked(index: int) -> EntryProof:
        asked.append(index)
        return true(index)

    with pytest.raises(NotLocated, match="is not in the inventory of epoch 1"):
        await offset(0, denied, denied, not_asked)
    assert not asked
