"""Something else in the place of each file and folder of a store: repaired, or one line and nothing changed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.node.store import NewSliver, SliverStore, StoreError
from storage.redstuff import Axis
from tests.damages import (
    DAMAGES,
    Damage,
    Playground,
    as_user,
    device,
    link_to_a_file,
    playground,
    read_only,
    unreadable,
)

P, S = Axis.PRIMARY, Axis.SECONDARY
METADATA = b"metadata" * 1000
FILE = "segments/0-1"


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


SLIVERS = [
    NewSliver(blob(1), shard, axis, bytes([1, shard, axis]) * size)
    for shard in (0, 7)
    for axis, size in ((P, 2000), (S, 40))
]
PLACES = (
    ".", "lock", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.sqlite-journal", "segments",
    FILE, "segments/7-2", "segments/0-9", "segments/7-9",
)  # fmt: skip
"""All that a store's folder holds, and the places of segments that are not listed, as a kill leaves them."""
REPAIRED = PLACES[7:]
"""Where anything else is damage: the store opens and does without."""
OPEN_PLACES = ("segments", *PLACES[7:9])
"""What an open store goes by names to."""
STATES = ("closed", "killed")
HALVES = (0, pytest.param(1, marks=pytest.mark.slow))
"""Of the damages of a place: every other one, and the others of the next place."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was closed, and the same as a kill left it, to be copied."""
    folder = tmp_path_factory.mktemp("stored")
    with SliverStore(folder / "closed") as store:
        store.put_slivers(SLIVERS)
        store.put_metadata(blob(1), METADATA)
        store.keep_bookmark("place", b"here")
        shutil.copytree(folder / "closed", folder / "killed")
    return folder


@pytest.fixture
def ground() -> Iterator[Playground]:
    with playground() as ground:
        yield ground


def is_possible(damage: Damage) -> bool:
    return damage is not device or os.geteuid() == 0


def half_of(place: str, half: int) -> list[tuple[int, Damage]]:
    """Half of the damages of a place, numbered."""
    numbered = [*enumerate(filter(is_possible, DAMAGES))]
    return numbered[(PLACES.index(place) + half) % 2 :: 2]


def check_whole(store: SliverStore) -> None:
    """All that is there is right, all that is not can be stored, and what is stored is there."""
    for one in SLIVERS:
        key = (one.blob_id, one.shard, one.axis)
        found = store.sliver(*key)
        assert found in (None, one.symbols)
        assert store.has_sliver(*key) == (found is not None)
        assert store.put_sliver(*key, one.symbols) == (found is None)
        assert store.sliver(*key) == one.symbols
    assert store.metadata(blob(1)) in (None, METADATA)
    store.put_metadata(blob(1), METADATA)
    assert store.metadata(blob(1)) == METADATA


def survive(ground: Playground, folder: Path) -> None:
    """Open a store, repair it, drop a shard, and open it again."""
    with SliverStore(folder) as store:
        check_whole(store)
        assert store.drop_shard(0) == 2
        store.put_slivers(SLIVERS)
        check_whole(store)
    with SliverStore(folder) as store:
        assert [store.sliver(one.blob_id, one.shard, one.axis) for one in SLIVERS] == [
            one.symbols for one in SLIVERS
        ]
        assert store.damaged_count == 0
        while store.tidy():
            pass
        assert store.damaged_count == 0
        check_whole(store)
    ground.check_outside()


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def damage_and_open(stored: Path, state: str, damages: dict[str, Damage]) -> None:
    """Damage some places at once: the store then opens whole, or tells of one of them and has changed nothing."""
    with playground() as ground:
        folder = ground.inside / "store"
        shutil.copytree(stored / state, folder)
        for place, damage in damages.items():
            ground.damage(damage, folder / place)
        before = files_of(folder)
        try:
            with as_user():
                survive(ground, folder)
        except StoreError as error:
            assert not all(
                place in REPAIRED and damage not in (unreadable, read_only)
                for place, damage in damages.items()
            )
            assert "\n" not in str(error)
            paths = [str(folder / place.removesuffix("-wal").removesuffix("-shm")) for place in damages]
            assert any(path in str(error) for path in paths)
            lost = {str(path) for path in before - files_of(folder)}
            assert lost <= {"index.sqlite-shm", "index.sqlite-wal", "index.sqlite-journal", *REPAIRED}
        except BaseException as error:
            names = ", ".join(
                f"{damage.__name__} in the place of {place}" for place, damage in damages.items()
            )
            error.add_note(f"{state}, {names}")
            raise
        ground.check_outside()


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("place", PLACES)
def test_a_store_repairs_what_is_damaged_or_says_what_and_changes_nothing(
    stored: Path, place: str, half: int
) -> None:
    for number, damage in half_of(place, half):
        damage_and_open(stored, STATES[number // 2 % 2], {place: damage})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_so_does_a_store_that_is_damaged_in_several_places(stored: Path, seed: int) -> None:
    chance = random.Random(seed)
    possible = list(filter(is_possible, DAMAGES))
    for _ in range(100):
        places = [
            place for place in chance.sample(PLACES[1:], chance.randrange(1, 5)) if "/" not in place
        ] or [FILE]
        damage_and_open(stored, chance.choice(STATES), {place: chance.choice(possible) for place in places})


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("place", OPEN_PLACES)
def test_an_open_store_never_says_stored_for_what_cannot_be_read(stored: Path, place: str, half: int) -> None:
    for _, damage in half_of(place, half):
        with playground() as ground:
            folder = ground.inside / "store"
            shutil.copytree(stored / "closed", folder)
            with SliverStore(folder) as store:
                ground.damage(damage, folder / place)
                with as_user():
                    for one in SLIVERS:
                        key = (one.blob_id, one.shard, one.axis)
                        try:
                            store.put_sliver(*key, one.symbols)
                        except StoreError as error:
                            assert place not in REPAIRED or damage in (unreadable, read_only)
                            assert str(folder) in str(error)
                        else:
                            assert store.sliver(*key) == one.symbols, damage
                    try:
                        store.drop_shard(0)
                    except StoreError:
                        assert place == "segments", damage
            ground.check_outside()


@pytest.mark.parametrize("name", ["0-1", "7-2"])
def test_a_segment_that_is_a_link_out_of_the_store_is_removed_and_its_target_stays(
    stored: Path, ground: Playground, name: str
) -> None:
    folder = ground.inside / "store"
    shutil.copytree(stored / "closed", folder)
    with SliverStore(folder) as store:
        ground.damage(link_to_a_file, folder / "segments" / name)
        assert store.drop_shard(int(name[0])) == 2
        assert not os.path.lexists(folder / "segments" / name)
    ground.check_outside()


def test_a_lost_index_is_not_made_anew_while_segments_are_there(stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(stored / "closed", folder)
    (folder / "index.sqlite").rename(tmp_path / "index.sqlite")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"Put back index\.sqlite, .* or move .*store away"):
            SliverStore(folder).open()
    (tmp_path / "index.sqlite").rename(folder / "index.sqlite")
    with SliverStore(folder) as store:
        assert store.sliver_count() == len(SLIVERS)
        assert store.damaged_count == 0


def test_a_folder_in_a_segments_place_is_moved_aside_with_what_is_in_it(stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(stored / "closed", folder)
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    (folder / FILE / "notes.txt").write_text("an operator's")
    with SliverStore(folder) as store:
        check_whole(store)
    (aside,) = (folder / "segments").glob("*.aside-*")
    assert (aside / "notes.txt").read_text() == "an operator's"


@pytest.mark.parametrize("lacks", ["locks", "shared memory"])
def test_a_file_system_that_is_not_fit_for_a_store_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """As of some that are mounted over a network."""

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def no_map(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMMAP
        raise error

    if lacks == "locks":
        monkeypatch.setattr("fcntl.flock", no_lock)
    else:
        monkeypatch.setattr("storage.node.sqlite.sqlite3.connect", no_map)
    with pytest.raises(StoreError, match="has to have file locks and shared memory maps"):
        SliverStore(tmp_path / "store").open()
