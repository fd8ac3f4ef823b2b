"""Large bodies of HTTP messages: sent in pieces and received into one place, in memory used before.

Fresh memory is zeroed by the kernel page by page, which costs several times as much as copying a body; so large bodies
are put together, and received, in `storage.redstuff.memory`, and sent from there without being copied again.
"""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from storage.redstuff.memory import uninitialised

LARGE_BYTES = 2**20
"""From this size on memory is used again; below it Python's own is as good."""
PIECE_BYTES = 2**18
"""About what a socket takes at once: more would be copied, to wait for the rest to be sent."""

Bytes = bytes | memoryview


class TooLong(Exception):
    """A body is longer than it may be."""


class LargeBody(Payload):
    """A body that is sent in pieces, so that none waits in a copy for the other side to read on."""

    def __init__(self, content: Bytes, content_type: str) -> None:
        super().__init__(memoryview(content), content_type=content_type)
        self._size = len(content)
        self.sent_bytes = 0
        """What the connection has taken so far, its own buffer included."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        for first in range(0, len(self._value), PIECE_BYTES):
            piece = self._value[first : first + PIECE_BYTES]
            await writer.write(piece)
            self.sent_bytes += len(piece)


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


async def received(response: aiohttp.ClientResponse, limit: int) -> Bytes:
    """The whole body. Raises `TooLong` when it has more than `limit` bytes, or than it said; then it is not read on."""
    size_bytes = response.content_length
    if size_bytes is None or size_bytes < LARGE_BYTES:
        return await _received_in_chunks(response, limit)
    if size_bytes > limit:
        raise TooLong
    room, place = uninitialised(size_bytes).data, 0
    async for chunk in response.content.iter_any():
        if len(chunk) > size_bytes - place:
            raise TooLong
        room[place : place + len(chunk)] = chunk
        place += len(chunk)
    return room[:place]


async def _received_in_chunks(response: aiohttp.ClientResponse, limit: int) -> bytes:
    chunks, left = [], limit
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        left -= len(chunk)
        if left < 0:
            raise TooLong
    return b"".join(chunks)
