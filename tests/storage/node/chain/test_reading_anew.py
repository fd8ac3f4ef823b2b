"""The whole state read anew: page by page, at blocks whose state is kept, on after a failure, and never half."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from committee.errors import LedgerReorganised, LedgerUnavailable
from committee.ledger import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRecord,
    BlobRegistered,
    BlockMark,
    EpochStarted,
    Event,
    HandoverDone,
    NodeLedger,
    Stretch,
)
from storage.node.chain import ChainView, anew, view
from storage.node.chain.conditions import over_in
from storage.node.chain.rows import TABLES
from storage.node.chain.store import FILE, ChainStore
from storage.node.sqlite import StoreError
from tests.storage.node.chain.kept import inventory, live_at_start, objects_in, records_of
from tests.storage.node.chain.script import Script, mark


def record(number: int, *, end_period: int = 9) -> BlobRecord:
    return BlobRecord(number, bytes([number]) * 32, 10, "0x", 1, 1, end_period, True)


def ids(*numbers: int) -> list[bytes]:
    return [bytes([number]) * 32 for number in numbers]


@pytest.fixture(autouse=True)
def kept_by_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anew, "KEPT_AT_ONCE", 1)


@pytest.fixture
def script() -> Script:
    script = Script()
    script.page_items = 2
    script.records = [record(number) for number in range(1, 8)]
    return script


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    with contextlib.closing(ChainStore(tmp_path)) as store:
        yield store


def view_of(script: Script, store: ChainStore | None = None) -> ChainView:
    return ChainView(cast(NodeLedger, script), 1, store)


def is_confirmed(view: ChainView) -> bool:
    return view.is_confirmed


def failing_at(script: Script, monkeypatch: pytest.MonkeyPatch, cursor: int) -> None:
    """Let the endpoints be gone when a page is asked for."""
    live_page = script.live_page

    async def page(asked: int, at: BlockMark, **options: Any) -> tuple[list[BlobRecord], int]:
        if asked == cursor:
            raise LedgerUnavailable("test")
        return await live_page(asked, at, **options)

    monkeypatch.setattr(script, "live_page", page)


async def broken_off_at(script: Script, monkeypatch: pytest.MonkeyPatch, folder: Path, cursor: int) -> None:
    """Have a node read until the endpoints are gone when a page is asked for, and stop."""
    with monkeypatch.context() as patch, contextlib.closing(ChainStore(folder)) as store:
        failing_at(script, patch, cursor)
        with pytest.raises(LedgerUnavailable):
            await view_of(script, store).load()


async def test_a_reading_goes_on_at_its_page_after_a_failure_and_a_restart(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off_at(script, monkeypatch, tmp_path, 4)
    script.happens(BlobDeleted(mark(0), 1, ids(1)[0], 1))  # its page has been read
    script.pages.clear()
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        await view.refresh()
        assert [cursor for cursor, _ in script.pages] == [4, 6]
        assert live_at_start(view) == ids(1, 2, 3, 4, 5, 6, 7)
        assert not view.is_registered(ids(1)[0])


async def test_the_first_reading_begins_again_where_the_chain_was_replaced_meanwhile(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is too when a second endpoint contradicts, or has come back and can confirm, what was read before."""
    monkeypatch.setattr(view, "FIRST_PAUSE_S", 0.0)
    live_page, tries = script.live_page, iter(range(10))

    async def page(asked: int, at: BlockMark, **options: Any) -> tuple[list[BlobRecord], int]:
        if asked == 4 and next(tries) < 3:
            raise LedgerReorganised("test")
        return await live_page(asked, at, **options)

    monkeypatch.setattr(script, "live_page", page)
    read = view_of(script)
    await read.load()
    assert [cursor for cursor, _ in script.pages] == 4 * [0, 2] + [4, 6]
    assert live_at_start(read) == ids(1, 2, 3, 4, 5, 6, 7)


async def test_pages_that_were_read_are_kept_when_the_next_one_fails(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anew, "KEPT_AT_ONCE", 100)
    script.records.reverse()
    await broken_off_at(script, monkeypatch, tmp_path, 4)
    script.pages.clear()
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert [cursor for cursor, _ in script.pages] == [4, 6]
        assert live_at_start(view) == ids(1, 2, 3, 4, 5, 6, 7)


async def test_a_reading_whose_block_was_replaced_begins_again(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken_off_at(script, monkeypatch, tmp_path, 4)
    script.happens()
    script.forked_at, script.fork, script.started, script.records = 1, 1, 1, [record(9)]
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert live_at_start(view) == ids(9)


async def test_pages_are_read_at_a_newer_block_when_the_state_of_theirs_is_gone(
    script: Script, store: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens in between is followed: a new object, one deleted before its page, one that moved behind it."""
    live_page = script.live_page
    moved = record(8, end_period=20)

    async def page(asked: int, at: BlockMark, **options: Any) -> tuple[list[BlobRecord], int]:
        if asked == 4 and not script.states_gone:
            script.states_gone.add(script.block)
            new = BlobRegistered(mark(0), 30, ids(30)[0], "0x", 1, 10, 9, True)
            extended = BlobCertified(mark(0), 8, ids(8)[0], 1, 20, True, is_extension=True)
            script.happens(new, BlobDeleted(mark(0), 6, ids(6)[0], 1), extended)
            script.lost = [record(6)]
            script.records = [*script.records[:4], record(5), record(7)]
        return await live_page(asked, at, **options)

    async def blob_object(object_id: int) -> BlobRecord:
        return moved

    monkeypatch.setattr(script, "live_page", page)
    monkeypatch.setattr(script, "blob_object", blob_object)
    view = view_of(script, store)
    await view.load()
    assert [cursor for cursor, _ in script.pages] == [0, 2, 4, 4]
    assert view.block == script.mark(2)
    assert live_at_start(view) == ids(1, 2, 3, 4, 5, 6, 7, 8)
    assert view.is_registered(ids(30)[0])
    assert not view.is_registered(ids(6)[0])
    assert records_of(view, ids(8)[0]) == (moved,)


@pytest.mark.parametrize("since_the_start", [True, False], ids=["since the start", "before it"])
async def test_what_was_deleted_unread_is_in_the_inventory_unless_it_was_invalid_at_the_start(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, since_the_start: bool
) -> None:
    """Its invalidation and its deletion are followed in two stretches, and the node stops between them."""
    script.blocks_in_a_stretch = 1
    script.lost = [dataclasses.replace(record(20), invalid=True)]
    script.happens(*[BlobInvalidated(mark(0), ids(20)[0], 1)] * since_the_start)
    script.happens(BlobDeleted(mark(0), 20, ids(20)[0], 1))
    with monkeypatch.context() as patch, contextlib.closing(ChainStore(tmp_path)) as store:
        stretch = script.stretch

        async def once(after: BlockMark, until: BlockMark) -> Stretch:
            if len(script.ranges) > 0:
                raise LedgerUnavailable("test")
            return await stretch(after, until)

        patch.setattr(script, "stretch", once)
        with pytest.raises(LedgerUnavailable):
            await view_of(script, store).load()
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert inventory(view) == ids(1, 2, 3, 4, 5, 6, 7, *[20] * since_the_start)
        assert live_at_start(view) == ids(1, 2, 3, 4, 5, 6, 7)


async def test_only_a_page_is_held_in_memory(script: Script, store: ChainStore) -> None:
    sizes: list[int] = []
    writing = store.writing

    @contextlib.contextmanager
    def watched(changed: Any = None) -> Iterator[Any]:
        with writing(changed) as rows:
            put_objects = rows.put_objects

            def put(table: int, objects: Any) -> None:
                objects = list(objects)
                sizes.append(len(objects))
                put_objects(table, objects)

            rows.put_objects = put  # type: ignore[method-assign]
            yield rows

    store.writing = watched  # type: ignore[method-assign]
    await view_of(script, store).load()
    assert max(sizes) == script.page_items


async def test_a_view_keeps_what_it_has_until_all_is_read(
    script: Script, store: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of(script, store)
    await view.load()
    script.forked_at, script.fork, script.records = 1, 1, [record(20), record(21), record(22)]
    with monkeypatch.context() as patch:
        failing_at(script, patch, 2)
        with pytest.raises(LedgerUnavailable):
            await view.refresh()
    assert view.is_live(ids(1)[0])
    assert not view.is_live(ids(20)[0])
    await view.refresh()
    assert live_at_start(view) == ids(20, 21, 22)
    assert not records_of(view, ids(1)[0])
    assert [one.record.object_id for one in objects_in(store)] == [20, 21, 22]


async def test_the_state_is_read_when_endpoints_have_it_and_the_epoch_told_then(
    script: Script, store: ChainStore
) -> None:
    """A week behind, endpoints have the newest blocks' state alone."""
    view = view_of(script, store)
    await view.load()
    told: list[Event] = []
    view.subscribe(told.append)
    script.blocks_in_a_stretch = 1
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2, 2), HandoverDone(mark(0), 2))
    script.states_gone.add(script.block)
    script.happens(BlobDeleted(mark(0), 1, ids(1)[0], 2))
    script.happens()
    script.states_gone.add(script.block - 1)
    await view.refresh()
    assert view.state.epoch == 2
    assert [type(one) for one in told] == [BlobDeleted, EpochStarted, HandoverDone]
    assert live_at_start(view) == ids(1, 2, 3, 4, 5, 6, 7)


async def test_that_the_state_is_owed_is_known_after_a_restart(script: Script, tmp_path: Path) -> None:
    script.blocks_in_a_stretch = 1
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        script.epoch = 2
        script.happens(EpochStarted(mark(0), 2, 2))
        script.states_gone.add(script.block)
        script.happens()
        step = await view._follower.next(view._marks)
        assert step is not None
        await view._take(step)  # type: ignore[arg-type]
        assert view.state.epoch == 1
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert view.state.epoch == 2


# a disk that fails, and one that loses bits


async def test_what_the_disk_does_not_take_is_followed_in_memory_and_saved_later(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()

        def full(changed: Any) -> Any:
            raise StoreError("test")

        with monkeypatch.context() as patch:
            patch.setattr(store, "writing", full)
            script.happens(BlobRegistered(mark(0), 8, ids(8)[0], "0x", 1, 10, 9, True))
            await view.refresh()
            script.happens(
                BlobCertified(mark(0), 8, ids(8)[0], 1, 9, True, is_extension=False),
                BlobDeleted(mark(0), 1, ids(1)[0], 1),
            )
            await view.refresh()
            assert (view.is_live(ids(8)[0]), view.is_registered(ids(1)[0])) == (True, False)
            with pytest.raises(StoreError):
                view.live_blobs(b"", 10)
        script.happens()
        await view.refresh()
        assert view.live_blobs(b"", 10) == ids(2, 3, 4, 5, 6, 7, 8)
    script.pages.clear()
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert view.live_blobs(b"", 10) == ids(2, 3, 4, 5, 6, 7, 8)
    assert script.pages == []


async def test_objects_that_are_not_those_that_were_saved_are_read_anew_before_anything_is_deleted(
    script: Script, tmp_path: Path
) -> None:
    with contextlib.closing(ChainStore(tmp_path)) as store:
        await view_of(script, store).load()
        with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as other, other:
            other.execute(f"UPDATE {TABLES[store.table]} SET end_period = 1 WHERE object_id = x'03'")
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = view_of(script, store)
        await view.load()
        assert not is_confirmed(view), "nothing may be deleted by what is not checked yet"
        with pytest.raises(StoreError, match="not those that were saved"):
            while store.tidy(over_in(0, 0)):
                pass
        with pytest.raises(StoreError), view._noting_damage():
            store.tidy(over_in(0, 0))
        await view.refresh()
        assert is_confirmed(view)
        assert view.is_live(ids(3)[0])


# growth


async def statements(n_objects: int) -> int:
    """SQL statements that an epoch's start takes, with so many live objects."""
    script = Script()
    script.records = [
        BlobRecord(number, number.to_bytes(32, "big"), 10, "0x", 1, 1, 9, True)
        for number in range(1, n_objects + 1)
    ]
    view = view_of(script)
    await view.load()
    counted: list[str] = []
    script.epoch = 2
    script.happens(EpochStarted(mark(0), 2, 2))
    with view._store.reading() as connection:
        connection.set_trace_callback(counted.append)
    await view.refresh()
    return len(counted)


async def test_an_epochs_start_costs_the_same_however_many_blobs_live() -> None:
    few, many = await statements(10), await statements(1000)
    assert 0 < few == many


def test_progress_is_read_as_it_was_kept() -> None:
    progress = anew.Progress(mark(1), mark(2), 2**80, True, mark(3), {7: 2}, is_confirmed=False)
    assert anew.Progress.read(progress.note()) == progress


async def test_what_fails_while_the_record_is_tidied_ends_no_following(
    script: Script, store: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of(script, store)
    await view.load()
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(over: object) -> bool:
        loop.call_soon_threadsafe(failed.set)
        raise ZeroDivisionError

    monkeypatch.setattr(store, "tidy", fail)
    following = asyncio.create_task(view.follow(0.001))
    async with asyncio.timeout(10):
        await failed.wait()
        script.happens()
        while view.block != script.mark(script.block):  # noqa: ASYNC110 (no event tells of a block)
            await asyncio.sleep(0.001)
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_following_removes_what_is_over(script: Script, store: ChainStore) -> None:
    view = view_of(script, store)
    await view.load()
    script.epoch = 9
    script.happens(EpochStarted(mark(0), 9, 9))
    following = asyncio.create_task(view.follow(0.001))
    async with asyncio.timeout(10):
        while objects_in(store):  # noqa: ASYNC110 (no event tells of it)
            await asyncio.sleep(0.01)
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
