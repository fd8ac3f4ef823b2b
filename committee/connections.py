"""Connections to parties that may be hostile: nodes and providers of the chain (PROTOCOL section 6).

A node's owner names its address, which may be that of a machine behind the asking one: its own services, a cloud's
metadata, a router. So the IP address is looked at when the socket is made, after names were looked up: a name that
points elsewhere the second time gains nothing. The answers of both kinds of party are read within the same limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import re
import socket
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from committee.addresses import is_public

CONNECTIONS = 100
"""Connections of one session at once, unless its maker names another number."""
LOOKUPS_AT_ONCE = 128
"""The most names that a session looks up at once; a committee has fewer members."""
PROGRAM = "haulout"
"""What requests call their program (`User-Agent`): firewalls before nodes and providers refuse those of no program, and
those of libraries."""
LONGEST_RETRY_AFTER_S = 999_999_999.0
"""Longer pauses that an answer asks for are read as this one."""
FIELD_BYTES = 2**15
"""The longest field of an answer's head; some proxies add fields of more than aiohttp's 8190 bytes,"""
FIELDS = 64
"""and the most fields."""
HEAD_BYTES = 2**16
"""The most bytes before the end of an answer's head, interim answers and empty lines included."""
PIECE_BYTES = 2**13
"""aiohttp's parser is given a chunked body in pieces of this size: one full of one-byte chunks costs it 1 to 8 ms."""
FRAMING_BYTES = 2**10
FRAMING_SHARE = 8
"""Most framing in a piece of a body in chunks: FRAMING_BYTES and a FRAMING_SHARE-th of the content."""
LENGTH_DIGITS = 20
"""The most digits of a body's length, zeros in front included: `int` refuses some thousands, with a traceback."""
INTERIM_ANSWERS = 8
"""Interim answers (status 1xx) before the answer itself; the next one breaks the connection off."""

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def open_session(
    *, allow_private: bool, limit: int = CONNECTIONS, headers: Mapping[str, str] | None = None
) -> aiohttp.ClientSession:
    """Return a session of at most `limit` connections at once (0: any number), which the caller closes.

    Unless `allow_private`, a connection to an IP address that is not public fails with `OSError`. Every request has the
    `headers`, and asks for an answer that is not compressed; a compressed one is not unpacked (`content_coding`).
    Cookies are not kept, and proxies that the environment names are not used.
    """
    connector = _Connector(
        limit=limit, resolver=_Resolver(), socket_factory=None if allow_private else _public_socket
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity", "User-Agent": PROGRAM, **(headers or {})},
        max_field_size=FIELD_BYTES,
        max_headers=FIELDS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def close_idle(session: aiohttp.ClientSession, address: str) -> None:
    """Close the session's idle connections to the host and port of a URL, as when one of them has died unseen.

    So all do at once when the machine changes its network or wakes up, or a machine on the way forgets them. aiohttp
    goes by the clock alone, which stands still while a machine sleeps.
    """
    if isinstance(session.connector, _Connector):
        url = URL(address)
        session.connector.close_idle(url.raw_host or "", url.port or 0)


def content_coding(response: aiohttp.ClientResponse) -> str:
    """Return the name of the coding by which an answer's body is compressed; "" when it is plain."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return "" if coding == "identity" else coding


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a message, in small letters; "" when its head names none.

    (aiohttp's `content_type` reads the parameters too, by the email package: 13 s of them fit into FIELD_BYTES.)
    """
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


class TinyChunks(Exception):
    """An answer's chunks hold a few bytes each; the text says how many."""


class _Answers(ResponseHandler):
    """Reads the answers of one connection.

    aiohttp would read interim answers without end, as fast as they come, and chunks of one byte each, a quarter of a
    megabyte of them at once; in a node nothing else would run. Answers to no request it would keep, also while the
    connection is idle, each in a hundred times its bytes of memory. So what is received is handed on in pieces, but for
    bodies whose length was told, and the connection is broken off when a piece shows any of these.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim_answers = 0
        self._head_bytes = 0
        """Received since a request's answer is awaited."""
        self._is_awaited = False
        """Whether a request's answer has still to come."""
        self._is_broken_off = False
        self._rest = b""
        """Bytes received and not yet handed on, as the body's reader is behind."""
        self._body: StreamReader | None = None
        """The body of the last answer whose head was received."""
        self._length: int | None = None
        """Bytes of the body, if the head told how many."""
        self._is_chunked = False

    def set_response_params(self, **params: Any) -> None:
        """Await the answer to a request; aiohttp calls this for each."""
        self._is_awaited, self._interim_answers, self._head_bytes = True, 0, 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes held back before, and then `data`, on to aiohttp in pieces, while the body's reader keeps up.

        aiohttp calls this without data when the reader goes on.
        """
        if not data:
            super().data_received(data)
        data, self._rest, place = self._rest + data, b"", 0
        while place < len(data) and not self._is_broken_off and not self._reading_paused:
            piece = data[place : place + max(PIECE_BYTES, self._left_of_body())]
            place += len(piece)
            body = self._body
            before_bytes = 0 if body is None else body.total_bytes
            super().data_received(piece)
            if self._is_awaited:
                self._head_bytes += len(piece)
                if self._head_bytes > HEAD_BYTES:
                    self._break_off(HttpProcessingError(message=f"a head of more than {HEAD_BYTES} bytes"))
            # A piece that ends a head is not judged, and neither is one whose rest waits for the body's reader.
            if self._is_chunked and body is not None and body is self._body and not self._reading_paused:
                self._judge(len(piece), body.total_bytes - before_bytes)
        self._rest = data[place:]

    @property
    def should_close(self) -> bool:
        """Whether the connection is not to be used again: also when there is more than the answer."""
        return super().should_close or bool(self._rest)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer's head, or break the connection off when it is one too many."""
        message, self._body = data
        self._is_chunked, length = message.chunked, message.headers.get("Content-Length", "")
        is_length = length.isdecimal() and len(length) <= LENGTH_DIGITS
        self._length = int(length) if is_length else None
        is_interim = message.code in range(100, 200)
        self._interim_answers += is_interim
        if length and not is_length:
            self._break_off(HttpProcessingError(message="a body whose length is no number, or far too long"))
        elif not self._is_awaited:
            self._break_off(HttpProcessingError(message="an answer to no request"))
        elif self._interim_answers > INTERIM_ANSWERS:
            self._break_off(HttpProcessingError(message=f"more than {INTERIM_ANSWERS} interim answers"))
        elif not self._is_broken_off:
            self._is_awaited = is_interim
            super().feed_data(data, size)

    def _left_of_body(self) -> int:
        """Return how many bytes of the current body are still to come; 0 when the head gave no length."""
        if self._length is None or self._body is None or self._body.is_eof():
            return 0
        return self._length - self._body.total_bytes

    def _judge(self, size_bytes: int, content_bytes: int) -> None:
        """Break the connection off when a piece of a body in chunks has little content."""
        if size_bytes - content_bytes > FRAMING_BYTES + content_bytes // FRAMING_SHARE:
            self._break_off(TinyChunks(f"{content_bytes} of {size_bytes} bytes are content"))

    def _break_off(self, why: Exception) -> None:
        if self._is_broken_off:
            return
        self._is_broken_off = True
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(why)
        self.set_exception(why)
        if self.transport is not None:
            self.transport.abort()


class _Connector(aiohttp.TCPConnector):
    """Makes connections whose answers `_Answers` reads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(_answers, loop=asyncio.get_running_loop())

    def close_idle(self, host: str, port: int) -> None:
        """Close the connections to a host and port that wait for their next request."""
        for key in [key for key in self._conns if (key.host, key.port) == (host, port)]:
            for connection, _ in self._conns.pop(key):
                connection.close()


def _answers(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _Answers(loop)


def _public_socket(place: tuple[Any, ...]) -> socket.socket:
    """Return a socket for one of `socket.getaddrinfo`'s answers. Raises `OSError` if its IP address is not public."""
    family, kind, protocol, _, address = place
    if not is_public(ip_address(address[0])):
        raise OSError(errno.EACCES, "not a public IP address; --allow-private allows it")
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Looks names up, each in a thread of its own.

    A name server that does not answer holds its thread for half a minute: in the event loop's own pool a few such names
    would keep disk and keys waiting. The threads do not keep the process from ending.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises `OSError`."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def finish(found: list[ResolveResult] | Exception) -> None:
            self._places.release()
            if answer.done():
                return  # given up meanwhile
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found: list[ResolveResult] | Exception
            try:
                found = _addresses(host, port, family)
            except Exception as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(finish, found)

        try:
            threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        except RuntimeError as error:
            self._places.release()
            raise OSError(errno.EAGAIN, f"no thread to look {host} up") from error
        return await answer

    async def close(self) -> None:
        """Nothing to give back."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host, host=str(place[0]), port=int(place[1]), family=kin, proto=protocol, flags=_NUMERIC
        )
        for kin, _, protocol, _, place in found
    ]


def retry_after_s(text: str) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date; None when it holds neither."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
