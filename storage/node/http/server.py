"""How a node listens: connections are accepted and limited here, and their requests answered by aiohttp.

The number of connections is limited, in all and by address. When a limit is reached, a connection gives way to the new
one (`Connections`), or the new one is told 503. So neither connections that do nothing, nor one address' slow requests,
nor a lack of descriptors keep clients out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import deque
from dataclasses import replace
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import _RequestHandler

from committee.logs import Log
from storage.node import descriptors
from storage.node.http.begins import Begins
from storage.node.http.connections import FULL, Connection, Connections, Limits

log = Log()

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""
ACCEPTED_AT_ONCE = 16
"""Connections that are served, of those accepted before anything else is done."""
LOOKED_AT_AT_ONCE = 256
"""Connections accepted before anything else is done, with those whose client has gone already: each takes 20 µs, and
one that is served 400."""
HEALTH = "/v1/health"
"""The path of requests that wait for no others: a member that gets no answer takes the node for dead."""
KEPT_DESCRIPTORS = 128
"""Descriptors that connections leave to the store, the peers and the chain."""
FEWEST_CONNECTIONS = 16
UNSENT_BYTES = 2**14
"""What the kernel takes of an answer beyond what is on its way. (It would take 2.5 MB of each connection that is not
read, in memory that no budget counts; of 2**17 bytes 6000 connections took 822 MiB.)"""
REFUSED_KEPT = 64
REFUSED_KEPT_S = 1.0
"""Refused connections, and how long they stay open: one that is closed with unread bytes may lose the refusal."""
NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EVICTED_AT_ONCE = 8
"""Connections closed when there is no descriptor for a new one: the rest of the node needs some as well."""
SHUTDOWN_S = 3.0
"""Seconds that requests under way have when the server closes, before they are broken off. aiohttp may wait for them
twice; orchestrators kill a process that has not ended some 10 s after SIGTERM."""
PAUSE_S = 0.02
"""Pause between two tries to accept a connection when there was no descriptor."""


class HttpServer:
    """Serves an application at a listening socket, which is the server's to close."""

    connections: Connections

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        limits: Limits | None = None,
        shutdown_s: float = SHUTDOWN_S,
    ) -> None:
        """`shutdown_s` is how long requests under way have when the server closes."""
        self._listener = listener
        self._limits = limits or Limits()
        self._runner = web.AppRunner(app, shutdown_timeout=shutdown_s)
        self._accepting: set[asyncio.Task[None]] = set()
        self._refused: deque[socket.socket] = deque()
        self._is_closed = False

    async def __aenter__(self) -> HttpServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to serve."""
        self._spare = descriptors.Spare()
        await self._runner.setup()
        server = self._server = cast(web.Server, self._runner.server)
        server.request_handler = begun_in_turn(server.request_handler)
        self.connections = Connections(server, _within_descriptors(self._limits))
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._resume()

    async def close(self) -> None:
        """Accept no more, let the requests under way end, and close all connections. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for refused in self._refused:
            refused.close()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await self._runner.cleanup()
        await self._server.shutdown()
        self._spare.give_up()

    def counts(self) -> dict[str, int]:
        """Return how many connections are open now, and, since the server's start, what became of others.

        Of the others, `refused` were answered 503, `evicted` were closed to make room for new ones, and `hung_up` were
        left by their clients before the node accepted or answered them.
        """
        one = self.connections
        return {"open": len(one), "refused": one.refused, "evicted": one.evicted, "hung_up": one.hung_up}

    def _resume(self) -> None:
        if not self._is_closed:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept the connections that wait, some at a time; those whose client has gone are closed at once."""
        served = 0
        for _ in range(LOOKED_AT_AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._make_room(error)
                return
            _set_up(accepted)
            if _is_gone(accepted):
                self.connections.hung_up += 1
                accepted.close()
                continue
            connection = self.connections.begin(str(address[0]) if address else "")
            if connection is None:
                self._refuse(accepted)
                continue
            task = asyncio.get_running_loop().create_task(self._connect(connection, accepted))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)
            served += 1
            if served == ACCEPTED_AT_ONCE:
                return

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            log.warning("a connection could not be served", error=str(error))
            self.connections.lost(connection)
            accepted.close()

    def _refuse(self, accepted: socket.socket) -> None:
        """Tell a connection that there is no room, and close it when that has been read."""
        log.warning("too many connections", open=len(self.connections), refused=self.connections.refused)
        with contextlib.suppress(OSError):
            accepted.send(FULL)
            accepted.shutdown(socket.SHUT_WR)
        self._refused.append(accepted)
        if len(self._refused) > REFUSED_KEPT:
            self._refused.popleft().close()
        asyncio.get_running_loop().call_later(REFUSED_KEPT_S, self._close_refused, accepted)

    def _close_refused(self, refused: socket.socket) -> None:
        with contextlib.suppress(ValueError):
            self._refused.remove(refused)
        refused.close()

    def _make_room(self, error: OSError) -> None:
        """Close connections that wait, as there is no descriptor for a new one, and accept again in a moment."""
        log.warning("a connection could not be accepted", error=str(error), open=len(self.connections))
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        loop.call_later(PAUSE_S, self._resume)
        if error.errno not in NO_DESCRIPTOR:
            return
        evicted = sum(self.connections.evict() for _ in range(EVICTED_AT_ONCE))
        if not evicted:
            self._refuse_with_spare()

    def _refuse_with_spare(self) -> None:
        """Refuse one connection by the descriptor kept aside, so that it does not hang."""
        self._spare.give_up()
        with contextlib.suppress(OSError):
            accepted, _ = self._listener.accept()
            with accepted:
                accepted.setblocking(False)
                accepted.send(FULL)
        self._spare.take()


def _set_up(accepted: socket.socket) -> None:
    accepted.setblocking(False)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _is_gone(accepted: socket.socket) -> bool:
    """Return whether the client has reset the connection, or closed it and sent nothing before."""
    try:
        # What a client sent before it reset the connection can still be read.
        return bool(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or not accepted.recv(
            1, socket.MSG_PEEK
        )
    except BlockingIOError:
        return False
    except OSError:
        return True


def _within_descriptors(limits: Limits) -> Limits:
    """Return the limits, with fewer connections where the process may not open as many files."""
    room = max(FEWEST_CONNECTIONS, descriptors.count_free() - KEPT_DESCRIPTORS)
    if room >= limits.connections:
        return limits
    by_address = limits.connections_by_address * room // limits.connections
    return replace(limits, connections=room, connections_by_address=max(1, by_address))


def begun_in_turn(handler: _RequestHandler) -> _RequestHandler:
    """Return the handler, which begins requests source by source, and tells their connections when it has ended."""
    begins, health_begins = Begins(), Begins()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        try:
            connection.require_readable(request)
            await (health_begins if request.path == HEALTH else begins).turn(connection.source)
            return await handler(request)
        finally:
            connection.request_ended()

    return handle
