"""Connections that break in the middle of a transfer: answers are gone on with, and fewer transfers share the link."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from storage.client import bodies, wire
from storage.client.bodies import LARGE_BYTES, LargeBody
from storage.client.errors import NodeLied, NodeUnreachable
from storage.client.link import LEAST_AT_ONCE, LOOK_S, MOST_AT_ONCE, START_BYTES_PER_S, Link, Transfer, Window
from storage.client.node_client import NodeClient
from storage.client.progress import LEAST_BYTES
from storage.client.retrying import SHORTEST_PAUSE_S, TRIES, Patience
from storage.redstuff import Axis, RedStuff, SliverData
from tests.storage import pacing
from tests.storage.client.test_link import MBIT, SLIVER_BYTES, Simulation

BLOB_ID = bytes(range(32))
SYMBOLS = random.Random(3).randbytes(5 * 2 * LEAST_BYTES)
SLIVER = SliverData(SYMBOLS, 2**15, 0).to_bcs()
PIECE_BYTES = 2 * LEAST_BYTES
METADATA = RedStuff(10).encode(b"content").metadata

Answer = Callable[[bytes, int], tuple[bytes, bytes]]
"""Whole body, first byte asked for → head, and what is sent of the body before the connection ends."""


def rest(body: bytes, first: int) -> tuple[bytes, bytes]:
    """What a node answers."""
    if not first:
        return _head("200 OK", len(body)), body
    where = f"Content-Range: bytes {first}-{len(body) - 1}/{len(body)}\r\n"
    return _head("206 Partial Content", len(body) - first, where), body[first:]


def _head(status: str, size_bytes: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {size_bytes}\r\n{more}Connection: close\r\n\r\n".encode()


class Server:
    """A node that sends `most_bytes` of each answer and breaks the connection."""

    def __init__(self, body: bytes, answer: Answer, most_bytes: int) -> None:
        self.body, self.answer, self.most_bytes = body, answer, most_bytes
        self.firsts: list[int] = []
        """The first bytes that were asked for."""
        self.sent_bytes = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        field = request.partition(b"Range: bytes=")[2].partition(b"-")[0]
        self.firsts.append(int(field or b"0"))
        head, content = self.answer(self.body, self.firsts[-1])
        writer.write(head + content[: self.most_bytes])
        self.sent_bytes += len(content[: self.most_bytes])
        await writer.drain()
        writer.close()


@pytest.fixture
async def serve_breaking(
    session: aiohttp.ClientSession,
) -> AsyncIterator[Callable[..., Awaitable[tuple[NodeClient, Server]]]]:
    """`await serve_breaking(body, answer, most_bytes)` → a client of such a node, and the node."""

    async with AsyncExitStack() as stack:
        stack.enter_context(pacing.tries(pacing.REAL[0]))

        async def start(
            body: bytes = SLIVER, answer: Answer = rest, most_bytes: int = PIECE_BYTES
        ) -> tuple[NodeClient, Server]:
            node = Server(body, answer, most_bytes)
            server = await asyncio.start_server(node.talk, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return NodeClient(session, "breaking", address, link=Link()), node

        yield start


@pytest.mark.parametrize("size_bytes", [len(SYMBOLS), 3 * LARGE_BYTES])
async def test_a_sliver_whose_connection_breaks_is_gone_on_with(
    serve_breaking: Callable[..., Awaitable[tuple[NodeClient, Server]]], size_bytes: int
) -> None:
    symbols = random.Random(4).randbytes(size_bytes)
    body = SliverData(symbols, 2**15, 0).to_bcs()
    client, node = await serve_breaking(body, most_bytes=size_bytes // 5)
    assert await client.sliver(BLOB_ID, 0, Axis.PRIMARY) == symbols
    assert node.sent_bytes == len(body)
    assert node.firsts == [place * (size_bytes // 5) for place in range(len(node.firsts))]


async def test_a_node_that_knows_no_ranges_is_asked_for_all_again(
    serve_breaking: Callable[..., Awaitable[tuple[NodeClient, Server]]],
) -> None:
    client, node = await serve_breaking(answer=lambda body, first: rest(body, 0))
    node.most_bytes = PIECE_BYTES

    def grow(body: bytes, first: int) -> tuple[bytes, bytes]:
        node.most_bytes *= 4
        return rest(body, 0)

    node.answer = grow
    assert await client.sliver(BLOB_ID, 0, Axis.PRIMARY) == SYMBOLS
    assert len(node.firsts) > 1


async def test_another_range_than_was_asked_for_is_not_taken(
    serve_breaking: Callable[..., Awaitable[tuple[NodeClient, Server]]],
) -> None:
    client, _ = await serve_breaking(answer=lambda body, first: rest(body, first and first + 1))
    with pytest.raises(NodeLied):
        await client.sliver(BLOB_ID, 0, Axis.PRIMARY)


async def test_a_node_that_sends_little_before_each_break_is_given_up(
    serve_breaking: Callable[..., Awaitable[tuple[NodeClient, Server]]],
) -> None:
    client, node = await serve_breaking(most_bytes=LEAST_BYTES - 1)
    with pytest.raises(NodeUnreachable):
        await client.sliver(BLOB_ID, 0, Axis.PRIMARY)
    assert len(node.firsts) == TRIES


async def test_an_answer_that_is_put_together_is_no_longer_than_it_may_be(
    serve_breaking: Callable[..., Awaitable[tuple[NodeClient, Server]]],
) -> None:
    client, _ = await serve_breaking(answer=lambda body, first: rest(body + bytes(first), first))
    with pytest.raises(NodeLied, match="more than"):
        await client.sliver(BLOB_ID, 0, Axis.PRIMARY, len(SYMBOLS))


async def test_a_kept_connection_that_the_node_had_closed_costs_no_try(
    session: aiohttp.ClientSession,
) -> None:
    """aio-libs/aiohttp#12795, aio-libs/aiohttp#3507."""
    answer = json.dumps(wire.success("stored", 200)).encode()
    answered = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(METADATA.to_bcs()))
        writer.write(_head("200 OK", len(answer)).replace(b"Connection: close\r\n", b"") + answer)
        answered += 1
        await reader.read(1)  # of the next request
        writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    client = NodeClient(
        session, "hasty", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", link=Link()
    )
    with pacing.tries(1):
        for _ in range(3):
            await client.put_metadata(METADATA)
    assert answered == 3
    await session.close()
    server.close()
    await server.wait_closed()


async def test_a_body_whose_connection_breaks_later_is_not_sent_again_untold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Writer:
        transport = None

        async def write(self, piece: bytes) -> None:
            sent.append(piece)

    sent: list[bytes] = []
    body, writer = LargeBody(b"content", wire.BCS), cast(AbstractStreamWriter, Writer())
    body._transport = cast(asyncio.Transport, SimpleNamespace(is_closing=lambda: True))
    monkeypatch.setattr(bodies, "STALE_S", math.inf)
    await body.write(writer)
    body._transport = cast(asyncio.Transport, SimpleNamespace(is_closing=lambda: True))
    monkeypatch.setattr(bodies, "STALE_S", 0.0)
    with pytest.raises(ConnectionResetError):
        await body.write(writer)
    assert sent == [b"content"]


def test_a_request_that_has_moved_on_is_tried_again_at_once() -> None:
    tries, gone = Patience(patience_s=30, most_tries=10), NodeUnreachable("a", "", "test")
    for _ in range(20):
        pause_s = tries.pause_s(gone)
        assert pause_s is not None
        assert pause_s <= 2 * SHORTEST_PAUSE_S
        tries.note_progress()
    assert [tries.pause_s(gone) is None for _ in range(3)] == [False, False, True]


# the window


def test_transfers_end_over_a_link_whose_connections_all_break_again_and_again() -> None:
    """Every 4 s at 2 Mbit/s: of three transfers at once of 460 kB none would ever end."""
    simulation = Simulation(2 * MBIT, [1e12] * 10, breaks_every_s=4.0)
    needed_s = 20 * SLIVER_BYTES / (2 * MBIT)
    assert simulation.run(2, 20) <= 2.5 * needed_s
    assert simulation.most == LEAST_AT_ONCE


def window_with(*peers: str) -> tuple[Window, list[Transfer]]:
    window = Window()
    transfers = [Transfer(SLIVER_BYTES, peer) for peer in peers]
    for one in transfers:
        window.begin(one, 0.0)
    return window, transfers


def test_a_peer_that_breaks_its_connections_alone_takes_no_room_from_the_others() -> None:
    window, (*broken, whole) = window_with("a", "a", "a", "b")
    for one in broken:
        window.end(one, 3.0)
        window.note_break(3.0)
    assert whole in window.under_way
    assert window.most_at_once == MOST_AT_ONCE


def test_breaks_of_all_that_is_under_way_halve_it_once_down_to_one() -> None:
    now_s = 0.0
    expected = [2, 1, 1]
    window, _ = window_with()
    for most in expected:
        transfers = [Transfer(SLIVER_BYTES, peer) for peer in range(4)][: int(window.most_at_once)]
        for one in transfers:
            window.begin(one, now_s)
        now_s += 2 * LOOK_S
        for one in transfers:
            window.end(one, now_s)
            window.note_break(now_s)
        assert window.most_at_once == most


def test_transfers_that_end_make_room_again() -> None:
    window, _ = window_with()
    window.most_at_once = 1.0
    for number in range(10):
        one = Transfer(SLIVER_BYTES, "a")
        window.begin(one, number)
        window.end(one, number)
        window.note_answer(one)
    assert 4 < window.most_at_once < 5


async def test_a_transfer_that_lost_its_turn_is_first_in_line_and_may_be_let_go_there() -> None:
    link, large = Link(), 10 * START_BYTES_PER_S
    link.window.most_at_once = 1.0
    began: list[str] = []

    async def run(name: str, transfer: Transfer, breaks: asyncio.Event, ends: asyncio.Event) -> None:
        async with link.turn(transfer):
            began.append(name)
            await breaks.wait()
            async with link.lost_turn(transfer):
                pass
            began.append(name)
            await ends.wait()

    events = {name: (asyncio.Event(), asyncio.Event()) for name in "abc"}
    tasks = {name: asyncio.create_task(run(name, Transfer(large, name), *events[name])) for name in "abc"}

    async def settle() -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    await settle()
    assert began == ["a"]
    events["a"][0].set()
    await settle()
    assert began == ["a", "b"], "the place of a transfer whose connection broke is another's"
    events["b"][0].set()
    await settle()
    assert began == ["a", "b", "a"], "it comes before those that have not begun"
    tasks["b"].cancel()
    await asyncio.gather(tasks["b"], return_exceptions=True)
    assert len(link.window.under_way) == 1
    events["a"][1].set()
    for event in events["c"]:
        event.set()
    async with asyncio.timeout(10):
        await asyncio.gather(tasks["a"], tasks["c"])
    assert not link.window.under_way
    assert not link._line
