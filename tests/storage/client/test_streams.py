"""What the commands write to pipes, and their standard input and output: all of it, or one line."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import sys
from pathlib import Path

import pytest

from storage.client.files import FileError, content_of, is_stream, write_stream

CONTENT = random.Random(1).randbytes(50_000)


def read_all(source: int) -> bytes:
    with os.fdopen(os.dup(source), "rb") as file:
        return file.read()


async def test_a_terminal_that_is_none_is_no_pipe_without_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """As /dev/tty of a process without a terminal, in a container or a cron job."""

    def no_device(*_: object, **__: object) -> int:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    monkeypatch.setattr(os, "open", no_device)
    with pytest.raises(FileError, match="cannot read /dev/null: No such device or address"):
        await content_of(Path("/dev/null"), lambda size_bytes: None)


async def test_a_pipe_gets_all_of_it_and_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    monkeypatch.chdir(tmp_path)
    Path("-").touch()
    assert is_stream(path) and is_stream(Path("-")) and is_stream(Path("/dev/null"))
    assert not is_stream(tmp_path) and not is_stream(tmp_path / "new")
    with pytest.raises(FileError, match="no program reads from it"):
        await write_stream(path, CONTENT)
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(source, True)
        reading = asyncio.create_task(asyncio.to_thread(read_all, source))
        await write_stream(path, 10 * CONTENT)
        assert await reading == 10 * CONTENT
    finally:
        os.close(source)
    await write_stream(Path("/dev/null"), CONTENT)
    with pytest.raises(FileError, match="No space left"):
        await write_stream(Path("/dev/full"), CONTENT)


async def test_a_pipe_that_another_program_fills_meanwhile_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = os.write, iter([True, False, True])

    def write(descriptor: int, content: bytes) -> int:
        if next(refusals, False):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(descriptor, content)

    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        monkeypatch.setattr(os, "write", write)
        await write_stream(path, CONTENT[:9_000])
        assert os.read(source, 10_000) == CONTENT[:9_000]
    finally:
        os.close(source)


COPY = """
import asyncio, sys
from pathlib import Path
from storage.client.files import content_of, write_stream
async def copy():
    await write_stream(Path("-"), await content_of(Path("-"), lambda size: None))
asyncio.run(copy())
"""


@pytest.mark.parametrize("way", ["pipe", "socket", "file"])
async def test_standard_input_and_output_are_read_and_written_to_the_end(tmp_path: Path, way: str) -> None:
    content = 7 * CONTENT
    if way == "pipe":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COPY, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(content)
        assert out == content
        return
    if way == "socket":
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", COPY, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(content)
        writer.write_eof()
        assert await reader.read() == content
        assert await process.wait() == 0
        writer.close()
        return
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        os.lseek(source.fileno(), 5, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COPY, stdin=source, stdout=target
        )
        assert await process.wait() == 0
    assert (tmp_path / "out").read_bytes() == content[5:]


async def test_a_reader_of_standard_output_that_has_enough_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """As `head` has: the commands end in silence then."""
    (tmp_path / "in").write_bytes(7 * CONTENT)
    with (tmp_path / "in").open("rb") as source:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COPY),
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        assert await process.stdout.readexactly(10) == CONTENT[:10]
        process.stdout._transport.close()  # type: ignore[attr-defined]
        assert (await process.stderr.read()).decode().splitlines()[
            -1
        ] == "BrokenPipeError: [Errno 32] Broken pipe"
        await process.wait()


@pytest.mark.parametrize(("number", "name"), [(0, "input"), (1, "output")])
async def test_a_closed_standard_stream_is_told(number: int, name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COPY, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, preexec_fn=lambda: os.close(number),
    )  # fmt: skip
    _, errors = await process.communicate(b"some")
    assert f"standard {name}: it is closed" in errors.decode().splitlines()[-1]
