"""One node from the outside: a good one, and ones that answer garbage or too much."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from committee import bls, messages
from committee.connections import open_session
from storage.client import wire
from storage.client.errors import NodeLied, NodeRefused
from storage.client.failures import Reason
from storage.client.node_client import NodeClient
from storage.client.node_requests import MAX_SYMBOLS_AT_ONCE, SMALL_JSON_BYTES
from storage.redstuff import Axis, EncodedBlob, InconsistencyProof, MerkleProof

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
P, S = Axis.PRIMARY, Axis.SECONDARY
BLOB_ID = bytes(range(32))


# against the real service


async def test_a_blob_goes_there_and_back(node: OneNode, client: NodeClient, blob: EncodedBlob) -> None:
    node.register(blob)
    await client.put_metadata(blob.metadata)
    await client.put_metadata(blob.metadata)
    for shard in node.view.my_shards():
        for axis in Axis:
            sliver = node.sliver(blob, shard, axis)
            await client.put_sliver(blob.metadata, node.pair(blob, shard), axis, memoryview(sliver))
            assert await client.sliver(blob.blob_id, node.pair(blob, shard), axis) == sliver
    assert await client.metadata(blob.blob_id) == blob.metadata
    message, signature = await client.confirmation(blob.blob_id, None)
    assert messages.decode(message).body == messages.blob_body(blob.blob_id)
    assert bls.verify(node.secret.public_key, message, signature)
    assert await client.blob_status(blob.blob_id) != "nonexistent"


async def test_a_large_sliver_travels(
    node: OneNode, client: NodeClient, encode: Callable[[bytes], EncodedBlob]
) -> None:
    blob = encode(bytes(28 * 40_000))
    node.register(blob)
    await client.put_metadata(blob.metadata)
    sliver = node.sliver(blob, 0, P)
    assert len(sliver) > 200_000
    await client.put_sliver(blob.metadata, node.pair(blob, 0), P, sliver)
    assert await client.sliver(blob.blob_id, node.pair(blob, 0), P) == sliver


@pytest.mark.parametrize("axis", list(Axis))
async def test_symbols_of_the_helpers_asked_rebuild_a_sliver(
    node: OneNode, client: NodeClient, blob: EncodedBlob, axis: Axis
) -> None:
    node.keep(blob, tuple(range(10)))
    code, targets = node.code, [0, 3, 9]
    shards = list(range(code.source_symbols(axis)))
    symbols = await client.decoding_symbols(blob.blob_id, axis, targets, shards)
    assert set(symbols) == {code.sliver_index(blob.blob_id, shard, axis.other) for shard in shards}
    for target in targets:
        given = {helper: by_target[target] for helper, by_target in symbols.items()}
        assert code.recover(blob.metadata, axis, target, given) == bytes(blob.sliver(axis, target))


async def test_symbols_of_several_blobs_come_in_one_answer_and_a_refusal_alone(
    node: OneNode, client: NodeClient, blob: EncodedBlob
) -> None:
    node.keep(blob, tuple(range(10)))
    for axis in Axis:
        helping = list(range(node.code.source_symbols(axis)))
        question = wire.Question(axis, [9, 8], helping, [BLOB_ID, blob.blob_id])
        refused, symbols = await client.symbols_of_blobs(question)
        assert isinstance(refused, NodeRefused)
        assert (refused.status, refused.reason) == (404, Reason.SLIVER_NOT_FOUND)
        assert isinstance(symbols, dict)
        for shard in (9, 8):
            target = node.code.sliver_index(blob.blob_id, shard, axis)
            given = {helper: by_target[target] for helper, by_target in symbols.items()}
            assert node.code.recover(blob.metadata, axis, target, given) == bytes(blob.sliver(axis, target))


async def test_proven_symbols_prove(node: OneNode, client: NodeClient, blob: EncodedBlob) -> None:
    node.keep(blob)
    proven = await client.recovery_symbols(blob.blob_id, S, 6, [1, 2])
    assert len(proven) == 2
    for helper, (symbol, proof) in proven.items():
        proof.verify(blob.metadata.sliver_root(P, helper), symbol, 6, 10)


async def test_a_page_of_a_shard(node: OneNode, client: NodeClient, blob: EncodedBlob) -> None:
    node.keep(blob)
    secret = bls.SecretKey(0xF00D + 2)
    request = messages.ShardTransferRequest(4, P, bytes(32), 100, secret.public_key)
    message = messages.encode(messages.Intent.SHARD_TRANSFER, 5, request.to_body(), bytes(range(32)))
    page = await client.sync_shard(message, secret.sign(message))
    assert [(blob_id, bytes(one.symbols)) for blob_id, one in page.slivers] == [
        (blob.blob_id, node.sliver(blob, 4, P))
    ]
    assert page.next_blob_id is None


async def test_health_handover_and_ejection(node: OneNode, client: NodeClient) -> None:
    node.silent_members.add(3)
    assert (await client.health())["epoch"] == 5
    assert (await client.handover())["epoch"] == 5
    message, signature = await client.ejection(3, 77)
    assert bls.verify(node.secret.public_key, message, signature)
    with pytest.raises(NodeRefused, match="MEMBER_ANSWERS: node 2 answers") as refused:
        await client.ejection(2, 77)
    assert refused.value.reason is Reason.MEMBER_ANSWERS


async def test_signs_of_life_of_the_node_and_of_its_fellows(node: OneNode, client: NodeClient) -> None:
    nonce = b"\xab" * messages.NONCE_BYTES
    for node_id, signed in {
        1: await client.sign_of_life(nonce, 5.0),
        3: await client.members_sign_of_life(3, nonce, 5.0),
    }.items():
        message, signature = signed
        assert messages.decode(message).body == messages.sign_of_life_body(node_id, nonce)
        assert bls.verify(bls.SecretKey(0xF00D + node_id).public_key, message, signature)
    node.silent_members.add(3)
    with pytest.raises(NodeRefused, match="UNAVAILABLE: node 3 gave no sign"):
        await client.members_sign_of_life(3, nonce, 5.0)


async def test_a_refusal_names_node_status_and_reason(client: NodeClient) -> None:
    with pytest.raises(NodeRefused, match=r"^node-1 \(http.*METADATA_NOT_FOUND") as refused:
        await client.metadata(BLOB_ID)
    assert (refused.value.name, refused.value.status) == ("node-1", 404)
    assert refused.value.reason is Reason.METADATA_NOT_FOUND
    assert refused.value.why.startswith("METADATA_NOT_FOUND: ")


# nodes that lie

CALLS: dict[str, Callable[[NodeClient], Awaitable[object]]] = {
    "metadata": lambda one: one.metadata(BLOB_ID),
    "sliver": lambda one: one.sliver(BLOB_ID, 0, P),
    "confirmation": lambda one: one.confirmation(BLOB_ID, 3),
    "decoding_symbols": lambda one: one.decoding_symbols(BLOB_ID, P, [0], [0]),
    "symbols_of_blobs": lambda one: one.symbols_of_blobs(wire.Question(P, [0], [0], [BLOB_ID])),
    "recovery_symbols": lambda one: one.recovery_symbols(BLOB_ID, P, 0, [0]),
    "inconsistency_proof": lambda one: one.inconsistency_proof(BLOB_ID, InconsistencyProof(P, 0, ())),
    "sync_shard": lambda one: one.sync_shard(b"", b""),
    "blob_status": lambda one: one.blob_status(BLOB_ID),
    "health": lambda one: one.health(),
    "handover": lambda one: one.handover(),
    "ejection": lambda one: one.ejection(1, 77),
    "sign_of_life": lambda one: one.sign_of_life(bytes(32), 5.0),
    "members_sign_of_life": lambda one: one.members_sign_of_life(3, bytes(32), 5.0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("body", [b"\xff\xfe garbage", b"[" * 10_000, b'{"success": {"data": 7}, "x": 1}'])
async def test_a_call_calls_garbage_a_lie(
    serve: Serve, session: aiohttp.ClientSession, call: Callable[[NodeClient], Awaitable[object]], body: bytes
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    client = NodeClient(session, "liar", await serve(answer))
    if call is CALLS["blob_status"] and body.startswith(b"{"):
        assert await call(client) == 7
        return
    with pytest.raises(NodeLied, match=r"^liar \(http://.*\): its answer cannot be read"):
        await call(client)


async def test_metadata_of_another_blob_is_a_lie(
    serve: Serve, session: aiohttp.ClientSession, blob: EncodedBlob
) -> None:
    async def named_right(_: web.Request) -> web.Response:
        return web.Response(body=BLOB_ID + blob.metadata.to_bcs())

    async def named_as_it_is(_: web.Request) -> web.Response:
        return web.Response(body=blob.blob_id + blob.metadata.to_bcs())

    async def named_wrong(_: web.Request) -> web.Response:
        return web.Response(body=BLOB_ID + blob.metadata.to_bcs())

    for handler, asked in (
        (named_right, BLOB_ID),
        (named_as_it_is, BLOB_ID),
        (named_wrong, blob.blob_id),
    ):
        with pytest.raises(NodeLied, match="metadata of another blob"):
            await NodeClient(session, "liar", await serve(handler)).metadata(asked)


@pytest.mark.parametrize("call", ["decoding_symbols", "recovery_symbols"])
async def test_more_symbols_than_were_asked_for_are_a_lie(
    serve: Serve, session: aiohttp.ClientSession, call: str
) -> None:
    """In the bytes of an answer that is no longer than it may be there is room for thousands of empty ones."""
    bodies = {
        "decoding_symbols": wire.symbols_to_bcs([0], 2, [(1, b"ab"), (2, b"cd")]),
        "recovery_symbols": wire.proven_to_bcs([(one, 0, b"ab", MerkleProof(())) for one in (1, 2)]),
    }

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bytes(bodies[call]))

    with pytest.raises(NodeLied, match="its answer cannot be read: a length over the limit"):
        await CALLS[call](NodeClient(session, "liar", await serve(answer)))


@pytest.mark.parametrize("count", [MAX_SYMBOLS_AT_ONCE, MAX_SYMBOLS_AT_ONCE + 64])
async def test_many_symbols_are_not_read_by_the_event_loop(
    serve: Serve, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    targets, helpers = range(64), range(count // 64)
    body = bytes(wire.symbols_to_bcs(targets, 2, [(helper, bytes(128)) for helper in helpers]))
    readers: list[threading.Thread] = []
    read = wire.symbols_from_bcs

    def noted(encoded: bytes, most: int) -> wire.SymbolsOfBlob:
        readers.append(threading.current_thread())
        return read(encoded, most)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    monkeypatch.setattr(wire, "symbols_from_bcs", noted)
    client = NodeClient(session, "honest", await serve(answer))
    symbols = await client.decoding_symbols(BLOB_ID, P, targets, helpers)
    assert sum(map(len, symbols.values())) == count
    assert (readers[0] is threading.main_thread()) is (count <= MAX_SYMBOLS_AT_ONCE)


async def test_a_symbol_for_another_target_is_left_out(serve: Serve, session: aiohttp.ClientSession) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=wire.proven_to_bcs([(1, 8, b"ab", MerkleProof(()))]))

    client = NodeClient(session, "liar", await serve(answer))
    assert await client.recovery_symbols(BLOB_ID, P, 0, [1]) == {}


async def test_an_answer_without_end_is_cut_off(serve: Serve, session: aiohttp.ClientSession) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(2**16))
            sent += 2**16

    client = NodeClient(session, "flood", await serve(answer))
    with pytest.raises(NodeLied, match=f"more than {wire.MAX_METADATA_BYTES} bytes"):
        await client.metadata(BLOB_ID)
    assert sent < 2**24


MORE_THAN_ASKED: dict[str, Callable[[NodeClient], Awaitable[object]]] = {
    "sliver": lambda one: one.sliver(BLOB_ID, 0, P, 100),
    "decoding_symbols": lambda one: one.decoding_symbols(BLOB_ID, P, [0], [0], 100),
    "symbols_of_blobs": lambda one: one.symbols_of_blobs(wire.Question(P, [0], [0], [BLOB_ID]), 100),
}


@pytest.mark.parametrize("call", MORE_THAN_ASKED.values(), ids=MORE_THAN_ASKED)
async def test_more_than_was_asked_for_is_not_taken(
    serve: Serve, session: aiohttp.ClientSession, call: Callable[[NodeClient], Awaitable[object]]
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bytes(101 + wire.FRAME_BYTES))

    with pytest.raises(NodeLied, match=f"more than {100 + wire.FRAME_BYTES} bytes"):
        await call(NodeClient(session, "flood", await serve(answer)))


async def test_an_error_without_end_is_cut_off(serve: Serve, session: aiohttp.ClientSession) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=400, body=bytes(wire.MAX_ERROR_BYTES + 1))

    with pytest.raises(NodeLied, match=f"more than {wire.MAX_ERROR_BYTES} bytes"):
        await NodeClient(session, "flood", await serve(answer)).sliver(BLOB_ID, 0, P)


SHORT = ("health", "blob_status", "inconsistency_proof", "ejection", "sign_of_life", "members_sign_of_life")


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("call", SHORT)
async def test_what_is_short_and_asked_often_is_no_long_answer_nor_error(
    serve: Serve, session: aiohttp.ClientSession, call: str, status: int
) -> None:
    """A member could drip it for minutes, or send it in chunks of a byte each, which is a second's work."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=bytes(SMALL_JSON_BYTES + 1))

    with pytest.raises(NodeLied, match=f"more than {SMALL_JSON_BYTES} bytes"):
        await CALLS[call](NodeClient(session, "flood", await serve(answer)))


async def test_an_error_that_is_no_json_keeps_its_status(
    serve: Serve, session: aiohttp.ClientSession
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=418, text="<html>")

    with pytest.raises(NodeRefused, match="418: an error that is not the node") as refused:
        await NodeClient(session, "teapot", await serve(answer)).metadata(BLOB_ID)
    assert refused.value.reason is None


@pytest.mark.parametrize(
    ("status", "told"),
    [(308, "registered by the address"), (413, "takes no body of this"), (403, "or firewall")],
)
async def test_an_error_of_no_node_says_whose_it_is(
    serve: Serve, session: aiohttp.ClientSession, blob: EncodedBlob, status: int, told: str
) -> None:
    """medic/nginx-local-ip#21, cloudreve/cloudreve#1378."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>nginx</html>")

    with pytest.raises(NodeRefused, match=told):
        await NodeClient(session, "proxied", await serve(answer)).put_metadata(blob.metadata)


async def test_an_answer_that_a_proxy_compressed_is_told_as_such(
    serve: Serve, session: aiohttp.ClientSession
) -> None:
    """envoyproxy/envoy#2855."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})

    with pytest.raises(NodeLied, match=r"compressed \(gzip\).* must not compress"):
        await NodeClient(session, "packed", await serve(answer)).health()


async def test_a_request_names_its_program(serve: Serve) -> None:
    """Firewalls refuse those that do not: terra-money/fcd-classic#135, getgems-io/nft-contracts#108."""
    names: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        names.append(request.headers.get("User-Agent", ""))
        return web.json_response(wire.success("nonexistent"))

    async with open_session(allow_private=True) as session:
        await NodeClient(session, "guarded", await serve(answer)).blob_status(BLOB_ID)
    assert names == ["haulout"]


async def test_a_redirection_is_not_followed(serve: Serve, session: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    with pytest.raises(NodeRefused) as refused:
        await NodeClient(session, "guide", await serve(answer)).health()
    assert refused.value.status == 302
    assert asked == ["/v1/health"]
