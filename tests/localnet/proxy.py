"""A reverse proxy: `python -m tests.localnet.proxy PORT UPSTREAM TROUBLE`, until its standard input ends.

It passes requests on to a node. While the node does not take its connections TROUBLE is the answer: 502 or 504, a page
of the proxy's own, or "hang", none at all. With "flaky" every third request is answered 502, whether the node runs or
not.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
LARGEST_BODY_BYTES = 2**28


class Proxy:
    """The proxy before one node."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str, trouble: str) -> None:
        self._session = session
        self._upstream = upstream
        self._trouble = trouble
        self._numbers = itertools.count(1)

    async def pass_on(self, request: web.Request) -> web.Response:
        if self._trouble == "flaky" and next(self._numbers) % 3 == 0:
            return page(502)
        body = await request.read()
        try:
            async with self._session.request(
                request.method,
                URL(self._upstream + request.raw_path, encoded=True),
                headers=[one for one in request.headers.items() if one[0].lower() not in HOP_BY_HOP],
                data=body or None,
                allow_redirects=False,
            ) as answer:
                headers = [one for one in answer.headers.items() if one[0].lower() not in HOP_BY_HOP]
                return web.Response(body=await answer.read(), status=answer.status, headers=headers)
        except aiohttp.ClientError:
            if self._trouble == "hang":
                await asyncio.Event().wait()
            return page(502 if self._trouble == "flaky" else int(self._trouble))


def page(status: int) -> web.Response:
    return web.Response(status=status, text=f"<html><h1>{status}</h1></html>", content_type="text/html")


async def main(port: int, upstream: str, trouble: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", Proxy(session, upstream, trouble).pass_on)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.to_thread(sys.stdin.read)
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
