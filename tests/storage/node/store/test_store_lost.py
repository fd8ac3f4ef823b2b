"""An index that is removed, replaced or damaged while the store is open: nothing is stored in what no restart finds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.node.store import SliverStore, StoreDamaged, StoreError
from storage.redstuff import Axis

BLOB = bytes(32)
P = Axis.PRIMARY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


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
    with pytest.raises(StoreDamaged, match=r"Put back index\.sqlite, or move .* away and start again"):
        store.require_whole()


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
