"""A node's view of the chain, against a ledger that is a script: state first, events after, outages waited out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRecord,
    BlobRegistered,
    BlockMark,
    EpochStarted,
    EpochState,
    Event,
    Ledger,
    MemberEjected,
)
from committee.membership import Committee, Member
from storage.node.chain import ChainView

A, B = bytes([1]) * 32, bytes([2]) * 32


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


def state(epoch: int, block: int) -> EpochState:
    member = Member(1, "node1", "http://x:1", bytes(48), (0, 1, 2, 3))
    committees = [Committee(e, 4, (member,)) if e > 0 else None for e in (epoch - 1, epoch)]
    return EpochState(mark(block), epoch, 0, mark(block), True, 0, committees[0], committees[1], None)


class Script:
    """A ledger whose blocks are given; counts how often it is asked for events."""

    def __init__(self) -> None:
        self.block = 1
        self.epoch = 1
        self.records: list[BlobRecord] = []
        self.happened: dict[int, list[Event]] = {}
        self.is_down = False
        self.ranges: list[tuple[int, int]] = []

    async def parameters(self) -> Any:
        return SimpleNamespace(n_shards=4)

    async def head(self) -> BlockMark:
        if self.is_down:
            raise LedgerUnavailable("test")
        return mark(self.block)

    async def epoch_state(self, at: BlockMark | None = None) -> EpochState:
        return state(self.epoch, self.block)

    async def blobs(self, at: BlockMark | None = None) -> list[BlobRecord]:
        return self.records

    async def events(self, first: int, last: int) -> list[Event]:
        self.ranges.append((first, last))
        return [event for number in range(first, last + 1) for event in self.happened.get(number, [])]

    def happens(self, *events: Event) -> None:
        self.block += 1
        self.happened[self.block] = list(events)


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def view(script: Script) -> ChainView:
    view = ChainView(cast(Ledger, script), 1)
    await view.load()
    return view


def registered(object_id: int, blob_id: bytes, end_epoch: int = 3, deletable: bool = False) -> BlobRegistered:
    return BlobRegistered(mark(0), object_id, blob_id, "0x", 1, 10, end_epoch, deletable)


def certified(object_id: int, blob_id: bytes, end_epoch: int = 3) -> BlobCertified:
    return BlobCertified(mark(0), object_id, blob_id, 1, end_epoch, False, False)


async def test_a_blob_lives_from_its_certificate_to_its_end(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A, end_epoch=2))
    await view.refresh()
    assert view.is_registered(A)
    assert not view.is_live(A)
    script.happens(certified(1, A, end_epoch=2))
    await view.refresh()
    assert view.is_live(A)
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2))
    await view.refresh()
    assert not view.is_live(A)
    assert not view.is_registered(A)


async def test_one_live_object_keeps_a_blob_that_another_gave_up(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A, deletable=True), registered(2, A), certified(1, A), certified(2, A))
    script.happens(BlobDeleted(mark(0), 1, A, 1))
    await view.refresh()
    assert view.is_live(A)
    script.happens(BlobDeleted(mark(0), 2, A, 1))
    await view.refresh()
    assert not view.is_live(A)


async def test_an_invalid_blob_is_neither_live_nor_forgotten(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A), certified(1, A), BlobInvalidated(mark(0), A, 1))
    await view.refresh()
    assert view.is_invalid(A)
    assert not view.is_live(A)


async def test_what_is_attested_to_is_fixed_when_the_epoch_starts(script: Script, view: ChainView) -> None:
    script.happens(registered(1, B), certified(1, B))
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2))
    script.happens(registered(2, A), certified(2, A))
    await view.refresh()
    assert view.live_at_start == [B]
    assert view.live_blobs() == [A, B]


async def test_events_are_asked_for_once_and_listeners_told_once(script: Script, view: ChainView) -> None:
    told: list[Event] = []
    view.subscribe(told.append)
    script.happens(registered(1, A))
    await view.refresh()
    await view.refresh()
    script.happens(certified(1, A))
    await view.refresh()
    assert script.ranges == [(2, 2), (3, 3)]
    assert [type(event) for event in told] == [BlobRegistered, BlobCertified]


async def test_an_outage_leaves_the_view_as_it_was(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A))
    await view.refresh()
    script.is_down = True
    with pytest.raises(LedgerUnavailable):
        await view.refresh()
    assert view.is_registered(A)
    assert view.block == mark(2)


async def test_a_chain_that_went_back_is_read_anew(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A))
    await view.refresh()
    script.block = 1
    await view.refresh()
    assert view.block == mark(1)
    assert not view.is_registered(A)


async def test_a_view_far_behind_reads_the_state_instead_of_the_events(
    script: Script, view: ChainView
) -> None:
    script.records = [BlobRecord(1, A, 10, "0x", 1, 1, 3, False)]
    script.block = 20_000
    await view.refresh()
    assert script.ranges == []
    assert view.is_live(A)


async def test_an_ejection_counts_in_its_epoch_and_the_next(script: Script, view: ChainView) -> None:
    script.happens(MemberEjected(mark(0), 1, 7, 1))
    await view.refresh()
    assert view.was_ejected(7, since_epoch=1)
    assert not view.was_ejected(7, since_epoch=2)
    assert not view.was_ejected(8, since_epoch=0)
