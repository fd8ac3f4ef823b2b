"""A provider whose HTTP is hostile: its answers are limited as they arrive, and an idle connection brings none."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.client_proto import ResponseHandler

from committee.connections import INTERIM_ANSWERS, PIECE_BYTES
from committee.errors import LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.endpoints import PROXY_VARIABLES
from committee.ledger.evm.rpc import Rpc

BODY = b'{"jsonrpc":"2.0","id":1,"result":"0x7"}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
TINY_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 40_000 * b"1\r\n \r\n"
LAST_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
ZIPPED = gzip.compress(BODY)
COMPRESSED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED


class Provider:
    """Answers each request with `answer`; when `goes_on` is set, it sends an answer that nobody asked for."""

    def __init__(self) -> None:
        self.answer = PLAIN
        self.heads: list[bytes] = []
        self.open: set[asyncio.StreamWriter] = set()
        self.dead: set[asyncio.StreamWriter] = set()
        """Connections on which nothing arrives any more."""
        self.goes_on, self.hung_up = asyncio.Event(), asyncio.Event()
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unasked = asyncio.create_task(self._send_unasked(writer))
        self.open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if writer in self.dead:
                    await reader.read()
                    break
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                self.heads.append(head)
                writer.write(self.answer)
        self.hung_up.set()
        unasked.cancel()
        writer.close()

    async def _send_unasked(self, writer: asyncio.StreamWriter) -> None:
        await self.goes_on.wait()
        writer.write(PLAIN)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    async with await asyncio.start_server(made.talk, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


@pytest.fixture
async def rpc(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rpc]:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    made = Rpc(f"http://127.0.0.1:{provider.port}")
    yield made
    await made.close()


async def height(rpc: Rpc) -> int:
    async with asyncio.timeout(10):
        return await rpc.request("eth_blockNumber", read=answers.quantity)


@pytest.mark.parametrize("count", [0, INTERIM_ANSWERS])
async def test_some_interim_answers_may_come_first(provider: Provider, rpc: Rpc, count: int) -> None:
    provider.answer = count * INTERIM + PLAIN
    assert await height(rpc) == 7


async def test_connections_that_died_unseen_are_left_for_new_ones(
    provider: Provider, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ipfs/kubo#496: after a sleep, or a change of the network, all that were open are dead, and new ones work."""
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 0.2)
    await asyncio.gather(*(height(rpc) for _ in range(3)))
    assert len(provider.open) == 3
    provider.dead |= provider.open
    with pytest.raises(LedgerUnavailable, match="did not answer"):
        await height(rpc)
    assert await height(rpc) == 7


async def test_a_request_names_its_program(provider: Provider, rpc: Rpc) -> None:
    """Firewalls refuse the name of a library: oceanprotocol/provider#587, corpetty/py-etherscan-api#70."""
    assert await height(rpc) == 7
    assert all(b"user-agent: haulout\r\n" in head.lower() for head in provider.heads)


async def test_a_proxy_may_add_a_long_field(provider: Provider, rpc: Rpc) -> None:
    """aio-libs/aiohttp#2304, iprak/yahoofinance#173: policies of 8 to 20 KiB."""
    head, end, body = PLAIN.partition(b"\r\n\r\n")
    provider.answer = head + b"\r\nContent-Security-Policy: " + b"x" * 20_000 + end + body
    assert await height(rpc) == 7
    provider.answer = head + b"\r\nContent-Security-Policy: " + b"x" * 40_000 + end + body
    with pytest.raises(LedgerUnavailable, match="HTTP that cannot be read"):
        await height(rpc)


async def test_too_many_fields_are_a_fault(provider: Provider, rpc: Rpc) -> None:
    head, end, body = PLAIN.partition(b"\r\n\r\n")
    provider.answer = head + 65 * b"\r\nX: x" + end + body
    with pytest.raises(LedgerUnavailable, match="HTTP that cannot be read"):
        await height(rpc)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy"])
async def test_a_proxy_that_is_set_and_not_used_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """aio-libs/aiohttp#529: behind a firewall that lets out what comes by its proxy, and nothing else."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def trouble(url: str) -> str:
        rpc = Rpc(url)
        with pytest.raises(LedgerUnavailable) as told:
            await height(rpc)
        await rpc.close()
        return str(told.value)

    assert "known" in await trouble("http://chain.example") and "PROXY" not in await trouble(
        "http://x.example"
    )
    monkeypatch.setenv(variable, "http://user:secret@proxy.example:3128")
    assert f"{variable.upper()} is set, and proxies are not used" in await trouble("http://chain.example")
    assert "PROXY" not in await trouble("http://localhost:1"), "no proxy leads to this machine"
    assert "secret" not in await trouble("http://chain.example")


@pytest.mark.parametrize("count", [INTERIM_ANSWERS + 1, 10_000])
async def test_interim_answers_without_end_are_a_fault(provider: Provider, rpc: Rpc, count: int) -> None:
    provider.answer = count * INTERIM + PLAIN
    with pytest.raises(LedgerUnavailable, match="HTTP that cannot be read"):
        await height(rpc)


async def test_an_answer_to_no_request_ends_the_connection(provider: Provider, rpc: Rpc) -> None:
    assert await height(rpc) == 7
    assert not provider.hung_up.is_set()
    provider.goes_on.set()
    async with asyncio.timeout(5):
        await provider.hung_up.wait()


async def test_chunks_of_a_byte_are_a_fault_and_parsed_in_small_pieces(
    provider: Provider, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    received = ResponseHandler.data_received

    def counted(connection: ResponseHandler, data: bytes) -> None:
        fed.append(len(data))
        received(connection, data)

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    provider.answer = TINY_CHUNKS + LAST_CHUNK
    with pytest.raises(LedgerUnavailable, match=r"HTTP that cannot be read \(TinyChunks\)"):
        await height(rpc)
    assert max(fed) <= PIECE_BYTES


async def test_a_compressed_answer_is_a_fault_and_none_is_asked_for(provider: Provider, rpc: Rpc) -> None:
    provider.answer = COMPRESSED
    with pytest.raises(LedgerUnavailable, match=r"compressed \(gzip\), which was not asked for"):
        await height(rpc)
    assert all(b"accept-encoding: identity" in head.lower() for head in provider.heads)
