"""SIGKILL at each step of a write, a drop, a tidying and an opening, and by chance; then the store is checked.

Nothing is synced, neither here nor in the victim: a kill leaves what was written in the system's memory. What is
synced, and before what, is in `test_store_faults`.

Run as a program (`python test_store_kill.py FOLDER SCENARIO`) this file is the victim: it forks a process for each step
of the scenario, which carries it out in a store of its own and dies at that step. One interpreter starts for all.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from storage.node.sqlite import connect
from storage.node.store import NewSliver, SliverStore, Tally, conversion, segments
from storage.node.store.objects import MARK
from storage.redstuff import Axis
from tests.storage.node.places import segments_of
from tests.storage.node.store.object_stores import Files
from tests.storage.node.store.old_store import make_old_store
from tests.storage.node.tallies import tallies

ROOT = Path(__file__).parents[4]
MOST_STEPS = 120
BATCH = 6
"""Slivers in a batch of `stream`."""
CASES = 24
"""Streams killed by chance."""


def sliver(number: int, shard: int) -> NewSliver:
    """A sliver all of whose parts follow from its number; one in three is small."""
    blob_id = hashlib.sha256(number.to_bytes(4, "big")).digest()
    size = 100 if number % 3 == 0 else 5000 + number
    axis = Axis(number % 2)
    return NewSliver(blob_id, shard, axis, blob_id[:1] * size, Tally(1, shard, blob_id, "rebuilt", 1, size))


BASE = [sliver(number, 1) for number in range(4)] + [sliver(number, 2) for number in range(4, 8)]
ADDED = [sliver(number, 1 + number % 3) for number in range(10, 16)]
CUT = max(BASE[6:], key=lambda one: one.blob_id)
"""The one that lies last in its segment."""


def batch_of(number: int) -> list[NewSliver]:
    """What `stream` stores at once."""
    return [sliver(BATCH * number + at, at % 3) for at in range(BATCH)]


def sync_nothing(patch: pytest.MonkeyPatch) -> None:
    """From now on leave all syncs out."""

    def connect_and_sync_nothing(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    patch.setattr(os, "fsync", lambda descriptor: None)
    patch.setattr("storage.node.store.index.connect", connect_and_sync_nothing)


# the victim


def put(store: SliverStore) -> None:
    store.put_slivers(ADDED)


def put_metadata(store: SliverStore) -> None:
    store.put_metadata(BASE[0].blob_id, b"metadata")


def drop(store: SliverStore) -> None:
    store.drop_shard(1)


def drop_blob(store: SliverStore) -> None:
    store.drop_blobs([BASE[0].blob_id], lambda some: ())


def tidy(store: SliverStore) -> None:
    """Tidy until there is no more to do."""
    while store.tidy():
        pass


def reopen(store: SliverStore) -> None:
    """Open a store in which there is something of everything to put in order."""
    store.close()
    segments = store.folder / "segments"
    with (segments / "1-1").open("ab") as file:
        file.write(b"torn")
    os.truncate(segments / "2-2", (segments / "2-2").stat().st_size - 1)
    (segments / "7-9").write_bytes(b"not listed")
    os.mkfifo(segments / "7-8")
    store.open()


def before(scenario: str, store: SliverStore) -> None:
    """Do to the store with BASE what a scenario expects: one segment to rewrite, and a dropped shard's rows."""
    if scenario == "tidy":
        store.drop_blobs([BASE[1].blob_id], lambda some: ())
        store.drop_shard(2)
    if scenario == "fetch":
        send(store)
    if scenario == "compact":
        send(store)
        store.drop_blobs([BASE[0].blob_id], lambda some: ())
        store.drop_shard(2)


def convert(store: SliverStore) -> None:
    """Open a store of version 4."""
    store.open()


def send(store: SliverStore) -> None:
    for _ in store.moving.send_all():
        pass


def fetch(store: SliverStore) -> None:
    for _ in store.moving.fetch_all():
        pass


def compact(store: SliverStore) -> None:
    """Move and tidy until there is no more to do: fetch a segment, rewrite it, send another, delete three objects."""
    while store.moving.step() or store.tidy():
        pass


SCENARIOS: dict[str, Callable[[SliverStore], None]] = {
    "put": put,
    "put_metadata": put_metadata,
    "drop": drop,
    "drop_blob": drop_blob,
    "tidy": tidy,
    "reopen": reopen,
    "convert": convert,
    "send": send,
    "fetch": fetch,
    "compact": compact,
}


def open_store(folder: Path, scenario: str) -> SliverStore:
    """The store of a scenario, which may have an object store: in a folder of its own in the store's."""
    with_objects = scenario in ("send", "fetch", "compact")
    return SliverStore(folder, (lambda _: Files(folder / "objects")) if with_objects else None)


def die_at_step(step: int) -> None:
    """From now on count each call that changes the disk, and each SQL statement, and die before number `step`.

    A write dies with half of it done.
    """
    real_writev, real_fsync, real_connect = os.writev, os.fsync, sqlite3.connect
    left = [step]

    def count() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def writev(descriptor: int, buffers: list[memoryview]) -> int:
        if count():
            content = b"".join(buffers)
            os.write(descriptor, content[: len(content) // 2])
            die()
        return real_writev(descriptor, buffers)

    def fsync(descriptor: int) -> None:
        if count():
            die()
        real_fsync(descriptor)

    def audit(event: str, _: object) -> None:
        if event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir") and count():
            die()

    def trace(_: str) -> None:
        if count():
            die()

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(*arguments, **options)
        connection.set_trace_callback(trace)
        return connection

    os.writev, os.fsync, sqlite3.connect = writev, fsync, connect  # type: ignore[assignment]
    sys.addaudithook(audit)


def make_store(folder: Path, scenario: str) -> None:
    with open_store(folder, scenario) as store:
        for first in (0, 2, 4, 6):
            store.put_slivers(BASE[first : first + 2])
        before(scenario, store)


def victim(folder: Path, scenario: str, step: int) -> None:
    """Carry out a scenario, leave a marker when it is done, and die without closing the store."""
    if scenario in ("tidy", "compact"):
        segments.SEGMENT_BYTES = 5_101  # two of BASE
    if scenario == "convert":
        conversion.SLIVERS_AT_ONCE = 1
        make_old_store(folder, BASE[:2], {BASE[0].blob_id: b"metadata"})
    else:
        make_store(folder, scenario)
    store = open_store(folder, scenario)
    if scenario == "reopen":
        store.open()
    die_at_step(step)
    if scenario not in ("reopen", "convert"):
        store.open()
    SCENARIOS[scenario](store)
    (folder.parent / f"{folder.name}.done").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_each_step(folder: Path, scenario: str) -> None:
    for step in range(1, MOST_STEPS):
        child = os.fork()
        if child == 0:
            victim(folder / str(step), scenario, step)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"step {step} of {scenario} ended otherwise: {status}")
        if (folder / f"{step}.done").exists():
            return
    raise SystemExit(f"{scenario} takes more than {MOST_STEPS} steps")


def stream(folder: Path, acknowledgements: int) -> None:
    """Store batch after batch and acknowledge each by a byte."""
    with SliverStore(folder) as store:
        while True:
            number = store.sliver_count() // BATCH
            store.put_slivers(batch_of(number))
            os.write(acknowledgements, b".")


def kill_by_chance(folder: Path) -> None:
    """Kill a stream some microseconds after some acknowledgement; write down how many there were in the end."""
    chance = random.Random(20260)
    for case in range(CASES):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            stream(folder / str(case), writing)
        os.close(writing)
        seen = 0
        for _ in range(chance.randrange(1, 12)):
            seen += len(os.read(reading, 1))
        until = time.perf_counter() + chance.random() * 0.004
        while time.perf_counter() < until:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(reading, 1000):
            seen += len(more)
        os.close(reading)
        (folder / f"{case}.seen").write_text(str(seen))


# the checks


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    sync_nothing(monkeypatch)


def run(folder: Path, scenario: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__)), str(folder), scenario]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def stored(store: SliverStore, one: NewSliver) -> bool:
    """Whether a sliver is there; if so, it must be whole."""
    symbols = store.sliver(one.blob_id, one.shard, one.axis)
    assert symbols in (None, one.symbols)
    assert store.has_sliver(one.blob_id, one.shard, one.axis) == (symbols is not None)
    return symbols is not None


def tallied(store: SliverStore, one: NewSliver) -> bool:
    return one.tally in tallies(store, 1)


def check_order(store: SliverStore) -> None:
    """Files, list and rows agree, no file is longer than what is committed of it, and the index is sound."""
    rows = store._index.query("SELECT number, shard, length, slivers, size_bytes, object FROM segment")
    listed = [row[:5] for row in rows]
    files = [row[:5] for row in rows if row[5] is None]
    folder = store.folder / "segments"
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        f"{shard}-{number}": length for number, shard, length, _, _ in files
    }
    counted = store._index.query(
        "SELECT segment, COUNT(*), SUM(size) FROM sliver JOIN segment ON number = segment GROUP BY segment"
    )
    assert counted == sorted((number, slivers, size_bytes) for number, _, _, slivers, size_bytes in listed)
    assert store._index.query("PRAGMA integrity_check") == [("ok",)]
    assert store.sliver_count() == sum(row[1] for row in counted)
    assert store.stored_bytes() == sum(row[2] for row in counted)


def all_or_none(found: Iterable[bool]) -> bool:
    (same,) = set(found)
    return same


def check_put(store: SliverStore, done: bool) -> None:
    assert all(stored(store, one) and tallied(store, one) for one in BASE)
    assert store.damaged == []
    there = all_or_none(stored(store, one) for one in ADDED)
    assert all(tallied(store, one) == there for one in ADDED)
    assert there or not done


def check_metadata(store: SliverStore, done: bool) -> None:
    assert all(stored(store, one) for one in BASE)
    assert store.metadata(BASE[0].blob_id) in ([b"metadata"] if done else [None, b"metadata"])


def check_drop(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert all(stored(store, one) for one in BASE if one.shard != 1)
    there = all_or_none(stored(store, one) for one in BASE if one.shard == 1)
    assert not (there and done)


def check_drop_blob(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert all(stored(store, one) for one in BASE[1:])
    assert not (stored(store, BASE[0]) and done)


def check_tidy(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert [stored(store, one) for one in BASE] == [True, False, True, True] + 4 * [False]
    rows = store._index.query("SELECT COUNT(*) FROM sliver")
    assert rows == [(3,)] or not done
    tidy(store)
    assert store._index.query("SELECT COUNT(*) FROM sliver") == [(3,)]
    assert store._segments.retired() == []


def check_reopen(store: SliverStore, done: bool) -> None:
    assert all(stored(store, one) for one in BASE if one is not CUT)
    assert not (stored(store, CUT) and done)
    tidy(store)
    assert all(stored(store, one) for one in BASE if one is not CUT)
    assert store.sliver_count() == len(BASE) - (not stored(store, CUT))


def check_convert(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert all(stored(store, one) and tallied(store, one) for one in BASE[:2])
    assert store.metadata(BASE[0].blob_id) == b"metadata"
    assert not (store.folder / "slivers").exists() or not done


def check_send(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert all(stored(store, one) and tallied(store, one) for one in BASE)
    assert segments_of(store.folder) == [] or not done
    send(store)
    assert segments_of(store.folder) == []
    assert all(stored(store, one) for one in BASE)
    check_objects(store)


def check_fetch(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert all(stored(store, one) for one in BASE)
    assert list((store.folder / "objects").iterdir()) == [] or not done
    fetch(store)
    assert list((store.folder / "objects").iterdir()) == []
    assert all(stored(store, one) for one in BASE)


def check_compact(store: SliverStore, done: bool) -> None:
    assert store.damaged == []
    assert [stored(store, one) for one in BASE] == [False, *3 * [True], *4 * [False]]
    compact(store)
    assert [stored(store, one) for one in BASE] == [False, *3 * [True], *4 * [False]]
    assert store._index.query("SELECT COUNT(*) FROM sliver") == [(3,)]
    check_objects(store)


def check_objects(store: SliverStore) -> None:
    """Of the objects there are those that are listed, and no others, but for parts of one that a kill has left."""
    there = {
        path.name for path in (store.folder / "objects").iterdir() if not path.name.startswith("part-of-")
    }
    assert there == {MARK, *(one for (one,) in store._index.query("SELECT object FROM segment") if one)}


CHECKS = {
    "put": (check_put, 30),
    "put_metadata": (check_metadata, 8),
    "drop": (check_drop, 8),
    "drop_blob": (check_drop_blob, 8),
    "tidy": (check_tidy, 20),
    "reopen": (check_reopen, 10),
    "convert": (check_convert, 60),
    "send": (check_send, 20),
    "fetch": (check_fetch, 20),
    "compact": (check_compact, 40),
}
"""What must hold however far the victim came, and how many steps there are at least."""


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_killed_at_any_step_the_store_holds_all_that_was_committed_and_nothing_half_done(
    tmp_path: Path, scenario: str
) -> None:
    run(tmp_path, scenario)
    check, least_steps = CHECKS[scenario]
    steps = sorted(int(path.name) for path in tmp_path.iterdir() if path.is_dir())
    assert len(steps) >= least_steps
    for step in steps:
        with open_store(tmp_path / str(step), scenario) as store:
            check_order(store)
            check(store, step == steps[-1])
            store.put_slivers([*BASE, *ADDED])
            assert all(stored(store, one) for one in [*BASE, *ADDED])
            check_order(store)


def test_killed_at_any_moment_every_acknowledged_batch_is_whole(tmp_path: Path) -> None:
    run(tmp_path, "stream")
    for case in range(CASES):
        seen = int((tmp_path / f"{case}.seen").read_text())
        assert seen > 0
        with SliverStore(tmp_path / str(case)) as store:
            check_order(store)
            assert store.damaged == []
            batches = [
                all_or_none(stored(store, one) for one in batch_of(number)) for number in range(seen + 1)
            ]
            assert all(batches[:seen]), "an acknowledged batch is gone"
            assert store.sliver_count() == BATCH * sum(batches), "more than the one batch under way"


if __name__ == "__main__":
    sync_nothing(pytest.MonkeyPatch())
    if sys.argv[2] == "stream":
        kill_by_chance(Path(sys.argv[1]))
    else:
        die_at_each_step(Path(sys.argv[1]), sys.argv[2])
