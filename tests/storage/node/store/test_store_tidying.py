"""Tidying: rows of dropped shards go, segments half of which is dead are rewritten, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.node.store import RESERVE_BYTES, NewSliver, SliverStore, StoreFull
from storage.node.store import tidying as store_tidying
from storage.redstuff import Axis
from tests.storage.node.places import on_disk, place_of, segments_of

P = Axis.PRIMARY
SIZE = 1000
IN_A_SEGMENT = 4


def blob(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(24)


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", IN_A_SEGMENT * SIZE)
    monkeypatch.setattr(store_tidying, "ROWS_IN_A_STEP", 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SliverStore]:
    """Twelve slivers of shard 0 in the full segments 1, 2 and 3."""
    with SliverStore(tmp_path / "store") as opened:
        for number in range(12):
            opened.put_sliver(blob(number), 0, P, content(number))
        yield opened


def tidied(store: SliverStore) -> int:
    """Tidy until there is no more to do; in how many steps."""
    steps = 0
    while store.tidy():
        steps += 1
    return steps


def rows(store: SliverStore) -> int:
    return int(store._index.query("SELECT COUNT(*) FROM sliver")[0][0])


def drop(store: SliverStore, *numbers: int) -> None:
    for number in numbers:
        assert store.drop_blobs([blob(number)], lambda some: ())


def check(store: SliverStore, numbers: set[int]) -> None:
    """These slivers are stored whole, and no others."""
    for number in range(12):
        assert store.sliver(blob(number), 0, P) == (content(number) if number in numbers else None)
    assert (store.sliver_count(), store.stored_bytes()) == (len(numbers), SIZE * len(numbers))


def test_a_store_that_nothing_was_dropped_from_is_tidy(store: SliverStore) -> None:
    assert not store.tidy()


def test_the_rows_of_a_dropped_shard_are_removed_piece_by_piece(store: SliverStore) -> None:
    store.put_sliver(blob(3), 1, P, content(3))
    assert store.drop_shard(0) == 12
    check(store, set()) if not store.has_sliver(blob(3), 1, P) else None
    assert rows(store) == 13
    assert tidied(store) > 12 / 3
    assert rows(store) == 1
    assert store.sliver(blob(3), 1, P) == content(3)
    assert not store.tidy()


def test_a_shard_that_comes_back_before_its_rows_are_removed_stays(store: SliverStore) -> None:
    assert store.drop_shard(0) == 12
    store.tidy()
    assert store.put_slivers([NewSliver(blob(number), 0, P, content(number)) for number in (1, 5, 11)]) == 3
    tidied(store)
    check(store, {1, 5, 11})
    assert rows(store) == 3


def test_tidying_is_gone_on_with_after_a_restart(store: SliverStore) -> None:
    store.drop_shard(0)
    store.tidy()
    store.tidy()
    store.close()
    store.open()
    tidied(store)
    assert rows(store) == 0
    store.close()
    store.open()
    assert not store.tidy()


def test_a_segment_half_of_which_is_dead_is_rewritten(store: SliverStore) -> None:
    drop(store, 0, 3, 5)
    check(store, set(range(12)) - {0, 3, 5})
    tidied(store)
    assert segments_of(store.folder) == ["0-2", "0-3", "0-4"]
    assert (store.folder / "segments" / "0-4").read_bytes() == content(1) + content(2)
    check(store, set(range(12)) - {0, 3, 5})
    assert store.damaged == []
    assert store.put_sliver(blob(0), 0, P, content(0))
    store.close()
    store.open()
    check(store, set(range(12)) - {3, 5})
    assert not store.tidy()


def test_a_segment_without_any_sliver_left_is_removed_at_once(store: SliverStore) -> None:
    drop(store, 4, 5, 6, 7)
    assert segments_of(store.folder) == ["0-1", "0-3"]
    assert not store.tidy()


def test_a_sliver_damaged_before_its_segment_is_rewritten_is_told_and_not_copied(store: SliverStore) -> None:
    told: list[bytes] = []
    store.on_damage = told.append
    drop(store, 0, 3)
    place_of(store.folder, blob(2), 0, P).flip()
    tidied(store)
    assert told == [blob(2)]
    check(store, set(range(12)) - {0, 2, 3})


def test_what_a_lost_segment_held_is_given_up_in_few_transactions(store: SliverStore) -> None:
    told: list[bytes] = []
    said: list[str] = []
    store.on_damage = told.append
    (store.folder / "segments" / "0-2").unlink()
    store.close()
    store.open()
    assert store._index._writer is not None
    store._index._writer.set_trace_callback(said.append)
    steps = tidied(store)
    assert (sorted(told), store.damaged_count) == ([blob(number) for number in (4, 5, 6, 7)], 4)
    assert said.count("COMMIT") <= steps + 1
    check(store, {0, 1, 2, 3, 8, 9, 10, 11})


def test_a_segment_that_was_cut_is_rewritten_and_what_was_cut_off_told(store: SliverStore) -> None:
    told: list[bytes] = []
    store.on_damage = told.append
    store.put_sliver(blob(12), 0, P, content(12))
    store.put_sliver(blob(13), 0, P, content(13))
    store.close()
    os.truncate(store.folder / "segments" / "0-4", 1500)
    store.open()
    assert store.missing(0, P, [blob(12), blob(13)]) == [blob(13)]
    assert told == []
    tidied(store)
    assert told == [blob(13)]
    assert store.sliver(blob(12), 0, P) == content(12)
    assert segments_of(store.folder) == ["0-1", "0-2", "0-3", "0-5"]
    drop(store, 12)
    check(store, set(range(12)))


def test_only_as_many_segments_are_rewritten_as_there_is_room_for(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(store, 0, 1, 4, 5, 6)
    disk = SimpleNamespace(f_blocks=1, f_bavail=RESERVE_BYTES + 2 * SIZE, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    tidied(store)
    assert segments_of(store.folder) == ["0-1", "0-3", "0-4"]
    disk.f_bavail = RESERVE_BYTES + 4 * SIZE
    store.tidy()
    assert [one.number for one in store._segments.retired()] == [1]
    disk.f_bavail = RESERVE_BYTES
    with pytest.raises(StoreFull, match="make room"):
        tidied(store)
    check(store, {2, 3, 7, 8, 9, 10, 11})
    disk.f_bavail = RESERVE_BYTES + 2 * SIZE
    tidied(store)
    assert segments_of(store.folder) == ["0-3", "0-4"]
    check(store, {2, 3, 7, 8, 9, 10, 11})


def test_a_step_copies_a_bounded_number_of_bytes(store: SliverStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tidying, "COPIED_IN_A_STEP_BYTES", SIZE)
    monkeypatch.setattr(store_tidying, "ROWS_IN_A_STEP", 100)
    drop(store, 0, 3, 5, 7)
    assert tidied(store) == 1 + 4
    check(store, {1, 2, 4, 6, 8, 9, 10, 11})
    assert [one.offset for one in on_disk(store.folder)][:4] == [0, SIZE, 2 * SIZE, 3 * SIZE]


def test_a_blob_stored_while_numbers_are_scarce_is_found_and_given_up_by_its_own_id(
    store: SliverStore,
) -> None:
    """Ids that begin with the same bits, up to the last one there is."""
    ids = [bytes([255]) * 8 + bytes([number]) * 24 for number in range(70)] + [bytes([255]) * 32]
    store.put_slivers([NewSliver(blob_id, 1, P, blob_id) for blob_id in reversed(ids)])
    assert [blob_id for blob_id, _ in store.slivers_from(1, P, blob(12), 100, 10**6).slivers] == ids
    assert all(store.sliver(blob_id, 1, P) == blob_id for blob_id in ids)
    drop(store, 0)
    store.drop_blobs([ids[3]], lambda some: ())
    assert store.put_sliver(ids[3], 1, P, b"again")
    assert all(store.sliver(blob_id, 1, P) == blob_id for blob_id in ids if blob_id != ids[3])
