"""Turns of requests: what they wait for, in which order, and what a request holds until it is answered.

A server is not told when the client of a waiting request hangs up. So the connection is looked at when the request's
turn comes, and a request whose client is gone costs no work.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from aiohttp import web

from storage.node.budgets import Line, Pool, Requester

HELD = web.RequestKey("held", AsyncExitStack)
"""What a request holds until its answer is sent, or its connection gone."""
REQUESTER = web.RequestKey("requester", Requester)
"""The party that the request's turns and memory are counted for."""
IPV6_NETWORK_BITS = 64
"""IPv6 addresses with the same first bits, this many, are one requester: one subscriber has all of them."""


def require_there(request: web.Request) -> None:
    """Raise `ConnectionError` when the request's client has hung up."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has hung up")


def stranger(address: str | None) -> Requester:
    """Return the requester that stands for all strangers behind an address; IPv6 addresses count by their /64."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return Requester(address or "no address")
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return Requester(str(parsed.ipv4_mapped))
        return Requester(str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False)))
    return Requester(str(parsed))


async def hold(request: web.Request, line: Line, what: AbstractAsyncContextManager[None]) -> None:
    """Wait in line for what the request is to hold until it is answered.

    Raises `LineFull`, or `ConnectionError` when the client has hung up.
    """
    with line.place(request[REQUESTER]):
        await request[HELD].enter_async_context(what)
    require_there(request)


class Turns:
    """Turns for the requests of one kind: the pool limits how many have one, `in_line` how many wait for one."""

    def __init__(self, pool: Pool, in_line: int) -> None:
        self._pool = pool
        self._line = Line(in_line)

    @asynccontextmanager
    async def turn(self, request: web.Request, weight: int = 1) -> AsyncIterator[None]:
        """The request's turn, which counts for `weight` turns of its requester.

        Raises `LineFull`, or `ConnectionError` when the client has hung up.
        """
        requester = request[REQUESTER]
        async with AsyncExitStack() as held:
            with self._line.place(requester):
                await held.enter_async_context(self._pool.lent(1, requester, weight=weight))
            require_there(request)
            yield
