"""A store on a disk that other programs have filled to its last byte, the store's reserve too."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.node.store import SliverStore, StoreFull, sliver_store
from storage.redstuff import Axis
from tests.storage.node.store.object_stores import Faulty

P = Axis.PRIMARY
LARGE = b"L" * 5000


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_a_store_that_no_room_is_left_to_open_says_so_and_opens_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it an I/O error of its memory map, as on file systems that can have none."""
    with SliverStore(tmp_path / "store") as store:
        store.put_sliver(blob(0), 0, P, LARGE)

    def no_map(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    with monkeypatch.context() as full:
        full.setattr("storage.node.sqlite.sqlite3.connect", no_map)
        full.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=1, f_bavail=7, f_frsize=4096))
        with pytest.raises(StoreFull, match="no space is left"):
            SliverStore(tmp_path / "store").open()
    with SliverStore(tmp_path / "store") as store:
        assert store.sliver(blob(0), 0, P) == LARGE


def test_a_file_system_that_tells_no_size_takes_slivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ramfs, tmpfs without a limit, and some in user space: Sohex/musefs#368, quantcast/qfs#255."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=4096))
    with SliverStore(tmp_path / "store") as store:
        store.require_room(len(LARGE))
        store.put_sliver(blob(0), 0, P, LARGE)
        assert store.sliver(blob(0), 0, P) == LARGE
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=1, f_bavail=0, f_frsize=4096))
    with SliverStore(tmp_path / "store") as store, pytest.raises(StoreFull):
        store.require_room(len(LARGE))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk of its own")
@pytest.mark.slow
def test_a_disk_without_a_byte_left_refuses_writes_serves_reads_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program has filled the disk, reserve and all."""
    monkeypatch.setattr(sliver_store, "RESERVE_BYTES", 0)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        check_a_full_disk(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk of its own")
@pytest.mark.slow
def test_segments_leave_a_disk_without_a_byte_left_as_soon_as_the_index_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliver_store, "RESERVE_BYTES", 0)
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 20_000)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        check_moving_on_a_full_disk(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def check_moving_on_a_full_disk(disk: Path) -> None:
    objects = Faulty()
    stored = {number: bytes([number]) * 20_000 for number in range(9)}
    with SliverStore(disk / "store", objects.connect) as store:

        def check() -> None:
            assert {number: store.sliver(blob(number), 0, P) for number in stored} == stored
            assert store.damaged_count == 0

        for number, symbols in stored.items():
            store.put_sliver(blob(number), 0, P, symbols)
        filling = disk / "another program's"
        with contextlib.suppress(OSError), filling.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(StoreFull):
            while store.moving.step():
                pass
            store.put_metadata(blob(1), bytes(10**6))
        check()
        filling.unlink()
        list(store.moving.send_all())
        check()
        assert (len(objects.there()), list((disk / "store" / "segments").iterdir())) == (9, [])
        with contextlib.suppress(OSError), filling.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(StoreFull, match="no room for 180000 bytes of segments"):
            list(store.moving.fetch_all())
        check()


def check_a_full_disk(disk: Path) -> None:
    stored = {number: bytes([number]) * (100 if number % 2 else 20_000) for number in range(1, 9)}
    filling = disk / "another program's"

    def fill() -> None:
        with contextlib.suppress(OSError), filling.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def check(store: SliverStore) -> None:
        assert {number: store.sliver(blob(number), 0, P) for number in stored} == stored

    with SliverStore(disk / "store") as store:
        for number, symbols in stored.items():
            store.put_sliver(blob(number), 0, P, symbols)
        fill()
        for symbols in (b"inline", LARGE):
            with pytest.raises(StoreFull):
                store.put_sliver(blob(9), 0, P, symbols)
        with pytest.raises(StoreFull):
            store.keep_bookmark("name", b"value")
        check(store)
    filling.unlink()
    with SliverStore(disk / "store") as store:
        check(store)
        stored[9] = LARGE
        assert store.put_sliver(blob(9), 0, P, LARGE)
    fill()
    with pytest.raises(StoreFull, match="no space is left"):
        SliverStore(disk / "store").open()
    filling.unlink()
    with SliverStore(disk / "store") as store:
        check(store)
        assert store.damaged_count == 0
