"""Nodes that do not answer, hang up, drip, or are unavailable for a while."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from committee.connections import open_session, retry_after_s
from storage.client import retrying, wire
from storage.client.errors import (
    NO_ANSWER,
    NodeError,
    NodeFailure,
    NodeLied,
    NodeRefused,
    NodeStalled,
    NodeUnreachable,
    NodeUntrusted,
    name_failures,
)
from storage.client.failures import Reason, failure
from storage.client.node_client import NodeClient
from storage.client.retrying import (
    CHALLENGED_TRIES,
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    TRIES,
    Patience,
)
from storage.redstuff import Axis, EncodedBlob, RedStuff, SliverData, blob_id_text
from tests.storage import pacing

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
P, S = Axis.PRIMARY, Axis.SECONDARY
BLOB_ID = bytes(range(32))


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """`await raw(answer)` → address of a server that answers with these bytes and hangs up."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_what_is_not_http_is_a_lie(
    raw: Callable[[bytes], Awaitable[str]], session: aiohttp.ClientSession
) -> None:
    with pytest.raises(NodeLied, match="not HTTP"):
        await NodeClient(session, "radio", await raw(b"SSH-2.0-walrus\r\n\r\n")).health()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"])
async def test_an_answer_that_breaks_off_is_none(
    raw: Callable[[bytes], Awaitable[str]], session: aiohttp.ClientSession, answer: bytes
) -> None:
    with pytest.raises(NodeUnreachable) as unreachable:
        await NodeClient(session, "faint", await raw(answer)).health()
    assert unreachable.value.why.startswith(NO_ANSWER)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1",
        "http://",
        "",
        "nonsense",
        "ftp://host:1",
        "http://host:99999999",
        "http://[::1",
        "http://a b",
    ],
)
async def test_nobody_at_an_address_is_no_answer(session: aiohttp.ClientSession, address: str) -> None:
    with pytest.raises(
        NodeUnreachable, match=r"^ghost \(.*\): (no answer|its address is not used) \("
    ) as unreachable:
        await NodeClient(session, "ghost", address).health()
    assert isinstance(unreachable.value, NodeError)
    assert unreachable.value.address == address


async def test_a_certificate_that_is_refused_is_told_as_such() -> None:
    """microsoft/AzureStorageExplorer#732: of nodes without an answer nobody asks for the reason."""
    refused = ssl.SSLCertVerificationError(
        1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1)"
    )
    refused.verify_message = "certificate has expired"

    def request(*_: object, **__: object) -> None:
        where = SimpleNamespace(host="host", port=1, is_ssl=True)
        raise aiohttp.ClientConnectorCertificateError(where, refused)  # type: ignore[arg-type]

    client = NodeClient(SimpleNamespace(request=request), "old", "https://host:1")  # type: ignore[arg-type]
    with pytest.raises(NodeUntrusted) as untrusted:
        await client.health()
    failures = {1: NodeFailure("old", untrusted.value.why)}
    assert name_failures(failures) == "old: its TLS certificate is refused (certificate has expired)"


@pytest.fixture
async def hanging(serve: Serve) -> AsyncIterator[tuple[str, list[str]]]:
    """Address of a server that takes requests, notes them and does not answer before the test's end."""
    asked: list[str] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        await over.wait()
        return web.Response()

    yield await serve(answer), asked
    over.set()


async def test_a_hanging_node_is_asked_once(
    hanging: tuple[str, list[str]], session: aiohttp.ClientSession
) -> None:
    address, asked = hanging
    client = NodeClient(session, "hanging", address, patience_s=0.05)
    with pacing.real_pauses(), pytest.raises(NodeStalled, match=r"no answer \(within 0\.05 s\)"):
        await client.metadata(BLOB_ID)
    assert asked == [f"/v1/blobs/{blob_id_text(BLOB_ID)}/metadata", wire.HEALTH]


@pytest.mark.parametrize("is_member", [False, True])
async def test_connections_that_died_unseen_are_left_for_new_ones(serve: Serve, is_member: bool) -> None:
    """ipfs/kubo#496: after a sleep, or a change of the network, all that were open are dead, and new ones work."""
    alive: set[object] = set()
    dead: set[object] = set()
    all_asked, over = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.transport in dead:
            await over.wait()
        alive.add(request.transport)
        if len(alive) == 3:
            all_asked.set()
        await all_asked.wait()
        return web.json_response(wire.success("nonexistent"))

    credential = (lambda: "") if is_member else None
    async with open_session(allow_private=True) as session:
        client = NodeClient(session, "far", await serve(answer), patience_s=0.1, credential=credential)
        await asyncio.gather(*(client.blob_status(BLOB_ID) for _ in range(3)))
        dead |= alive
        assert len(dead) == 3
        if is_member:  # which asks another one meanwhile
            with pytest.raises(NodeStalled):
                await client.blob_status(BLOB_ID)
        assert await client.blob_status(BLOB_ID) == "nonexistent"
        over.set()


async def test_a_dripping_answer_ends_with_its_time(serve: Serve, session: aiohttp.ClientSession) -> None:
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await over.wait()
        return response

    client = NodeClient(session, "dripping", await serve(answer))
    with pytest.raises(NodeUnreachable, match=r"within 0\.05 s"):
        await client.health(timeout_s=0.05)
    over.set()


async def test_health_is_asked_once(session: aiohttp.ClientSession, serve: Serve) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(failure(503, Reason.UNAVAILABLE, "busy"), status=503)

    with pytest.raises(NodeRefused):
        await NodeClient(session, "busy", await serve(answer)).health()
    assert len(asked) == 1


async def test_an_unavailable_node_is_asked_again(
    serve: Serve, session: aiohttp.ClientSession, blob: EncodedBlob
) -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if len(bodies) < TRIES:
            return web.json_response(failure(503, Reason.UNAVAILABLE, "busy"), status=503)
        return web.json_response(wire.success("sliver stored"))

    sliver = bytes(blob.sliver(S, 9))
    await NodeClient(session, "busy", await serve(answer)).put_sliver(blob.metadata, 0, S, sliver)
    assert bodies == [SliverData(sliver, 40, 9).to_bcs()] * TRIES


@pytest.mark.parametrize(
    ("status", "reason", "times"),
    [(503, Reason.UNAVAILABLE, TRIES), (400, Reason.NOT_REGISTERED, 1)],
)
async def test_an_unavailable_node_is_given_up_and_a_refusing_one_not_asked_again(
    serve: Serve, session: aiohttp.ClientSession, status: int, reason: Reason, times: int
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(failure(status, reason, "no"), status=status)

    with pytest.raises(NodeRefused, match=f"{reason}: no"):
        await NodeClient(session, "strict", await serve(answer)).metadata(BLOB_ID)
    assert len(asked) == times


PAGE = b"<html><title>Bad gateway</title></html>"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524, 530])
async def test_what_a_proxy_says_for_a_while_is_waited_out(
    serve: Serve, session: aiohttp.ClientSession, status: int
) -> None:
    """Cloudflare's own statuses too (nftstorage/nft.storage#1718, web3-storage/web3.storage#1315), HAProxy's 408."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) < 8:
            return web.Response(status=status, body=PAGE, content_type="text/html")
        return web.json_response(wire.success("nonexistent"))

    with pacing.tries(8):
        assert await NodeClient(session, "proxied", await serve(answer)).blob_status(BLOB_ID) == "nonexistent"
    assert len(asked) == 8, "more often than a node that cannot be reached is asked"


@pytest.mark.parametrize("status", [200, 201, 403])
async def test_a_page_in_the_place_of_an_answer_is_asked_past_a_few_times(
    serve: Serve, session: aiohttp.ClientSession, status: int
) -> None:
    """A content network asks whether a human is there: nftstorage/nft.storage#2578, #758."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) < CHALLENGED_TRIES or is_for_good:
            return web.Response(status=status, body=PAGE, content_type="text/html")
        return web.json_response(wire.success("nonexistent"))

    is_for_good = False
    client = NodeClient(session, "proxied", await serve(answer))
    with pacing.tries(100):
        assert await client.blob_status(BLOB_ID) == "nonexistent"
        is_for_good = True
        asked.clear()
        with pytest.raises(NodeRefused, match="not the node's"):
            await client.blob_status(BLOB_ID)
    assert len(asked) == CHALLENGED_TRIES


@pytest.mark.parametrize("body", [b"", b"OK", b'{"status": "ok"}', b"[]"])
async def test_an_upload_is_done_when_the_node_says_so_and_nobody_else(
    serve: Serve, session: aiohttp.ClientSession, body: bytes
) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body)

    client = NodeClient(session, "proxied", await serve(answer))
    with pytest.raises(NodeLied, match="its answer cannot be read"):
        await client.put_metadata(RedStuff(4).encode(b"blob").metadata)


@pytest.mark.parametrize("status", [400, 403, 404, 408, 411, 413, 421, 431, 500, 501, 505])
async def test_what_a_node_says_for_good_is_believed_at_once(
    serve: Serve, session: aiohttp.ClientSession, status: int
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(failure(status, Reason.INTERNAL_ERROR, "no"), status=status)

    with pytest.raises(NodeRefused):
        await NodeClient(session, "strict", await serve(answer)).blob_status(BLOB_ID)
    assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_proxy_before_a_dead_node_is_given_up_when_the_time_is_over(
    serve: Serve, session: aiohttp.ClientSession, status: int
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, body=PAGE, headers={"Retry-After": "5"})

    client = NodeClient(session, "proxied", await serve(answer), patience_s=0.05)
    with pacing.real_pauses(), pytest.raises(NodeRefused) as refused:
        await client.blob_status(BLOB_ID)
    assert refused.value.status == status
    assert len(asked) == 1, "the answer asks for a longer pause than there is time"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", 1.5),
        ("\u0661", None),
        ("9" * 400, 999_999_999),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s(text) == seconds


def test_the_pause_that_an_answer_asks_for_is_kept() -> None:
    tries = Patience(patience_s=30, most_tries=100)
    assert tries.pause_s(NodeRefused("a", "", 503, None, "", retry_after_s=7)) == 7
    assert tries.pause_s(NodeRefused("a", "", 503, None, "", retry_after_s=0)) == SHORTEST_PAUSE_S
    assert tries.pause_s(NodeRefused("a", "", 503, None, "")) is not None
    assert tries.pause_s(NodeRefused("a", "", 503, None, "", retry_after_s=31)) is None
    assert tries.pause_s(NodeRefused("a", "", 500, Reason.INTERNAL_ERROR, "", retry_after_s=1)) is None
    unreachable = NodeUnreachable("a", "", "test")
    assert [tries.pause_s(unreachable) is None for _ in range(3)] == [False, False, True]


def test_a_node_that_grants_a_few_requests_a_second_is_asked_until_it_grants_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """raft-tech/TANF-app#5560, filecoin-saturn/L1-node#144: a proxy limits the requests of each address."""
    now_s = 1000.0
    monkeypatch.setattr(retrying, "time", SimpleNamespace(monotonic=lambda: now_s))
    tries, busy = Patience(patience_s=30, most_tries=100), NodeRefused("a", "", 429, None, "")
    assert [tries.pause_s(busy) is None for _ in range(3)] == [False] * 3
    now_s += 40
    assert tries.pause_s(busy, now_s - 5) is not None
    assert tries.pause_s(busy, now_s - 31) is None
    now_s += 250
    assert tries.pause_s(busy, now_s) is not None
    now_s += 11
    assert tries.pause_s(busy, now_s) is None, "other requests are granted, this one never is"


def test_pauses_grow_to_their_limit_and_tries_end_at_theirs() -> None:
    tries = Patience(patience_s=1000, most_tries=20)
    pauses = [tries.pause_s(NodeRefused("a", "", 503, None, "")) for _ in range(20)]
    assert pauses[-1] is None
    for number, pause_s in enumerate(pauses[:-1]):
        least_s = min(SHORTEST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
        assert pause_s is not None and least_s <= pause_s <= 2 * least_s
