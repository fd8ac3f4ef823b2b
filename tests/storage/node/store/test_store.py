"""The store's face: what is put comes back, once, in order, within limits, from any thread."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import astuple
from pathlib import Path

import pytest

from storage.node.store import (
    NewSliver,
    Page,
    ShardTally,
    SliverStore,
    StoreError,
    StoreInUse,
    Tally,
    writing,
)
from storage.node.store import records as store_records
from storage.node.store import writing as store_writing
from storage.node.store.records import Way
from storage.node.store.tallies import TALLY_EPOCHS
from storage.redstuff import Axis
from tests.storage.node.places import place_of, segments_of
from tests.storage.node.tallies import tallies

P, S = Axis.PRIMARY, Axis.SECONDARY


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


def small(number: int) -> bytes:
    return bytes([number]) * 10


def large(number: int) -> bytes:
    return bytes([number]) * 5000


# put and get


@pytest.mark.parametrize("symbols", [b"\x01\x02", small(7), large(7), large(7) * 300])
def test_a_sliver_comes_back_and_survives_a_reopening(folder: Path, symbols: bytes) -> None:
    with SliverStore(folder) as store:
        assert store.put_sliver(blob(1), 4, S, symbols)
        assert store.sliver(blob(1), 4, S) == symbols
    with SliverStore(folder) as store:
        assert store.sliver(blob(1), 4, S) == symbols
        assert store.damaged == []


def test_a_shards_slivers_are_appended_to_its_segment(store: SliverStore, folder: Path) -> None:
    store.put_slivers([NewSliver(blob(2), shard, axis, large(2)) for shard in (4, 7) for axis in Axis])
    store.put_sliver(blob(1), 4, P, small(1))
    assert segments_of(folder) == ["4-1", "7-2"]
    assert (folder / "segments" / "4-1").read_bytes() == 2 * large(2) + small(1)
    assert place_of(folder, blob(1), 4, P).offset == 10_000


def test_a_full_segment_takes_nothing_more(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 9_999)
    for number in range(5):
        store.put_sliver(blob(number), 4, P, large(number))
    assert [(folder / "segments" / name).stat().st_size for name in ("4-1", "4-2", "4-3")] == [
        10_000,
        10_000,
        5_000,
    ]
    store.close()
    store.open()
    store.put_sliver(blob(5), 4, P, large(5))
    assert segments_of(folder) == ["4-1", "4-2", "4-3"]
    assert [store.sliver(blob(number), 4, P) for number in range(6)] == [large(number) for number in range(6)]


def test_a_view_is_stored_as_its_bytes(store: SliverStore) -> None:
    words = memoryview(bytearray(range(200))).cast("H")
    assert store.put_sliver(blob(1), 0, P, words)
    assert store.sliver(blob(1), 0, P) == bytes(range(200))
    assert store.stored_bytes() == 200


def test_slivers_are_told_apart_by_blob_shard_and_axis(store: SliverStore) -> None:
    keys = [(blob(b), shard, axis) for b in (1, 2) for shard in (0, 300) for axis in Axis]
    for number, key in enumerate(keys):
        assert store.put_sliver(*key, large(number))
    for number, key in enumerate(keys):
        assert store.sliver(*key) == large(number)
    assert store.sliver(blob(3), 0, P) is None
    assert store.sliver(blob(1), 1, P) is None


def test_what_is_stored_is_not_overwritten(store: SliverStore) -> None:
    assert store.put_sliver(blob(1), 0, P, large(1))
    assert not store.put_sliver(blob(1), 0, P, large(2))
    assert not store.put_sliver(blob(1), 0, P, small(2))
    assert store.sliver(blob(1), 0, P) == large(1)
    assert (store.sliver_count(), store.stored_bytes()) == (1, len(large(1)))


def test_of_one_key_twice_in_a_batch_the_first_is_stored(store: SliverStore) -> None:
    batch = [NewSliver(blob(1), 0, P, large(1)), NewSliver(blob(1), 0, P, large(2) + b"longer")]
    assert store.put_slivers(batch) == 1
    assert store.sliver(blob(1), 0, P) == large(1)
    assert store.sliver_count() == 1


def test_an_empty_batch_stores_nothing(store: SliverStore) -> None:
    assert store.put_slivers([]) == 0


def test_a_batch_of_more_segments_than_may_be_open_at_once(store: SliverStore) -> None:
    batch = [NewSliver(blob(number % 3), number, P, large(number % 251)) for number in range(300)]
    assert store.put_slivers(batch) == 300
    assert all(store.sliver(one.blob_id, one.shard, P) == one.symbols for one in batch)


def test_metadata_comes_back_and_is_not_overwritten(folder: Path) -> None:
    with SliverStore(folder) as store:
        assert store.metadata(blob(1)) is None
        assert store.put_metadata(blob(1), b"first")
        assert not store.put_metadata(blob(1), b"second")
    with SliverStore(folder) as store:
        assert store.metadata(blob(1)) == b"first"


# questions


def test_metadata_and_slivers_of_many_blobs_are_stored_together_and_told_once(store: SliverStore) -> None:
    told: list[set[bytes]] = []
    store.on_stored = lambda blob_ids: told.append(set(blob_ids))
    slivers = [NewSliver(blob(number), 1, axis, small(number)) for number in (1, 2) for axis in Axis]
    metadata = {blob(number): bytes([number]) for number in (1, 2, 3)}
    assert store.put_blobs(metadata, slivers) == {blob(1), blob(2), blob(3)}
    assert store.put_blobs({**metadata, blob(4): b"4"}, slivers) == {blob(4)}
    assert told == [{blob(1), blob(2), blob(3)}, {blob(4)}]
    assert [store.metadata(blob(number)) for number in (1, 2, 3, 4)] == [b"\x01", b"\x02", b"\x03", b"4"]
    assert [store.sliver(blob(2), 1, axis) for axis in Axis] == [small(2)] * 2


def test_of_a_batch_that_fails_neither_metadata_nor_slivers_are_stored(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise StoreError("test")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "add_tallies", fail)
        with pytest.raises(StoreError):
            store.put_blobs({blob(1): b"1"}, [NewSliver(blob(1), 1, P, small(1))])
    assert store.metadata(blob(1)) is None
    assert store.sliver(blob(1), 1, P) is None
    assert store.put_blobs({blob(1): b"1"}, [NewSliver(blob(1), 1, P, small(1))]) == {blob(1)}


def test_metadata_that_are_damaged_are_stored_anew_by_a_batch(store: SliverStore, folder: Path) -> None:
    store.put_metadata(blob(1), b"metadata")
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as index:
        index.execute("UPDATE metadata SET bcs = ?", (b"mutadata",))
        index.commit()
    assert store.put_blobs({blob(1): b"metadata"}, ()) == {blob(1)}
    assert store.metadata(blob(1)) == b"metadata"


def test_which_shards_and_blobs_are_there(store: SliverStore) -> None:
    store.put_slivers([NewSliver(blob(b), shard, P, large(b)) for b in (1, 3) for shard in (5, 9)])
    store.put_sliver(blob(1), 7, S, small(1))
    assert store.shards() == {5, 7, 9}
    assert store.shards_with(blob(1), P) == {5, 9}
    assert store.shards_with(blob(1), S) == {7}
    assert store.shards_with(blob(2), P) == frozenset()
    assert store.has_sliver(blob(3), 9, P)
    assert not store.has_sliver(blob(3), 9, S)
    assert store.sliver_count() == 5
    assert store.stored_bytes() == 4 * len(large(0)) + len(small(0))


def test_missing_keeps_the_order_given_beyond_one_query(store: SliverStore) -> None:
    store.put_slivers([NewSliver(blob(number), 1, P, b"ab") for number in range(0, 1200, 2)])
    asked = [blob(number) for number in reversed(range(1200))]
    assert store.missing(1, P, asked) == [blob(number) for number in reversed(range(1, 1200, 2))]
    assert store.missing(1, S, asked) == asked
    assert store.missing(1, P, []) == []


def test_a_dropped_shard_is_gone_and_the_others_stay(store: SliverStore, folder: Path) -> None:
    batch = [NewSliver(blob(b), s, a, large(b)) for b in (1, 2) for s in (5, 55) for a in Axis]
    store.put_slivers([*batch, NewSliver(blob(3), 5, P, small(3))])
    assert store.drop_shard(5) == 5
    assert store.shards() == {55}
    assert (store.sliver_count(), store.stored_bytes()) == (4, 4 * len(large(0)))
    assert segments_of(folder) == ["55-2"]
    assert store.drop_shard(5) == 0
    assert store.put_sliver(blob(1), 5, P, large(9))
    assert store.sliver(blob(1), 5, P) == large(9)


# pages


def test_pages_cover_a_shard_in_blob_id_order(store: SliverStore) -> None:
    numbers = [0, 1, 255, 256, 65536, 2**255]
    store.put_slivers([NewSliver(blob(number), 1, P, large(number % 250)) for number in reversed(numbers)])
    store.put_sliver(blob(2), 1, S, b"other axis")
    store.put_sliver(blob(2), 2, P, b"other shard")
    seen, cursor = [], blob(0)
    while True:
        page = store.slivers_from(1, P, cursor, 2, 10**9)
        assert len(page.slivers) == 2
        seen += page.slivers
        if page.next_blob_id is None:
            break
        cursor = page.next_blob_id
    assert seen == [(blob(number), large(number % 250)) for number in numbers]


def test_a_page_keeps_within_its_bytes_but_gives_one_sliver_at_least(store: SliverStore) -> None:
    store.put_slivers([NewSliver(blob(number), 1, P, b"x" * 100) for number in range(5)])
    assert [b for b, _ in store.slivers_from(1, P, blob(0), 9, 299).slivers] == [blob(0), blob(1)]
    assert len(store.slivers_from(1, P, blob(0), 9, 300).slivers) == 3
    assert store.slivers_from(1, P, blob(3), 9, 0) == Page([(blob(3), b"x" * 100)], blob(4))
    assert len(store.slivers_from(1, P, blob(0), 0, 1000).slivers) == 1
    assert store.slivers_from(1, P, blob(4), 1, 1000).next_blob_id is None
    assert store.slivers_from(1, P, blob(5), 1, 1000) == Page([], None)


def test_a_page_of_the_store_own_limit_is_not_the_end(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.store.bulk.PAGE_LIMIT", 3)
    store.put_slivers([NewSliver(blob(number), 1, P, b"ab") for number in range(4)])
    page = store.slivers_from(1, P, blob(0), 1000, 1000)
    assert (len(page.slivers), page.next_blob_id) == (3, blob(3))


def test_a_page_of_lost_slivers_alone_is_not_the_end(store: SliverStore, folder: Path) -> None:
    store.put_slivers([NewSliver(blob(number), 1, P, large(number)) for number in range(4)])
    for number in (0, 1):
        place_of(folder, blob(number), 1, P).flip()
    assert store.slivers_from(1, P, blob(0), 2, 10**6) == Page([], blob(2))
    assert store.missing(1, P, [blob(number) for number in range(4)]) == [blob(0), blob(1)]


# tallies


def test_tallies_add_up_by_shard_blob_and_way(folder: Path) -> None:
    with SliverStore(folder) as store:
        for axis, received in ((P, 10), (S, 7)):
            tally = Tally(6, 1, blob(1), "transferred", 1, 10, received, 3)
            store.put_sliver(blob(1), 1, axis, b"0123456789", tally)
        store.put_sliver(blob(1), 2, P, b"0123456789", Tally(6, 2, blob(1), "rebuilt", 1, 10, 8))
        store.put_sliver(blob(2), 2, P, b"0123456789", Tally(7, 2, blob(2), "rebuilt", 1, 10, 8))
        store.put_sliver(blob(3), 2, P, b"0123456789")
    with SliverStore(folder) as store:
        assert sorted(tallies(store, 6), key=lambda tally: tally.shard) == [
            Tally(6, 1, blob(1), "transferred", 2, 20, 17, 6),
            Tally(6, 2, blob(1), "rebuilt", 1, 10, 8, 0),
        ]
        assert tallies(store, 7) == [Tally(7, 2, blob(2), "rebuilt", 1, 10, 8)]
        assert tallies(store, 5) == []


def test_what_was_received_of_a_sliver_that_was_there_already_is_wasted(store: SliverStore) -> None:
    tally = Tally(6, 1, blob(1), "rebuilt", 1, 3, 2, 1)
    for _ in range(3):
        store.put_sliver(blob(1), 1, P, b"abc", tally)
    assert tallies(store, 6) == [Tally(6, 1, blob(1), "rebuilt", 1, 3, 2, 1 + 2 * (2 + 1))]


def test_tallies_of_a_shard_add_up_by_way(store: SliverStore) -> None:
    ways: list[tuple[int, Way]] = [(1, "transferred"), (2, "rebuilt"), (4, "rebuilt")]
    for shard in (1, 2):
        for number, way in ways:
            tally = Tally(6, shard, blob(number), way, 1, 10 * number, number, 3)
            store.put_sliver(blob(number), shard, P, b"ab", tally)
    store.put_sliver(blob(9), 1, P, b"ab", Tally(7, 1, blob(9), "rebuilt", 1, 1, 1))
    assert sorted(store.tallies.by_shard(6), key=astuple) == [
        ShardTally(1, "rebuilt", 2, 60, 6, 6),
        ShardTally(1, "transferred", 1, 10, 1, 3),
        ShardTally(2, "rebuilt", 2, 60, 6, 6),
        ShardTally(2, "transferred", 1, 10, 1, 3),
    ]
    assert store.tallies.by_shard(5) == []


def test_the_largest_share_is_of_the_blob_of_which_most_was_received_for_its_size(store: SliverStore) -> None:
    assert store.tallies.largest_share(6, (4, 7)) == 0
    for number, axis, size_bytes, received in ((1, P, 70, 30), (2, S, 4, 7), (3, P, 7, 5)):
        tally = Tally(6, 1, blob(number), "rebuilt", 1, received, received, 2)
        store.put_sliver(blob(number), 1, axis, bytes(size_bytes), tally)
    store.put_sliver(blob(2), 2, P, bytes(7), Tally(6, 2, blob(2), "transferred", 1, 3, 3))
    assert store.tallies.largest_share(6, (4, 7)) == (7 + 2 + 3) / 28


def test_tallies_of_old_epochs_are_forgotten(store: SliverStore) -> None:
    for epoch in (3, 4, 3 + TALLY_EPOCHS):
        store.put_sliver(blob(epoch), 1, P, b"ab", Tally(epoch, 1, blob(epoch), "rebuilt", 1))
    assert tallies(store, 3) == []
    assert len(tallies(store, 4)) == 1


# limits and misuse


@pytest.mark.parametrize(
    ("blob_id", "shard", "symbols"),
    [
        (bytes(31), 0, b"ab"),
        (bytes(33), 0, b"ab"),
        (bytes(32), -1, b"ab"),
        (bytes(32), 2**16, b"ab"),
        (bytes(32), 0, b""),
    ],
    ids=["short id", "long id", "negative shard", "shard beyond u16", "no symbols"],
)
def test_put_sliver_refuses_what_cannot_be(
    store: SliverStore, blob_id: bytes, shard: int, symbols: bytes
) -> None:
    with pytest.raises(ValueError, match=r"blob id|shard|sliver"):
        store.put_slivers([NewSliver(blob(1), 0, P, b"good"), NewSliver(blob_id, shard, P, symbols)])
    assert store.sliver_count() == 0


def test_put_refuses_more_than_the_limits(store: SliverStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_records, "MAX_SLIVER_BYTES", 10)
    monkeypatch.setattr(store_records, "MAX_METADATA_BYTES", 10)
    assert store.put_sliver(blob(1), 0, P, bytes(10))
    assert store.put_metadata(blob(1), bytes(10))
    with pytest.raises(ValueError, match="11 bytes"):
        store.put_sliver(blob(2), 0, P, bytes(11))
    with pytest.raises(ValueError, match="11 bytes"):
        store.put_metadata(blob(2), bytes(11))
    with pytest.raises(ValueError, match="blob id of 5 bytes"):
        store.put_metadata(bytes(5), b"metadata")


def test_a_second_opening_is_refused_and_harms_nothing(store: SliverStore, folder: Path) -> None:
    writing = folder / "segments" / "9-9"
    writing.write_bytes(b"half")
    with pytest.raises(StoreInUse, match="open already"):
        SliverStore(folder).open()
    with pytest.raises(StoreInUse):
        store.open()
    assert writing.exists()
    assert store.put_sliver(blob(1), 0, P, b"still works")


def test_a_closed_store_says_so_and_opens_again(folder: Path) -> None:
    store = SliverStore(folder)
    with pytest.raises(StoreError, match="not open"):
        store.sliver(blob(1), 0, P)
    with store:
        store.put_sliver(blob(1), 0, P, large(1))
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.put_sliver(blob(2), 0, P, large(2))
    with store:
        assert store.sliver(blob(1), 0, P) == large(1)
        assert store.sliver(blob(2), 0, P) is None


def test_a_store_of_another_version_is_refused(folder: Path) -> None:
    with SliverStore(folder):
        pass
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as index:
        index.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(StoreError, match="version 99"):
            SliverStore(folder).open()


def test_metadata_are_stored_with_slivers_or_neither(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    slivers = [NewSliver(blob(number), 0, P, small(number)) for number in range(3)]
    metadata = {blob(number): bytes([number + 1]) * 100 for number in range(2)}
    told: list[bytes] = []
    store.on_stored = told.extend
    with monkeypatch.context() as patch:
        patch.setattr(store_writing, "add_tallies", lambda index, tallies: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            store.put_blobs(metadata, slivers)
    ids = [blob(number) for number in range(3)]
    assert (store.metadata_of(ids), store.missing(0, P, ids), told) == ({}, ids, [])
    assert store.put_blobs(metadata, slivers) == set(ids)
    assert store.put_blobs({blob(0): b"other", blob(7): b"alone"}, []) == {blob(7)}
    assert store.metadata_of([*ids, blob(7)]) == {**metadata, blob(7): b"alone"}
    assert store.missing_metadata(ids) == [blob(2)]


def test_put_refuses_metadata_beyond_the_limits(store: SliverStore) -> None:
    for blob_id, metadata in ((blob(1), b""), (bytes(31), b"m")):
        with pytest.raises(ValueError):
            store.put_blobs({blob_id: metadata}, [NewSliver(blob(1), 0, P, b"s")])
    assert store.missing(0, P, [blob(1)])


def test_a_page_of_many_slivers_takes_no_more_statements_than_one_of_few(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [blob(number) for number in range(200)]
    store.put_blobs(dict.fromkeys(ids, b"metadata"), [NewSliver(one, 0, P, b"sliver") for one in ids])
    query, asked = store._index.query, list[str]()

    def noted(statement: str, *values: object) -> list[object]:
        asked.append(statement)
        return query(statement, *values)

    monkeypatch.setattr(store._index, "query", noted)
    counts = []
    for count in (5, 150):
        asked.clear()
        page = store.slivers_from(0, P, bytes(32), count, 2**20, with_metadata=True)
        assert len(page.slivers) == len(page.metadata) == count
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 4
