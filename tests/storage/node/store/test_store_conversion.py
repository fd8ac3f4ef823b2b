"""A store of version 4 is converted when it is opened; whatever ends that, the next opening goes on with it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.node.store import (
    RESERVE_BYTES,
    NewSliver,
    SliverKey,
    SliverStore,
    StoreDamaged,
    StoreError,
    StoreFull,
    Tally,
)
from storage.node.store import conversion as store_conversion
from storage.redstuff import Axis
from tests.storage.node.places import segments_of
from tests.storage.node.store.old_store import make_old_store, old_file
from tests.storage.node.tallies import tallies

P, S = Axis.PRIMARY, Axis.SECONDARY


def blob(number: int) -> bytes:
    return bytes([number]) * 32


SLIVERS = [
    NewSliver(
        blob(number),
        shard,
        axis,
        bytes([number, shard, axis]) * size,
        Tally(1, shard, blob(number), "rebuilt", 1),
    )
    for number in range(5)
    for shard, axis, size in ((0, P, 2000), (7, S, 40))
]
METADATA = {blob(number): b"metadata %d" % number for number in range(6)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of version 4, which is converted three slivers at a time."""
    monkeypatch.setattr(store_conversion, "SLIVERS_AT_ONCE", 3)
    make_old_store(tmp_path / "store", SLIVERS, METADATA)
    return tmp_path / "store"


def check_converted(store: SliverStore, lost: frozenset[SliverKey] = frozenset()) -> None:
    """All is there but what was lost, and nothing of the old layout."""
    for one in SLIVERS:
        key = SliverKey(one.blob_id, one.shard, one.axis)
        assert store.sliver(*key) == (None if key in lost else one.symbols)
    assert store.sliver_count() == len(SLIVERS) - len(lost)
    assert {blob_id: store.metadata(blob_id) for blob_id in METADATA} == METADATA
    assert len(tallies(store, 1)) == len(SLIVERS)
    assert store.bookmark("place") == b"\x01"
    assert store._index.query("SELECT name FROM sqlite_schema WHERE name LIKE 'old%'") == []
    assert store._index.query("PRAGMA user_version") == [(6,)]


def test_all_of_it_is_converted_and_the_old_folders_are_gone(folder: Path) -> None:
    for _ in range(2):
        with SliverStore(folder) as store:
            check_converted(store)
            assert store.damaged == []
    assert segments_of(folder) == ["0-1", "7-2"]
    assert sorted(path.name for path in folder.iterdir() if "sqlite" not in path.name) == ["lock", "segments"]


def test_damaged_slivers_are_told_and_not_converted(folder: Path) -> None:
    keys = [SliverKey(blob(number), 0, P) for number in range(4)]
    old_file(folder, keys[0]).unlink()
    old_file(folder, keys[1]).write_bytes(b"X" * 6000)
    os.truncate(old_file(folder, keys[2]), 10)
    old_file(folder, keys[3]).unlink()
    old_file(folder, keys[3]).symlink_to("/dev/zero")
    with SliverStore(folder) as store:
        check_converted(store, frozenset(keys))
        assert (sorted(store.damaged), store.damaged_count) == (keys, 4)


def test_a_file_that_is_not_the_store_own_stays(folder: Path) -> None:
    notes = old_file(folder, SliverKey(blob(1), 0, P)).with_name("notes.txt")
    notes.write_text("an operator's")
    with SliverStore(folder) as store:
        check_converted(store)
    assert notes.read_text() == "an operator's"


def test_a_conversion_for_which_there_is_no_room_goes_on_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_blocks=1, f_bavail=RESERVE_BYTES + 20_000, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    real = SliverStore.put_slivers
    calls: list[int] = []

    def put(store: SliverStore, slivers: list[NewSliver]) -> int:
        calls.append(len(slivers := list(slivers)))
        if len(calls) == 2:
            disk.f_bavail = RESERVE_BYTES
        return real(store, slivers)

    monkeypatch.setattr(SliverStore, "put_slivers", put)
    with pytest.raises(StoreFull, match="make room"):
        SliverStore(folder).open()
    disk.f_bavail += 20_000
    with SliverStore(folder) as store:
        check_converted(store)
    assert calls == [3, 3, 3, 3, 1], "the piece that did not fit is tried again, the one before is not"


@pytest.mark.parametrize("is_link", [False, True])
def test_nothing_is_given_up_while_the_folder_of_the_old_files_is_away(folder: Path, is_link: bool) -> None:
    away = (folder / "slivers").rename(folder.parent / "away")
    if is_link:
        (folder / "slivers").symlink_to(away)
    for _ in range(2):
        with pytest.raises(StoreError, match="put it back and start again"):
            SliverStore(folder).open()
    (folder / "slivers").unlink(missing_ok=True)
    away.rename(folder / "slivers")
    with SliverStore(folder) as store:
        check_converted(store)


def test_a_lost_index_is_not_made_anew_while_old_files_are_there(folder: Path) -> None:
    (folder / "index.sqlite").unlink()
    with pytest.raises(StoreError, match=r"Put back index\.sqlite"):
        SliverStore(folder).open()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sliver SET axis = 9 WHERE rowid = 5",
        "UPDATE sliver SET blob_id = 7 WHERE rowid = 5",
        "UPDATE sliver SET size = 'x' WHERE rowid = 5",
        "UPDATE metadata SET blob_id = 7 WHERE rowid = 5",
        "UPDATE tally SET blob_id = 7 WHERE shard = 7 AND blob_id = x'%s'" % ("03" * 32),
    ],
)
def test_a_row_that_makes_no_sense_is_damage_of_the_index(folder: Path, change: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        index.execute(change)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite"):
            SliverStore(folder).open()


def test_pieces_are_bounded_by_their_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_conversion, "BYTES_AT_ONCE", 7000)
    with SliverStore(folder) as store:
        check_converted(store)


def test_a_conversion_that_is_told_to_end_goes_on_later(folder: Path) -> None:
    answers = iter((False, True))
    store = SliverStore(folder)
    with pytest.raises(StoreError, match="ended with 4 slivers left; it goes on later"):
        store.open(lambda: next(answers))
    with store:
        check_converted(store)
