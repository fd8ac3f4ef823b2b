"""TCP relays in front of nodes: every byte of HTTP on the wire is counted, by whom it went to and what it was for.

What TCP and IP add below is not counted. A relay reads along without touching the bytes: `HttpTap` finds where each
message ends, so that an `Exchange` can say which request cost what.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK_BYTES = 1 << 18
HEAD_END = b"\r\n\r\n"


class Message(NamedTuple):
    """One HTTP message: its first line, its body and its length on the wire, head and framing included."""

    first_line: str
    body: bytes
    wire_bytes: int


@dataclass
class HttpTap:
    """Cuts one direction of an HTTP/1.1 connection into messages; needs `Content-Length`, knows no chunks."""

    _buffer: bytearray = field(default_factory=bytearray)
    _whole: int = 0
    """Length of the message in the buffer once its head is read; 0 before."""
    _head: int = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in `data`. Raises `ValueError` for a chunked body."""
        self._buffer += data
        messages = []
        while self._read_head() and len(self._buffer) >= self._whole:
            line = bytes(self._buffer[: self._buffer.index(b"\r\n")]).decode("latin-1")
            messages.append(Message(line, bytes(self._buffer[self._head : self._whole]), self._whole))
            del self._buffer[: self._whole]
            self._whole = 0
        return messages

    def _read_head(self) -> bool:
        if self._whole:
            return True
        end = self._buffer.find(HEAD_END)
        if end < 0:
            return False
        self._head = end + len(HEAD_END)
        length = 0
        for line in bytes(self._buffer[:end]).lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            if name == b"transfer-encoding":
                raise ValueError("a chunked body: the relay cannot tell where it ends")
        self._whole = self._head + length
        return True


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    node_id: int
    """Of the node that was asked."""
    method: str
    path: str
    query: dict[str, list[str]]
    request: bytes = field(repr=False)
    """Its body."""
    status: int
    answer: bytes = field(repr=False)
    """The answer's body."""
    wire_bytes: int
    """Both messages with their heads."""

    @property
    def purpose(self) -> str:
        """What it was for: the last word of the path that is no name or number."""
        words = self.path.strip("/").split("/")
        known = ("decodingSymbols", "recoverySymbols", "sync_shard", "metadata", "slivers", "health")
        return next((word for word in known if word in words), words[-1])


Watcher = Callable[[Exchange], None]


class Relay:
    """A relay in front of one node. `wire_bytes` counts both directions, whether or not messages end."""

    def __init__(self, node_id: int, port: int, target_port: int, watcher: Watcher) -> None:
        self.wire_bytes = 0
        self.port = port
        self.target_port = target_port
        self._node_id = node_id
        self._watcher = watcher
        self._hangs = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=CHUNK_BYTES)

    async def stop(self) -> None:
        """Stop listening and cut all connections: the node is gone for the others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hang(self) -> None:
        """Accept connections from now on, and never answer on them: the node's machine has not noticed its end."""
        self._hangs = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if self._hangs:
                    await _swallow(reader)
                else:
                    await self._relay(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", self.target_port, limit=CHUNK_BYTES
        )
        requests: deque[Message] = deque()

        def answered(answer: Message) -> None:
            self._watcher(_exchange(self._node_id, requests.popleft(), answer))

        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, requests.append)),
            asyncio.create_task(self._pump(far_reader, writer, answered)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            results = await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ended: Callable[[Message], None]
    ) -> None:
        tap = HttpTap()
        while data := await reader.read(CHUNK_BYTES):
            self.wire_bytes += len(data)
            for message in tap.feed(data):
                ended(message)
            writer.write(data)
            await writer.drain()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK_BYTES):
        pass


def _exchange(node_id: int, request: Message, answer: Message) -> Exchange:
    method, target, _ = request.first_line.split(" ")
    where = urlsplit(target)
    return Exchange(
        node_id,
        method,
        unquote(where.path),
        parse_qs(where.query),
        request.body,
        int(answer.first_line.split(" ")[1]),
        answer.body,
        request.wire_bytes + answer.wire_bytes,
    )
