"""An index that is removed, replaced or damaged while the store is open: nothing is stored in what no restart finds."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.node.store import SliverStore, StoreDamaged, StoreError
from storage.redstuff import Axis

BLOB = bytes(32)
P = Axis.PRIMARY
LARGE = b"L" * 5000


@pytest.fixture
def store(folder: Path) -> Iterator[SliverStore]:
    with SliverStore(folder) as opened:
        opened.put_sliver(BLOB, 0, P, b"small")
        yield opened


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    """As by a copy that was made before."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


def moved_away(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("name", ["index.sqlite", "index.sqlite-wal", "lock"])
@pytest.mark.parametrize("lose", [removed, replaced, moved_away])
def test_nothing_is_stored_or_read_once_a_file_is_not_in_its_place(
    store: SliverStore, folder: Path, name: str, lose: Callable[[Path], None]
) -> None:
    store.require_whole()
    lose(folder / name)
    with pytest.raises(StoreError):
        store.put_sliver(BLOB, 1, P, b"lost")
    with pytest.raises(StoreDamaged, match="was removed or replaced while it was open"):
        store.sliver(BLOB, 0, P)
    with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite, .* or move .* away and start again"):
        store.require_whole()


@pytest.mark.parametrize("place", ["store", "segments"])
def test_a_disk_that_is_gone_takes_no_row_and_no_file_along(
    store: SliverStore, folder: Path, place: str
) -> None:
    """As when a volume is detached: its folder is there, and empty, until it is attached again."""
    store.put_sliver(BLOB, 2, P, LARGE)
    disk = folder if place == "store" else folder / place
    detached = disk.rename(disk.with_name("detached"))
    disk.mkdir()
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="removed or replaced"):
            store.sliver(BLOB, 2, P)
    store.close()
    disk.rmdir()
    detached.rename(disk)
    store.open()
    assert store.sliver(BLOB, 2, P) == LARGE
    assert store.damaged_count == 0


def test_a_folder_that_cannot_be_read_is_no_damage(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_sliver(BLOB, 2, P, LARGE)
    open_file = os.open

    def fails(path: str | Path, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_DIRECTORY:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_file(path, flags, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        with pytest.raises(StoreError, match="cannot read slivers"):
            store.sliver(BLOB, 2, P)
    assert store.sliver(BLOB, 2, P) == LARGE


def test_a_file_that_is_gone_is_found_without_any_request(store: SliverStore, folder: Path) -> None:
    (folder / "index.sqlite").unlink()
    with pytest.raises(StoreDamaged, match="removed or replaced"):
        store.require_whole()


def test_damage_that_a_request_met_is_remembered(store: SliverStore, folder: Path) -> None:
    for path in (folder / "index.sqlite", folder / "index.sqlite-wal"):
        content = bytearray(path.read_bytes())
        for place in range(100, len(content)):
            content[place] ^= 0x5A
        path.write_bytes(content)
    with contextlib.suppress(StoreDamaged):
        store.sliver(BLOB, 0, P)
        pytest.fail("a damaged index was read")
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite"):
            store.require_whole()


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (b"checksum BLOB NOT NULL, PRIMARY", b"chEcksun BLOB NOT NULL, PRIMARY"),
        (b"is_retired INTEGER", b"is_revired INTEGER"),
        (b"CREATE TABLE segment", b"CREATE TABLE seg\xd4ent"),
    ],
    ids=["column", "column-of-the-list", "no-text"],
)
def test_a_changed_name_in_the_index_is_damage_and_no_refusal_of_each_request(
    store: SliverStore, folder: Path, name: bytes, changed: bytes
) -> None:
    store.close()
    index = folder / "index.sqlite"
    content = index.read_bytes()
    assert content.count(name) == 1
    index.write_bytes(content.replace(name, changed))
    with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite"):
        store.open()
        with contextlib.suppress(StoreError):
            store.sliver(BLOB, 0, P)
        store.require_whole()


def test_a_store_that_is_opened_anew_is_whole(store: SliverStore, folder: Path) -> None:
    kept = shutil.copytree(folder, folder.with_name("kept"))
    (folder / "lock").unlink()
    with pytest.raises(StoreDamaged):
        store.require_whole()
    store.close()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    store.open()
    store.require_whole()
    assert store.sliver(BLOB, 0, P) == b"small"
