"""What nodes ask of each other over HTTP: symbols, whole shards, signatures; and who may not have them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from committee import bls, messages
from storage.client import wire
from storage.node import admission
from storage.redstuff import (
    Axis,
    BlobMetadata,
    EncodedBlob,
    InconsistencyProof,
    ProvenSymbol,
    RedStuff,
    blob_id_text,
)

if TYPE_CHECKING:
    from storage.client.node_client import NodeClient
    from tests.storage.conftest import Ask, OneNode

P, S = Axis.PRIMARY, Axis.SECONDARY
DOMAIN = bytes(range(32))
SECRETS = {node_id: bls.SecretKey(0xF00D + node_id) for node_id in (1, 2, 3)}
MOVED = 4
"""The shard that was node 1's in epoch 4 and is node 2's in epoch 5."""
MOVING = 3
"""The shard that is node 1's in epoch 5 and will be node 2's in epoch 6."""


def path(blob: EncodedBlob | BlobMetadata, rest: str) -> str:
    return f"/v1/blobs/{blob_id_text(blob.blob_id)}/{rest}"


def refused(answer: tuple[int, Any], status: int, reason: str) -> str:
    code, body = answer
    assert code == status, body
    assert [one["reason"] for one in body["error"]["details"]] == [reason], body
    return str(body["error"]["message"])


# symbols


async def test_without_helper_shards_all_that_is_here_helps(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 2))
    status, body = await ask("GET", path(blob, "decodingSymbols?targetSlivers=5,1&targetType=secondary"))
    assert status == 200
    symbols = wire.symbols_from_bcs(body)
    assert symbols.keys() == {node.code.sliver_index(blob.blob_id, shard, P) for shard in (0, 2)}
    for helper, by_target in symbols.items():
        assert by_target == {
            target: node.code.recovery_symbol(P, blob.sliver(P, helper), target) for target in (1, 5)
        }


async def test_a_helper_shard_that_is_not_here_is_left_out(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 2))
    query = "decodingSymbols?targetSlivers=5&targetType=primary&helperShards=2,9"
    _, body = await ask("GET", path(blob, query))
    assert wire.symbols_from_bcs(body).keys() == {node.code.sliver_index(blob.blob_id, 2, S)}


@pytest.mark.parametrize(
    "query", ["decodingSymbols?targetSlivers=5", "recoverySymbols?targetSliver=5&proofAxis=secondary"]
)
async def test_helpers_that_are_not_here_are_not_found(
    node: OneNode, ask: Ask, blob: EncodedBlob, query: str
) -> None:
    node.keep(blob, (0, 2))
    answer = await ask("GET", path(blob, query + "&targetType=primary&helperShards=9"))
    refused(answer, 404, "SLIVER_NOT_FOUND")


@pytest.mark.parametrize("query", ["decodingSymbols?targetSlivers=5", "recoverySymbols?targetSliver=5"])
async def test_symbols_of_an_unknown_blob_are_not_found(ask: Ask, blob: EncodedBlob, query: str) -> None:
    refused(await ask("GET", path(blob, query + "&targetType=primary")), 404, "METADATA_NOT_FOUND")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "targetSlivers=1&targetSliver=1",
        "targetType=primary",
        "targetSlivers=10&targetSliver=10&targetType=primary",
        "targetSlivers=&targetSliver=&targetType=primary",
        "targetSlivers=x&targetSliver=x&targetType=primary",
        "targetSlivers=-1&targetSliver=-1&targetType=primary",
        "targetSlivers=1&targetSliver=1&targetType=both",
        "targetSlivers=1&targetSliver=1&targetType=primary&helperShards=",
        "targetSlivers=1&targetSliver=1&targetType=primary&helperShards=10",
        "targetSlivers=1&targetSliver=1&targetType=primary&helperShards=1,1",
    ],
)
@pytest.mark.parametrize("what", ["decodingSymbols", "recoverySymbols"])
async def test_a_query_for_nothing_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, what: str, query: str
) -> None:
    node.keep(blob)
    refused(await ask("GET", path(blob, f"{what}?{query}")), 400, "INVALID_REQUEST")


async def test_a_target_named_twice_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    answer = await ask("GET", path(blob, "decodingSymbols?targetSlivers=1,1&targetType=primary"))
    refused(answer, 400, "INVALID_REQUEST")


async def test_a_proof_on_the_targets_own_axis_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    query = "recoverySymbols?targetSliver=1&targetType=primary&proofAxis=primary"
    refused(await ask("GET", path(blob, query)), 400, "INVALID_REQUEST")


async def test_more_targets_than_allowed_are_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    targets = ",".join(map(str, range(3 * wire.MAX_TARGETS)))
    answer = await ask("GET", path(blob, f"decodingSymbols?targetSlivers={targets}&targetType=primary"))
    refused(answer, 400, "SLIVER_COUNT_EXCEEDS_LIMIT")


async def test_more_symbols_than_an_answer_holds_are_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(blob, (0, 1))
    monkeypatch.setattr(wire, "MAX_SYMBOLS_BYTES", 2 * 2 * 40)
    two = path(blob, "decodingSymbols?targetType=primary&targetSlivers=1,2")
    assert (await ask("GET", two))[0] == 200
    refused(await ask("GET", two + ",3"), 400, "SLIVER_COUNT_EXCEEDS_LIMIT")


def test_the_targets_of_one_request_are_at_least_64() -> None:
    assert wire.MAX_TARGETS >= 64


async def test_a_sliver_lost_on_the_disk_is_left_out(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob, (0, 2))
    sliver = node.store.sliver
    node.store.sliver = lambda blob_id, shard, axis: (  # type: ignore[method-assign]
        None if shard == 0 else sliver(blob_id, shard, axis)
    )
    _, body = await ask("GET", path(blob, "decodingSymbols?targetSlivers=5&targetType=primary"))
    assert wire.symbols_from_bcs(body).keys() == {node.code.sliver_index(blob.blob_id, 2, S)}


# inconsistency proofs


def badly_encoded(blob: EncodedBlob) -> tuple[BlobMetadata, InconsistencyProof]:
    """Metadata that names a wrong root for secondary sliver 3, and the proof of it."""
    code = RedStuff(10)
    roots = list(blob.metadata.secondary_roots)
    roots[3] = bytes(31) + b"\x01"
    metadata = BlobMetadata(blob.length, blob.metadata.primary_roots, tuple(roots))
    proven = {helper: code.prove_symbol(P, blob.sliver(P, helper), 3, 40) for helper in range(code.p)}
    return metadata, code.inconsistency_proof(metadata, S, 3, proven)


async def test_a_proven_inconsistency_is_signed(node: OneNode, client: NodeClient, blob: EncodedBlob) -> None:
    metadata, proof = badly_encoded(blob)
    node.register(metadata)
    node.store.put_metadata(metadata.blob_id, metadata.to_bcs())
    message, signature = await client.inconsistency_proof(metadata.blob_id, proof)
    assert message == messages.encode(messages.Intent.INVALID_BLOB, 5, metadata.blob_id, DOMAIN)
    assert bls.verify(node.secret.public_key, message, signature)


@pytest.mark.parametrize("mutation", ["symbol", "target", "helper", "axis", "truncated", "empty", "twice"])
async def test_a_proof_that_proves_nothing_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, mutation: str
) -> None:
    metadata, proof = badly_encoded(blob)
    node.register(metadata)
    node.store.put_metadata(metadata.blob_id, metadata.to_bcs())
    first, *others = proof.symbols
    flipped = bytes((first.symbol[0] ^ 1,)) + first.symbol[1:]
    encoded = proof.to_bcs()
    body = {
        "symbol": dataclasses.replace(
            proof, symbols=(ProvenSymbol(first.index, flipped, first.proof), *others)
        ).to_bcs(),
        "target": dataclasses.replace(proof, target=4).to_bcs(),
        "helper": dataclasses.replace(
            proof, symbols=(ProvenSymbol(9, first.symbol, first.proof), *others)
        ).to_bcs(),
        "axis": encoded,
        "truncated": encoded[:-1],
        "empty": b"",
        "twice": dataclasses.replace(proof, symbols=(*others, others[0])).to_bcs(),
    }[mutation]
    axis = "primary" if mutation == "axis" else "secondary"
    refused(await ask("POST", path(metadata, f"inconsistencyProof/{axis}"), body), 400, "INVALID_PROOF")


async def test_a_consistent_blob_is_not_called_inconsistent(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    _, proof = badly_encoded(blob)
    node.register(blob)
    node.keep(blob)
    answer = await ask("POST", path(blob, "inconsistencyProof/secondary"), proof.to_bcs())
    assert "consistent" in refused(answer, 400, "INVALID_PROOF")


async def test_an_inconsistency_of_an_unregistered_blob_is_not_signed(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    metadata, proof = badly_encoded(blob)
    node.store.put_metadata(metadata.blob_id, metadata.to_bcs())
    answer = await ask("POST", path(metadata, "inconsistencyProof/secondary"), proof.to_bcs())
    refused(answer, 400, "NOT_REGISTERED")


# shards


def transfer(
    shard: int = MOVED,
    *,
    epoch: int = 5,
    signer: int = 2,
    names: int | None = None,
    axis: Axis = P,
    first: bytes = bytes(32),
    count: int = 100,
    domain: bytes | None = DOMAIN,
) -> tuple[bytes, bytes]:
    """(message, signature) of `signer`, who names the key of `names` as its own."""
    key = SECRETS[names or signer].public_key
    body = messages.ShardTransferRequest(shard, axis, first, count, key).to_body()
    message = messages.encode(messages.Intent.SHARD_TRANSFER, epoch, body, domain)
    return message, SECRETS[signer].sign(message)


def as_body(message: bytes, signature: bytes) -> bytes:
    return json.dumps(wire.signed(message, signature)).encode()


@pytest.fixture
def blobs(node: OneNode, encode: Callable[[bytes], EncodedBlob]) -> list[EncodedBlob]:
    """Five blobs, in the order of their ids, of which the node holds all its old shards."""
    made = sorted((encode(bytes([one]) * 100) for one in range(5)), key=lambda one: one.blob_id)
    for one in made:
        node.keep(one)
    return made


async def test_a_shard_goes_page_by_page_to_its_new_owner(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    for axis in Axis:
        received: list[tuple[bytes, bytes]] = []
        cursor: bytes | None = bytes(32)
        pages = 0
        while cursor is not None:
            page = await client.sync_shard(*transfer(axis=axis, first=cursor, count=2))
            for blob_id, sliver in page.slivers:
                assert sliver.index == node.code.sliver_index(blob_id, MOVED, axis)
                assert sliver.symbol_size == node.code.symbol_size(100)
                received.append((blob_id, bytes(sliver.symbols)))
            cursor = page.next_blob_id
            pages += 1
        assert pages == 3
        assert received == [(one.blob_id, node.sliver(one, MOVED, axis)) for one in blobs]


async def test_an_empty_shard_is_one_empty_page(client: NodeClient) -> None:
    page = await client.sync_shard(*transfer())
    assert (page.slivers, page.next_blob_id) == ([], None)


async def test_a_count_of_zero_still_moves_on(client: NodeClient, blobs: list[EncodedBlob]) -> None:
    page = await client.sync_shard(*transfer(count=0))
    assert len(page.slivers) == 1
    assert page.next_blob_id == blobs[1].blob_id


async def test_a_count_without_bounds_is_bounded(
    client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_PAGE_SLIVERS", 3)
    page = await client.sync_shard(*transfer(count=2**64 - 1))
    assert len(page.slivers) == 3


async def test_a_page_ends_before_it_grows_too_large(
    client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PAGE_BYTES", 2 * 7 * 4)
    assert len((await client.sync_shard(*transfer())).slivers) == 2


async def test_the_selected_owner_may_prefetch(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    node.select_next()
    await node.view.load()
    page = await client.sync_shard(*transfer(MOVING, epoch=6))
    assert len(page.slivers) == len(blobs)


async def test_a_request_of_an_epoch_the_node_has_not_seen_makes_it_look(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    node.start_next()
    page = await client.sync_shard(*transfer(MOVING, epoch=6))
    assert len(page.slivers) == len(blobs)


async def test_a_request_while_the_chain_is_silent_is_put_off(node: OneNode, ask: Ask) -> None:
    node.ledger.silent = True
    answer = await ask("POST", "/v1/migrate/sync_shard", as_body(*transfer(MOVING, epoch=6)))
    refused(answer, 503, "UNAVAILABLE")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (transfer(names=2, signer=3), "REQUEST_UNAUTHORIZED"),
        (transfer(signer=3), "REQUEST_UNAUTHORIZED"),
        (transfer(7, signer=2), "REQUEST_UNAUTHORIZED"),
        (transfer(1000), "REQUEST_UNAUTHORIZED"),
        (transfer(domain=None), "REQUEST_UNAUTHORIZED"),
        (transfer(domain=bytes(32)), "REQUEST_UNAUTHORIZED"),
        (transfer(epoch=4), "INVALID_EPOCH"),
        (transfer(epoch=6), "INVALID_EPOCH"),
        (transfer(epoch=2**32 - 1), "INVALID_EPOCH"),
        (transfer(5), "SHARD_NOT_ASSIGNED"),
        (transfer(7, signer=3), "SHARD_NOT_ASSIGNED"),
    ],
    ids=[
        "replayed-under-another-signature",
        "by-a-member-that-does-not-own-the-shard",
        "for-another-members-shard",
        "for-no-shard",
        "without-a-domain",
        "of-another-deployment",
        "of-an-old-epoch",
        "of-an-epoch-not-selected",
        "of-an-epoch-far-ahead",
        "for-a-shard-its-owner-kept",
        "sent-to-another-node-than-the-old-owner",
    ],
)
async def test_sync_shard_refuses_a_request(
    ask: Ask, blobs: list[EncodedBlob], request_: tuple[bytes, bytes], reason: str
) -> None:
    status = 403 if reason == "REQUEST_UNAUTHORIZED" else 400
    refused(await ask("POST", "/v1/migrate/sync_shard", as_body(*request_)), status, reason)


async def test_sync_shard_refuses_a_flipped_bit_anywhere(ask: Ask, blobs: list[EncodedBlob]) -> None:
    message, signature = transfer()
    for place in range(0, len(message), 9):
        wrong = bytearray(message)
        wrong[place] ^= 1
        status, _ = await ask("POST", "/v1/migrate/sync_shard", as_body(bytes(wrong), signature))
        assert status in (400, 403)
    for place in range(0, 96, 19):
        wrong = bytearray(signature)
        wrong[place] ^= 1
        answer = await ask("POST", "/v1/migrate/sync_shard", as_body(message, bytes(wrong)))
        refused(answer, 403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_yesterdays_request(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    body = as_body(*transfer())
    assert (await ask("POST", "/v1/migrate/sync_shard", body))[0] == 200
    node.start_next()
    await node.view.refresh()
    refused(await ask("POST", "/v1/migrate/sync_shard", body), 400, "INVALID_EPOCH")


async def test_sync_shard_refuses_a_message_of_another_intent(ask: Ask) -> None:
    message = messages.encode(messages.Intent.EJECT, 5, messages.eject_body(1), DOMAIN)
    body = as_body(message, SECRETS[2].sign(message))
    refused(await ask("POST", "/v1/migrate/sync_shard", body), 403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_in_the_first_epoch_in_which_nobody_held_anything(
    node: OneNode, ask: Ask
) -> None:
    node.view.state = dataclasses.replace(node.view.state, previous=None)
    refused(await ask("POST", "/v1/migrate/sync_shard", as_body(*transfer())), 400, "SHARD_NOT_ASSIGNED")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"[" * 4000, b"\xff", as_body(b"", b"")[:-2], b'{"signed": {"signature": 1}}']
)
async def test_sync_shard_refuses_what_is_no_request(ask: Ask, body: bytes) -> None:
    refused(await ask("POST", "/v1/migrate/sync_shard", body), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("message", [b"", b"\x03", transfer()[0][:-1], transfer()[0] + b"\x00"])
async def test_sync_shard_refuses_a_message_of_another_length(ask: Ask, message: bytes) -> None:
    body = as_body(message, SECRETS[2].sign(message))
    refused(await ask("POST", "/v1/migrate/sync_shard", body), 403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_an_overlong_body(ask: Ask) -> None:
    body = bytes(wire.MAX_REQUEST_JSON_BYTES + 1)
    refused(await ask("POST", "/v1/migrate/sync_shard", body), 413, "INVALID_REQUEST")


# bodies


async def raw_request(node: OneNode, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert node.server is not None
    assert node.server.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
    writer.write(f"{head}\r\nHost: node\r\nContent-Length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    return reader, writer


async def test_a_dripping_body_ends_with_its_time(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_TIMEOUT_S", 0.02)
    reader, writer = await raw_request(node, "POST /v1/migrate/sync_shard HTTP/1.1")
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_breaks_off_stores_nothing_and_the_node_serves_on(
    node: OneNode, client: NodeClient, blob: EncodedBlob
) -> None:
    node.register(blob)
    target = path(blob, "metadata")
    _, writer = await raw_request(node, f"PUT {target} HTTP/1.1")
    writer.close()
    await writer.wait_closed()
    assert (await client.health())["epoch"] == 5
    assert node.store.metadata(blob.blob_id) is None


# members


async def test_a_silent_members_ejection_is_signed(node: OneNode, client: NodeClient) -> None:
    node.silent_members.add(3)
    message, signature = await client.ejection(3)
    assert messages.decode(message).body == messages.eject_body(3)
    assert bls.verify(node.secret.public_key, message, signature)


async def test_a_member_that_answers_is_not_ejected(ask: Ask) -> None:
    refused(await ask("GET", "/v1/members/2/ejection"), 400, "MEMBER_ANSWERS")


@pytest.mark.parametrize("node_id", ["x", "-1", "1.5", "9" * 79])
async def test_the_ejection_of_nobody_is_refused(ask: Ask, node_id: str) -> None:
    refused(await ask("GET", f"/v1/members/{node_id}/ejection"), 400, "INVALID_REQUEST")
