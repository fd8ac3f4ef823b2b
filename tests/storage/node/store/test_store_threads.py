"""Threads at one store: each sliver once, and nobody waits for what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.node.store import NewSliver, SliverStore, StoreError, Tally
from storage.node.store import index as store_index
from storage.node.store.files import SegmentFiles
from storage.redstuff import Axis
from tests.storage.node.places import on_disk, segments_of
from tests.storage.node.tallies import tallies

P = Axis.PRIMARY


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


def large(number: int) -> bytes:
    return bytes([number]) * 5000


def test_threads_that_store_the_same_slivers_store_each_once(store: SliverStore) -> None:
    batch = [NewSliver(blob(b), s, P, large(b)) for b in range(10) for s in range(4)]
    tallied = [
        NewSliver(
            one.blob_id, one.shard, one.axis, one.symbols, Tally(1, one.shard, one.blob_id, "rebuilt", 1)
        )
        for one in batch
    ]
    with ThreadPoolExecutor(8) as threads:
        new = list(
            threads.map(store.put_slivers, [tallied[first::3] + tallied[:20] for first in range(3)] * 4)
        )
        read = list(threads.map(lambda one: store.sliver(one.blob_id, one.shard, one.axis), batch * 4))
    assert sum(new) == store.sliver_count() == 40
    assert {tally.slivers for tally in tallies(store, 1)} == {1}
    assert read == [one.symbols for one in batch * 4]


def stored_together(store: SliverStore, batches: list[list[NewSliver]]) -> tuple[list[int | str], int]:
    """Have a thread store each batch while the store is busy: how many were new, or why not; and the transactions."""
    said: list[str] = []

    def put(batch: list[NewSliver]) -> int | str:
        try:
            return store.put_slivers(batch)
        except StoreError as error:
            return str(error)

    assert store._index._writer is not None
    with ThreadPoolExecutor(len(batches)) as threads:
        with store._writing:
            results = []
            for number, batch in enumerate(batches, 1):
                results.append(threads.submit(put, batch))
                while len(store._new_slivers._line) < number:
                    pass
            store._index._writer.set_trace_callback(said.append)
        return [one.result(timeout=30) for one in results], said.count("COMMIT")


def test_what_waits_to_be_stored_is_stored_in_one_transaction(store: SliverStore, folder: Path) -> None:
    batches = [[NewSliver(blob(number), 0, P, large(number))] for number in range(6)]
    assert stored_together(store, batches) == ([1] * 6, 1)
    assert [store.sliver(blob(number), 0, P) for number in range(6)] == [large(number) for number in range(6)]
    assert segments_of(folder) == ["0-1"]


def test_of_a_sliver_that_several_store_at_once_the_first_is_stored_and_the_others_are_wasted(
    store: SliverStore,
) -> None:
    tally = Tally(1, 0, blob(1), "rebuilt", 1, 10, 8)
    batches = [[NewSliver(blob(1), 0, P, large(number), tally)] for number in range(3)]
    assert stored_together(store, batches) == ([1, 0, 0], 1)
    assert store.sliver(blob(1), 0, P) == large(0)
    assert tallies(store, 1) == [Tally(1, 0, blob(1), "rebuilt", 1, 10, 8, 16)]


def test_a_batch_that_cannot_be_stored_takes_no_other_along(store: SliverStore) -> None:
    countless: Any = None
    batches = [[NewSliver(blob(number), 0, P, large(number))] for number in range(4)]
    batches[2].append(NewSliver(blob(9), 0, P, b"ab", Tally(1, 0, blob(9), "rebuilt", countless)))
    results, _ = stored_together(store, batches)
    assert results[:2] + results[3:] == [1, 1, 1]
    assert "NOT NULL" in str(results[2])
    assert store.missing(0, P, [blob(number) for number in (0, 1, 2, 3, 9)]) == [blob(2), blob(9)]


def test_readers_do_not_wait_for_a_writer(store: SliverStore) -> None:
    store.put_sliver(blob(1), 0, P, b"ab")
    with store._index.transaction() as index:
        index.execute("DELETE FROM sliver")
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(store.sliver, blob(1), 0, P).result(timeout=10) == b"ab"
    assert store.sliver(blob(1), 0, P) is None


def removing(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Have the removal of the next file do something else first."""
    remove = SegmentFiles.remove

    def remove_after_that(files: SegmentFiles, *arguments: Any) -> None:
        monkeypatch.undo()
        meanwhile()
        remove(files, *arguments)

    monkeypatch.setattr(SegmentFiles, "remove", remove_after_that)


def test_writers_do_not_wait_while_a_dropped_shard_s_files_are_removed(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_sliver(blob(1), 5, P, large(1))
    written: list[bool] = []

    def write() -> None:
        with ThreadPoolExecutor(1) as threads:
            written.append(threads.submit(store.put_sliver, blob(1), 5, P, large(2)).result(timeout=10))

    removing(monkeypatch, write)
    assert store.drop_shard(5) == 1
    assert written == [True]
    assert store.sliver(blob(1), 5, P) == large(2)
    assert segments_of(folder) == ["5-2"]


def test_closing_waits_until_a_dropped_shard_s_files_are_removed(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_sliver(blob(1), 5, P, large(1))
    with ThreadPoolExecutor(1) as threads:
        closing: list[Future[None]] = []

        def close() -> None:
            closing.append(threads.submit(store.close))
            with pytest.raises(TimeoutError):
                closing[0].result(timeout=0.05)

        removing(monkeypatch, close)
        assert store.drop_shard(5) == 1
        closing[0].result(timeout=10)
    assert segments_of(folder) == []


def test_readers_and_writers_beside_drops_and_tidying_meet_no_damage(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slivers move between segments, shards go and come back: what is read is whole, or not stored."""
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 20_000)
    monkeypatch.setattr("storage.node.store.tidying.ROWS_IN_A_STEP", 3)
    blobs = range(12)
    whole = {(number, shard): bytes([number, shard]) * 1000 for number in blobs for shard in (0, 1)}

    def put(_: int) -> None:
        store.put_slivers(
            [NewSliver(blob(number), shard, P, whole[number, shard]) for number, shard in whole]
        )

    def drop(number: int) -> None:
        store.drop_blobs([blob(number)], lambda some: ())
        store.drop_shard(1)

    def read(number: int) -> None:
        for shard in (0, 1):
            assert store.sliver(blob(number), shard, P) in (None, whole[number, shard])
            for blob_id, symbols in store.slivers_from(shard, P, bytes(32), 100, 10**6).slivers:
                assert symbols == whole[int.from_bytes(blob_id, "big"), shard]

    def tidy(_: int) -> None:
        store.tidy()

    with ThreadPoolExecutor(6) as threads:
        calls = [
            threads.submit(work, number) for number in blobs for work in (put, read, tidy, drop, read, tidy)
        ]
        for call in calls:
            call.result(timeout=30)
    assert (store.damaged_count, store.damaged) == (0, [])
    while store.tidy():
        pass
    assert len(list(on_disk(store.folder))) == store.sliver_count()


def test_a_query_that_the_closing_overtakes_fails_at_once(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = store._index

    def check_open_and_close() -> object:
        monkeypatch.undo()
        writer = index._check_open()
        store.close()
        monkeypatch.setattr(store_index, "BUSY_LIMIT_S", 0.1)
        return writer

    monkeypatch.setattr(index, "_check_open", check_open_and_close)
    with pytest.raises(StoreError, match="is not open"):
        store.has_sliver(blob(1), 0, P)
    store.open()
    assert not store.has_sliver(blob(1), 0, P)
