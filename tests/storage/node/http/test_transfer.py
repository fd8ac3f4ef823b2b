"""Bodies keep a pace both ways: who drips, does not read or hangs up holds up nobody else, and no memory for ever."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from storage.client import progress, wire
from storage.client.bodies import LARGE_BYTES, LargeBody
from storage.node import credentials
from storage.node.budgets import MEMORY_BYTES, Budget, Pool
from storage.node.http import admission, connections, pending, server, transfer, uploads
from storage.node.http.connections import Connection, Limits
from storage.redstuff import Axis
from tests.storage.node.http.conftest import LIMIT_S, SHARD, Serve, ServeApp, ServedNode, until
from tests.storage.node.test_credentials import header

NEVER_S = 10.0**6
SOON_S = 0.01
LOOKS = 10


# the pace


@dataclass
class Body:
    """A body under way, at a pace that the test sets by the loop's clock."""

    task: asyncio.Task[None] | None = None
    clock_s: float = 0.0
    moved_bytes: int = 0
    is_crowded: bool = False

    async def is_kept_after(self, seconds: float) -> bool:
        """Whether it is under way still."""
        assert self.task is not None
        self.clock_s += seconds
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        return not self.task.done()


@pytest.fixture
async def body(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Body]:
    body, loop = Body(), asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + body.clock_s)

    async def move() -> None:
        async with transfer.in_time(lambda: body.moved_bytes, lambda: body.is_crowded):
            await asyncio.Event().wait()

    body.task = asyncio.create_task(move())
    assert await body.is_kept_after(0)
    yield body
    body.task.cancel()
    await asyncio.gather(body.task, return_exceptions=True)


async def test_a_body_that_does_not_move_has_its_patience(body: Body) -> None:
    assert await body.is_kept_after(progress.PATIENCE_S - 1)
    assert not await body.is_kept_after(2)
    assert body.task is not None
    with pytest.raises(TimeoutError):
        await body.task


async def test_a_body_that_moves_is_kept_however_slow(body: Body) -> None:
    for _ in range(100):
        body.moved_bytes += progress.LEAST_BYTES
        assert await body.is_kept_after(progress.PATIENCE_S - 1)
    assert await body.is_kept_after(progress.PATIENCE_S - 1)
    assert not await body.is_kept_after(2)


async def test_a_body_of_a_byte_a_second_is_not_kept(body: Body) -> None:
    for _ in range(int(progress.PATIENCE_S) - 1):
        body.moved_bytes += 1
        assert await body.is_kept_after(1)
    body.moved_bytes += 1
    assert not await body.is_kept_after(2)


async def test_a_body_gives_way_as_soon_as_others_wait(body: Body) -> None:
    assert await body.is_kept_after(transfer.HURRIED_S + 1)
    body.is_crowded = True
    assert not await body.is_kept_after(progress.LOOK_S)


async def test_a_body_at_its_pace_gives_way_to_nobody(body: Body) -> None:
    body.is_crowded = True
    body.moved_bytes = 5 * transfer.HURRIED_BYTES_PER_S
    assert await body.is_kept_after(transfer.HURRIED_S + 4)


# answers


class WatchedPool(Pool):
    """The node's own memory, for readers and writers, and its turns."""

    made: list[WatchedPool]

    def __init__(self, capacity: int, **kind: bool) -> None:
        super().__init__(capacity, **kind)
        self.made.append(self)


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> list[WatchedPool]:
    """The memory of nodes served from now on: room for one large body each way."""
    monkeypatch.setattr(WatchedPool, "made", [], raising=False)
    monkeypatch.setattr(admission, "Pool", WatchedPool)
    for name in ("READING_BYTES", "RECEIVING_BYTES"):
        monkeypatch.setattr(admission, name, 1)
    return WatchedPool.made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody falls behind."""
    monkeypatch.setattr(progress, "PATIENCE_S", NEVER_S)
    monkeypatch.setattr(transfer, "HURRIED_S", NEVER_S)
    monkeypatch.setattr(progress, "LOOK_S", SOON_S)


@pytest.mark.usefixtures("patient")
async def test_symbols_keep_their_memory_until_they_are_read(serve_node: Serve) -> None:
    budget = Budget(memory_bytes=1)
    served = await serve_node(budget)
    unread = await served.begin("POST", "/v1/decodingSymbols", served.questions())
    await _answered(unread)
    other = asyncio.create_task(served.symbols())
    await until(lambda: budget.is_short_of_memory)
    assert not other.done()
    unread.close()
    assert await other == 200


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.usefixtures("patient")
async def test_a_sliver_keeps_its_memory_until_it_is_read(
    serve_node: Serve, memories: list[WatchedPool], axis: Axis
) -> None:
    """Also one of 80 000 bytes: the kernel would take as much, of 6000 connections 822 MiB."""
    served = await serve_node()
    unread = await served.begin("GET", served.sliver_path(SHARD, axis))
    await _answered(unread)
    other = asyncio.create_task(served.sliver())
    await until(lambda: any(one.is_short for one in memories))
    assert not other.done()
    unread.close()
    assert await other == 200


@pytest.mark.usefixtures("patient")
async def test_a_report_of_many_shards_keeps_its_memory_until_it_is_read(
    serve_node: Serve, memories: list[WatchedPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a handover of 1000 shards has 200 000 bytes, and anybody may ask for it."""
    served = await serve_node()
    monkeypatch.setattr(served.node, "handover_report", lambda: {"shards": ["x" * 200] * 1000})
    unread = await served.begin("GET", "/v1/handover")
    await _answered(unread)
    other = asyncio.create_task(served.ask("GET", "/v1/handover"))
    await until(lambda: any(one.is_short for one in memories))
    assert not other.done()
    unread.close()
    assert (await other)[0] == 200


@pytest.mark.usefixtures("patient", "memories")
async def test_readers_that_do_not_read_are_cut_off(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve_node(Budget(memory_bytes=1))
    await _answered(await served.begin("GET", served.sliver_path(SHARD)))
    await _answered(await served.begin("POST", "/v1/decodingSymbols", served.questions()))
    monkeypatch.setattr(progress, "PATIENCE_S", SOON_S)
    await until(lambda: not served.connections)
    monkeypatch.setattr(progress, "PATIENCE_S", NEVER_S)
    assert (await served.sliver(), await served.symbols()) == (200, 200)


@pytest.mark.usefixtures("patient", "memories")
async def test_a_reader_of_a_sliver_that_does_not_read_gives_way_to_one_that_waits(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve_node()
    await _answered(await served.begin("GET", served.sliver_path(SHARD)))
    monkeypatch.setattr(transfer, "HURRIED_S", SOON_S)
    assert await served.sliver() == 200


@pytest.mark.usefixtures("patient")
async def test_a_reader_of_symbols_that_does_not_read_gives_way_to_one_that_waits(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve_node(Budget(memory_bytes=1))
    await _answered(await served.begin("POST", "/v1/decodingSymbols", served.questions()))
    monkeypatch.setattr(transfer, "HURRIED_S", SOON_S)
    assert await served.symbols() == 200


class Content(bytearray):
    """Of an answer; unlike bytes it can be watched."""


@pytest.mark.parametrize("end", ["read", "gone", "cut off"])
@pytest.mark.usefixtures("patient")
async def test_an_answer_is_forgotten_as_soon_as_it_is_over(
    end: str, serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Content]] = []

    async def answer(request: web.Request) -> web.Response:
        content = Content(2 * LARGE_BYTES)
        made.append(weakref.ref(content))
        return web.Response(body=LargeBody(memoryview(content), wire.BCS))

    app = web.Application(middlewares=[transfer.sending(lambda: False)])
    app.router.add_get("/", answer)
    reader, writer = await asyncio.open_connection("127.0.0.1", await serve_app(app))
    gc.disable()
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            if end == "read":
                await reader.readexactly(2 * LARGE_BYTES)
        assert b" 200 " in head
        if end == "gone":
            writer.transport.abort()
        elif end == "cut off":
            monkeypatch.setattr(progress, "PATIENCE_S", -NEVER_S)
        await until(lambda: made[0]() is None)
    finally:
        gc.enable()
        writer.close()


async def _answered(unread: socket.socket) -> None:
    """Wait for the answer's first bytes."""
    async with asyncio.timeout(LIMIT_S):
        assert await asyncio.get_running_loop().sock_recv(unread, 1) == b"H"


# requests


async def drip_sliver(served: ServedNode, shard: int) -> None:
    """Send a sliver but for its last byte: more than a small body."""
    body = served.sliver_body(shard)
    assert len(body) - 1 > admission.SMALL_BODY_BYTES
    await served.begin("PUT", served.sliver_path(shard), body[:-1], len(body))


@pytest.mark.usefixtures("patient", "memories")
async def test_dripped_bodies_hold_up_no_small_ones(serve_node: Serve) -> None:
    served = await serve_node(shards=(0,))
    for _ in range(100):
        await served.begin("PUT", served.path("metadata"), b"x", 1000)
    await drip_sliver(served, 1)
    await until(lambda: served.connections == 101)
    status, _ = await served.ask("PUT", served.path("metadata"), served.blob.metadata.to_bcs())
    assert status == 200


@pytest.mark.usefixtures("patient")
async def test_large_bodies_have_memory_one_after_the_other(
    serve_node: Serve, memories: list[WatchedPool]
) -> None:
    served = await serve_node(shards=(0,))
    body = served.sliver_body(1)
    first = await served.begin("PUT", served.sliver_path(1), body[:-1], len(body))
    other = asyncio.create_task(served.ask("PUT", served.sliver_path(2), served.sliver_body(2)))
    await until(lambda: any(one.is_short for one in memories))
    assert not other.done()
    await asyncio.get_running_loop().sock_sendall(first, body[-1:])
    assert (await other)[0] == 201


@pytest.mark.usefixtures("patient")
async def test_a_body_that_is_longer_than_a_connections_buffers_takes_memory(
    serve_node: Serve, memories: list[WatchedPool]
) -> None:
    """6000 connections that hold 128 KiB each beside the memory, and drip, take a gigabyte."""
    served = await serve_node(shards=(0,))
    for _ in range(2):
        await served.begin("PUT", served.path("metadata"), b"x" * 2**16, 2**16 + 1)
    await until(lambda: any(one.is_short for one in memories))


@pytest.mark.parametrize("size_bytes", [2**12, 2**17])
async def test_a_body_is_held_once(serve_app: ServeApp, size_bytes: int) -> None:
    """Its memory is lent once, and kept while the request lasts."""
    bodies: list[tuple[transfer.IncomingBody, memoryview]] = []

    async def take(request: web.Request) -> web.Response:
        body = transfer.IncomingBody(request, size_bytes)
        await body.read(2**14, lambda: False)
        if not body.is_over:
            await body.read_all(lambda: False)
        bodies.append((body, memoryview(body.content())))
        return web.json_response({})

    app = web.Application()
    app.router.add_put("/", take)
    sent = bytes(number % 251 for number in range(size_bytes))
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"http://127.0.0.1:{await serve_app(app)}/", data=sent) as answer,
    ):
        assert answer.status == 200
    ((body, content),) = bodies
    assert content == sent
    held = {id(memoryview(one).obj) for one in (*body._parts, body.content())}
    assert held == {id(content.obj)}


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that connections have received, each time."""
    sizes: list[int] = []

    def receive(connection: Connection, data: bytes) -> None:
        sizes.append(len(data))
        original(connection, data)

    original = Connection.data_received
    monkeypatch.setattr(Connection, "data_received", receive)
    return sizes


async def test_a_body_comes_in_larger_pieces_once_there_is_memory_for_it(
    serve_node: Serve, received: list[int]
) -> None:
    served = await serve_node(shards=(0,))
    assert (await served.ask("PUT", served.sliver_path(1), served.sliver_body(1)))[0] == 201
    assert sum(received) > 2**17
    assert max(received) <= transfer.PIECE_BYTES
    assert (await served.ask("GET", served.sliver_path(1)))[0] == 200
    assert received[-1] <= connections.RECEIVED_BYTES


@pytest.mark.usefixtures("patient")
async def test_a_body_that_waits_for_memory_is_not_received(
    serve_node: Serve, memories: list[WatchedPool], received: list[int]
) -> None:
    """What came is kept all the same, and there may be 8192 connections: 100 KiB on each were seen to take 620 MiB."""
    served = await serve_node(shards=(0,))
    await drip_sliver(served, 1)
    await until(lambda: sum(received) > 2**17)
    before_bytes = sum(received)
    await served.begin("PUT", served.sliver_path(2), bytes(2**17), 2**17 + 1)
    await until(lambda: any(one.is_short for one in memories))
    for _ in range(200):
        await asyncio.sleep(0)  # whatever else is to be received comes now
    assert sum(received) - before_bytes <= 3 * 2**14


@pytest.mark.usefixtures("patient")
async def test_beginnings_of_bodies_take_memory_too(
    serve_node: Serve, memories: list[WatchedPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BEGINNINGS_BYTES", 2000)
    served = await serve_node(shards=(0,))
    for host in ("127.0.0.2", "127.0.0.3"):
        await served.begin("PUT", served.path("metadata"), b"x", 1000, local=host)
    waiting = asyncio.create_task(served.ask("PUT", served.path("metadata"), served.blob.metadata.to_bcs()))
    await until(lambda: any(one.is_short for one in memories))
    assert not waiting.done()
    monkeypatch.setattr(transfer, "HURRIED_S", -NEVER_S)
    assert (await waiting)[0] == 200, "what is dripped gives way"


@pytest.mark.usefixtures("patient")
async def test_bodies_that_do_not_come_keep_no_member_out(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the memory for their beginnings strangers have half; a member that is refused as one shows itself."""
    monkeypatch.setattr(admission, "BEGINNINGS_BYTES", 4000)
    monkeypatch.setattr(admission, "STRANGERS_WAIT_S", SOON_S)
    served = await serve_node()
    for number in range(2, 7):
        await served.begin("PUT", served.path("metadata"), b"x", 1000, local=f"127.0.0.{number}")
    asked = [
        ("/v1/decodingSymbols", served.questions(1)),
        ("/v1/migrate/sync_shard", b"{}"),
        (served.path("inconsistencyProof/primary"), b"x"),
    ]
    for path, question in asked:
        assert (await served.ask("POST", path, question))[0] == 503
    shown = {"Authorization": header(hour=int(time.time()) // credentials.HOUR_S)}
    answers = [await served.talk("POST", path, question, fields=shown) for path, question in asked]
    assert [status for status, *_ in answers] == [200, 400, 400]


def test_what_the_kernel_takes_of_unread_answers_is_small() -> None:
    assert Limits().connections * server.UNSENT_BYTES <= 2**27
    assert admission.SMALL_BYTES <= server.UNSENT_BYTES


def test_all_that_strangers_can_fill_is_half_a_gibibyte() -> None:
    kept_by_connection = 2 * connections.SETTINGS["read_bufsize"] + connections.RECEIVED_BYTES
    own_by_connection = 14 * 2**10
    """As measured: 110 MiB of 7900 connections."""
    assert (
        sum(
            (
                *(admission.READING_BYTES, admission.RECEIVING_BYTES, admission.BEGINNINGS_BYTES),
                *(uploads.LIMIT_BYTES, pending.LIMIT_BYTES),
                MEMORY_BYTES
                // 2
                // 2,  # strangers have half, and an answer takes half of what is lent to make it
                Limits().connections * (kept_by_connection + own_by_connection),
            )
        )
        <= 2**29
    )


@pytest.mark.usefixtures("patient", "memories")
async def test_a_dripped_large_body_gives_way_to_one_that_waits(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve_node(shards=(0,))
    for _ in range(3):
        await drip_sliver(served, 1)
    monkeypatch.setattr(transfer, "HURRIED_S", SOON_S)
    status, _ = await served.ask("PUT", served.sliver_path(SHARD), served.sliver_body(SHARD))
    assert status == 201


async def test_a_body_too_slow_for_its_patience_is_refused(
    serve_node: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", SOON_S)
    served = await serve_node()
    dripping = await served.begin("POST", "/v1/migrate/sync_shard", b"{", 1000)
    async with asyncio.timeout(LIMIT_S):
        answer = await asyncio.get_running_loop().sock_recv(dripping, 4096)
    assert b" 408 " in answer
