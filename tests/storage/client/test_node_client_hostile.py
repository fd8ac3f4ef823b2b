"""Whatever address a node registered and whatever it answers, its client raises its own errors and no other."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from committee.connections import FIELD_BYTES, HEAD_BYTES, INTERIM_ANSWERS, PIECE_BYTES, open_session
from storage.client import wire
from storage.client.errors import NodeError, NodeLied, NodeUnreachable
from storage.client.node_client import NodeClient
from tests.storage import pacing
from tests.storage.client.test_node_client import BLOB_ID, CALLS

ADDRESSES = [
    *("", "/", "http://[v1.a]@", "http://", "http:///x", "//node", "http://node:99999999999", "http://node:1/path?q#f"),
    *("http://user:word@node:1", "http://\ud800:1", "http://nöde:1", "http://xn--\u0301:1", "http://a..b:1", "http://%:1"),
    *("http://[::1%25lo]:1", "http://[::ffff:127.0.0.1", "http://" + "a." * 127 + "a:1", "http://a\r\nX: 1:1", "\x00"),
    *("ftp://node:1", "file:///etc/passwd", "http://0x7f.1:1", "http://127.1:1", "http://node\x1b[2J:1", "ws://node"),
]  # fmt: skip
HEADS = [
    *(b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 7"),
    *(b"Content-Length: 2000000", b"Content-Length: 1\r\nContent-Length: 2", b"Transfer-Encoding: chunked"),
    *(b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: x"),
    *(b"Content-Type: \xff", b"Content-Type: text/html; charset=x", b"Location: http://127.0.0.1:1/"),
    *(b"X" * 9000 + b": 1", b"Connection: close"),
    *(b"Set-Cookie: \xff=\x00; Domain=.", b"Connection: upgrade\r\nUpgrade: \xff", b": x", b"\x00: \x00", b" folded"),
]  # fmt: skip
STATUSES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 201 Created", b"HTTP/1.1 400 Bad", b"HTTP/1.1 503 Busy", b"HTTP/1.1 302 There"),
    *(b"HTTP/1.1 100 Go on", b"HTTP/1.1 101 Switch", b"HTTP/1.1 204 No", b"HTTP/1.1 401 Who"),
    *(b"HTTP/1.1 999 \xff\x1b[2J", b"HTTP/1.1 429 Slow down"),
    *(b"HTTP/1.0 200", b"HTTP/9.9 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 -1 OK", b"\x16\x03\x01\x02\x00", b""),
]  # fmt: skip
BODIES = [
    *(b"", b"\xff\xfe", b"null", b"[" * 90_000, b'{"a":' * 30_000, b"9" * 5000, b'"\\ud800"', b"\x00" * 5000, b"NaN"),
    *(b'{"success":{"data":null}}', b'{"success":{"data":{"signed":{"serializedMessage":1,"signature":[]}}}}'),
    *(b'{"success":[]}', b'{"success":{"data":{"signed":{"serializedMessage":"\xc3\xa9","signature":"=A"}}}}'),
    *(b'{"error":{"details":[{"reason":[]}],"message":1}}', b"{"),
    *(b'{"error":{"details":{"reason":1},"message":"\\u001b[2J"}}', b"[]"),
    *(json.dumps({"error": {"details": [{}], "message": "x" * 10**6}}).encode(), b'{"error":{"message":[[[[]]]]}}'),
    *(BLOB_ID, BLOB_ID + b"\x00\x01" + b"\xff" * 300, b"\xff" * 10, b"\x80" * 12, b"\x01\x00" * 40, b"\x01" + BLOB_ID),
    *(gzip.compress(bytes(10**6)), b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx", b"-1\r\n\r\n"),
    *(b"5;\xff\r\nhello\r\n", b"0\r\nX: \xff\r\n\r\n"),
]  # fmt: skip


class Liar:
    """A server that answers each connection with the bytes of `answer` and hangs up."""

    answer = b""
    port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
            await reader.readexactly(int(lengths[0].split()[1]) if lengths else 0)
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has heard enough
        finally:
            writer.close()


class NoNames(AbstractResolver):
    """Knows no name: a random address must not be looked up."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise OSError(f"{host} is not known")

    async def close(self) -> None:
        pass


@pytest.fixture
async def nameless() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=NoNames())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def own_session() -> AsyncIterator[aiohttp.ClientSession]:
    """As nodes and clients open one."""
    async with open_session(allow_private=True) as session:
        yield session


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    server = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


def answers(chance: random.Random) -> bytes:
    """An answer from the lists above, at times with bytes changed, added or taken away."""
    heads = chance.sample(HEADS, chance.randrange(4))
    answer = b"\r\n".join([chance.choice(STATUSES), *heads, b"", chance.choice(BODIES)])
    for _ in range(chance.choice((0, 0, 1, 3))):
        place = chance.randrange(len(answer) + 1)
        answer = (
            answer[:place] + chance.randbytes(chance.randrange(4)) + answer[place + chance.randrange(4) :]
        )
    return answer


async def try_answers(liar: Liar, session: aiohttp.ClientSession, count: int, seed: int) -> int:
    chance, failed = random.Random(seed), 0
    client = NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}", patience_s=5.0)
    for _ in range(count):
        liar.answer = answers(chance)
        call = chance.choice(list(CALLS.values()))
        try:
            await call(client)
        except NodeError as error:
            failed += 1
            assert str(error).isprintable(), liar.answer
            assert len(str(error)) < 6000
    return failed


def addresses(chance: random.Random) -> str:
    base = chance.choice([*ADDRESSES, "http://127.0.0.1:1", "https://[::1]:1", "http://localhost:1"])
    place = chance.randrange(len(base) + 1)
    return (
        base[:place] + chr(chance.choice((chance.randrange(128), chance.randrange(0x11_0000)))) + base[place:]
    )


async def try_addresses(session: aiohttp.ClientSession, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for address in [*ADDRESSES, *(addresses(chance) for _ in range(count))]:
        client = NodeClient(session, "\x1b[2J", address, patience_s=0.5)
        with pytest.raises(NodeError) as failed:
            await chance.choice(list(CALLS.values()))(client)
        assert str(failed.value).isprintable(), address


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
async def test_a_node_that_cannot_be_addressed_does_not_answer(
    session: aiohttp.ClientSession, address: str
) -> None:
    with pytest.raises(NodeUnreachable) as unreachable:
        await NodeClient(session, "nowhere", address).health()
    assert unreachable.value.why.startswith("its address is not used (")


async def test_no_address_raises_another_error(nameless: aiohttp.ClientSession) -> None:
    with pacing.tries(1):
        await try_addresses(nameless, 300, seed=1)


@pytest.mark.slow
async def test_no_address_of_thousands_raises_another_error(nameless: aiohttp.ClientSession) -> None:
    with pacing.tries(1):
        await try_addresses(nameless, 4_000, seed=2)


async def test_no_answer_raises_another_error(liar: Liar, own_session: aiohttp.ClientSession) -> None:
    with pacing.tries(1):
        assert await try_answers(liar, own_session, 400, seed=3) > 300


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
HEALTH = b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"success":{"code":200,"data":{}}}'


@pytest.mark.parametrize("count", [1, INTERIM_ANSWERS])
async def test_some_interim_answers_may_come_first(liar: Liar, count: int) -> None:
    liar.answer = count * INTERIM + HEALTH
    async with open_session(allow_private=True) as session:
        assert await NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}").health() == {}


@pytest.mark.parametrize("count", [INTERIM_ANSWERS + 1, 10_000])
async def test_interim_answers_without_end_are_not_read(liar: Liar, count: int) -> None:
    """aiohttp reads them as long as they come, and nothing else runs meanwhile."""
    liar.answer = count * INTERIM + HEALTH
    async with open_session(allow_private=True) as session:
        client = NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}")
        with pytest.raises(NodeLied, match="is not HTTP"):
            await client.health()


async def test_empty_lines_without_end_are_not_read(liar: Liar, own_session: aiohttp.ClientSession) -> None:
    client = NodeClient(own_session, "liar", f"http://127.0.0.1:{liar.port}")
    liar.answer = HEAD_BYTES // 4 * b"\r\n" + HEALTH
    assert await client.health() == {}
    liar.answer = HEAD_BYTES * b"\r\n" + HEALTH
    with pytest.raises(NodeLied, match="is not HTTP"):
        await client.health()


async def test_a_length_with_thousands_of_zeros_is_no_http(
    liar: Liar, own_session: aiohttp.ClientSession
) -> None:
    """And makes no traceback in the log."""
    liar.answer = HEALTH.replace(b"Content-Length: ", b"Content-Length: " + 5000 * b"0")
    client = NodeClient(own_session, "liar", f"http://127.0.0.1:{liar.port}")
    with pytest.raises(NodeLied, match="is not HTTP"):
        await client.health()


async def test_a_media_type_that_takes_seconds_to_read_is_not_read(
    liar: Liar, own_session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would run meanwhile, and a node asks each fellow member for its health every second."""
    read, field = list[object](), b"Content-Type: "
    monkeypatch.setattr("aiohttp.helpers.parse_content_type", read.append)
    client = NodeClient(own_session, "liar", f"http://127.0.0.1:{liar.port}")
    head, end, body = HEALTH.partition(b"\r\n\r\n")
    liar.answer = head + b"\r\n" + field + (FIELD_BYTES - len(field)) * b";" + end + body
    assert await client.health() == {}
    assert not read


async def test_an_answer_to_no_request_ends_the_connection() -> None:
    """aiohttp keeps such answers as long as the connection is idle, each in a hundred times its bytes of memory."""
    goes_on, ended = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEALTH)
        await goes_on.wait()
        writer.write(HEALTH)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        ended.set()
        writer.close()

    async with (
        await asyncio.start_server(talk, "127.0.0.1", 0) as server,
        open_session(allow_private=True) as session,
    ):
        port = server.sockets[0].getsockname()[1]
        await NodeClient(session, "liar", f"http://127.0.0.1:{port}").health()
        goes_on.set()
        async with asyncio.timeout(5):
            await ended.wait()


CHUNKED = b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = HEALTH.partition(b"\r\n\r\n")[2]
HEALTH_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
TINY_CHUNKS = 40_000 * b"1\r\n \r\n"
FRAMED = {
    "chunks of a byte": TINY_CHUNKS + HEALTH_CHUNK,
    "chunks of a byte behind a large one": b"20000\r\n"
    + bytes(0x20000)
    + b"\r\n"
    + TINY_CHUNKS
    + HEALTH_CHUNK,
    "long extensions": 40 * (b"1;" + b"x" * 4000 + b"\r\n \r\n") + HEALTH_CHUNK,
    "a trailer": HEALTH_CHUNK[:-2] + 40 * (b"X: " + b"x" * 4000 + b"\r\n") + b"\r\n",
}


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("body", FRAMED.values(), ids=FRAMED)
async def test_an_answer_that_is_mostly_framing_is_broken_off(liar: Liar, status: int, body: bytes) -> None:
    """As much of it as a socket holds would be parsed at once, and nothing else runs meanwhile."""
    liar.answer = CHUNKED % status + body
    async with open_session(allow_private=True) as session:
        client = NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}")
        with pytest.raises(NodeLied, match=r"chunks of a few bytes each|is not HTTP|more than 65536 bytes"):
            await client.handover()


async def test_chunks_of_a_byte_are_parsed_in_small_pieces(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those behind a body that its reader has not taken yet."""
    fed: list[int] = []
    received = ResponseHandler.data_received

    def counted(answers: ResponseHandler, data: bytes) -> None:
        fed.append(len(data))
        received(answers, data)

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    liar.answer = CHUNKED % 200 + FRAMED["chunks of a byte behind a large one"]
    async with open_session(allow_private=True) as session:
        with pytest.raises(NodeLied, match="chunks of a few bytes each"):
            await NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}").handover()
    assert max(fed) <= PIECE_BYTES
    assert sum(fed) < 0x20000 + 4 * PIECE_BYTES


@pytest.mark.parametrize(("size_bytes", "count"), [(7, 1), (7, 100), (64, 10_000)])
async def test_an_answer_in_chunks_that_a_proxy_would_make_is_read(
    liar: Liar, size_bytes: int, count: int
) -> None:
    """Some chunks may be small, and a long body may be in chunks of a few dozen bytes."""
    chunk = b"%x\r\n%b\r\n" % (size_bytes, b" " * size_bytes)
    liar.answer = CHUNKED % 200 + count * chunk + HEALTH_CHUNK
    async with open_session(allow_private=True) as session:
        assert await NodeClient(session, "liar", f"http://127.0.0.1:{liar.port}").handover() == {}


@pytest.mark.slow
async def test_no_answer_of_thousands_raises_another_error(
    liar: Liar, own_session: aiohttp.ClientSession
) -> None:
    with pacing.tries(1):
        assert await try_answers(liar, own_session, 8_000, seed=4) > 6_000


async def test_a_page_of_more_than_was_asked_for_is_not_read(
    liar: Liar, own_session: aiohttp.ClientSession
) -> None:
    most_bytes = 1000
    client = NodeClient(own_session, "liar", f"http://127.0.0.1:{liar.port}")
    for size_bytes, why in (
        (most_bytes + wire.PAGE_FRAME_BYTES, "cannot be read"),
        (most_bytes + wire.PAGE_FRAME_BYTES + 1, "answered with more than"),
    ):
        liar.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes + bytes(size_bytes)
        with pytest.raises(NodeLied, match=why):
            await client.sync_shard(b"", b"", most_bytes=most_bytes)
