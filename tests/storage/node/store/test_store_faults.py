"""A disk that fails: full, refusing, losing or tearing files. Nothing half done, and it works again afterwards."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.node.store import NewSliver, SliverStore, StoreError, StoreFull, Tally
from storage.node.store import index as store_index
from storage.node.store.files import SegmentFiles
from storage.redstuff import Axis
from tests.storage.node.tallies import tallies

P, S = Axis.PRIMARY, Axis.SECONDARY
LARGE = b"L" * 5000


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def store(folder: Path) -> Iterator[SliverStore]:
    with SliverStore(folder) as opened:
        opened.put_sliver(blob(0), 0, P, LARGE)
        yield opened


@pytest.fixture
def batch() -> list[NewSliver]:
    """Three of one shard and one of another, tallied."""
    return [
        NewSliver(blob(b), s, P, symbols, Tally(3, s, blob(b), "rebuilt", 1))
        for b, s, symbols in ((1, 0, LARGE), (2, 0, LARGE), (1, 9, LARGE), (3, 0, b"small"))
    ]


def content_of(folder: Path) -> dict[str, int]:
    """Bytes of what lies in the folder of segments."""
    return {path.name: path.stat().st_size for path in (folder / "segments").iterdir()}


def tidied(store: SliverStore) -> None:
    """Tidy until there is no more to do."""
    while store.tidy():
        pass


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
    "writev": (os, "writev", 2),
    "fsync": (os, "fsync", 3),
    "lseek": (os, "lseek", 1),
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
    assert content_of(folder) == {"0-1": 5000}
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
    filling = [NewSliver(blob(100 + number), 0, S, b"small" * 600) for number in range(1000)]
    with store._index.transaction() as index:
        index.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreFull, match="no space"):
        store.put_slivers([*batch, *filling])
    with pytest.raises(StoreFull):
        store.put_metadata(blob(1), bytes(10**6))
    assert (store.sliver_count(), tallies(store, 3), store.metadata(blob(1))) == (1, [], None)
    assert content_of(folder) == {"0-1": 5000}
    with store._index.transaction() as index:
        index.execute("PRAGMA max_page_count = 100000")
    assert store.put_slivers([*batch, *filling]) == 1004


def test_a_row_that_the_index_refuses_leaves_nothing_of_the_batch(
    store: SliverStore, folder: Path, batch: list[NewSliver]
) -> None:
    countless: Any = None
    refused = NewSliver(blob(4), 0, P, LARGE, Tally(3, 0, blob(4), "rebuilt", countless))
    with pytest.raises(StoreError, match="NOT NULL"):
        store.put_slivers([*batch, refused])
    assert (store.sliver_count(), tallies(store, 3)) == (1, [])
    assert content_of(folder) == {"0-1": 5000}
    assert store.put_slivers(batch) == 4


def test_a_disk_that_writes_in_small_pieces_loses_none(
    store: SliverStore, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "writev", lambda file, buffers: real(file, buffers[0][:999]))
    assert store.put_slivers(batch) == 4
    assert store.sliver(blob(1), 9, P) == LARGE


def test_a_batch_that_could_not_be_undone_is_overwritten_by_the_next(
    store: SliverStore, folder: Path, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, 0, errno.EIO))
        patch.setattr("storage.node.store.files.SegmentFiles.undo", lambda *_: None)
        with pytest.raises(StoreError):
            store.put_slivers(batch)
    assert content_of(folder) == {"0-1": 15_005, "9-2": 5000}
    assert store.put_slivers(batch[:1]) == 1
    assert content_of(folder)["0-1"] == 10_000
    store.close()
    store.open()
    assert content_of(folder) == {"0-1": 10_000}


def test_a_file_that_cannot_be_removed_is_removed_by_the_next_opening(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(os.unlink, 0, errno.EIO))
        assert store.drop_shard(0) == 1
    assert (store.sliver(blob(0), 0, P), store.sliver_count()) == (None, 0)
    assert content_of(folder) == {"0-1": 5000}
    assert store.put_sliver(blob(1), 0, P, LARGE)
    store.close()
    store.open()
    assert content_of(folder) == {"0-2": 5000}
    assert store.damaged == []


def test_a_segment_removed_behind_the_store_is_made_anew(store: SliverStore, folder: Path) -> None:
    (folder / "segments" / "0-1").unlink()
    assert store.put_sliver(blob(1), 0, P, LARGE)
    assert store.sliver(blob(1), 0, P) == LARGE
    assert not store.has_sliver(blob(0), 0, P)


# the order of what reaches the disk


def test_nothing_is_committed_before_it_is_durable(
    store: SliverStore, folder: Path, batch: list[NewSliver], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_writev = os.fsync, os.writev

    def path_of(descriptor: int) -> Path:
        return Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder)

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {path_of(descriptor)}")
        real_fsync(descriptor)

    def writev(descriptor: int, buffers: list[memoryview]) -> int:
        steps.append(f"write {path_of(descriptor)}")
        return real_writev(descriptor, buffers)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "writev", writev)
    writer = store._index._writer
    assert writer is not None
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,), (
        "FULL: a commit is durable when it returns"
    )
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.set_trace_callback(steps.append)
    store.put_slivers(batch)
    commit = steps.index("COMMIT")
    for segment in ("segments/0-1", "segments/9-2"):
        assert steps.index(f"write {segment}") < steps.index(f"sync {segment}") < commit
        assert steps.count(f"sync {segment}") == 1
    assert steps.index("sync segments") < commit, "a new segment's own entry must be durable too"


def test_a_shard_is_off_the_list_before_its_file_is_removed(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def unlink(name: str, dir_fd: int) -> None:
        seen.append((name, store.has_sliver(blob(0), 0, P)))

    monkeypatch.setattr(os, "unlink", unlink)
    store.drop_shard(0)
    assert seen == [("0-1", False)]


# what an opening finds


def test_the_torn_tail_of_a_segment_is_cut_off(store: SliverStore, folder: Path) -> None:
    store.close()
    with (folder / "segments" / "0-1").open("ab") as file:
        file.write(LARGE[:77])
    store.open()
    assert content_of(folder) == {"0-1": 5000}
    assert store.put_sliver(blob(1), 0, P, LARGE)
    assert [store.sliver(blob(number), 0, P) for number in (0, 1)] == [LARGE, LARGE]


def test_a_segment_that_is_not_listed_is_removed(store: SliverStore, folder: Path) -> None:
    store.close()
    for name in ("0-2", "77-1"):
        (folder / "segments" / name).write_bytes(LARGE)
    store.open()
    assert content_of(folder) == {"0-1": 5000}
    assert store.sliver_count() == 1
    assert store.damaged == []


@pytest.mark.parametrize(
    "name", ["notes.txt", "00-1", "0-01", "0", "0-", "-1", "0-1.aside-01234567", "0-1-1", "x-1"]
)
def test_a_file_that_is_not_the_store_own_is_left_alone(store: SliverStore, folder: Path, name: str) -> None:
    store.close()
    (folder / "segments" / name).write_bytes(b"an operator's")
    store.open()
    store.drop_shard(0)
    assert (folder / "segments" / name).read_bytes() == b"an operator's"


def test_opening_looks_at_no_sliver_and_at_no_segment_that_is_full(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 10_000)
    store.put_slivers([NewSliver(blob(number), 0, P, LARGE) for number in range(1, 6)])
    store.put_sliver(blob(0), 1, P, LARGE)
    store.close()
    said: list[str] = []
    looked: list[str] = []
    real_connect, real_lstat = sqlite3.connect, Path.lstat

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(*arguments, **options)
        connection.set_trace_callback(said.append)
        return connection

    def lstat(path: Path) -> os.stat_result:
        looked.append(path.name)
        return real_lstat(path)

    monkeypatch.setattr(sqlite3, "connect", connect)
    monkeypatch.setattr(Path, "lstat", lstat)
    store.open()
    assert not [statement for statement in said if re.search(r" (sliver|blob|metadata)\b", statement)]
    assert "1-2" in looked and "0-1" not in looked
    assert (store.sliver_count(), store.stored_bytes(), store.shards()) == (7, 7 * 5000, frozenset({0, 1}))


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, 4999)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _change(path: Path) -> None:
    path.write_bytes(b"X" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [_remove, _truncate, _empty, _change])
@pytest.mark.parametrize("while_open", [False, True], ids=["found at the opening", "found at a read"])
def test_a_damaged_sliver_counts_as_missing_and_can_be_stored_again(
    store: SliverStore, folder: Path, damage: Callable[[Path], None], while_open: bool
) -> None:
    store.put_slivers([NewSliver(blob(1), 1, P, LARGE), NewSliver(blob(2), 1, P, b"small")])
    if not while_open:
        store.close()
    damage(folder / "segments" / "0-1")
    if not while_open:
        store.open()
        assert store.has_sliver(blob(0), 0, P) == (damage is _change)
    assert store.sliver(blob(0), 0, P) is None
    assert store.damaged == [(blob(0), 0, P)]
    assert store.missing(0, P, [blob(0)]) == [blob(0)]
    assert store.missing(1, P, [blob(1), blob(2)]) == []
    assert (store.sliver_count(), store.stored_bytes()) == (2, 5005)
    assert content_of(folder) == {"1-2": 5005}
    assert store.put_sliver(blob(0), 0, P, LARGE)
    assert store.sliver(blob(0), 0, P) == LARGE


def test_all_segments_lost_leave_the_metadata_and_tidying_tells_of_what_is_gone(
    store: SliverStore, folder: Path
) -> None:
    store.put_metadata(blob(2), b"metadata")
    store.close()
    (folder / "segments").rename(folder.parent / "lost")
    told: list[bytes] = []
    store.on_damage = told.append
    store.open()
    assert store.missing(0, P, [blob(0)]) == [blob(0)]
    assert store.shards_with(blob(0), P) == frozenset()
    assert store.slivers_from(0, P, bytes(32), 9, 9).slivers == []
    assert store.metadata(blob(2)) == b"metadata"
    tidied(store)
    assert (store.damaged, told) == ([(blob(0), 0, P)], [blob(0)])
    assert (store.sliver_count(), store.shards()) == (0, frozenset())


@pytest.mark.parametrize("stored_again", [False, True])
def test_a_sliver_dropped_while_it_is_read_is_not_damage(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch, stored_again: bool
) -> None:
    read = SegmentFiles.read

    def read_after_that(files: SegmentFiles, *arguments: Any) -> list[memoryview | None]:
        monkeypatch.undo()
        store.drop_shard(0)
        if stored_again:
            store.put_sliver(blob(0), 0, P, LARGE)
        return read(files, *arguments)

    monkeypatch.setattr(SegmentFiles, "read", read_after_that)
    assert store.sliver(blob(0), 0, P) == (LARGE if stored_again else None)
    assert store.damaged == []
    assert store.sliver_count() == stored_again
    assert store.sliver(blob(0), 0, P) == (LARGE if stored_again else None)


def test_an_index_that_is_no_database_is_refused_and_not_touched(store: SliverStore, folder: Path) -> None:
    store.close()
    (folder / "index.sqlite").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot open the store"):
            store.open()
    assert content_of(folder) == {"0-1": 5000}


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
