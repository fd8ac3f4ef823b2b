"""Cross-origin requests: pages of any origin may use a node from a browser (the Fetch standard's CORS protocol).

A node knows no cookies and no logins, so nothing is given to a page that its user's browser would have to keep from it.
Only a request that names its origin is answered so: peers name none, and small symbols would be outweighed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

PREFLIGHT_SECONDS = 86_400
"""Seconds for which a browser may remember the answer to a preflight request."""


async def allow_any_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page that asked read an answer, whatever it is."""
    if hdrs.ORIGIN in request.headers:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "*"


@web.middleware
async def answer_options(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer a browser that asks whether a page may make a request: it may.

    Whatever else asks for the methods of a path that there is gets 204: proxies look so whether a server is there.
    """
    if request.method != hdrs.METH_OPTIONS:
        return await handler(request)
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        refused = request.match_info.http_exception
        if not isinstance(refused, web.HTTPMethodNotAllowed):
            return await handler(request)
        methods = sorted(refused.allowed_methods | {hdrs.METH_OPTIONS})
        return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods)})
    allowed = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, PUT, PATCH, POST",
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "*",
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
    }
    return web.Response(status=204, headers=allowed)
