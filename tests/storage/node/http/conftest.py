"""A node served as in production, to whom strangers may do all that a connection allows."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from storage.client import wire
from storage.node.budgets import Budget
from storage.node.http.connections import Limits
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.node.store import SliverStore
from storage.redstuff import Axis, EncodedBlob, SliverData, blob_id_text
from tests.storage.conftest import OneNode

BUFFER_BYTES = 2**14
"""Of a connection, on either side: what is not read is soon not sent either."""
LIMIT_S = 10.0
SYMBOL_BYTES = 20_000
SHARD = 2
"""One of the node's."""
HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: node\r\n\r\n"
LAST = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
"""The same request, as the last one of its connection."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the node brings about by itself."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)


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
    """The node's own routes, and GET /hanging, which is answered once `goes_on` is set."""

    def __init__(self, node: OneNode) -> None:
        self.app = create_app(node, Budget())
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


class ServedNode:
    """A node that holds a blob's slivers, and ways to ask it."""

    def __init__(self, node: OneNode, blob: EncodedBlob, port: int, server: HttpServer) -> None:
        self.node = node
        self.blob = blob
        self._port = port
        self._server = server
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._sockets: list[socket.socket] = []

    async def close(self) -> None:
        for one in self._sockets:
            one.close()
        for session in self._sessions.values():
            await session.close()

    @property
    def connections(self) -> int:
        """How many the node has open."""
        return len(self._server.connections)

    def sliver_path(self, shard: int, axis: Axis = Axis.PRIMARY) -> str:
        return self.path(f"slivers/{self.node.pair(self.blob, shard)}/{axis.label}")

    def path(self, rest: str) -> str:
        return f"/v1/blobs/{blob_id_text(self.blob.blob_id)}/{rest}"

    def sliver_body(self, shard: int, axis: Axis = Axis.PRIMARY) -> bytes:
        index = self.node.code.sliver_index(self.blob.blob_id, shard, axis)
        return SliverData(self.node.sliver(self.blob, shard, axis), SYMBOL_BYTES, index).to_bcs()

    def questions(self, count: int = 2) -> bytes:
        """A question whose answers together are of `count` million bytes."""
        return wire.Question(Axis.PRIMARY, range(10), range(5), [self.blob.blob_id] * count).to_bcs()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, local: str = "127.0.0.1"
    ) -> tuple[int, bytes]:
        """The status and the body of the answer to a request from the address `local`."""
        status, content, _ = await self.talk(method, path, body, local)
        return status, content

    async def talk(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        local: str = "127.0.0.1",
        fields: dict[str, str] | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """The same with more headers, `fields`, and with the answer's."""
        url = f"http://127.0.0.1:{self._port}{path}"
        session = self._sessions.get(local) or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, local_addr=(local, 0))
        )
        self._sessions[local] = session
        async with (
            asyncio.timeout(LIMIT_S),
            session.request(method, url, data=body, headers=fields) as answer,
        ):
            return answer.status, await answer.read(), answer.headers

    async def sliver(self, shard: int = SHARD) -> int:
        """The status of a question for a sliver."""
        return (await self.ask("GET", self.sliver_path(shard)))[0]

    async def symbols(self, count: int = 1, local: str = "127.0.0.1") -> int:
        """The status of a question for symbols."""
        return (await self.ask("POST", "/v1/decodingSymbols", self.questions(count), local))[0]

    async def begin(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        length: int | None = None,
        local: str = "127.0.0.1",
        fields: str = "",
    ) -> socket.socket:
        """Send a request, or its beginning, and read nothing of the answer; `fields` are more lines of its head."""
        loop = asyncio.get_running_loop()
        one = socket.socket()
        self._sockets.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        one.setblocking(False)
        one.bind((local, 0))
        await loop.sock_connect(one, ("127.0.0.1", self._port))
        length = len(body) if length is None else length
        head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n{fields}\r\n"
        await loop.sock_sendall(one, head.encode() + body)
        return one


Serve = Callable[..., Awaitable[ServedNode]]
ServeApp = Callable[..., Awaitable[int]]


@pytest.fixture(scope="session")
def large_blob(encode: Callable[[bytes], EncodedBlob]) -> EncodedBlob:
    """A blob of symbols of SYMBOL_BYTES, whose slivers count as large."""
    return encode(bytes(number % 251 for number in range(28 * SYMBOL_BYTES)))


@pytest.fixture
async def servers() -> AsyncIterator[list[HttpServer]]:
    """What serves, until the test ends."""
    servers: list[HttpServer] = []
    yield servers
    for one in servers:
        await one.close()


@pytest.fixture
def serve_app(servers: list[HttpServer]) -> ServeApp:
    """`await serve_app(app)`: the port at which it is served, as a node serves it."""

    async def start(app: web.Application, limits: Limits | None = None) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        port = int(listening.getsockname()[1])
        servers.append(HttpServer(app, listening, limits, shutdown_s=0.1))
        await servers[-1].start()
        return port

    return start


@pytest.fixture
async def serve_node(
    tmp_path: Path, large_blob: EncodedBlob, serve_app: ServeApp, servers: list[HttpServer]
) -> AsyncIterator[Serve]:
    """`await serve_node(budget, shards)`: a node with a budget for peers that holds these shards of the blob."""
    async with AsyncExitStack() as opened:

        async def start(
            budget: Budget | None = None, shards: tuple[int, ...] = (0, 1, 2, 3, 4)
        ) -> ServedNode:
            node = OneNode(opened.enter_context(SliverStore(tmp_path / "served")))
            node.register(large_blob)
            await node.view.load()
            await node.view.refresh()
            node.keep(large_blob, shards)
            port = await serve_app(create_app(node, budget or Budget()))
            served = ServedNode(node, large_blob, port, servers[-1])
            opened.push_async_callback(servers[-1].close)
            opened.push_async_callback(served.close)
            return served

        yield start
