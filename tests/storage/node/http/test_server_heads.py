"""What a node takes for a request: heads within limits, bodies that are not compressed; and what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_urldispatcher import UrlDispatcher, UrlMappingMatchInfo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.node.http.connections import HEADS_IN_LINE, SETTINGS, Limits
from storage.node.http.server import HttpServer
from tests.logged import captured
from tests.storage.conftest import OneNode
from tests.storage.node.http.conftest import (
    HEALTH,
    LAST,
    Connect,
    ServeApp,
    Served,
    body_of,
    port_of,
    until,
)

# what is no HTTP

MALFORMED = {
    "nothing of it": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no method": b"\r\n\r\nFOO BAR\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length below zero": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long field": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100 + b"\r\n",
    "a zero byte": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "an address that is none": b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a name that is none": b"GET http://xn--/v1/health HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_is_refused_in_one_line(
    node: OneNode, connect: Connect, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with captured() as logs:
        raw = await connect(port_of(node))
        await raw.send(request_bytes)
        status, answer = await raw.answer()
        assert await raw.answers() == b"", "closed"
    assert status == 400
    assert body_of(answer)["error"]["details"][0]["reason"] == "INVALID_REQUEST"
    assert b"\r\nServer:" not in answer
    (line,) = logs
    assert line["event"] == "malformed request"
    assert "exc_info" not in line and "\n" not in line["error"] and len(line["error"]) <= 200
    assert not caplog.records, "aiohttp itself logs nothing"


@pytest.mark.parametrize(
    "chunks",
    [
        *(b"", b"0\r\n\r\n", b"3\r\nabc\r\nzz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n\r\n", b"f" * 40 + b"\r\n"),
        *(200_000 * b"1\r\na\r\n", b"0\r\nX: " + bytes(10**6)),
    ],
    ids=["none", "empty", "no size", "too long", "negative", "huge", "of a byte each", "trailer"],
)
async def test_a_body_in_chunks_is_refused_and_not_read(
    node: OneNode,
    connect: Connect,
    chunks: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SETTINGS, "lingering_time", 0.2)
    raw = await connect(port_of(node))
    await raw.send(b"POST /v1/migrate/sync_shard HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    status, answer = await raw.answer()
    assert (status, body_of(answer)["error"]["details"][0]["reason"]) == (411, "INVALID_REQUEST")
    assert body_of(answer)["error"]["status"] == "INVALID_ARGUMENT"
    began = time.process_time()
    with contextlib.suppress(ConnectionError):
        await raw.send(chunks)
    assert await raw.answers() == b""
    assert time.process_time() - began < 0.5
    assert not caplog.records


async def test_an_unknown_expectation_is_refused_once_and_the_connection_closed(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    raw = await connect(await serve_app(served.app))
    with captured() as logs:
        await raw.send(100 * HEALTH.replace(b"\r\n\r\n", b"\r\nExpect: nothing\r\n\r\n"))
        status, answer = await raw.answer()
        assert await raw.answers() == b"", "closed"
    assert status == 417
    assert body_of(answer)["error"]["details"][0]["reason"] == "INVALID_REQUEST"
    assert b"\r\nServer:" not in answer
    assert not logs
    assert servers[-1].counts() == {"open": 0, "refused": 0, "evicted": 0, "hung_up": 0}


async def test_a_path_of_thousands_of_slashes_is_not_looked_for(
    served: Served, serve_app: ServeApp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router takes 5 ms for it, in which nothing else runs."""
    looked_for: list[str] = []

    async def resolve(router: UrlDispatcher, request: web.Request) -> UrlMappingMatchInfo:
        looked_for.append(request.path)
        return await really(router, request)

    really = UrlDispatcher.resolve
    monkeypatch.setattr(UrlDispatcher, "resolve", resolve)
    port = await serve_app(served.app)
    for path, status in ((b"/" + 4000 * b"a/", 404), (b"/v1/health", 200)):
        raw = await connect(port)
        await raw.send(HEALTH.replace(b"/v1/health", path))
        assert (await raw.answer())[0] == status
    assert looked_for == ["/v1/health"]


async def test_clients_that_expect_to_go_on_and_hang_up_are_counted_and_not_logged(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    port = await serve_app(served.app)
    head = b"PUT /v1/health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    with captured() as logs:
        for _ in range(64):  # more than are begun at once: the others have gone when their turn comes
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(head)
        await until(lambda: servers[-1].counts()["hung_up"])
        await until(lambda: not servers[-1].counts()["open"])
        raw = await connect(port)
        await raw.send(LAST)
        assert (await raw.answer())[0] == 200
    assert not logs


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
async def test_random_requests_are_answered_or_cut_off(
    node: OneNode, connect: Connect, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    await _send_random(node, connect, caplog, data)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
async def test_some_random_requests_are_answered_or_cut_off(
    node: OneNode, connect: Connect, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    await _send_random(node, connect, caplog, data)


LINES = (
    b"GET",
    b"PUT",
    b"POST",
    b"OPTIONS",
    b"CONNECT",
    b"PRI",
    b" ",
    b" * ",
    b"/",
    b"/v1/health",
    b"http://",
    b"?a=b",
)
ENDS = (
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/2.0",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b": ",
    b"\0",
    b"0",
    b"5",
    b"\xff",
)
FIELDS = (
    *(
        b"Host: a",
        b"Host:",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
    ),
    *(b"Connection: upgrade\r\nUpgrade: websocket", b"Connection: close", b"Connection: keep-alive"),
    *(b"Expect: 100-continue", b"Expect: x", b"Content-Encoding: gzip"),
)
PIECES = st.sampled_from((*LINES, *ENDS, *FIELDS, *(field + b"\r\n" for field in FIELDS), HEALTH, LAST))


async def _send_random(
    node: OneNode, connect: Connect, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    raw = await connect(port_of(node))
    pieces = data.draw(st.lists(st.lists(PIECES | st.binary(max_size=20), max_size=12), max_size=4))
    with captured() as logs:
        for piece in pieces:
            if not raw.writer.is_closing():
                raw.writer.write(b"".join(piece))
        raw.writer.write_eof()
        answers = await raw.answers()
    raw.writer.transport.abort()
    assert b"\r\nServer:" not in answers
    assert b" 500 " not in answers
    assert not [one for one in logs if "exc_info" in one or one["log_level"] == "error"]
    assert not caplog.records


async def test_no_answer_says_what_software_this_is(
    node: OneNode, session: aiohttp.ClientSession, connect: Connect
) -> None:
    for method, path, expect in (
        ("GET", "/v1/health", ""),
        ("GET", "/nowhere", ""),
        ("DELETE", "/v1/health", ""),
        ("GET", "/metrics", ""),
        ("POST", "/v1/decodingSymbols", "a miracle"),
        ("HEAD", "/v1/health", ""),
    ):
        fields = {"Expect": expect} if expect else {}
        async with session.request(method, node.address + path, headers=fields) as answer:
            assert "Server" not in answer.headers


# compressed bodies


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity", "unheard-of"])
async def test_compressed_bodies_are_refused(
    node: OneNode, session: aiohttp.ClientSession, coding: str
) -> None:
    url, fields = f"{node.address}/v1/migrate/sync_shard", {"Content-Encoding": coding}
    async with session.post(url, data=gzip.compress(bytes(10**6)), headers=fields) as answer:
        assert answer.status == 415
        assert (await answer.json())["error"]["details"][0]["reason"] == "INVALID_REQUEST"


# heads


async def test_a_head_in_pieces_is_a_head(node: OneNode, connect: Connect) -> None:
    raw = await connect(port_of(node))
    for _ in range(3):
        for first in range(0, len(HEALTH), 7):
            await raw.send(HEALTH[first : first + 7])
        assert (await raw.answer())[0] == 200


async def test_a_head_has_its_time(served: Served, serve_app: ServeApp, connect: Connect) -> None:
    raw = await connect(await serve_app(served.app, Limits(head_s=0.05)))
    await raw.send(HEALTH)
    assert (await raw.answer())[0] == 200, "in time"
    await raw.send(HEALTH[:20])
    status, answer = await raw.answer()
    assert status == 408
    assert b"Connection: close" in answer
    assert await raw.answers() == b""


async def test_a_connection_that_says_nothing_has_the_time_of_a_head(
    served: Served, serve_app: ServeApp, connect: Connect
) -> None:
    raw = await connect(await serve_app(served.app, Limits(head_s=0.05)))
    assert await raw.answers() == b""


async def test_a_request_under_way_is_not_ended_by_the_head_behind_it(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    raw = await connect(await serve_app(served.app, Limits(head_s=0.05)))
    await raw.send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n" + HEALTH[:20])
    await until(lambda: served.asked)
    await raw.send(HEALTH[20:30])
    await asyncio.sleep(0.1)
    served.goes_on.set()
    assert (await raw.answer())[0] == 200
    await raw.send(HEALTH[30:])
    assert (await raw.answer())[0] == 200


async def test_a_connection_without_requests_is_closed_after_a_while(
    served: Served, serve_app: ServeApp, connect: Connect
) -> None:
    raw = await connect(await serve_app(served.app, Limits(idle_s=0.05)))
    await raw.send(HEALTH)
    assert (await raw.answer())[0] == 200
    assert await raw.answers() == b""


async def test_a_head_without_end_is_refused(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    raw = await connect(await serve_app(served.app))
    await raw.send(HEALTH[:-2])
    fields = Limits().head_bytes // 1000 + 1
    assert fields < SETTINGS["max_headers"]
    await raw.send(b"".join(b"X-%d: " % number + b"x" * 1000 + b"\r\n" for number in range(fields)))
    status, answer = await raw.answer()
    assert status == 431
    assert body_of(answer)["error"]["code"] == 431


async def test_a_long_body_is_no_long_head(served: Served, serve_app: ServeApp, connect: Connect) -> None:
    """Also when it is refused before its end, and read on for a while."""
    raw = await connect(await serve_app(served.app))
    await raw.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(10):
        await raw.send(bytes(100_000))
    assert (await raw.answer())[0] == 404
    await raw.send(LAST)
    assert (await raw.answer())[0] == 200


async def test_few_heads_are_read_behind_the_request_under_way(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    """One of 61 short fields takes 20 KiB in memory, and a connection could have 32 of them."""
    fields = b"".join(b"%c%c:\r\n" % (65 + number // 26, 65 + number % 26) for number in range(60))
    head = HEALTH[:-2] + fields + b"\r\n"
    port = await serve_app(served.app)
    raw = await connect(port)
    await raw.send(b"GET /hanging HTTP/1.1\r\nHost: node\r\n\r\n" + 30 * head)
    await until(lambda: served.asked)
    (connection,) = servers[-1].connections._open
    for _ in range(100):
        await asyncio.sleep(0)
        assert len(connection._messages) <= HEADS_IN_LINE
    served.goes_on.set()
    for _ in range(31):
        assert (await raw.answer())[0] == 200
    assert servers[-1].counts()["open"] == 1


async def test_requests_behind_one_another_are_answered_in_order(node: OneNode, connect: Connect) -> None:
    raw = await connect(port_of(node))
    await raw.send(100 * HEALTH + LAST)
    assert (await raw.answers()).count(b"HTTP/1.1 200 OK") == 101


@pytest.mark.parametrize(
    "large",
    [
        HEALTH[:-2] + b"".join(b"X-%d: " % number + b"x" * 1000 + b"\r\n" for number in range(10)) + b"\r\n",
        HEALTH.replace(b"health", b"health?" + b"x" * 5000),
    ],
    ids=["fields", "query"],
)
async def test_large_heads_behind_one_another_wait_to_be_read(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer], large: bytes
) -> None:
    raw = await connect(await serve_app(served.app))
    await raw.send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: served.asked)
    (connection,) = servers[-1].connections._open
    sending = asyncio.create_task(raw.send(100 * large))
    await until(lambda: connection._messages)
    for _ in range(100):
        await asyncio.sleep(0)
        assert len(connection._messages) <= HEADS_IN_LINE
    assert connection._head_bytes <= connection._connections.limits.head_bytes
    served.goes_on.set()
    for _ in range(101):
        assert (await raw.answer())[0] in (200, 404)
    await sending
