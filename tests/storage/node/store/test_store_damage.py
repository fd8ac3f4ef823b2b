"""What a disk changes, hides or has no room for; and blobs dropped whole."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.node.sqlite import StoreDamaged
from storage.node.store import NewSliver, SliverKey, SliverStore, StoreError, StoreFull
from storage.node.store import index as index_module
from storage.node.store import sliver_store as store_module
from storage.redstuff import Axis
from tests.storage.node.places import place_of, segments_of

P, S = Axis.PRIMARY, Axis.SECONDARY
SMALL = b"small"
LARGE = b"L" * 5000


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def told() -> list[bytes]:
    """Blob ids the store tells of."""
    return []


@pytest.fixture
def store(folder: Path, told: list[bytes]) -> Iterator[SliverStore]:
    """Blob 1 with two slivers in one segment, and its metadata."""
    with SliverStore(folder) as opened:
        opened.on_damage = told.append
        opened.put_metadata(blob(1), b"metadata")
        opened.put_sliver(blob(1), 0, P, LARGE)
        opened.put_sliver(blob(1), 0, S, SMALL)
        yield opened


def change_row(folder: Path, statement: str) -> None:
    """As bit rot in the index would."""
    index = sqlite3.connect(folder / "index.sqlite")
    with index:
        assert index.execute(statement).rowcount == 1
    index.close()


# bits that changed


@pytest.mark.parametrize(("axis", "right"), [(P, LARGE), (S, SMALL)], ids=["the first", "the last"])
@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize("read", ["sliver", "page", "put"])
def test_a_flipped_bit_makes_a_sliver_missing_and_is_told_once(
    store: SliverStore, folder: Path, told: list[bytes], axis: Axis, right: bytes, at: int, read: str
) -> None:
    place_of(folder, blob(1), 0, axis).flip(at % len(right))
    for _ in range(2):
        if read == "sliver":
            assert store.sliver(blob(1), 0, axis) is None
        elif read == "page":
            assert store.slivers_from(0, axis, bytes(32), 10, 10**6).slivers == []
    if read != "put":
        assert not store.has_sliver(blob(1), 0, axis)
        assert (store.sliver_count(), store.stored_bytes()) == (1, len(SMALL) + len(LARGE) - len(right))
    assert store.put_sliver(blob(1), 0, axis, right)
    assert store.sliver(blob(1), 0, axis) == right
    assert store.damaged == [SliverKey(blob(1), 0, axis)]
    assert (store.damaged_count, told) == (1, [blob(1)])
    other = S if axis is P else P
    assert store.sliver(blob(1), 0, other) == (SMALL if axis is P else LARGE)


@pytest.mark.parametrize(
    "change",
    [f"size = {2**62}", "size = 5001", "offset = 1", "offset = -1", "checksum = x'00'", f"offset = {2**62}"],
)
def test_a_changed_row_makes_a_sliver_missing(store: SliverStore, folder: Path, change: str) -> None:
    change_row(folder, f"UPDATE sliver SET {change} WHERE axis = 0")
    assert store.sliver(blob(1), 0, P) is None
    assert store.damaged == [SliverKey(blob(1), 0, P)]
    assert store.sliver(blob(1), 0, S) == SMALL


READS = ("sliver", "slivers of a blob", "page", "put")


@pytest.mark.parametrize(
    ("change", "read"),
    [
        *(("size = -1", read) for read in READS),
        *(("size = 'text'", read) for read in READS),
        *(("size = 1.5", read) for read in READS[:2]),
        *(("offset = 1.5", read) for read in READS[:2]),
        *((f"{name} = 'text'", READS[1]) for name in ("offset", "segment", "checksum", "shard", "axis")),
        *(("shard = -1", READS[1]), ("axis = 3", READS[1])),
    ],
)
def test_a_row_of_values_that_cannot_be_makes_a_sliver_missing(
    store: SliverStore, folder: Path, told: list[bytes], change: str, read: str
) -> None:
    """One bit makes a size negative, or a value one of another type."""
    change_row(folder, f"UPDATE sliver SET {change} WHERE axis = 0")
    match read:
        case "sliver":
            assert store.sliver(blob(1), 0, P) is None
        case "slivers of a blob":
            assert store.slivers_of(blob(1))[0][-1:] == [(0, S, SMALL)]
            # A row of a segment that is gone is of a shard that was dropped.
            assert told == ([] if "segment" in change else [blob(1)])
        case "page":
            assert store.slivers_from(0, P, bytes(32), 10, 10**6).slivers == []
    assert store.put_sliver(blob(1), 0, P, LARGE)
    assert store.sliver(blob(1), 0, P) == LARGE
    assert store.slivers_of(blob(1))[0] == [(0, P, LARGE), (0, S, SMALL)]
    assert store.drop_blobs([blob(1)], lambda some: ()) == [blob(1)]
    while store.tidy():
        pass
    assert not store.blobs_after(b"", 10)


def test_a_row_of_no_sliver_goes_when_its_segment_is_rewritten(store: SliverStore, folder: Path) -> None:
    store.put_slivers([NewSliver(blob(number), 0, P, LARGE) for number in range(2, 9)])
    change_row(folder, "UPDATE sliver SET axis = 3 WHERE axis = 1")
    change_row(folder, "UPDATE segment SET is_retired = 1")
    store.close()
    store.open()
    while store.tidy():
        pass
    assert [store.sliver(blob(number), 0, P) for number in (1, 8)] == [LARGE, LARGE]
    with sqlite3.connect(folder / "index.sqlite") as index:
        assert index.execute("SELECT COUNT(*) FROM sliver WHERE axis = 3").fetchone() == (0,)


@pytest.mark.parametrize("value", ["1.5", "'text'"])
def test_a_blob_of_no_number_is_given_one_anew(store: SliverStore, folder: Path, value: str) -> None:
    change_row(folder, f"UPDATE blob SET number = {value}")
    assert store.sliver(blob(1), 0, P) is None
    slivers = [NewSliver(blob(1), 0, P, LARGE), NewSliver(blob(1), 0, S, SMALL)]
    assert store.put_blobs({blob(1): b"metadata"}, slivers) == {blob(1)}
    assert (store.sliver(blob(1), 0, P), store.metadata(blob(1))) == (LARGE, b"metadata")


@pytest.mark.parametrize("column", ["length", "slivers", "size_bytes", "shard", "is_retired"])
def test_a_list_of_segments_with_no_number_stops_the_store(
    store: SliverStore, folder: Path, column: str
) -> None:
    change_row(folder, f"UPDATE segment SET {column} = 'text'")
    store.close()
    with pytest.raises(StoreDamaged, match=r"what is no number.* move .* away and start again"):
        store.open()


def test_an_index_that_has_lost_its_order_is_found(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of a key, by which neither its row nor others are found any more."""
    ids = [bytes([number]) * 32 for number in range(2, 40)]
    store.put_slivers([NewSliver(one, 0, P, SMALL) for one in ids])
    store.close()
    path = folder / "index.sqlite"
    content, key = (
        path.read_bytes(),
        bytes([1]) * 8,
    )  # half of the id's first 8 bytes, in the rows of its slivers
    for place in (place for place in range(len(content)) if content.startswith(key, place)):
        path.write_bytes(content[:place] + b"\x7f" + content[place + 1 :])
        with closing(sqlite3.connect(path)) as index:
            if "not in PRIMARY KEY order" in index.execute("PRAGMA integrity_check(1)").fetchone()[0]:
                break
    with pytest.raises(StoreDamaged, match="not in PRIMARY KEY order"):
        store.open()
    monkeypatch.setattr(index_module, "CHECKED_BYTES", 0)
    store.open()
    store.require_whole()
    monkeypatch.setattr(index_module, "STEPS_AT_ONCE", 1)
    with pytest.raises(StoreError, match="interrupted"):
        store.require_sound(lambda: True)
    store.require_whole()
    with pytest.raises(StoreDamaged, match="not in PRIMARY KEY order"):
        store.require_sound()
    with pytest.raises(StoreDamaged, match=r"not in PRIMARY KEY order.* move .* away and start again"):
        store.require_whole()


def test_bytes_written_twice_or_lost_or_of_another_sliver_are_not_read(
    store: SliverStore, folder: Path
) -> None:
    """As of a disk that loses a write, or does it in another's place."""
    others = [bytes([number]) * 5000 for number in range(3)]
    store.put_slivers([NewSliver(blob(2 + number), 0, P, content) for number, content in enumerate(others)])
    places = [place_of(folder, blob(2 + number), 0, P) for number in range(3)]
    with places[0].path.open("r+b") as file:
        file.seek(places[0].offset)
        file.write(others[1])
        file.seek(places[2].offset)
        file.write(bytes(4096))
    assert [store.sliver(blob(2 + number), 0, P) for number in range(3)] == [None, others[1], None]
    assert store.put_slivers([NewSliver(blob(2 + number), 0, P, others[number]) for number in range(3)]) == 2
    assert [store.sliver(blob(2 + number), 0, P) for number in range(3)] == others


def test_a_large_sliver_read_is_not_the_next_ones_memory(store: SliverStore) -> None:
    contents = [bytes([number]) * (2**20 + number) for number in range(3)]
    store.put_slivers([NewSliver(blob(9), shard, P, content) for shard, content in enumerate(contents)])
    read = [store.sliver(blob(9), shard, P) for shard in range(3)]
    assert read == contents


@pytest.mark.parametrize("change", ["CAST('metadatb' AS BLOB)", "'metadata'", "5", "x''"])
def test_metadata_with_a_flipped_bit_are_missing_and_told(
    store: SliverStore, folder: Path, told: list[bytes], change: str
) -> None:
    change_row(folder, f"UPDATE metadata SET bcs = {change}")
    for _ in range(2):
        assert store.metadata(blob(1)) is None
    assert (store.damaged_count, told) == (1, [blob(1)])
    assert store.put_metadata(blob(1), b"metadata")
    assert store.metadata(blob(1)) == b"metadata"


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG, errno.EUCLEAN])
def test_a_file_the_disk_cannot_read_is_damaged(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def read(descriptor: int, buffers: object, offset: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", read)
        assert store.sliver(blob(1), 0, P) is None
    assert store.damaged == [SliverKey(blob(1), 0, P)]


def test_too_many_open_files_are_no_damage(store: SliverStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_none(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_none)
        with pytest.raises(StoreError, match="cannot read slivers"):
            store.sliver(blob(1), 0, P)
    assert store.sliver(blob(1), 0, P) == LARGE


def test_a_sliver_that_is_not_the_blobs_is_discarded(
    store: SliverStore, folder: Path, told: list[bytes]
) -> None:
    assert store.discard(blob(1), 0, P, LARGE)
    assert not store.has_sliver(blob(1), 0, P)
    assert told == [blob(1)]
    assert not store.discard(blob(1), 0, P, LARGE)
    assert store.damaged_count == 1


def test_what_was_stored_in_the_place_of_a_discarded_sliver_stays(
    store: SliverStore, told: list[bytes]
) -> None:
    assert not store.discard(blob(1), 0, P, b"W" * 5000)
    assert not store.discard_metadata(blob(1), b"other")
    assert store.sliver(blob(1), 0, P) == LARGE
    assert store.metadata(blob(1)) == b"metadata"
    assert told == []


# room


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk whose room the test sets."""
    disk = SimpleNamespace(f_blocks=1, f_bavail=store_module.RESERVE_BYTES + 10_000, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    return disk


def test_the_reserve_takes_nothing_new_and_all_else_goes_on(
    store: SliverStore, disk: SimpleNamespace
) -> None:
    offered = [NewSliver(blob(number), 0, P, LARGE) for number in (2, 3)]
    assert store.put_slivers(offered) == 2
    disk.f_bavail -= 1
    with pytest.raises(StoreFull, match=r"10000 bytes do not fit .* make room on the disk"):
        store.put_slivers([NewSliver(blob(number), 0, P, LARGE) for number in (4, 5)])
    assert store.missing(0, P, [blob(4), blob(5)]) == [blob(4), blob(5)]
    disk.f_bavail = 0
    with pytest.raises(StoreFull):
        store.put_metadata(blob(4), b"metadata")
    assert store.metadata(blob(4)) is None
    assert store.sliver(blob(1), 0, P) == LARGE
    assert store.drop_blobs([blob(2)], lambda some: ())
    assert store.drop_shard(0) == 3


def test_what_is_stored_already_needs_no_room(store: SliverStore, disk: SimpleNamespace) -> None:
    disk.f_bavail = store_module.RESERVE_BYTES
    assert not store.put_sliver(blob(1), 0, P, LARGE)


# whole blobs


def test_a_dropped_blob_leaves_nothing_and_the_others_all(store: SliverStore, folder: Path) -> None:
    store.put_slivers([NewSliver(blob(1), 3, P, LARGE), NewSliver(blob(2), 3, P, LARGE)])
    assert store.drop_blobs([blob(1)], lambda some: ())
    assert store.metadata(blob(1)) is None
    assert [store.shards_with(blob(1), axis) for axis in Axis] == [frozenset(), frozenset()]
    assert segments_of(folder) == ["3-2"]
    assert (store.sliver_count(), store.stored_bytes()) == (1, 5000)
    assert store.shards() == {3}
    assert store.damaged_count == 0
    assert not store.drop_blobs([blob(1)], lambda some: ())
    assert store.blobs_after(b"", 10) == [blob(2)]


def test_a_blob_that_is_wanted_when_it_comes_to_it_is_not_dropped(store: SliverStore) -> None:
    assert not store.drop_blobs([blob(1)], lambda some: some)
    assert store.sliver(blob(1), 0, P) == LARGE


def test_blobs_are_dropped_some_at_a_time_and_those_that_are_wanted_stay(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BLOBS_IN_A_DROP", 2)
    blobs = [blob(number) for number in range(1, 7)]
    store.put_slivers([NewSliver(one, shard, P, SMALL) for one in blobs for shard in (3, 4)])
    asked: list[list[bytes]] = []

    def those_wanted(some: Sequence[bytes]) -> list[bytes]:
        asked.append(list(some))
        return [blob(4)]

    dropped = store.drop_blobs([*blobs[:5], blob(9)], those_wanted)
    assert dropped == [blob(1), blob(2), blob(3), blob(5)]
    assert asked == [[blob(1), blob(2)], [blob(3), blob(4)], [blob(5), blob(9)]]
    assert store.blobs_after(b"", 10) == [blob(4), blob(6)]
    assert store.missing(3, P, blobs) == dropped
    assert (store.sliver_count(), store.metadata(blob(1)), store.damaged) == (4, None, [])


def test_blobs_are_listed_in_order_by_metadata_or_slivers(store: SliverStore) -> None:
    store.put_slivers([NewSliver(blob(number), 0, P, SMALL) for number in (5, 3)])
    store.put_metadata(blob(4), b"metadata")
    assert store.blobs_after(b"", 10) == [blob(1), blob(3), blob(4), blob(5)]
    assert store.blobs_after(blob(3), 2) == [blob(4), blob(5)]
    assert store.blobs_after(blob(5), 2) == []


def test_a_bookmark_survives_a_reopening(store: SliverStore) -> None:
    assert store.bookmark("place") is None
    for value in (b"one", b"two"):
        store.keep_bookmark("place", value)
    store.close()
    store.open()
    assert store.bookmark("place") == b"two"
