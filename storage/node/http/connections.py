"""One connection to a node, and the count of all of them.

A connection waits (for a head, or for the rest of one) or works on a request. When the limit on their number is
reached, a connection gives way to the new one: the one that has waited longest, else one of the address that has most.
A head is limited in bytes and time; what is no HTTP is answered in the protocol's form and logged in one line.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.http import HttpRequestParser
from aiohttp.streams import StreamReader

from committee.logs import Log
from storage.client.failures import Reason, failure
from storage.node.budgets import Requester
from storage.node.http.by_source import Counts, Ordered
from storage.node.http.turns import stranger

log = Log()

SETTINGS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    # The rest of a body is read when the request is answered before its end, so that the answer arrives.
    "lingering_time": 2.0,
    # 64 slivers and 1000 helping shards fit into a request's first line.
    "max_line_size": 8190,
    "max_field_size": 4096,
    "max_headers": 64,
    # A body that nobody reads stops arriving when twice as much is there, and RECEIVED_BYTES.
    "read_bufsize": 2**11,
}
"""How aiohttp serves a connection."""
PARSER_SETTINGS = ("max_line_size", "max_field_size", "max_headers", "auto_decompress")
"""Those that are of its parser too."""


CONTINUE = "100-continue"
PIECE_BYTES = 2**13
"""Handed to aiohttp's parser at once: as many bytes in chunks of one byte each cost 8 ms."""
RECEIVED_BYTES = 2**12
"""Received at once, and so kept of a body that nobody reads; asyncio would take 256 KiB. (What is read while there is
memory for it comes in larger pieces: `transfer.IncomingBody`.)"""
UNSENT_BYTES = 2**14
"""What is kept of an answer beyond what the kernel took, for which the request holds no memory any more."""
PATH_CHARACTERS = 512
"""More than any path has that is served. aiohttp looks for one of thousands of slashes as many times, for 5 ms."""
HEADS_IN_LINE = 2
"""Heads read that wait for their turn; aiohttp would read 32, each of up to 20 KiB in memory."""
FRESH_S = 2.0
"""Seconds in which a connection that begins to wait does not give way to an address that has more of them."""
LOOKED_AT = 64
"""Connections that wait, the longest ones, among which one is looked for that gives way."""


@dataclass(frozen=True)
class Limits:
    """What connections to one node may take."""

    connections: int = 8192
    connections_by_address: int = 6144
    head_bytes: int = 2**14
    """Size limit of an incomplete head, and of all that waits to be read behind a request on one connection."""
    head_s: float = 15.0
    """Time limit from the connection, or the head's first byte, to the head's end."""
    idle_s: float = 75.0
    """Longest time between two requests on one connection: proxies, with their usual 60 s, hang up first."""


def refusal(status: int, reason: Reason | None, message: str, *fields: str) -> bytes:
    """Return a whole answer that refuses in the protocol's form, for a connection that is closed after it."""
    body = json.dumps(failure(status, reason, message)).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *fields,
    )
    return "\r\n".join((*head, "", "")).encode() + body


FULL = refusal(503, Reason.UNAVAILABLE, "too many connections", "Retry-After: 1")


class Connections:
    """The connections of one server; those that wait and those that work, each in the order in which they began to."""

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self.server = server
        self.limits = limits
        self.refused = 0
        """Connections told 503 since the start."""
        self.evicted = 0
        """Connections closed to make room since the start."""
        self.hung_up = 0
        """Connections since the start whose client had gone before the node accepted or answered it."""
        self._open: set[Connection] = set()
        self._counts = Counts()
        self._waiting = Ordered[Connection]()
        self._working = Ordered[Connection]()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, host: str) -> Connection | None:
        """Return the handler of a new connection from that host; None when there is no room."""
        source = stranger(host)
        if self._counts.of(source) >= self.limits.connections_by_address:
            victim = self._waiting.first_of(source)
        elif len(self) >= self.limits.connections:
            victim = self._gives_way(source)
        else:
            return self._open_from(source)
        if victim is None:
            self.refused += 1
            return None
        self._close(victim)
        return self._open_from(source)

    def evict(self) -> bool:
        """Close the connection that has waited longest; return whether there is one."""
        victim, _ = self._waiting.first()
        if victim is not None:
            self._close(victim)
        return victim is not None

    def _gives_way(self, source: Requester) -> Connection | None:
        """Return the connection that gives way to a new one of `source`; None when the new one is to be refused.

        Requests that work for long must not keep all others out. So when no connection has waited for FRESH_S, the
        source with most connections loses its longest waiting one, or else the one that has worked longest; a new
        connection never costs a source that has fewer than its own.
        """
        oldest, since = self._waiting.first()
        if oldest is not None and time.monotonic() - since >= FRESH_S:
            return oldest
        has, (largest, most) = self._counts.of(source), self._counts.largest()
        if most > has + 1:
            return self._waiting.first_of(largest) or self._working.first_of(largest)
        longest = islice(self._waiting, LOOKED_AT)
        larger = (one for one in longest if one.source == source or self._counts.of(one.source) > has)
        return next(larger, None) or self._waiting.first_of(source)

    def _open_from(self, source: Requester) -> Connection:
        connection = Connection(self, source)
        self._open.add(connection)
        self._counts.add(source, 1)
        return connection

    def _close(self, connection: Connection) -> None:
        self.evicted += 1
        self.lost(connection)
        if connection.transport is not None:
            connection.transport.abort()

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed, or will be at once. Idempotent."""
        self._waiting.remove(connection)
        self._working.remove(connection)
        if connection in self._open:
            self._open.discard(connection)
            self._counts.add(connection.source, -1)

    def waits(self, connection: Connection) -> None:
        """Take note that a connection has no request in hand any more, or not yet."""
        self._working.remove(connection)
        if connection in self._open:
            self._waiting.add(connection)

    def works(self, connection: Connection) -> None:
        """Take note that a connection has a request in hand."""
        self._waiting.remove(connection)
        if connection in self._open:
            self._working.add(connection)

    def is_waiting(self, connection: Connection) -> bool:
        """Return whether a connection has no request in hand."""
        return connection in self._waiting


class Connection(web.RequestHandler):
    """One connection, from `source`."""

    __slots__ = (
        "_body",
        "_connections",
        "_drops_data",
        "_head_bytes",
        "_is_told",
        "_late",
        "_rest",
        "source",
    )

    def __init__(self, connections: Connections, source: Requester) -> None:
        idle_s = connections.limits.idle_s
        loop = asyncio.get_running_loop()
        super().__init__(connections.server, loop=loop, keepalive_timeout=idle_s, **SETTINGS)
        self._max_msg_queue_size, self._msg_queue_resume_size = HEADS_IN_LINE, HEADS_IN_LINE - 1
        self._parser = HttpRequestParser(
            *(self, loop, SETTINGS["read_bufsize"]),
            **{name: SETTINGS[name] for name in PARSER_SETTINGS},
            payload_exception=web.RequestPayloadError,
            max_msg_queue_size=HEADS_IN_LINE,
        )
        self.source = source
        self._connections = connections
        self._body: StreamReader | None = None
        """The body of the last request whose head was received."""
        self._head_bytes = 0
        """Received of a head that is not complete."""
        self._late: asyncio.TimerHandle | None = None
        """Ends the wait for a head; None while no head has begun."""
        self._drops_data = False
        """Whether a head has told of a body in chunks."""
        self._rest = b""
        """Received behind the heads in line."""
        self._is_told = False
        """Whether a refusal has been sent, after which the connection is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = RECEIVED_BYTES
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(UNSENT_BYTES)
        self._begin_head()
        self._connections.waits(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._end_head()
        self._connections.lost(self)
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve the connection's requests, and close it after one that cannot even be begun.

        Of targets that cannot be read aiohttp's parser lets some pass, as "http://xn--/". What reads such a target then
        ends this task, and nothing would close the connection.
        """
        try:
            await super().start()
        except Exception as error:
            log.info("malformed request", address=self.source.name, status=400, error=repr(error)[:200])
            self._tell(refusal(400, Reason.INVALID_REQUEST, "the request's target cannot be read"))
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Hand on what was received, piece by piece, unless it is a body in chunks, which `refuse_chunks` answers.

        What comes behind HEADS_IN_LINE heads is held back until a request is begun, when aiohttp calls this without
        data; until then nothing more is received.
        """
        if not data:
            self._received(data)
        data, self._rest, place = self._rest + data, b"", 0
        while place < len(data) and not self._drops_data and len(self._messages) < HEADS_IN_LINE:
            self._received(data[place : place + PIECE_BYTES])
            place += PIECE_BYTES
        if not self._drops_data:
            self._rest = data[place:]

    def _received(self, data: bytes) -> None:
        """Hand a piece on, as long as heads are within their limits."""
        heads, is_of_body = self._request_count, self._body is not None and not self._body.is_eof()
        super().data_received(data)
        if self._request_count != heads:
            self._end_head()
            self._connections.works(self)
            self._body = self._messages[-1][1] if self._messages else None
            self._drops_data = any(getattr(message, "chunked", False) for message, _ in self._messages)
        elif data and not is_of_body:
            if self._late is None:
                self._begin_head()
            self._head_bytes += len(data)
            if self._head_bytes > self._connections.limits.head_bytes:
                self.refuse(431, f"a head of more than {self._connections.limits.head_bytes} bytes")

    def request_ended(self) -> None:
        """Wait for the next head, unless it is here already."""
        if not self._messages:
            self._connections.waits(self)

    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot be read, if no answer is under way, and close the connection."""
        log.info("malformed request", address=self.source.name, status=status, error=message)
        if self.transport is not None and self._connections.is_waiting(self):
            self._tell(refusal(status, Reason.INVALID_REQUEST, message))
        self.force_close()

    def require_readable(self, request: web.BaseRequest) -> None:
        """Answer and raise `ConnectionError` for a request that aiohttp is not to see; the connection is then closed.

        Such are those with a path too long, and with an `Expect` other than "100-continue", each of which aiohttp would
        answer without a limit of time for its reader.
        """
        if len(request.rel_url.raw_path) > PATH_CHARACTERS:
            self._end(
                refusal(404, None, f"no path that is served has more than {PATH_CHARACTERS} characters")
            )
        if request.headers.get("Expect", CONTINUE).strip().lower() != CONTINUE:
            self._end(refusal(417, Reason.INVALID_REQUEST, f"the only expectation known is {CONTINUE}"))

    def _end(self, answer: bytes) -> NoReturn:
        self._tell(answer)
        self.force_close()
        raise ConnectionResetError("refused")

    def _tell(self, answer: bytes) -> None:
        self._is_told = True
        if self.transport is not None:
            self.transport.write(answer)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp cannot read, without its traceback in the log and its banner in the answer."""
        if not self._is_told and isinstance(exc, ConnectionError):
            # "100 Continue" is written before the node's own code runs, also to a client that has gone.
            self._connections.hung_up += 1
        elif not self._is_told:
            short = str(message or "").strip().partition("\n")[0][:200]
            ours = status >= 500
            if ours:
                log.error("request failed unexpectedly", path=request.path, exc_info=exc)
            else:
                log.info("malformed request", address=self.source.name, status=status, error=short)
            if request.writer.output_size == 0:
                reason = None if ours else Reason.INVALID_REQUEST
                self._tell(refusal(status, reason, "the node failed" if ours else short))
            self.force_close()
        raise ConnectionResetError("refused already")

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log in one line what aiohttp did not expect: a body that breaks off, for example."""
        log.info("broken request", address=self.source.name, error=repr(kw.get("exc_info") or args[:1]))

    def _begin_head(self) -> None:
        self._late = asyncio.get_running_loop().call_later(
            self._connections.limits.head_s, self._end_late_head
        )

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_late_head(self) -> None:
        self._late = None
        if not self._connections.is_waiting(self):
            return  # an answer is under way; the next byte of the head begins its time anew
        if self._head_bytes:
            self.refuse(408, f"no whole head within {self._connections.limits.head_s:g} s")
        else:
            self.force_close()
