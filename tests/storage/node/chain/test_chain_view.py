"""A node's view of the chain, against a ledger that is a script: state first, events after, outages waited out."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from pathlib import Path
from typing import cast

import pytest

from committee.bls import SecretKey
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
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    NodeLedger,
    Stretch,
    follower,
)
from storage.node.chain import ChainView
from storage.node.chain.store import FILE, ChainStore
from tests.memory_chain import MemoryChain
from tests.storage.network import N_SHARDS, PARAMETERS
from tests.storage.node.chain.kept import inventory, live_at_start, live_blobs, records_of
from tests.storage.node.chain.script import A, B, Script, mark
from tests.storage.node.handovers import CODE


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def view(script: Script) -> ChainView:
    view = ChainView(cast(NodeLedger, script), 1)
    await view.load()
    return view


def registered(
    object_id: int, blob_id: bytes, end_period: int = 3, deletable: bool = False
) -> BlobRegistered:
    return BlobRegistered(mark(0), object_id, blob_id, "0x", 1, 10, end_period, deletable)


def certified(object_id: int, blob_id: bytes, end_period: int = 3) -> BlobCertified:
    return BlobCertified(mark(0), object_id, blob_id, 1, end_period, False, False)


async def test_a_blob_lives_from_its_certificate_to_its_end(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A, end_period=2))
    await view.refresh()
    assert view.is_registered(A)
    assert not view.is_live(A)
    script.happens(certified(1, A, end_period=2))
    await view.refresh()
    assert view.is_live(A)
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2, 2))
    await view.refresh()
    assert not view.is_live(A)
    assert not view.is_registered(A)


async def test_objects_that_the_disk_changed_meanwhile_are_read_anew_before_an_epoch_starts(
    script: Script, tmp_path: Path
) -> None:
    """The start's check was passed before: by these rows the blob would be dropped, and in no inventory."""
    view = ChainView(cast(NodeLedger, script), 1, ChainStore(tmp_path))
    with contextlib.closing(view._store):
        await view.load()
        script.happens(registered(1, A), certified(1, A))
        await view.refresh()
        with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
            connection.execute("UPDATE object_0 SET deleted_block = 1")
            connection.execute("UPDATE object_1 SET deleted_block = 1")
        script.records = [BlobRecord(1, A, 10, "0x", 1, 1, 3, False)]
        script.epoch, script.started = 2, script.block + 1
        script.happens(EpochStarted(mark(0), 2, 2))
        dropped: list[set[bytes]] = []
        view.subscribe(lambda event: dropped.append({A} - view.those_wanted([A])))
        with pytest.raises(LedgerUnavailable, match="not those that were saved"):
            await view.refresh()
        assert view.state.epoch == 1
        await view.refresh()
        assert view.state.epoch == 2
        assert view.those_wanted([A]) == {A}
    assert not any(dropped)


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
    script.happens(EpochStarted(mark(0), 2, 2))
    script.happens(registered(2, A), certified(2, A))
    await view.refresh()
    assert live_at_start(view) == [B]
    assert live_blobs(view) == [A, B]


async def test_what_else_the_block_did_that_started_the_epoch_counts_as_at_its_end(
    script: Script, view: ChainView
) -> None:
    """A state read at that block says so too, and all members attest to the same."""
    script.happens(registered(1, A, deletable=True), certified(1, A), registered(2, B))
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2, 2), BlobDeleted(mark(0), 1, A, 2), certified(2, B))
    script.happens(registered(3, A), certified(3, A))
    await view.refresh()
    assert live_at_start(view) == [B]


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


@pytest.mark.parametrize("length", [2, 3, 4], ids=["shorter", "as long", "longer"])
async def test_a_chain_that_was_replaced_is_read_anew(script: Script, view: ChainView, length: int) -> None:
    script.happens(registered(1, A))
    script.happens(registered(2, B))
    await view.refresh()
    script.forked_at, script.fork = 2, 1
    script.block, script.happened = length, {}
    await view.refresh()
    assert view.block == script.mark(length)
    assert not view.is_registered(A)


async def test_an_endpoint_that_is_behind_is_no_reorganisation(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A))
    script.happens()
    await view.refresh()
    loads, script.block = script.loads, 2
    await view.refresh()
    assert view.block == script.mark(3)
    assert view.is_registered(A)
    assert script.loads == loads


@pytest.mark.parametrize("is_up_to_date", [True, False])
async def test_a_checkpoint_that_the_chain_does_not_come_to_is_given_up(
    script: Script, view: ChainView, monkeypatch: pytest.MonkeyPatch, is_up_to_date: bool
) -> None:
    """An endpoint once told of a block far ahead; the node must not wait until the chain is as long."""
    monkeypatch.setattr(follower, "SHORTER_S", 0.0)
    script.block = 2000
    await view.refresh()
    script.block, script.is_up_to_date = 2, is_up_to_date
    await view.refresh()
    assert view.block == script.mark(2 if is_up_to_date else 2000)


async def test_an_endpoint_that_was_behind_a_while_ago_is_behind_anew(
    script: Script, view: ChainView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for which the chain is shorter than the checkpoint is counted without a break."""
    script.happens()
    script.happens()
    await view.refresh()
    now_s = time.monotonic()
    for later_s, block in ((0.0, 2), (1.0, 3), (follower.SHORTER_S + 1.0, 2)):
        monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now_s + later_s)
        script.block = block
        await view.refresh()
    assert view.block == script.mark(3)


async def test_listeners_are_told_what_a_replaced_chain_changed(script: Script, view: ChainView) -> None:
    script.happens(registered(1, A), registered(2, B))
    await view.refresh()
    told: list[Event] = []
    view.subscribe(told.append)
    script.forked_at, script.fork, script.epoch = 2, 1, 2
    script.records = [
        BlobRecord(1, A, 10, "0x", 1, 1, 3, False),
        BlobRecord(3, A, 10, "0x", 1, None, 3, False, invalid=True),
    ]
    await view.refresh()
    assert [(type(event), getattr(event, "blob_id", None)) for event in told] == [
        (BlobCertified, A),
        (BlobRegistered, A),
        (BlobInvalidated, A),
        (EpochStarted, None),
        (HandoverDone, None),
    ]


async def test_an_epoch_that_another_block_started_is_told_as_started(
    script: Script, view: ChainView
) -> None:
    script.happens()
    await view.refresh()
    told: list[Event] = []
    view.subscribe(told.append)
    script.forked_at, script.fork = 2, 1
    script.happens()
    script.started = script.block
    await view.refresh()
    assert [(type(event), getattr(event, "epoch", None)) for event in told] == [
        (EpochStarted, 1),
        (HandoverDone, 1),
    ]


async def test_of_what_was_deleted_since_the_start_a_snapshot_knows_what_it_was_then() -> None:
    chain = MemoryChain(PARAMETERS)
    shards = {chain.add_node("node-1", "http://x:1", SecretKey(1).public_key): tuple(range(N_SHARDS))}
    chain.start(shards)
    before, then, valid = (
        chain.register(CODE.encode(text), deletable=True) for text in (b"before", b"then", b"valid")
    )
    chain.certify(then)
    chain.certify(valid)
    chain.delete(before)
    chain.start(shards)
    since = chain.register(CODE.encode(b"since"), deletable=True)
    known = chain.records[then]
    chain.invalidate(known.blob_id)
    for number in (then, since, valid):
        chain.delete(number)
    view = ChainView(chain.ledger(None), 1)
    await view.load()
    assert live_at_start(view) == [CODE.blob_id(b"valid")], "nobody needs what was found invalid"
    assert inventory(view) == sorted([known.blob_id, CODE.blob_id(b"valid")]), (
        "it was valid when the epoch began"
    )
    assert records_of(view, known.blob_id) == (dataclasses.replace(known, deleted=True, invalid=True),)
    assert not view.is_registered(known.blob_id)
    assert not records_of(view, CODE.blob_id(b"before"))
    assert not view.is_registered(CODE.blob_id(b"since"))


async def test_a_member_that_a_replaced_chain_has_elsewhere_is_told_as_moved(
    script: Script, view: ChainView
) -> None:
    script.happens()
    await view.refresh()
    told: list[Event] = []
    view.subscribe(told.append)
    script.forked_at, script.fork, script.address = 2, 1, "http://elsewhere:1"
    await view.refresh()
    assert NetworkAddressChanged(script.mark(2), 1) in told


async def test_an_event_of_an_unknown_object_makes_the_view_read_the_state(
    script: Script, view: ChainView
) -> None:
    script.happens(certified(1, A))
    script.records = [BlobRecord(1, A, 10, "0x", 1, 1, 3, False)]
    await view.refresh()
    assert view.is_live(A)
    assert view.block == script.mark(2)


async def test_a_long_way_is_followed_in_stretches(script: Script, view: ChainView) -> None:
    script.blocks_in_a_stretch = 2
    for number in range(1, 8):
        script.happens(registered(number, A))
    await view.refresh()
    assert view.block == script.mark(8)
    assert [one.object_id for one in records_of(view, A)] == list(range(1, 8))


async def test_an_outage_is_told_with_the_blocks_that_are_missed(
    script: Script, view: ChainView, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert view.chain_status == "following"
    now += 10
    script.block += 5
    await view.refresh()
    assert (view.chain_status, view.blocks_behind) == ("following", 0)
    script.is_down = True
    now += 20
    with pytest.raises(LedgerUnavailable):
        await view.refresh()
    assert view.chain_status == "degraded, 10 blocks behind"
    script.is_down = False
    await view.refresh()
    assert view.chain_status == "following"


async def test_a_chain_that_tells_its_head_but_no_events_is_an_outage(
    script: Script, view: ChainView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stretch(after: BlockMark, until: BlockMark) -> Stretch:
        raise LedgerUnavailable("no logs")

    monkeypatch.setattr(script, "stretch", stretch)
    script.block += 7
    with pytest.raises(LedgerUnavailable):
        await view.refresh()
    assert view.chain_status.startswith("degraded")
    assert view.blocks_behind >= 7


async def test_a_view_far_behind_reads_the_state_instead_of_the_events(
    script: Script, view: ChainView
) -> None:
    script.records = [BlobRecord(1, A, 10, "0x", 1, 1, 3, False)]
    script.block = script.started = follower.BLOCKS_REPLAYED + 2
    await view.refresh()
    assert script.ranges == []
    assert view.is_live(A)


async def test_an_ejection_counts_in_its_epoch_and_the_next(script: Script, view: ChainView) -> None:
    script.happens(MemberEjected(mark(0), 1, 7, 1))
    await view.refresh()
    assert view.was_ejected(7, since_epoch=1)
    assert not view.was_ejected(7, since_epoch=2)
    assert not view.was_ejected(8, since_epoch=0)


@pytest.fixture
def compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is compared with the contracts' at every look."""
    monkeypatch.setattr(follower, "COMPARED_S", 0.0)


@pytest.mark.usefixtures("compares")
async def test_an_epoch_whose_events_were_left_out_is_found_by_the_state(
    script: Script, view: ChainView
) -> None:
    """A lone endpoint told other headers and logs while it lied, and is honest since."""
    told: list[Event] = []
    view.subscribe(told.append)
    script.epoch, script.started = 2, 2
    script.happens()
    await view.refresh()
    assert view.state.epoch == 2
    assert view.state.started_block == mark(2)
    assert told == [EpochStarted(mark(2), 2, 2), HandoverDone(mark(2), 2)]


@pytest.mark.usefixtures("compares")
async def test_a_false_state_behind_an_event_lasts_until_the_next_comparison(
    script: Script, view: ChainView
) -> None:
    script.epoch = 3
    script.happens(EpochStarted(mark(0), 3, 3))
    await view.refresh()
    script.epoch = 2
    script.happens(HandoverDone(mark(0), 3))
    view._follower._compared_at_s = time.monotonic() + 60
    await view.refresh()
    assert view.state.epoch == 2
    script.epoch = 3
    await view.refresh()
    assert view.state.epoch == 2
    view._follower._compared_at_s = 0
    await view.refresh()
    assert view.state.epoch == 3


@pytest.mark.usefixtures("compares")
@pytest.mark.parametrize("fault", ["false once", "gone"])
async def test_a_comparison_that_fails_reads_nothing_anew(
    script: Script, view: ChainView, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = script.epoch_state, list[bool]()

    async def epoch_state(at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        asked.append(is_followed)
        read = await real(at)
        return read if is_followed else dataclasses.replace(read, epoch=9)

    if fault == "gone":
        script.states_gone.add(script.block)
    else:
        monkeypatch.setattr(script, "epoch_state", epoch_state)
    await view.refresh()
    assert view.state.epoch == 1
    assert script.loads == 1
    assert asked == ([] if fault == "gone" else [False, True])


async def test_a_state_of_another_epoch_than_its_events_started_is_not_taken_in(
    script: Script, view: ChainView
) -> None:
    """The endpoint told the start of epoch 2, and an old answer for the state."""
    script.happens(EpochStarted(mark(0), 2, 2))
    with pytest.raises(LedgerUnavailable, match=r"state of epoch 1 .* by whose events epoch 2 has started"):
        await view.refresh()
    assert view.block == mark(1)
    script.epoch = 2
    await view.refresh()
    assert view.state.epoch == 2
    assert script.loads == 1
