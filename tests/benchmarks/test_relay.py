"""The relays' reading along: where messages end, what they were for, that no byte is lost or counted twice."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.node_network import WireTally
from benchmarks.relay import Exchange, HttpTap, Relay
from storage.client import wire
from storage.redstuff import Axis, RedStuff, blob_id_text

TWO = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nhello"


@pytest.mark.parametrize("step", [1, 7, len(TWO)])
def test_a_tap_finds_messages_however_they_are_cut(step: int) -> None:
    tap = HttpTap()
    found = [one for at in range(0, len(TWO), step) for one in tap.feed(TWO[at : at + step])]
    assert [(one.first_line, one.body) for one in found] == [
        ("GET /a HTTP/1.1", b""),
        ("PUT /b HTTP/1.1", b"hello"),
    ]
    assert sum(one.wire_bytes for one in found) == len(TWO)


def test_a_tap_refuses_a_body_of_chunks() -> None:
    with pytest.raises(ValueError, match="chunked"):
        HttpTap().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


async def test_a_relay_counts_what_its_exchanges_add_up_to(unused_tcp_port: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000 + await request.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    seen: list[Exchange] = []
    async with TestServer(app) as server:
        assert server.port is not None
        relay = Relay(3, unused_tcp_port, server.port, seen.append)
        await relay.start()
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{unused_tcp_port}/v1/blobs/b/metadata?q=1"
            for body in (b"", b"y" * 500_000):
                async with session.put(address, data=body) as response:
                    assert await response.read() == b"x" * 1000 + body
        await relay.stop()
    assert [(one.node_id, one.purpose, one.query, one.status) for one in seen] == [
        (3, "metadata", {"q": ["1"]}, 200)
    ] * 2
    assert relay.wire_bytes == sum(one.wire_bytes for one in seen) > 1_000_000


async def test_a_relay_that_hangs_accepts_and_never_answers(unused_tcp_port: int) -> None:
    relay = Relay(1, unused_tcp_port, 1, lambda exchange: None)
    await relay.start()
    relay.hang()
    reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    await relay.stop()
    assert await reader.read(1) == b""
    writer.close()


def test_a_tally_knows_whose_symbols_came() -> None:
    code, blob_id, shard = RedStuff(10), bytes(range(32)), 4
    target = code.sliver_index(blob_id, shard, Axis.SECONDARY)
    answer = wire.symbols_to_bcs([target], 2, [(1, b"ab"), (2, b"cd")])
    tally = WireTally()
    tally.take(_symbols(blob_id, target, bytes(answer), 200), code)
    assert tally.symbol_bytes == 4
    assert tally.by_shard == {shard: 4}
    assert tally.sliver_bytes == {(blob_id, shard, Axis.SECONDARY): 4}


def test_a_tally_counts_a_refusal_by_its_bytes_alone() -> None:
    tally = WireTally()
    tally.take(_symbols(bytes(32), 1, b"not symbols", 404), RedStuff(10))
    assert tally.by_purpose == {"decodingSymbols": 99}
    assert not tally.symbol_bytes


def _symbols(blob_id: bytes, target: int, answer: bytes, status: int) -> Exchange:
    query: dict[str, Any] = {"targetSlivers": [str(target)], "targetType": ["secondary"]}
    path = f"/v1/blobs/{blob_id_text(blob_id)}/decodingSymbols"
    return Exchange(1, "GET", path, query, b"", status, answer, 99)
