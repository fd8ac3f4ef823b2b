"""A client's or node's slow link: all its connections share one rate in each direction, and a queue of limited length.

Each node has a port on this side of the link. What the client sends and receives there passes the link in pieces of
PIECE_BYTES, each connection's next piece behind those of the others, so that connections share the rate evenly.
Sockets at the link's ends buffer little, as a router's queue is short: what is sent stays with its sender until the
link takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

PIECE_BYTES = 2**12
BUFFER_BYTES = 2**12
"""Of each socket at the link's ends; the kernel takes twice as much. All together are a router's queue."""
BURST_S = 0.02
"""Time that a late wake-up does not cost the link."""
DRIP_S = 1.0


class Direction:
    """One direction: `carried_bytes` counts all that has passed."""

    def __init__(self, bytes_per_s: float) -> None:
        self.carried_bytes = 0
        self.bytes_per_s = bytes_per_s
        self._free_s = 0.0
        """Loop time at which all that waits has passed."""

    async def carry(self, size_bytes: int) -> None:
        """Wait until `size_bytes` have passed the link, after the bytes that were queued before."""
        now_s = asyncio.get_running_loop().time()
        self.carried_bytes += size_bytes
        self._free_s = max(self._free_s, now_s - BURST_S) + size_bytes / self.bytes_per_s
        await asyncio.sleep(max(0.0, self._free_s - now_s))


@dataclass
class _End:
    """A node's port on the client's side."""

    target_port: int
    server: asyncio.Server
    is_inward: bool
    is_stalled: bool = False
    """Connections are accepted, and nothing passes."""
    drips: bool = False
    """A byte a second of each answer passes."""


class SlowLink:
    """The link; an async context manager that closes it in the end."""

    def __init__(self, bytes_per_s: float) -> None:
        self.up, self.down = Direction(bytes_per_s), Direction(bytes_per_s)
        self._ends: dict[int, _End] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._breaking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SlowLink:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._breaking is not None:
            self._breaking.cancel()
        for end in self._ends.values():
            end.server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def carried_bytes(self) -> int:
        """Bytes that passed, in both directions."""
        return self.up.carried_bytes + self.down.carried_bytes

    async def open(self, target_port: int, *, inward: bool = False) -> int:
        """Return a new port through which the node at `target_port` is reached over the link.

        `inward` is a port on the far side, where others reach the node whose link this is: requests come down the link.
        """
        listener = _socket()
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await self._relay(self._ends[port], reader, writer)
            finally:
                self._connections.discard(task)
                _reset(writer)

        server = await asyncio.start_server(connected, sock=listener, limit=PIECE_BYTES, backlog=1024)
        self._ends[port] = _End(target_port, server, is_inward=inward)
        return port

    def stall(self, port: int) -> None:
        """Accept connections to this node from now on, and pass nothing."""
        self._ends[port].is_stalled = True

    def drip(self, port: int) -> None:
        """Pass this node's answers a byte a second from now on."""
        self._ends[port].drips = True

    def fade(self, bytes_per_s: float) -> None:
        """Carry so many bytes a second in each direction from now on."""
        self.up.bytes_per_s = self.down.bytes_per_s = bytes_per_s

    def break_every(self, seconds: float) -> None:
        """Reset all connections each so many seconds from now on."""
        self._breaking = asyncio.create_task(self._break_every(seconds))

    async def _break_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            for connection in self._connections:
                connection.cancel()

    async def _relay(self, end: _End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if end.is_stalled:
            await asyncio.Event().wait()
        far = _socket()
        far.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", end.target_port))
        except BaseException:
            far.close()
            raise
        far_reader, far_writer = await asyncio.open_connection(sock=far, limit=PIECE_BYTES)
        there, back = (self.down, self.up) if end.is_inward else (self.up, self.down)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, there, drips=False)),
            asyncio.create_task(self._pump(far_reader, writer, back, drips=end.drips)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _reset(far_writer)

    @staticmethod
    async def _pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, *, drips: bool
    ) -> None:
        while piece := await reader.read(1 if drips else PIECE_BYTES):
            await direction.carry(len(piece))
            if drips:
                await asyncio.sleep(DRIP_S)
            writer.write(piece)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, so that the other side sees it break."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _socket() -> socket.socket:
    made = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    return made
