"""Threads at one store: each sliver once, and nobody waits for what is not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

import pytest

from storage.node.store import INLINE_BYTES, NewSliver, SliverStore, Tally
from storage.redstuff import Axis
from tests.storage.node.tallies import tallies

P = Axis.PRIMARY


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


def large(number: int) -> bytes:
    return bytes([number]) * (INLINE_BYTES + 1)


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[SliverStore]:
    with SliverStore(folder) as opened:
        yield opened


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


def test_readers_do_not_wait_for_a_writer(store: SliverStore) -> None:
    store.put_sliver(blob(1), 0, P, b"ab")
    with store._index.transaction() as index:
        index.execute("DELETE FROM sliver")
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(store.sliver, blob(1), 0, P).result(timeout=10) == b"ab"
    assert store.sliver(blob(1), 0, P) is None


def test_writers_do_not_wait_while_a_dropped_shard_s_files_are_removed(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_sliver(blob(1), 5, P, large(1))
    written: list[bool] = []

    def remove(aside: str, ignore_errors: bool, dir_fd: int) -> None:
        with ThreadPoolExecutor(1) as threads:
            written.append(threads.submit(store.put_sliver, blob(1), 5, P, large(2)).result(timeout=10))
        rmtree(aside, ignore_errors=ignore_errors, dir_fd=dir_fd)

    monkeypatch.setattr("shutil.rmtree", remove)
    assert store.drop_shard(5) == 1
    assert written == [True]
    assert store.sliver(blob(1), 5, P) == large(2)
    assert files_of(folder) == [blob(1).hex(), "lock"]


def test_closing_waits_until_a_dropped_shard_s_files_are_removed(
    store: SliverStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_sliver(blob(1), 5, P, large(1))
    with ThreadPoolExecutor(1) as threads:
        closing: list[Future[None]] = []

        def remove(aside: str, ignore_errors: bool, dir_fd: int) -> None:
            closing.append(threads.submit(store.close))
            with pytest.raises(TimeoutError):
                closing[0].result(timeout=0.05)
            rmtree(aside, ignore_errors=ignore_errors, dir_fd=dir_fd)

        monkeypatch.setattr("shutil.rmtree", remove)
        assert store.drop_shard(5) == 1
        closing[0].result(timeout=10)
    assert files_of(folder) == ["lock"]
