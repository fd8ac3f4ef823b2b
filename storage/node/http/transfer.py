"""Bodies on their way in and out: one that moves is left alone, one that stalls is not (`storage.client.progress`).

While others wait for the memory that a body takes, it must be quick too: after HURRIED_S it must have moved at
HURRIED_BYTES_PER_S all along. A slow client is served as long as there is memory, and holds up no other.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Middleware

from storage.client.bodies import Bytes, LargeBody
from storage.client.failures import Reason
from storage.client.progress import StallRule, TimeLimit
from storage.node.face import Refusal
from storage.node.http.turns import HELD

HURRIED_S = 5.0
HURRIED_BYTES_PER_S = 2**20
PIECE_BYTES = 2**16
"""Received at once of a body for which there is memory."""


def in_time(moved_bytes: Callable[[], int], is_crowded: Callable[[], bool]) -> TimeLimit:
    """Return the block in which a body moves; `TimeoutError` comes out of it once the body falls behind.

    `moved_bytes` counts since the block's begin; `is_crowded` tells whether others wait.
    """
    began_s = asyncio.get_running_loop().time()
    rule = StallRule(began_s)

    def due_s(now_s: float) -> float:
        moved = moved_bytes()
        due_s = rule.due_s(now_s, moved)
        return min(due_s, began_s + HURRIED_S + moved / HURRIED_BYTES_PER_S) if is_crowded() else due_s

    return TimeLimit(due_s)


class IncomingBody:
    """A request's body as it arrives, `limit` bytes at most.

    Raises `Refusal` when the request says that it has more, or that it is compressed: what a compressed body takes is
    known only when it has been decompressed.
    """

    def __init__(self, request: web.Request, limit: int) -> None:
        self.most_bytes = limit if request.content_length is None else request.content_length
        """It cannot become longer."""
        self._stream = request.content
        self._transport = request.transport
        self.limit = limit
        self._parts: list[bytes] = []
        """The beginning, until there is room for the whole."""
        self._room: memoryview | None = None
        self._size_bytes = 0
        self.is_over = False
        """Whether all of it was read."""
        self.is_read = False
        """Whether it is being read: what does not come then is the client's fault."""
        self.came_s = asyncio.get_running_loop().time()
        """Loop time at which bytes last came, or were first waited for."""
        coding = request.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity"):
            raise Refusal(415, Reason.INVALID_REQUEST, "a compressed body: send it as it is")
        if self.most_bytes > limit:
            raise self._too_long()

    async def read(self, until_bytes: int, is_crowded: Callable[[], bool]) -> None:
        """Read on until the body is over, or has passed so many bytes. Raises `Refusal`."""
        before_bytes = self._size_bytes
        self.is_read, self.came_s = True, asyncio.get_running_loop().time()
        try:
            async with in_time(lambda: self._size_bytes - before_bytes, is_crowded):
                while self._size_bytes <= until_bytes:
                    piece = await self._stream.readany()
                    if not piece:
                        self.is_over = True
                        return
                    self.came_s = asyncio.get_running_loop().time()
                    self._take(piece)
        except TimeoutError:
            raise Refusal(
                *(408, Reason.INVALID_REQUEST),
                f"the body comes too slowly: {self._size_bytes} of at most {self.most_bytes} bytes have arrived",
            ) from None
        finally:
            self.is_read = False

    async def read_all(self, is_crowded: Callable[[], bool]) -> None:
        """Read the rest, for which the caller has memory, into one place. Raises `Refusal`."""
        # Pages that nothing was written to take no memory yet.
        self._room = np.empty(self.most_bytes, np.uint8).data
        parts, self._parts, self._size_bytes = self._parts, [], 0
        for part in parts:
            self._take(part)
        with _receiving(self._transport, PIECE_BYTES):
            await self.read(self.most_bytes, is_crowded)

    def content(self) -> Bytes:
        """Return what was read, which is held once."""
        if self._room is not None:
            return self._room[: self._size_bytes]
        self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def _take(self, piece: bytes) -> None:
        before_bytes, self._size_bytes = self._size_bytes, self._size_bytes + len(piece)
        if self._size_bytes > self.most_bytes:
            raise self._too_long()
        if self._room is None:
            self._parts.append(piece)
        else:
            self._room[before_bytes : self._size_bytes] = piece

    def _too_long(self) -> Refusal:
        return Refusal(413, Reason.INVALID_REQUEST, f"a body of more than {self.limit} bytes")


@contextmanager
def _receiving(transport: asyncio.Transport | None, piece_bytes: int) -> Iterator[None]:
    """Have a connection receive so many bytes at once as long as the block lasts, where it tells how many it does."""
    before_bytes = getattr(transport, "max_size", None)
    if transport is not None and before_bytes is not None:
        transport.max_size = piece_bytes  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if transport is not None and before_bytes is not None:
            transport.max_size = before_bytes  # type: ignore[attr-defined]


@web.middleware
async def refuse_chunks(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse a body in chunks: in chunks of one byte each, a megabyte costs more than a second's work.

    (A trailer's field, which follows the chunks, would take memory without a limit, too.)
    """
    if "Transfer-Encoding" not in request.headers:
        return await handler(request)
    refusal = Refusal(411, Reason.INVALID_REQUEST, "a body in chunks: send it with its Content-Length")
    response = web.json_response(refusal.to_json(), status=refusal.status)
    response.force_close()
    return response


def sending(is_crowded: Callable[[], bool]) -> Middleware:
    """Sends each answer, and lets the request go of what it holds only when that is done.

    (aiohttp itself would send it when its handler has long returned, and wait for its reader for ever.)
    """

    @web.middleware
    async def send(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        async with AsyncExitStack() as held:
            request[HELD] = held
            response = await handler(request)
            await _send(request, response, is_crowded)
            return response

    return send


async def _send(request: web.Request, response: web.StreamResponse, is_crowded: Callable[[], bool]) -> None:
    """Send an answer, or break the connection off; its body is forgotten then.

    (aiohttp would keep it until the connection's next request, and a broken one until garbage is collected.)
    """
    body = response.body if isinstance(response, web.Response) else None
    try:
        # What is not large is handed over in one piece, and must be gone within the patience.
        async with in_time(lambda: body.moved_bytes if isinstance(body, LargeBody) else 0, is_crowded):
            await response.prepare(request)
            await response.write_eof()
    except (TimeoutError, ConnectionError) as error:
        if request.transport is not None:
            request.transport.abort()
        traceback.clear_frames(error.__traceback__)
    finally:
        if isinstance(response, web.Response):
            response.body = None
