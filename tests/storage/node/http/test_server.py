"""How a node listens: heads within limits, connections that give way, and what is no HTTP."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import aiohttp
import pytest
import structlog
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localnet.network import STOP_PATIENCE_S
from storage.node import descriptors
from storage.node.http import server as serving
from storage.node.http.connections import SETTINGS, Limits
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.redstuff import blob_id_text
from tests.storage.conftest import OneNode
from tests.storage.node.http.conftest import LIMIT_S, ServeApp, until

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: node\r\n\r\n"
LAST = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Raw:
    """A connection to the node, by its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answers(self) -> bytes:
        """All that the node sends before it closes the connection."""
        async with asyncio.timeout(LIMIT_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def answer(self) -> tuple[int, bytes]:
        """(status, head and body) of one answer."""
        async with asyncio.timeout(LIMIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split(b" ")[1]), head + await self.reader.readexactly(length)


Connect = Callable[..., Awaitable[Raw]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(port)`: a connection, closed when the test ends."""
    opened: list[Raw] = []

    async def start(port: int, host: str = "127.0.0.1") -> Raw:
        opened.append(Raw(*await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))))
        return opened[-1]

    yield start
    for one in opened:
        one.writer.transport.abort()


class Served:
    """An application whose GET / hangs until it is let go, and the node's own routes."""

    def __init__(self, node: OneNode) -> None:
        self.app = create_app(node)
        self.app.router.add_get("/hanging", self._hang)
        self.asked = 0
        self.goes_on = asyncio.Event()

    async def _hang(self, request: web.Request) -> web.Response:
        self.asked += 1
        await self.goes_on.wait()
        return web.json_response({})


@pytest.fixture
def served(node: OneNode) -> Served:
    return Served(node)


def port_of(node: OneNode) -> int:
    return int(node.address.rpartition(":")[2])


def body_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


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
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_is_refused_in_one_line(
    node: OneNode, connect: Connect, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logs:
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
    "chunk", [b"zz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n\r\n", b"f" * 40 + b"\r\n", b"2\nab\n"]
)
async def test_a_bad_chunk_makes_no_traceback(
    node: OneNode, connect: Connect, chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logs:
        raw = await connect(port_of(node))
        await raw.send(
            b"POST /v1/migrate/sync_shard HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await raw.send(b"3\r\nabc\r\n" + chunk)
        answers = await raw.answers()
    assert b" 400 " in answers.partition(b"\r\n")[0]
    assert b"\r\nServer:" not in answers
    assert len(logs) <= 2
    assert all("exc_info" not in one for one in logs)
    assert not caplog.records


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
    with structlog.testing.capture_logs() as logs:
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


async def test_requests_behind_one_another_are_answered_in_order(node: OneNode, connect: Connect) -> None:
    raw = await connect(port_of(node))
    await raw.send(100 * HEALTH + LAST)
    assert (await raw.answers()).count(b"HTTP/1.1 200 OK") == 101


@pytest.mark.parametrize(
    "large",
    [
        HEALTH[:-2] + b"".join(b"X-%d: " % number + b"x" * 1000 + b"\r\n" for number in range(10)) + b"\r\n",
        HEALTH.replace(b"health", b"x" * 5000),
    ],
    ids=["fields", "path"],
)
async def test_large_heads_behind_one_another_are_cut_off(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer], large: bytes
) -> None:
    raw = await connect(await serve_app(served.app))
    await raw.send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: served.asked)
    await raw.send(10 * large)
    await until(lambda: not len(servers[-1].connections))


# how many


async def answered(connect: Connect, port: int, host: str = "127.0.0.1") -> tuple[int, bytes]:
    raw = await connect(port, host)
    await raw.send(LAST)
    return await raw.answer()


@pytest.mark.parametrize("first", [b"", HEALTH[:30], HEALTH])
async def test_connections_that_wait_give_way(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer], first: bytes
) -> None:
    port = await serve_app(served.app, Limits(connections=8, connections_by_address=8))
    oldest = await connect(port)
    await oldest.send(HEALTH)
    await oldest.answer()
    for _ in range(20):
        raw = await connect(port)
        await raw.send(first)
        if first == HEALTH:
            assert (await raw.answer())[0] == 200
        assert (await answered(connect, port))[0] == 200
    assert await oldest.answers() == b"", "closed"
    assert servers[-1].counts()["open"] <= 8
    assert servers[-1].counts()["evicted"] >= 13
    assert not servers[-1].counts()["refused"]


async def test_connections_that_work_do_not_give_way(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    port = await serve_app(served.app, Limits(connections=2, connections_by_address=2))
    working = [await connect(port) for _ in range(2)]
    for raw in working:
        await raw.send(b"GET /hanging HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await until(lambda: served.asked == 2)
    status, answer = await answered(connect, port)
    assert status == 503
    assert body_of(answer)["error"]["details"][0]["reason"] == "UNAVAILABLE"
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert b"\r\nServer:" not in answer
    served.goes_on.set()
    for raw in working:
        assert (await raw.answer())[0] == 200
    await until(lambda: not len(servers[-1].connections))
    assert (await answered(connect, port))[0] == 200
    assert servers[-1].counts()["refused"] == 1


async def test_one_address_leaves_others_room(served: Served, serve_app: ServeApp, connect: Connect) -> None:
    port = await serve_app(served.app, Limits(connections=8, connections_by_address=3))
    for _ in range(3):
        await (await connect(port)).send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: served.asked == 3)
    assert (await answered(connect, port))[0] == 503
    assert (await answered(connect, port, "127.0.0.2"))[0] == 200
    served.goes_on.set()


async def test_the_address_with_most_requests_under_way_gives_way_to_others(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer]
) -> None:
    port = await serve_app(served.app, Limits(connections=5, connections_by_address=5))
    working = []
    for number, host in enumerate(("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")):
        working.append(await connect(port, host))
        await working[-1].send(b"GET /hanging HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await until(lambda: served.asked == number + 1)  # noqa: B023 - awaited at once
    assert (await answered(connect, port, "127.0.0.3"))[0] == 200
    assert await working[0].answers() == b"", "the oldest request of the address with most connections"
    served.goes_on.set()
    for raw in working[1:]:
        assert (await raw.answer())[0] == 200
    assert servers[-1].counts() == {"open": 0, "refused": 0, "evicted": 1}


async def test_an_address_that_has_most_connections_costs_no_other_address_one(
    served: Served, serve_app: ServeApp, connect: Connect
) -> None:
    port = await serve_app(served.app, Limits(connections=4, connections_by_address=4))
    for number in range(3):
        await (await connect(port)).send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: served.asked == number + 1)  # noqa: B023 - awaited at once
    fresh = await connect(port, "127.0.0.2")
    for _ in range(3):
        assert (await answered(connect, port))[0] == 503
    await fresh.send(LAST)
    assert (await fresh.answer())[0] == 200
    served.goes_on.set()


# descriptors


class Starved:
    """A listening socket that has no descriptor for what it accepts, for a while."""

    def __init__(self) -> None:
        self.real = socket.create_server(("127.0.0.1", 0))
        self.times = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def accept(self) -> Any:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.real.accept()


@pytest.mark.parametrize("waiting", [0, 3])
async def test_without_descriptors_connections_that_wait_are_closed_and_the_next_is_served(
    served: Served,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = Starved()
    port = listener.real.getsockname()[1]
    async with HttpServer(served.app, cast(socket.socket, listener), shutdown_s=0.1) as server:
        idle = [await connect(port) for _ in range(waiting)]
        await until(lambda: len(server.connections) == waiting)
        listener.times = 1
        first = await connect(port)
        await first.send(LAST)
        assert (await first.answer())[0] == (200 if waiting else 503)
        assert (await answered(connect, port))[0] == 200
        assert [await one.answers() for one in idle] == [b""] * waiting
    assert not caplog.records, "asyncio logs nothing"


async def test_connections_leave_descriptors_to_the_node(
    served: Served, serve_app: ServeApp, servers: list[HttpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "count_free", lambda: 300)
    await serve_app(served.app)
    assert servers[-1].connections.limits.connections == 300 - serving.KEPT_DESCRIPTORS
    monkeypatch.setattr(descriptors, "count_free", lambda: 30)
    await serve_app(served.app)
    assert servers[-1].connections.limits.connections == serving.FEWEST_CONNECTIONS
    assert servers[-1].connections.limits.connections_by_address == 3 * serving.FEWEST_CONNECTIONS // 4


def test_the_soft_limit_of_open_files_is_raised() -> None:
    code = (
        "import resource; from storage.node import descriptors;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200));"
        "print(descriptors.raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), descriptors.count_free() > 180)"
    )
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert told == b"200 (200, 200) True\n"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200


async def test_a_server_that_closes_lets_requests_end_and_takes_no_more(
    served: Served, connect: Connect
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with HttpServer(served.app, listener) as server:
        raw = await connect(port)
        await raw.send(b"GET /hanging HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: served.asked)
        asyncio.get_running_loop().call_later(0.05, served.goes_on.set)
        await server.close()
        assert (await raw.answer())[0] == 200
        with pytest.raises(OSError):
            await connect(port)


async def test_a_server_that_closes_ends_the_waits_for_the_chain(node: OneNode, connect: Connect) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    blob_id = blob_id_text(bytes(32))
    async with HttpServer(create_app(node), listener) as server:
        raw = await connect(listener.getsockname()[1])
        before = node.ledger.questions
        path = f"/v1/blobs/{blob_id}/confirmation/permanent?wait_for_registration=true"
        await raw.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await until(lambda: node.ledger.questions > before)
        async with asyncio.timeout(2.5):
            await server.close()
        assert (await raw.answer())[0] == 503


def test_a_server_closes_before_a_node_is_killed() -> None:
    """aiohttp waits twice: for requests to end, and for those that it has broken off."""
    assert 2 * serving.SHUTDOWN_S < STOP_PATIENCE_S - 2
