"""A ledger whose blocks are given by a test."""

from __future__ import annotations

import dataclasses
import time
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from committee.errors import LedgerReorganised, LedgerUnavailable
from committee.ledger import (
    BlobRecord,
    BlockMark,
    EpochState,
    Event,
    Stretch,
)
from committee.membership import Committee, Member

A, B = bytes([1]) * 32, bytes([2]) * 32


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


def state(epoch: int, block: int, address: str) -> EpochState:
    member = Member(1, "node1", address, bytes(48), (0, 1, 2, 3))
    before, now = (Committee(e, 4, (member,)) if e > 0 else None for e in (epoch - 1, epoch))
    return EpochState(mark(block), epoch, epoch, epoch, 0, mark(block), True, 0, 0, before, now, None)


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

    @property
    def is_confirmed(self) -> bool:
        return True

    def reading_anew(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def parameters(self) -> Any:
        return SimpleNamespace(n_shards=4)

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

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        read = state(self.epoch, self.block, self.address)
        return dataclasses.replace(read, block=self.mark(self.block))

    async def blobs(self, at: BlockMark | None = None, *, is_followed: bool = False) -> list[BlobRecord]:
        self.loads += 1
        return self.records

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
        self.happened[self.block] = [dataclasses.replace(event, block=block) for event in events]
