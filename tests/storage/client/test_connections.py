"""Where a session connects: to public addresses only, whatever a host is called and however it is written."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from committee.connections import open_session
from storage.client.errors import NodeError, NodeLied, NodeUnreachable
from storage.client.node_client import NodeClient
from tests.storage import pacing

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "rebound.example",
]


class Intranet:
    """A service on this machine that answers everything, and counts who comes."""

    port = 0
    visits = 0
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def intranet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Intranet]:
    """Also known as `rebound.example`."""
    look_up = socket.getaddrinfo

    def rebound(host: Any, *arguments: Any) -> Any:
        return look_up("127.0.0.1" if host == "rebound.example" else host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    made = Intranet()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    with pacing.tries(1):
        yield made
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("host", PRIVATE)
async def test_a_private_address_is_not_connected_to(intranet: Intranet, host: str) -> None:
    async with open_session(allow_private=False) as session:
        with pytest.raises(NodeUnreachable):
            await NodeClient(session, "spy", f"http://{host}:{intranet.port}").metrics()
    assert intranet.visits == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "rebound.example"])
async def test_it_is_where_the_operator_allows_it(intranet: Intranet, host: str) -> None:
    async with open_session(allow_private=True) as session:
        assert await NodeClient(session, "fellow", f"http://{host}:{intranet.port}").metrics() == "{}"
    assert intranet.visits == 1


async def test_the_error_says_what_to_do(intranet: Intranet) -> None:
    async with open_session(allow_private=False) as session:
        with pytest.raises(NodeUnreachable, match="not a public IP address; --allow-private"):
            await NodeClient(session, "spy", f"http://127.0.0.1:{intranet.port}").metrics()


async def test_cookies_are_not_kept_and_compressed_answers_not_unpacked_but_refused(
    intranet: Intranet,
) -> None:
    intranet.answer = b"\r\n".join(
        [
            b"HTTP/1.1 200 OK",
            b"Set-Cookie: a=b",
            b"Content-Encoding: gzip",
            b"Content-Length: 3",
            b"",
            b"\x1f\x8b\x08",
        ]
    )
    async with open_session(allow_private=True) as session:
        client = NodeClient(session, "fellow", f"http://rebound.example:{intranet.port}")
        with pytest.raises(NodeLied, match="its answer is compressed"):
            await client.metrics()
        assert not list(session.cookie_jar)


async def test_names_that_hang_keep_neither_other_names_nor_other_work_waiting(
    monkeypatch: pytest.MonkeyPatch, intranet: Intranet
) -> None:
    goes_on, look_up = threading.Event(), socket.getaddrinfo

    def hang(host: Any, *arguments: Any) -> Any:
        if str(host).startswith("tarpit"):
            assert goes_on.wait(30)
            raise socket.gaierror("gone")
        return look_up(host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    async with open_session(allow_private=True, limit=0) as session:
        tarpits = [NodeClient(session, "tarpit", f"http://tarpit{number}.example:1") for number in range(100)]
        hanging = [asyncio.create_task(one.health(timeout_s=20)) for one in tarpits]
        await asyncio.sleep(0)
        fellow = NodeClient(session, "fellow", f"http://rebound.example:{intranet.port}", patience_s=10)
        assert await fellow.metrics() == "{}"
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 10) == 7
        goes_on.set()
        ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(one, NodeError) for one in ended)
