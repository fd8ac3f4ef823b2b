"""How many connections a node keeps: those that wait give way, and it leaves descriptors to its own files."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from localnet.node_process import STOP_PATIENCE_S
from storage.node import descriptors
from storage.node.budgets import Budget
from storage.node.http import server as serving
from storage.node.http.connections import Connection, Limits
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.redstuff import blob_id_text
from tests.storage.conftest import OneNode
from tests.storage.node.http.conftest import (
    HEALTH,
    LAST,
    Connect,
    ServeApp,
    Served,
    body_of,
    until,
)

# how many connections


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
    assert servers[-1].counts() == {"open": 0, "refused": 0, "evicted": 1, "hung_up": 0}


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


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
async def test_connections_whose_client_has_gone_are_not_served(
    served: Served, serve_app: ServeApp, connect: Connect, servers: list[HttpServer], is_reset: bool
) -> None:
    """A thousand of them wait in the kernel before the next client's: a connection that is served costs much more."""
    port = await serve_app(served.app)
    begun: list[str] = []
    begin = servers[-1].connections.begin

    def noted(host: str) -> Connection | None:
        begun.append(host)
        return begin(host)

    servers[-1].connections.begin = noted  # type: ignore[method-assign]
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port)) as client:
            if is_reset:
                client.sendall(HEALTH)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert (await answered(connect, port))[0] == 200
    assert len(begun) == 1
    assert servers[-1].counts()["hung_up"] == 200


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
    assert "asyncio" not in {record.name for record in caplog.records}


def test_descriptors_are_counted_where_no_folder_tells_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Snaipe/BoxFort#34: some containers have neither /dev/fd nor /proc."""
    told = descriptors.count_free()
    monkeypatch.setattr(descriptors, "OPEN", tmp_path / "absent")
    assert descriptors.count_free() == told + 1  # that of the folder itself, as it is read
    with (tmp_path / "file").open("w"):
        assert descriptors.count_free() == told


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
    async with HttpServer(create_app(node, Budget()), listener) as server:
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
