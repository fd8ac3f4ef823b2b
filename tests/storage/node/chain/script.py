"""A ledger whose blocks are given by a test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from committee.errors import LedgerRefused, LedgerReorganised, LedgerStateGone, LedgerUnavailable
from committee.ledger import (
    BlobRecord,
    BlockMark,
    EpochStarted,
    EpochState,
    Event,
    Parameters,
    Stretch,
)
from committee.membership import Committee, Member

A, B = bytes([1]) * 32, bytes([2]) * 32


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


def state(epoch: int, block: int, address: str) -> EpochState:
    member = Member(1, "node1", address, bytes(48), (0, 1, 2, 3))
    before, now = (Committee(e, 4, (member,)) if e > 0 else None for e in (epoch - 1, epoch))
    started = mark(block)
    return EpochState(
        *(started, epoch, epoch, epoch, 0, started, True, 0, 0, before, now, None), salt_seed=started.hash
    )


class Script:
    """A ledger whose blocks are given; counts how often it is asked for events."""

    def __init__(self) -> None:
        self.block = 1
        self.epoch = 1
        self.address = "http://x:1"
        self.records: list[BlobRecord] = []
        self.happened: dict[int, list[Event]] = {}
        self.is_down = False
        self.is_up_to_date = True
        self.ranges: list[tuple[int, int]] = []
        self.blocks_in_a_stretch = 1000
        self.fork = 0
        self.forked_at = 0
        self.loads = 0
        self.missing: frozenset[int] = frozenset()
        self.started = 1
        """Number of the block that started the epoch."""
        self.page_items = 200
        self.pages: list[tuple[int, BlockMark]] = []
        """(cursor, block) of each page that was asked for."""
        self.states_gone: set[int] = set()
        """Numbers of blocks whose state is not kept."""
        self.lost: list[BlobRecord] = []
        """Objects of the epoch's start that were deleted since."""

    @property
    def domain(self) -> bytes:
        return bytes(32)

    @property
    def is_development_chain(self) -> bool:
        return True

    @property
    def is_confirmed(self) -> bool:
        return True

    def reading_anew(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def parameters(self) -> Any:
        return Parameters(4, 600, 60, 30, 500, self.domain)

    async def head(self) -> BlockMark:
        if self.is_down:
            raise LedgerUnavailable("test")
        return self.mark(self.block)

    async def newest(self) -> BlockMark:
        return self.mark(self.block)

    async def chain_time_s(self) -> int:
        return int(time.time()) if self.is_up_to_date else 0

    def mark(self, number: int) -> BlockMark:
        fork = self.fork if number >= self.forked_at else 0
        return BlockMark(number, fork.to_bytes(16, "big") + number.to_bytes(16, "big"))

    async def blob_object(self, object_id: int) -> BlobRecord:
        for one in self.records:
            if one.object_id == object_id:
                return one
        raise LedgerRefused("Blobs.blob", "UnknownObject", {"objectId": object_id})

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        if at is not None and at.number in self.states_gone:
            raise LedgerStateGone("test")
        read = state(self.epoch, self.block, self.address)
        return dataclasses.replace(
            read, block=at or self.mark(self.block), started_block=self.mark(self.started)
        )

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """A page of `page_items`; the cursor is the place of its first record."""
        self.loads += cursor == 0
        self.pages.append((cursor, at))
        if at.number in self.states_gone:
            raise LedgerStateGone("test")
        following = cursor + self.page_items
        return self.records[cursor:following], following if following < len(self.records) else 0

    async def missing_shards(
        self, epoch: int, at: BlockMark | None = None, *, is_followed: bool = False
    ) -> frozenset[int]:
        return self.missing

    async def lost_objects(self, object_ids: Sequence[int], at: BlockMark) -> list[BlobRecord]:
        return [one for one in self.lost if one.object_id in object_ids]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        self.ranges.append((after.number + 1, until.number))
        if after != self.mark(after.number):
            raise LedgerReorganised("test")
        last = min(until.number, after.number + self.blocks_in_a_stretch)
        marks = tuple(self.mark(number) for number in range(after.number + 1, last + 1))
        return Stretch(marks, await self.events(after.number + 1, last))

    async def events(self, first: int, last: int) -> list[Event]:
        return [event for number in range(first, last + 1) for event in self.happened.get(number, [])]

    def happens(self, *events: Event) -> None:
        self.block += 1
        block = self.mark(self.block)
        if any(isinstance(event, EpochStarted) for event in events):
            self.started = self.block
        self.happened[self.block] = [dataclasses.replace(event, block=block) for event in events]
