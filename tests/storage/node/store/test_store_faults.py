"""A disk that fails: full, refusing, losing or tearing files. Nothing half done, and it works again afterwards."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.node.store import NewSliver, SliverStore, StoreError, StoreFull, Tally
from storage.node.store import index as store_index
from storage.redstuff import Axis
from tests.storage.node.tallies import tallies

P, S = Axis.PRIMARY, Axis.SECONDARY
LARGE = b"L" * 5000


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[SliverStore]:
    with SliverStore(folder) as opened:
        opened.put_sliver(blob(0), 0, P, LARGE)
        yield opened


@pytest.fixture
def batch() -> list[NewSliver]:
    """Three in files of two folders, one inline, tallied."""
    return [
        NewSliver(blob(b), s, P, symbols, Tally(3, s, blob(b), "rebuilt", 1))
        for b, s, symbols in ((1, 0, LARGE), (2, 0, LARGE), (1, 9, LARGE), (3, 0, b"inline"))
    ]


def place_of(folder: Path, shard: int, number: int) -> Path:
    """Where a primary sliver's file lies."""
    return folder / "slivers" / str(shard) / "primary" / "00" / blob(number).hex()


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name}


def failing(real: Callable[..., Any], calls_before: int, number: int) -> Callable[..., Any]:
    """`real`, which fails from its call `calls_before` on."""
    left = [calls_before]

    def call(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return call


CALLS = {
    "write": (os, "write", 3),
    "fsync": (os, "fsync", 8),
    "rename": (os, "rename", 3),
    "mkdir": (os, "mkdir", 3),
}
POINTS = [(name, point) for name, (_, _, points) in CALLS.items() for point in range(points)]


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=lambda number: errno.errorcode[number]
)
@pytest.mark.parametrize(("name", "point"), POINTS, ids=[f"{name}-{point}" for name, point in POINTS])
def test_a_failing_call_leaves_nothing_of_the_batch(
    store: SliverStore,
    folder: Path,
    batch: list[NewSliver],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    point: int,
    number: int,
) -> None:
    owner, attribute, _ = CALLS[name]
    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, failing(getattr(owner, attribute), point, number))
        with pytest.raises(StoreError) as caught:
            store.put_slivers(batch)
    assert isinstance(caught.value, StoreFull) == (number != errno.EIO)
    assert str(folder) in str(caught.value)
    assert (store.sliver_count(), tallies(store, 3)) == (1, [])
    assert store.shards() == {0}
    assert not any(store.has_sliver(one.blob_id, one.shard, one.axis) for one in batch)
    assert files_of(folder) == {"lock", blob(0).hex()}
    assert store.put_slivers(batch) == 4
    assert [store.sliver(one.blob_id, one.shard, one.axis) for one in batch] == [one.symbols for one in batch]


def test_the_points_of_failure_are_all_there_are(
    store: SliverStore, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, attribute, points in CALLS.values():
        monkeypatch.setattr(owner, attribute, failing(getattr(owner, attribute), points, errno.EIO))
    assert store.put_slivers(batch) == 4


def test_a_full_index_leaves_nothing_of_the_batch(
    store: SliverStore, folder: Path, batch: list[NewSliver]
) -> None:
    filling = [NewSliver(blob(100 + number), 0, S, b"inline" * 600) for number in range(100)]
    with store._index.transaction() as index:
        index.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreFull, match="no space"):
        store.put_slivers([*batch, *filling])
    with pytest.raises(StoreFull):
        store.put_metadata(blob(1), bytes(10**6))
    assert (store.sliver_count(), tallies(store, 3), store.metadata(blob(1))) == (1, [], None)
    assert files_of(folder) == {"lock", blob(0).hex()}
    with store._index.transaction() as index:
        index.execute("PRAGMA max_page_count = 100000")
    assert store.put_slivers([*batch, *filling]) == 104


def test_a_row_that_the_index_refuses_leaves_nothing_of_the_batch(
    store: SliverStore, folder: Path, batch: list[NewSliver]
) -> None:
    nameless: Any = None
    refused = NewSliver(blob(4), 0, P, LARGE, Tally(3, 0, blob(4), nameless, 1))
    with pytest.raises(StoreError, match="NOT NULL"):
        store.put_slivers([*batch, refused])
    assert (store.sliver_count(), tallies(store, 3)) == (1, [])
    assert files_of(folder) == {"lock", blob(0).hex()}
    assert store.put_slivers(batch) == 4


def test_a_disk_that_writes_in_small_pieces_loses_none(
    store: SliverStore, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:999]))
    assert store.put_slivers(batch) == 4
    assert store.sliver(blob(1), 9, P) == LARGE


def test_files_that_cannot_be_removed_are_swept_at_the_next_opening(
    folder: Path, store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        assert store.drop_shard(0) == 1
    assert store.sliver(blob(0), 0, P) is None
    assert blob(0).hex() in files_of(folder)
    store.close()
    store.open()
    assert files_of(folder) == {"lock"}


def test_a_shard_that_cannot_be_set_aside_is_dropped_and_swept_at_the_next_opening(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(os.rename, 0, errno.EIO))
        assert store.drop_shard(0) == 1
    assert (store.sliver(blob(0), 0, P), store.sliver_count()) == (None, 0)
    assert place_of(folder, 0, 0).exists()
    assert store.put_sliver(blob(1), 0, P, LARGE)
    store.close()
    store.open()
    assert files_of(folder) == {"lock", blob(1).hex()}
    assert store.damaged == []


def test_a_folder_removed_behind_the_store_is_made_anew(store: SliverStore, folder: Path) -> None:
    place_of(folder, 0, 0).unlink()
    place_of(folder, 0, 0).parent.rmdir()
    assert store.put_sliver(blob(1), 0, P, LARGE)
    assert store.sliver(blob(1), 0, P) == LARGE


# the order of what reaches the disk


def test_nothing_is_committed_before_it_is_durable(
    store: SliverStore, folder: Path, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def path_of(descriptor: int) -> Path:
        return Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder)

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {path_of(descriptor)}")
        real_fsync(descriptor)

    def rename(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        source, place = path_of(src_dir_fd) / name, path_of(dst_dir_fd) / new_name
        assert f"sync {source}" in steps, "a file must be durable before it has its name"
        steps.append(f"rename {place}")
        real_rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    writer = store._index._writer
    assert writer is not None
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,), (
        "FULL: a commit is durable when it returns"
    )
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.set_trace_callback(steps.append)
    store.put_slivers(batch)
    commit = steps.index("COMMIT")
    for shard, folder_name in ((0, "slivers/0/primary/00"), (9, "slivers/9/primary/00")):
        renamed = [at for at, step in enumerate(steps) if step.startswith(f"rename slivers/{shard}/")]
        assert renamed
        assert max(renamed) < steps.index(f"sync {folder_name}") < commit
    for created_in in ("slivers", "slivers/9", "slivers/9/primary"):
        assert steps.index(f"sync {created_in}") < commit, "a new folder's own entry must be durable too"


def test_a_row_is_dropped_before_its_file(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []

    def remove(name: str, ignore_errors: bool, dir_fd: int) -> None:
        file = folder / "dropped" / name / place_of(folder, 0, 0).relative_to(folder / "slivers" / "0")
        seen.append((file.exists(), store.has_sliver(blob(0), 0, P)))

    monkeypatch.setattr("shutil.rmtree", remove)
    store.drop_shard(0)
    assert seen == [(True, False)]


# what an opening finds


def test_torn_files_in_incoming_are_deleted(store: SliverStore, folder: Path) -> None:
    store.close()
    (folder / "incoming" / "0").write_bytes(LARGE[:77])
    store.open()
    assert files_of(folder) == {"lock", blob(0).hex()}
    assert store.put_sliver(blob(1), 0, P, LARGE)


def test_a_file_without_a_row_is_deleted(store: SliverStore, folder: Path) -> None:
    store.close()
    for shard, number in ((0, 1), (77, 0)):
        place = place_of(folder, shard, number)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(LARGE)
    store.open()
    assert files_of(folder) == {"lock", blob(0).hex()}
    assert store.sliver_count() == 1
    assert store.damaged == []


@pytest.mark.parametrize(
    "place",
    [
        "slivers/0/primary/notes.txt",
        "slivers/0/primary/00/notes.txt",
        "slivers/0/primary/AB/" + "AB" * 32,
        "slivers/0/primary/00/" + "ab" * 32,
        "slivers/0/primary/ab/" + "ab" * 31,
        "slivers/x/y/z/0",
        "slivers/01/primary/00/" + "00" * 32,
    ],
)
def test_a_file_that_is_not_the_store_own_is_left_alone(store: SliverStore, folder: Path, place: str) -> None:
    store.close()
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(b"an operator's")
    store.open()
    assert (folder / place).read_bytes() == b"an operator's"


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, 4999)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _lengthen(path: Path) -> None:
    path.write_bytes(LARGE + b"+")


@pytest.mark.parametrize("damage", [_remove, _truncate, _empty, _lengthen])
@pytest.mark.parametrize("while_open", [False, True], ids=["found at the opening", "found at a read"])
def test_a_damaged_sliver_counts_as_missing_and_can_be_stored_again(
    store: SliverStore, folder: Path, damage: Callable[[Path], None], while_open: bool
) -> None:
    store.put_slivers([NewSliver(blob(1), 0, P, LARGE), NewSliver(blob(2), 0, P, b"inline")])
    if not while_open:
        store.close()
    damage(place_of(folder, 0, 0))
    if not while_open:
        store.open()
    assert store.sliver(blob(0), 0, P) is None
    assert store.damaged == [(blob(0), 0, P)]
    assert store.missing(0, P, [blob(0), blob(1), blob(2)]) == [blob(0)]
    assert (store.sliver_count(), store.stored_bytes()) == (2, 5006)
    assert files_of(folder) == {"lock", blob(1).hex()}
    assert store.put_sliver(blob(0), 0, P, LARGE)
    assert store.sliver(blob(0), 0, P) == LARGE


def test_all_files_lost_leaves_the_inline_slivers_and_the_metadata(store: SliverStore, folder: Path) -> None:
    store.put_sliver(blob(2), 0, S, b"inline")
    store.put_metadata(blob(2), b"metadata")
    store.close()
    (folder / "slivers").rename(folder.parent / "lost")
    store.open()
    assert store.damaged == [(blob(0), 0, P)]
    assert (store.sliver(blob(2), 0, S), store.metadata(blob(2))) == (b"inline", b"metadata")


@pytest.mark.parametrize("stored_again", [False, True])
def test_a_sliver_dropped_while_it_is_read_is_not_damage(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch, stored_again: bool
) -> None:
    real_open = os.open

    def open_after_that(path: Path | str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        if path != blob(0).hex():
            return real_open(path, flags, *mode, dir_fd=dir_fd)
        monkeypatch.undo()
        store.drop_shard(0)
        try:
            return os.open(path, flags, *mode, dir_fd=dir_fd)
        finally:
            if stored_again:
                store.put_sliver(blob(0), 0, P, LARGE)

    monkeypatch.setattr(os, "open", open_after_that)
    assert store.sliver(blob(0), 0, P) is None
    assert store.damaged == []
    assert store.sliver_count() == stored_again
    assert store.sliver(blob(0), 0, P) == (LARGE if stored_again else None)


def test_an_index_that_is_no_database_is_refused_and_not_touched(store: SliverStore, folder: Path) -> None:
    store.close()
    (folder / "index.sqlite").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot open the store"):
            store.open()
    assert blob(0).hex() in files_of(folder)


def test_a_reader_that_never_comes_free_is_not_waited_for_ever(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_index, "BUSY_LIMIT_S", 0.01)
    readers = [store._index._readers.get_nowait() for _ in range(store_index.READERS)]
    with pytest.raises(StoreError, match="no reader"):
        store.has_sliver(blob(0), 0, P)
    for reader in readers:
        store._index._readers.put(reader)
    assert store.has_sliver(blob(0), 0, P)
