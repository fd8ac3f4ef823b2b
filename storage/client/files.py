"""What the commands read blobs from and write them to: files, pipes, standard input and output (`-`).

A file is read as it was at one moment, or refused: it is read twice and compared. What changes meanwhile would be
registered, and paid, under the id of a content that never was. A FIFO, a pipe or a terminal is read once, to its end,
and refused if that comes at once: what should have written to it has failed, and the blob would be paid all the same.
The files of `/proc` and the like, whose size says nothing, are read once too. Devices, which have no end, and
sockets, which no name opens, are refused. A file that another program has a lease of, as a file server, is waited for.

A file that is written appears whole under its name, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from xxhash import xxh3_128

from committee.files import LEASE_LIMIT_S, LEASE_POLL_S, kind_of, opened, write_whole
from storage.client.errors import ClientError
from storage.redstuff import BlobMetadata, RedStuff

STANDARD = Path("-")
STREAM_BYTES = 2**30
"""The most that is read through a pipe: it is kept in memory, and its size is not known before its end."""
CHUNK_BYTES = 2**22

Result = TypeVar("Result")
SizeCheck = Callable[[int], object]
"""Raises for a number of bytes that is too large."""


STANDARD_INPUT = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""Other names of `-`: by these, a socket cannot be opened, which some programs give to the ones that they start."""


class FileError(ClientError):
    """A file cannot be read or written; the message says which and why."""


class _Stopped(Exception):
    """The work was cancelled."""


def source_of(text: str) -> Path:
    """Return the path of a file to be read by its name; the rest shows when it is read. Raises `FileError`.

    What is looked for is the text as it stands: `Path` would drop a "/" at its end, which makes it a folder's name.
    """
    path = STANDARD if text in STANDARD_INPUT else Path(text)
    if path == STANDARD:
        return path
    if not os.path.exists(text):  # noqa: PTH110
        raise FileError(f"there is no file {text}, or this user may not see it")
    if path.is_dir():
        raise FileError(f"{text} is a folder")
    return path


async def content_of(path: Path, check_size: SizeCheck) -> bytearray:
    """Return all that a file, a pipe or standard input holds.

    `check_size` is called with the bytes of a file before it is read, and with the bytes read so far of a pipe
    whenever there are more; what it raises ends the reading. Raises `FileError`, also for a file that changes while it
    is read. A cancellation ends it at once.
    """
    with _told("cannot read", path), opened(await _opened_source(path)) as source:
        return await _content_of(path, source, check_size)


async def metadata_of(code: RedStuff, path: Path) -> BlobMetadata:
    """Return the metadata of what a file, a pipe or standard input holds; a file is not kept in memory.

    Raises `TooLarge`, and `FileError` as `content_of`.
    """
    with _told("cannot read", path), opened(await _opened_source(path)) as source:
        found = os.fstat(source)
        if stat.S_ISREG(found.st_mode) and found.st_size and not os.lseek(source, 0, os.SEEK_CUR):
            code.symbol_size(found.st_size)
            metadata = await _in_thread(lambda stopped: _metadata(path, source, code, stopped))
            if metadata is not None:
                return metadata
        content = await _content_of(path, source, code.symbol_size)
    return (await asyncio.to_thread(code.encode, content)).metadata


async def write_new(path: Path, content: bytes | bytearray) -> None:
    """Write a file; on an error, or when cancelled, nothing has its name. Raises `FileError`."""
    with _told("cannot write", path):
        writing = asyncio.ensure_future(asyncio.to_thread(write_whole, path, content))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            if writing.exception() is None:
                await asyncio.to_thread(path.unlink, missing_ok=True)
            raise


def is_stream(path: Path) -> bool:
    """Return whether what is written to a path goes on to a program or a terminal, and replaces nothing."""
    if path == STANDARD:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


async def write_stream(path: Path, content: bytes | bytearray) -> None:
    """Write to a pipe, a terminal or standard output. Cancelled, it ends at once.

    Raises `FileError`; `BrokenPipeError` when nothing reads standard output any more.
    """
    with _told("cannot write", path), opened(_open_target(path)) as target:
        left = memoryview(content)
        while left:
            is_pollable = await _ready(target, for_writing=True)
            with contextlib.suppress(BlockingIOError):  # others may write to it as well
                left = left[os.write(target, left[: select.PIPE_BUF if is_pollable else CHUNK_BYTES]) :]


# inside


@contextlib.contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """Turn the disk's errors into `FileError`, but a reader's of standard output that has read enough, as `head`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and path == STANDARD:
            raise
        has_no_reader = error.errno == errno.ENXIO and what == "cannot write"
        why = "no program reads from it" if has_no_reader else error.strerror
        raise FileError(f"{what} {_name(path, what)}: {why}") from None


def _name(path: Path, what: str = "cannot read") -> str:
    return str(path) if path != STANDARD else f"standard {'input' if what == 'cannot read' else 'output'}"


async def _opened_source(path: Path) -> int:
    """As `_open_source`, once no other program has a lease of the file. Raises `FileError` and `OSError`."""
    clock = asyncio.get_running_loop().time
    until = clock() + LEASE_LIMIT_S
    while True:
        try:
            return _open_source(path)
        except BlockingIOError:
            if clock() >= until:
                raise
        await asyncio.sleep(LEASE_POLL_S)


def _open_source(path: Path) -> int:
    """A new descriptor of something that has an end. Raises `FileError` and `OSError`."""
    if path == STANDARD:
        if sys.stdin is None:
            raise FileError("cannot read standard input: it is closed")
        source = os.dup(0)
    else:
        if stat.S_ISSOCK(mode := path.stat().st_mode):  # which cannot be opened
            raise _no_file(path, mode)
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(source).st_mode
    has_end = stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(source)
    if not has_end:
        os.close(source)
        raise _no_file(path, mode)
    return source


def _no_file(path: Path, mode: int) -> FileError:
    return FileError(f"cannot read {_name(path)}: it is {kind_of(mode)}, not a file")


def _open_target(path: Path) -> int:
    if path != STANDARD:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if sys.stdout is None:
        raise FileError("cannot write standard output: it is closed")
    sys.stdout.flush()
    return os.dup(1)


async def _content_of(path: Path, source: int, check_size: SizeCheck) -> bytearray:
    if stat.S_ISREG(os.fstat(source).st_mode):
        return await _in_thread(lambda stopped: _content(path, source, check_size, stopped))
    return await _stream(path, source, check_size)


async def _stream(path: Path, source: int, check_size: SizeCheck) -> bytearray:
    """Return all bytes from a pipe or terminal; wait for a FIFO's writer. Raises `FileError` if there are none."""
    content = bytearray()
    while True:
        await _ready(source)
        try:
            part = os.read(source, CHUNK_BYTES)
        except BlockingIOError:
            continue
        if not part and not content:
            raise FileError(
                f"cannot read {_name(path)}: nothing came through it, as when the program that writes to it fails; "
                "for the blob of no bytes name an empty file"
            )
        if not part:
            return content
        content += part
        check_size(len(content))
        if len(content) > STREAM_BYTES:
            raise FileError(
                f"cannot read {_name(path)}: more than {STREAM_BYTES} bytes come; put them into a file"
            )


async def _ready(descriptor: int, for_writing: bool = False) -> bool:
    """Wait until a pipe or terminal can be read from or written to; False for what cannot be waited for, like files."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    add, remove = loop.add_reader, loop.remove_reader
    if for_writing:
        add, remove = loop.add_writer, loop.remove_writer
    try:
        add(descriptor, ready.set)
    except PermissionError:
        return False
    try:
        await ready.wait()
    finally:
        remove(descriptor)
    return True


async def _in_thread(work: Callable[[threading.Event], Result]) -> Result:
    """Do the work in a thread; when cancelled, tell it to stop and wait until it has: it uses open files."""
    stopped = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(work, stopped))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([working])
        working.exception()
        raise


def _chunks(source: int, stopped: threading.Event, start: int = 0) -> Iterator[bytes]:
    while part := os.pread(source, CHUNK_BYTES, start):
        if stopped.is_set():
            raise _Stopped
        yield part
        start += len(part)


def _content(path: Path, source: int, check_size: SizeCheck, stopped: threading.Event) -> bytearray:
    """All that a regular file holds, from where it is read."""
    before, start = os.fstat(source), os.lseek(source, 0, os.SEEK_CUR)
    check_size(max(0, before.st_size - start))
    content, digest = bytearray(), xxh3_128()
    for part in _chunks(source, stopped, start):
        content += part
        digest.update(part)
        check_size(len(content))
    if len(content) == before.st_size - start:
        _require_same(path, before, digest.digest(), source, stopped, start)
    elif not _is_unchanged(before, os.fstat(source)):
        raise _changed(path)
    return content


def _metadata(path: Path, source: int, code: RedStuff, stopped: threading.Event) -> BlobMetadata | None:
    """The metadata of a regular file; None when it holds more or less than its size says."""
    before, digest, size_bytes = os.fstat(source), xxh3_128(), 0
    for part in _chunks(source, stopped):
        digest.update(part)
        size_bytes += len(part)
    if size_bytes != before.st_size:
        if not _is_unchanged(before, os.fstat(source)):
            raise _changed(path)
        return None
    with os.fdopen(os.dup(source), "rb") as file:
        metadata = code.metadata_of_file(file)
    _require_same(path, before, digest.digest(), source, stopped)
    return metadata


def _require_same(
    path: Path, before: os.stat_result, digest: bytes, source: int, stopped: threading.Event, start: int = 0
) -> None:
    """Raises `FileError` when a file is not what it was. A clock may be too coarse to tell, so it is read again."""
    again = xxh3_128()
    for part in _chunks(source, stopped, start):
        again.update(part)
    if again.digest() != digest or not _is_unchanged(before, os.fstat(source)):
        raise _changed(path)


def _is_unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _changed(path: Path) -> FileError:
    return FileError(
        f"{_name(path)} changed while it was read: copy it, or wait until nothing writes to it; nothing was sent"
    )
