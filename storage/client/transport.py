"""HTTP requests to one node: repeated, limited in time and size, and each failure by its name (PROTOCOL section 6).

A request is made again some times when the connection fails, and for as long as the patience for one request lasts when
the node, or a proxy before it, answers that it cannot serve now (`retrying`). A request whose bytes move is left alone;
one that stalls is ended (`progress`), and repeated once where the node answers on a new connection. Answers are cut off
at their limit, redirections are not followed, and proxies that the environment names are not used.
"""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext

import aiohttp

from committee.addresses import NetworkAddress
from committee.connections import TinyChunks, close_idle, content_coding, media_type, retry_after_s
from committee.errors import InvalidAddress
from storage.client import progress, retrying, wire
from storage.client.bodies import Bytes, Content, TooLong, received
from storage.client.broken_requests import Exchange
from storage.client.errors import (
    NodeError,
    NodeLied,
    NodeRefused,
    NodeStalled,
    NodeUnreachable,
    NodeUntrusted,
    NodeUnusable,
)
from storage.client.failures import of_no_node, read_failure
from storage.client.link import SMALL_BYTES, Link, Transfer, at_once
from storage.client.progress import RequestProgress, TimeLimit
from storage.client.retrying import Patience
from storage.redstuff import InvalidEncoding

REFUSED_TO_STRANGERS = (451, 503)
"""Statuses of refusals to strangers: a member that shows its credential may be served."""
_PAGE = "text/html"
"""A type that no node's answer has."""
_NEEDLESS = ("Accept",)
"""Headers not sent: next to small symbols they weigh."""


class NodeTransport:
    """Requests to the node `name` at `address`, over a session that stays the caller's.

    Every method raises `NodeUnreachable`, `NodeRefused` or `NodeLied`, and no other error.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        address: str,
        patience_s: float | None,
        credential: Callable[[], str] | None,
        link: Link | None,
    ) -> None:
        """The parameters are those of `NodeClient`."""
        self._session = session
        self._patience_s = patience_s
        self._credential = credential
        self._shows_credential = False
        self._granted_s = -math.inf
        """When the node last granted a request that may be made again (of `time.monotonic`)."""
        self._link = link
        self.name = name
        self.address = address
        self._base, self._unusable = "", ""
        try:
            self._base = str(NetworkAddress.parse(address))
        except InvalidAddress as error:
            self._unusable = str(error)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Content | Callable[[], Content] | None = None,
        limit: int,
        size_bytes: int = 0,
        patience_s: float | None = None,
        within_s: float | None = None,
        transfer: Transfer | None = None,
        exchange: Exchange | None = None,
    ) -> Bytes:
        """Return the body of a request's answer; try again while the node cannot be reached or is unavailable.

        `body` is made when the request's turn comes. An answer is cut off at `limit` bytes; `size_bytes` is about what
        the link is to carry. With `within_s` there is one try, which may take no longer. `exchange` tells how the
        request is made again, which begins anew by default; nothing is returned of one that needs no further try.
        """
        if self._unusable:
            raise NodeUnusable(self.name, self.address, self._unusable)
        transfer = Transfer() if transfer is None else transfer
        transfer.size_bytes, transfer.peer = size_bytes, self
        patience_s = within_s or patience_s or self._patience_s or progress.PATIENCE_S
        async with at_once(transfer) if self._link is None else self._link.turn(transfer):
            exchange = Exchange(method, path) if exchange is None else exchange
            exchange.content = body() if callable(body) else body
            patience = Patience(patience_s, retrying.MOST_TRIES if within_s is None else 1)
            has_stalled = within_s is not None

            def begin(one: Exchange) -> RequestProgress:
                moving = one.begin(patience_s, within_s)
                if one is exchange:
                    transfer.moved = moving.moved_bytes
                return moving

            async def ask(one: Exchange) -> Bytes:
                return await self.once(one.method, one.path, query, limit, one, begin)

            while True:
                exchange.moving = None
                try:
                    if await exchange.has_moved_on(ask):
                        patience.note_progress()
                    answer = b"" if exchange.is_complete else await ask(exchange)
                except NodeError as error:
                    pause_s = patience.pause_s(error, self._granted_s)
                    if isinstance(error, NodeStalled) and not has_stalled and await self._is_there():
                        has_stalled = True
                    elif pause_s is None and not await exchange.is_worth_another_try(error, ask):
                        raise
                    is_break = isinstance(error, NodeUnreachable) and _has_broken(exchange.moving)
                else:
                    if within_s is None:
                        self._granted_s = time.monotonic()
                    return answer
                async with self._lost_turn(transfer) if is_break else nullcontext():
                    await retrying.pause(pause_s or retrying.SHORTEST_PAUSE_S)

    async def _is_there(self) -> bool:
        """Return whether the node answers on a new connection: then one that has stalled may have died unseen.

        A member does not wait for another one, and asks elsewhere.
        """
        if self._credential is not None:
            return False
        exchange, limit_s = Exchange("GET", wire.HEALTH), progress.HEALTH_TIMEOUT_S
        try:
            await self.once(
                *("GET", wire.HEALTH, None, wire.MAX_ERROR_BYTES, exchange),
                lambda one: one.begin(limit_s, limit_s),
            )
        except NodeError as error:
            return isinstance(error, NodeRefused)
        return True

    def _lost_turn(self, transfer: Transfer) -> AbstractAsyncContextManager[None]:
        if self._link is None or transfer.size_bytes <= SMALL_BYTES:
            return nullcontext()
        return self._link.lost_turn(transfer)

    async def once(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        limit: int,
        exchange: Exchange,
        begin: Callable[[Exchange], RequestProgress],
    ) -> Bytes:
        """Return the body of one try's answer; `begin` makes its progress. A stranger's 451 has a second try."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=progress.CONNECT_S)
        is_stranger = self._credential is not None and not self._shows_credential
        moving, is_over = begin(exchange), False
        try:
            async with (
                self._failing_as_a_node(moving),
                TimeLimit(moving.due_s),
                self._session.request(
                    method,
                    self._base + path,
                    params=query,
                    data=moving.body,
                    headers=self._headers() | exchange.headers,
                    skip_auto_headers=_NEEDLESS,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                moving.has_answer = True
                self._require_plain(content_coding(response))
                if exchange.is_granted(response) and media_type(response.headers) != _PAGE:
                    answer = await self._read(response, limit, moving, exchange.cut)
                    is_over = True
                    return answer
                self._note(response.status)
                content = await self._read(response, min(limit, wire.MAX_ERROR_BYTES), moving)
                is_over = True
        finally:
            if not is_over and moving.body is not None:
                moving.body.drop()
        if response.status == 451 and is_stranger:
            return await self.once(method, path, query, limit, exchange, begin)
        raise self._refused(response.status, content, retry_after_s(response.headers.get("Retry-After", "")))

    @asynccontextmanager
    async def _failing_as_a_node(self, moving: RequestProgress) -> AsyncIterator[None]:
        """Turn each failure of a request, made in this block, into a `NodeError`."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            raise NodeUnreachable(
                self.name, self.address, f"no connection within {progress.CONNECT_S:g} s"
            ) from None
        except TimeoutError:
            close_idle(self._session, self._base)
            raise NodeStalled(self.name, self.address, moving.describe()) from None
        except aiohttp.ClientConnectorCertificateError as error:
            told = getattr(error.certificate_error, "verify_message", "") or "no reason is told"
            raise NodeUntrusted(self.name, self.address, told) from error
        except aiohttp.ClientResponseError as error:
            raise NodeLied(self.name, self.address, "its answer is not HTTP") from error
        except TinyChunks as error:
            raise NodeLied(self.name, self.address, "it answers in chunks of a few bytes each") from error
        except NodeError:
            raise
        except Exception as error:
            # Of aiohttp and what it is built on, whose lists of errors are not complete.
            if isinstance(error, OSError) and error.errno == errno.EACCES:
                raise NodeUnusable(self.name, self.address, error.strerror or "permission denied") from error
            raise NodeUnreachable(self.name, self.address, str(error) or type(error).__name__) from error

    def _headers(self) -> dict[str, str]:
        if self._credential is None or not self._shows_credential:
            return {}
        return {"Authorization": self._credential()}

    def _require_plain(self, coding: str) -> None:
        if coding:
            raise NodeLied(
                *(self.name, self.address),
                f"its answer is compressed ({coding}), which was not asked for: a proxy before it must not compress",
            )

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        limit: int,
        moving: RequestProgress,
        cut: list[Bytes] | None = None,
    ) -> Bytes:
        """Return the body of an answer, behind what is `cut`; one that is too long is not read to its end."""
        try:
            return await received(response, limit, moving.arrived, cut)
        except TooLong:
            raise NodeLied(self.name, self.address, f"answered with more than {limit} bytes") from None

    def refusal(self, status: int, content: Bytes) -> NodeRefused:
        """Return the refusal of one of several questions, from its place in their answer; take note of it."""
        self._note(status)
        return self._refused(status, content)

    @contextmanager
    def must_be_true(self) -> Iterator[None]:
        """A context in which an answer is read: any error there is raised as `NodeLied`."""
        try:
            yield
        except Exception as error:
            raise NodeLied(self.name, self.address, f"its answer cannot be read: {error}") from error

    def _note(self, status: int) -> None:
        """Show the credential from now on if a stranger would be refused with this status."""
        self._shows_credential |= status in REFUSED_TO_STRANGERS

    def _refused(self, status: int, content: Bytes, retry_after_s: float | None = None) -> NodeRefused:
        try:
            reason, message = read_failure(wire.read_json(bytes(content)))
        except InvalidEncoding:
            reason, message = None, of_no_node(status)
        return NodeRefused(self.name, self.address, status, reason, message, retry_after_s)


def _has_broken(moving: RequestProgress | None) -> bool:
    """Return whether the connection of a try that failed broke on the way."""
    return moving is not None and moving.has_broken(asyncio.get_running_loop().time())
