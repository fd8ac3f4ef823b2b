"""Large bodies of HTTP messages: sent in pieces and received into one place, in memory used before.

Fresh memory is zeroed by the kernel page by page, which costs several times as much as copying a body; so large bodies
are put together, and received, in `storage.redstuff.memory`, and sent from there without being copied again.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from storage.redstuff.memory import uninitialised

LARGE_BYTES = 2**20
"""Least size of a body whose memory is used again; below it Python's own memory is as good."""
PIECE_BYTES = 2**18
"""About what a socket takes at once: more would be copied, to wait for the rest to be sent."""

STALE_S = 1.0
"""A connection that breaks sooner may have been closed by the other side before the request was sent."""
STEADY_BYTES = 2**16
"""Least size of an answer that a node sends as a `LargeBody`, so that it sees how the reader gets on."""

Bytes = bytes | memoryview


class TooLong(Exception):
    """A body is longer than it may be."""


class Made(Protocol):
    """A body whose pieces are made in threads while it is sent, and made anew when it is sent again."""

    def __len__(self) -> int: ...

    def pieces(self, most_bytes: int, start: int = 0) -> Iterator[Callable[[], Bytes]]:
        """Yield functions that make the content from byte `start` on, in order, in pieces of about `most_bytes`."""


class Framed:
    """The body `head ‖ content ‖ tail`, which are not copied into one."""

    def __init__(self, head: bytes, content: memoryview | Made, tail: bytes, start: int = 0) -> None:
        """The first `start` bytes of the body are left out."""
        self._head, self._content, self._tail, self._start = head, content, tail, start

    def __len__(self) -> int:
        return len(self._head) + len(self._content) + len(self._tail) - self._start

    def behind(self, start: int) -> Framed:
        """Return the body without its first `start` bytes."""
        return Framed(self._head, self._content, self._tail, self._start + start)

    async def pieces(self) -> AsyncIterator[Bytes]:
        """Yield the body: head and tail whole, the content in pieces of about PIECE_BYTES."""
        yield self._head[self._start :]
        start = max(0, self._start - len(self._head))
        if isinstance(self._content, memoryview):
            for piece in _sliced(self._content[start:]):
                yield piece
        else:
            for make in self._content.pieces(PIECE_BYTES, start):
                yield await asyncio.to_thread(make)
        yield self._tail[max(0, start - len(self._content)) :]


Content = Bytes | Framed
"""What a request may send."""


class LargeBody(Payload):
    """A body that is sent in pieces, so that no copy of it waits for the other side; it tells how much has arrived."""

    def __init__(self, content: Content, content_type: str) -> None:
        value = content if isinstance(content, Framed) else memoryview(content)
        super().__init__(value, content_type=content_type)
        self._size = len(content)
        self._written_bytes = self._moved_bytes = 0
        self._began_s = 0.0
        self._transport: asyncio.Transport | None = None

    @property
    def size_bytes(self) -> int:
        """The length of the content."""
        return len(self._value)

    @property
    def moved_bytes(self) -> int:
        """Bytes that the other side's machine has acknowledged; what a closed connection had queued is not known."""
        if self._transport is not None and not self._transport.is_closing():
            self._moved_bytes = max(0, self._written_bytes - queued_bytes(self._transport))
        return self._moved_bytes

    @property
    def has_begun(self) -> bool:
        """Whether there is a connection on which the body is sent."""
        return self._transport is not None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body. Raises `ConnectionResetError` when aiohttp sends it again STALE_S or more after it began.

        aiohttp does so by itself when a connection breaks that had been kept open. If it breaks at once, the other side
        had closed it before, and the body may be sent again; if later, the sender of the body decides.
        """
        now_s = asyncio.get_running_loop().time()
        if self._transport is not None and now_s - self._began_s >= STALE_S:
            raise ConnectionResetError("the connection broke while the body was sent")
        self._began_s = now_s
        self._written_bytes = self._moved_bytes = 0
        self._transport = getattr(writer, "transport", None)
        if isinstance(self._value, Framed):
            async for piece in self._value.pieces():
                await self._write(writer, piece)
        else:
            for piece in _sliced(self._value):
                await self._write(writer, piece)

    async def _write(self, writer: AbstractStreamWriter, piece: Bytes) -> None:
        self._written_bytes += len(piece)
        await writer.write(piece)

    def drop(self) -> None:
        """Close the connection without sending what is still queued: a closed socket would go on to send megabytes."""
        if self._transport is None or not queued_bytes(self._transport):
            return
        connection = self._transport.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _sliced(content: memoryview) -> Iterator[memoryview]:
    for first in range(0, len(content), PIECE_BYTES):
        yield content[first : first + PIECE_BYTES]


def queued_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes written to a connection the other side has not acknowledged yet.

    They are in asyncio's buffer, or in the kernel's, which holds megabytes. Where the kernel does not tell (it does on
    Linux), only asyncio's count.
    """
    size_bytes = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    with suppress(OSError, ValueError, AttributeError):  # closed, or no socket
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
        size_bytes += in_kernel
    return size_bytes


def joined(parts: Sequence[Bytes]) -> Bytes:
    """One body of its parts."""
    size_bytes = sum(map(len, parts))
    if size_bytes < LARGE_BYTES:
        return b"".join(parts)
    room, place = uninitialised(size_bytes).data, 0
    for part in parts:
        room[place : place + len(part)] = part
        place += len(part)
    return room


class _Parts:
    """A body as it arrives, of any length up to a limit."""

    def __init__(self, limit: int) -> None:
        self._parts: list[bytes] = []
        self._left = limit

    def add(self, part: bytes) -> None:
        """Take the next part. Raises `TooLong`."""
        self._parts.append(part)
        self._left -= len(part)
        if self._left < 0:
            raise TooLong

    def content(self) -> bytes:
        """Return the bytes that have arrived, as one object."""
        return b"".join(self._parts)


class _Room:
    """A large body of known length as it arrives, in memory used before."""

    def __init__(self, size_bytes: int) -> None:
        self._room, self._place = uninitialised(size_bytes).data, 0

    def add(self, part: bytes) -> None:
        """Take the next part. Raises `TooLong`."""
        if len(part) > len(self._room) - self._place:
            raise TooLong
        self._room[self._place : self._place + len(part)] = part
        self._place += len(part)

    def content(self) -> memoryview:
        """Return what has arrived."""
        return self._room[: self._place]


async def received(
    response: aiohttp.ClientResponse,
    limit: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    cut: list[Bytes] | None = None,
) -> Bytes:
    """The whole body, behind the parts that are in `cut`; `on_bytes` is told of each further part's length.

    What has arrived of a body that breaks off is added to `cut`. Raises `TooLong` when all has more than `limit` bytes,
    or the body more than it said; then it is not read on.
    """
    begun_bytes = sum(map(len, cut or ()))
    size_bytes = response.content_length
    if size_bytes is not None and begun_bytes + size_bytes > limit:
        raise TooLong
    is_small = size_bytes is None or size_bytes < LARGE_BYTES
    arriving = _Parts(limit - begun_bytes) if size_bytes is None or is_small else _Room(size_bytes)
    is_whole = False
    try:
        async for chunk in response.content.iter_any():
            on_bytes(len(chunk))
            arriving.add(chunk)
        is_whole = True
    finally:
        if cut is not None and not is_whole:
            cut.append(arriving.content())
    return joined([*cut, arriving.content()]) if cut else arriving.content()
