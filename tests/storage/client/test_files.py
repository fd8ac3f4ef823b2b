"""Files, pipes and standard streams: read whole and unchanged, or refused; written whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.client import files
from storage.client.files import FileError, content_of, metadata_of, write_new
from storage.redstuff import RedStuff, TooLarge
from tests.damages import (
    DAMAGES,
    as_user,
    device,
    empty,
    link_to_a_file,
    link_to_what_was_there,
    noise,
    noisy_middle,
    playground,
    read_only,
    truncated,
)

CODE = RedStuff(4)
CODE.blob_id(b"")  # what is imported and compiled for it, another user may not read
CONTENT = random.Random(1).randbytes(50_000)
READABLE = (link_to_a_file, link_to_what_was_there, empty, truncated, noise, noisy_middle, read_only)
STREAM_LIMIT_S = 20


def no_limit(size_bytes: int) -> None:
    pass


async def read_both(path: Path) -> bytes | bytearray:
    """A file's content, which its metadata are of."""
    content = await content_of(path, CODE.symbol_size)
    assert (await metadata_of(CODE, path)).blob_id == CODE.blob_id(content)
    return content


async def test_a_file_is_read_or_told_in_one_line_whatever_it_is() -> None:
    for damage in DAMAGES:
        if damage is device and os.geteuid() != 0:
            continue
        with playground() as ground:
            path = ground.inside / "blob"
            path.write_bytes(CONTENT)
            ground.damage(damage, path)
            with as_user():
                try:
                    async with asyncio.timeout(0.2):
                        found = await read_both(path)
                except (FileError, TooLarge) as error:
                    assert damage not in READABLE, damage
                    assert "\n" not in str(error)
                    assert isinstance(error, TooLarge) or str(path) in str(error)
                except TimeoutError:
                    assert damage.__name__ == "fifo", "only a FIFO without a writer is waited for"
                else:
                    assert damage in READABLE, damage
                    assert found == path.read_bytes()


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/dev/full", "/proc", "/proc/self/mem", "/proc/kcore"]
)
async def test_what_has_no_end_or_content_is_refused(path: str) -> None:
    for read in (content_of(Path(path), CODE.symbol_size), metadata_of(CODE, Path(path))):
        with pytest.raises((FileError, TooLarge)) as refused:
            await read
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["/proc/version", "/proc/self/cmdline", "/sys/kernel/mm/transparent_hugepage/enabled"]
)
async def test_a_file_whose_size_says_nothing_is_read_to_its_end(path: str) -> None:
    if Path(path).exists():
        content = await read_both(Path(path))
        assert content == Path(path).read_bytes() != b""


async def test_a_socket_is_told_as_what_it_is(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(FileError, match="socket: it is a socket, not a file"):
            await content_of(tmp_path / "socket", no_limit)


async def test_the_end_of_another_programs_lease_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file server has it of a file that a machine of its network has open (fcntl(2), "Leases")."""
    real, refusals = os.open, iter([True, True])

    def refuse_at_first(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if str(path).endswith("leased") and next(refusals, False):
            assert flags & os.O_NONBLOCK
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        return real(path, flags, *rest, **named)

    path = tmp_path / "leased"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(files, "LEASE_POLL_S", 0.001)
    monkeypatch.setattr(os, "open", refuse_at_first)
    assert await content_of(path, no_limit) == CONTENT
    refusals = iter(lambda: True, None)
    monkeypatch.setattr(files, "LEASE_LIMIT_S", 0.01)
    with pytest.raises(FileError, match="leased: Resource temporarily unavailable"):
        await content_of(path, no_limit)


@contextlib.contextmanager
def writer(path: Path, content: bytes) -> Iterator[None]:
    """A thread that writes to a FIFO."""
    thread = threading.Thread(target=lambda: path.write_bytes(content))
    thread.start()
    try:
        yield
    finally:
        thread.join(STREAM_LIMIT_S)


async def test_a_pipe_that_gives_nothing_is_refused(tmp_path: Path) -> None:
    """The program that was to write to it has failed; the blob of no bytes would be registered and paid."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    for read in (content_of(path, no_limit), metadata_of(CODE, path)):
        with writer(path, b""), pytest.raises(FileError, match="fifo: nothing came through it"):
            await read


@pytest.mark.parametrize("size", [1, 65_536, 300_000])
async def test_a_fifo_gives_all_that_is_written_to_it(tmp_path: Path, size: int) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    content = random.Random(size).randbytes(size)
    with writer(path, content):
        assert await content_of(path, no_limit) == content
    with writer(path, content):
        assert (await metadata_of(CODE, path)).blob_id == CODE.blob_id(content)


async def test_a_fifo_that_gives_too_much_is_refused_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    holding = os.open(path, os.O_RDWR)
    try:
        os.write(holding, bytes(60_000))
        monkeypatch.setattr(files, "STREAM_BYTES", 50_000)
        with pytest.raises(FileError, match="more than 50000 bytes"):
            await content_of(path, no_limit)
    finally:
        os.close(holding)


async def test_waiting_for_a_pipe_ends_as_soon_as_it_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    before = open_files()
    reading = asyncio.create_task(content_of(path, no_limit))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert open_files() == before


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def while_read(monkeypatch: pytest.MonkeyPatch, calls_before: int, act: Callable[[], object]) -> None:
    """Act before one of the reads, and once."""
    real, left = os.pread, [calls_before]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        left[0] -= 1
        if left[0] == -1:
            act()
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)


def overwrite(path: Path) -> None:
    """One byte is another, and the times say nothing of it."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(bytes([CONTENT[20_000] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut(path: Path) -> None:
    os.truncate(path, 30_000)


@pytest.mark.parametrize("change", [overwrite, append, cut])
@pytest.mark.parametrize("calls_before", range(1, 8))
async def test_a_file_that_changes_while_it_is_read_is_refused_or_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], calls_before: int
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 10_000)
    path = tmp_path / "blob"
    for way in ("content", "metadata"):
        path.write_bytes(CONTENT)
        with monkeypatch.context() as patch:
            while_read(patch, calls_before, lambda: change(path))
            try:
                if way == "content":
                    blob_id: bytes = CODE.blob_id(await content_of(path, CODE.symbol_size))
                else:
                    blob_id = (await metadata_of(CODE, path)).blob_id
            except FileError as error:
                assert "changed while it was read" in str(error)
                continue
        assert blob_id in (CODE.blob_id(CONTENT), CODE.blob_id(path.read_bytes()))


@pytest.mark.parametrize("size", [0, 10, 90_000])
async def test_a_file_whose_size_changes_while_it_is_read_has_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Read again, the rest of a file that is cut would be registered, and paid, for the whole."""
    path, real = tmp_path / "file", os.pread
    path.write_bytes(CONTENT)

    def first_read(*arguments: int) -> bytes:
        monkeypatch.setattr(os, "pread", real)
        part = real(*arguments)
        os.truncate(path, size)
        return part

    monkeypatch.setattr(files, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(os, "pread", first_read)
    with pytest.raises(FileError, match="changed while it was read"):
        await metadata_of(RedStuff(10), path)


async def test_a_change_that_an_unlucky_clock_hides_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 10_000)
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    while_read(monkeypatch, 4, lambda: overwrite(path))
    with pytest.raises(FileError, match="changed while it was read"):
        await content_of(path, CODE.symbol_size)


# writing


async def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "blob"
    await write_new(path, CONTENT)
    assert path.read_bytes() == CONTENT
    with pytest.raises(FileError, match="File exists"):
        await write_new(path, b"other")
    assert path.read_bytes() == CONTENT
    path.unlink()
    for name in ("fsync", "link"):
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(os, name, fail)
            if name == "link":
                await write_new(path, CONTENT)  # where there are no hard links, renaming has to do
                assert path.read_bytes() == CONTENT
                path.unlink()
            else:
                with pytest.raises(FileError, match=r"cannot write .*blob: No space left"):
                    await write_new(path, CONTENT)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_a_file_is_written_where_files_are_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on some network shares; the file is better there than not at all."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    await write_new(tmp_path / "blob", CONTENT)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


async def test_a_file_whose_writing_is_cancelled_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, goes_on, began = tmp_path / "blob", threading.Event(), threading.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        began.set()
        goes_on.wait(STREAM_LIMIT_S)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    writing = asyncio.create_task(write_new(path, CONTENT))
    await asyncio.to_thread(began.wait, STREAM_LIMIT_S)
    writing.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert list(tmp_path.iterdir()) == []
