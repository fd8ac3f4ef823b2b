"""Uploads whose connections break: they are gone on with at nodes that keep parts, and sent anew to others."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest

from storage.client import bodies, wire
from storage.client.broken_requests import MOST_FALLBACKS
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason, failure
from storage.client.link import Link
from storage.client.node_client import NodeClient
from storage.client.progress import LEAST_BYTES
from storage.client.retrying import TRIES
from storage.redstuff import Axis, EncodedBlob, RedStuff, SliverData
from tests.storage import pacing
from tests.storage.conftest import OneNode

BLOB = RedStuff(10).encode(random.Random(6).randbytes(1_200_000))
SYMBOLS = bytes(BLOB.sliver(Axis.PRIMARY, 0))
BODY = SliverData(SYMBOLS, len(SYMBOLS) // 7, 0).to_bcs()
PIECE_BYTES = 2 * LEAST_BYTES
STORED = json.dumps(wire.success("stored", 201)).encode()


class Keeper:
    """A node that takes `most_bytes` of each body, keeps them, and breaks the connection."""

    def __init__(self) -> None:
        self.most_bytes = PIECE_BYTES
        self.content = b""
        self.asked: list[str] = []
        """Methods of the requests, in order."""
        self.keeps = True
        self.told: Callable[[], str] = lambda: (
            f"Upload-Offset: {len(self.content)}\r\nUpload-Complete: ?0\r\n"
        )
        self.refusal: bytes = b""
        """The answer to the rest of a body."""
        self.head_status, self.head_body = "200 OK", b""
        """The answer to a question for what is kept, if it has a body as a proxy makes it."""
        self.arrived_bytes = 0
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method = head.partition(" ")[0]
        self.asked.append(method)
        if method == "HEAD" and self.head_body:
            length = f"Content-Length: {len(self.head_body)}"
            writer.write(
                f"HTTP/1.1 {self.head_status}\r\n{self.told()}{length}\r\n\r\n".encode() + self.head_body
            )
        elif method == "HEAD":
            known = (
                f"HTTP/1.1 204 No Content\r\n{self.told()}" if self.keeps else "HTTP/1.1 404 Not Found\r\n"
            )
            writer.write(f"{known}Connection: close\r\n\r\n".encode())
        elif method == "PATCH" and self.refusal:
            self.content = b""
            writer.write(self.refusal)
        else:
            await self.take(head, reader, writer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def take(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        if fields.get("Upload-Offset", "0") == "0":
            self.content = b""
        else:
            assert int(fields["Upload-Offset"]) == len(self.content)
            assert fields["Content-Type"] == "application/partial-upload"
        assert fields["Upload-Complete"] == "?1"
        length = int(fields["Content-Length"])
        arrived = await reader.readexactly(min(length, self.most_bytes))
        self.arrived_bytes += len(arrived)
        self.content += arrived
        if len(arrived) < length:
            writer.transport.abort()
        else:
            answer = f"HTTP/1.1 201 Created\r\nContent-Length: {len(STORED)}\r\nConnection: close\r\n\r\n"
            writer.write(answer.encode() + STORED)


Start = Callable[[], Awaitable[tuple[NodeClient, Keeper]]]


@pytest.fixture
async def keeper(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    monkeypatch.setattr(bodies, "STALE_S", 0.0)  # these connections break sooner than those of a slow link
    async with AsyncExitStack() as stack:
        stack.enter_context(pacing.tries(pacing.REAL[0]))
        node = Keeper()
        server = await asyncio.start_server(node.talk, "127.0.0.1", 0)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        node.port = server.sockets[0].getsockname()[1]
        yield node


@pytest.fixture
def client(session: aiohttp.ClientSession, keeper: Keeper) -> NodeClient:
    return NodeClient(session, "breaking", f"http://127.0.0.1:{keeper.port}", link=Link())


async def put(client: NodeClient, *, is_begun: bool = False) -> None:
    await client.put_sliver(BLOB.metadata, 0, Axis.PRIMARY, SYMBOLS, is_begun=is_begun)


async def test_a_sliver_that_does_not_pass_between_two_breaks_is_stored(
    client: NodeClient, keeper: Keeper
) -> None:
    await put(client)
    assert keeper.content == BODY
    assert keeper.arrived_bytes == len(BODY)
    parts = -(-len(BODY) // PIECE_BYTES)
    assert parts > TRIES
    assert keeper.asked == ["PUT"] + ["HEAD", "PATCH"] * (parts - 1)


async def test_tries_in_which_the_node_gets_little_count(client: NodeClient, keeper: Keeper) -> None:
    keeper.most_bytes = LEAST_BYTES - 1
    with pytest.raises(NodeUnreachable):
        await put(client)
    assert sum(one != "HEAD" for one in keeper.asked) <= 2 * TRIES


async def test_a_node_that_keeps_nothing_is_sent_all_three_times(client: NodeClient, keeper: Keeper) -> None:
    keeper.keeps = False
    with pytest.raises(NodeUnreachable):
        await put(client)
    assert [one for one in keeper.asked if one != "HEAD"] == ["PUT"] * TRIES


@pytest.mark.parametrize("offset", ["-1", "1e3", "99999999999999999999", str(len(BODY) + 1), ""])
async def test_a_place_that_is_none_is_the_beginning(client: NodeClient, keeper: Keeper, offset: str) -> None:
    def told() -> str:
        keeper.most_bytes = len(BODY)
        return f"Upload-Offset: {offset}\r\n"

    keeper.told = told
    await put(client)
    assert keeper.asked == ["PUT", "HEAD", "PUT"]


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "403 Forbidden"])
async def test_a_proxy_that_answers_a_question_for_the_head_with_a_body_costs_one_upload_anew(
    client: NodeClient, keeper: Keeper, status: str
) -> None:
    """ms264556/aioruckus#14, aio-libs/aiohttp#10322: then nothing is known of what is kept."""
    keeper.head_status, keeper.head_body = status, b"<html>no</html>"
    keeper.most_bytes = len(BODY)
    await put(client, is_begun=True)
    assert keeper.content == BODY
    assert keeper.asked == ["HEAD", "PUT"]


async def test_a_part_that_another_client_has_spoiled_is_sent_over(
    client: NodeClient, keeper: Keeper
) -> None:
    refused = json.dumps(failure(400, Reason.INVALID_SLIVER, "wrong")).encode()
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(refused)}\r\nConnection: close\r\n\r\n"
    keeper.refusal = head.encode() + refused
    with pytest.raises(NodeRefused, match="INVALID_SLIVER"):
        await put(client)
    assert keeper.asked.count("PATCH") == MOST_FALLBACKS + 1
    keeper.asked.clear()
    keeper.content = b"spoiled by another client"
    keeper.most_bytes = len(BODY)
    await put(client, is_begun=True)
    assert keeper.asked == ["HEAD", "PATCH", "PUT"]
    assert keeper.content == BODY


async def test_a_sliver_whose_answer_was_lost_is_not_sent_again(client: NodeClient, keeper: Keeper) -> None:
    keeper.told = lambda: f"Upload-Offset: {len(BODY)}\r\nUpload-Complete: ?1\r\n"
    await put(client)
    assert keeper.asked == ["PUT", "HEAD"]


async def test_an_upload_that_another_process_began_is_gone_on_with(
    client: NodeClient, keeper: Keeper
) -> None:
    keeper.content, keeper.most_bytes = BODY[:PIECE_BYTES], len(BODY)
    await put(client, is_begun=True)
    assert keeper.asked == ["HEAD", "PATCH"]
    assert keeper.content == BODY


async def test_the_node_itself_is_sent_the_rest_alone(
    node: OneNode, session: aiohttp.ClientSession, encode: Callable[[bytes], EncodedBlob]
) -> None:
    """Its connections are cut behind a number of bytes, as a link cuts them that is reset again and again."""
    blob, shard = encode(random.Random(7).randbytes(1_200_000)), 2
    node.register(blob)
    passed: list[int] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", int(node.address.rpartition(":")[2])
        )
        passed.append(0)
        place = len(passed) - 1

        async def back() -> None:
            while data := await far_reader.read(2**14):
                writer.write(data)

        answers = asyncio.create_task(back())
        while passed[place] < 4 * LEAST_BYTES and (data := await reader.read(2**12)):
            far_writer.write(data)
            await far_writer.drain()
            passed[place] += len(data)
        far_writer.close()
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pacing.tries(pacing.REAL[0]):
        client = NodeClient(session, "behind a link", address, link=Link())
        await client.put_metadata(blob.metadata)
        symbols = node.sliver(blob, shard, Axis.PRIMARY)
        await client.put_sliver(blob.metadata, node.pair(blob, shard), Axis.PRIMARY, symbols)
    server.close()
    await server.wait_closed()
    assert node.store.sliver(blob.blob_id, shard, Axis.PRIMARY) == symbols
    # A connection carries four times what it must move the upload on by; the rest may be lost with it.
    assert sum(passed) <= 4 * len(symbols)
