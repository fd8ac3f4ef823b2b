"""Whole shards go to their new owners over HTTP, and to nobody else; reports."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from committee import bls, messages
from storage.client import wire
from storage.client.node_client import NodeClient
from storage.node.budgets import ITSELF, Budget, Requester
from storage.node.http import new_owners
from storage.node.http.new_owners import SAME_REQUESTS
from storage.node.http.routes import create_app
from storage.node.store import StoreError, Tally
from storage.redstuff import Axis, EncodedBlob, blob_id_text
from tests.storage.conftest import served

if TYPE_CHECKING:
    import aiohttp

    from tests.storage.conftest import Ask, OneNode

P, S = Axis.PRIMARY, Axis.SECONDARY
DOMAIN = bytes(range(32))
SECRETS = {node_id: bls.SecretKey(0xF00D + node_id) for node_id in (1, 2, 3)}
MOVED = 4
"""The shard that was node 1's in epoch 4 and is node 2's in epoch 5."""
MOVING = 3
"""The shard that is node 1's in epoch 5 and will be node 2's in epoch 6."""


def path(blob: EncodedBlob, rest: str) -> str:
    return f"/v1/blobs/{blob_id_text(blob.blob_id)}/{rest}"


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


async def test_a_request_replayed_again_and_again_is_refused(
    node: OneNode, client: NodeClient, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    overheard = transfer()
    for _ in range(SAME_REQUESTS):
        assert len((await client.sync_shard(*overheard)).slivers) == len(blobs)
    answer = await ask("POST", "/v1/migrate/sync_shard", as_body(*overheard))
    assert "it is replayed" in answer.refused(403, "REQUEST_UNAUTHORIZED")
    other = await client.sync_shard(*transfer(first=blobs[1].blob_id))
    assert len(other.slivers) == len(blobs) - 1, "what its owner asks besides is answered"


async def test_a_page_with_a_large_sliver_has_memory_for_it(
    node: OneNode, blobs: list[EncodedBlob], session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's first sliver may be larger than a page, and its answer may be read slowly."""
    lent: list[int] = []

    class Watched(Budget):
        def memory(self, size_bytes: int, requester: Requester = ITSELF) -> AbstractAsyncContextManager[None]:
            lent.append(size_bytes)
            return super().memory(size_bytes, requester)

    sliver_bytes = len(node.sliver(blobs[0], MOVED, P))
    async with served(create_app(node, Watched())) as address:
        client = NodeClient(session, "node-1", address)
        for page_bytes in (2 * sliver_bytes, sliver_bytes // 2):
            monkeypatch.setattr(wire, "PAGE_BYTES", page_bytes)
            await client.sync_shard(*transfer())
    assert lent == [2 * 2 * sliver_bytes, 2 * sliver_bytes]


async def test_a_request_that_could_not_be_answered_may_be_made_again(
    node: OneNode, client: NodeClient, ask: Ask, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise StoreError("the disk is not well")

    body = as_body(*transfer())
    with monkeypatch.context() as failing:
        failing.setattr(node.store, "slivers_from", fail)
        for _ in range(SAME_REQUESTS + 1):
            (await ask("POST", "/v1/migrate/sync_shard", body)).refused(500, "INTERNAL_ERROR")
    for _ in range(SAME_REQUESTS):
        assert len((await client.sync_shard(*transfer())).slivers) == len(blobs)


async def test_a_forged_signature_counts_for_no_request_answered(
    client: NodeClient, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    message, _ = transfer()
    for _ in range(SAME_REQUESTS):
        answer = await ask("POST", "/v1/migrate/sync_shard", as_body(message, SECRETS[1].sign(message)))
        answer.refused(403, "REQUEST_UNAUTHORIZED")
    assert len((await client.sync_shard(*transfer())).slivers) == len(blobs)


async def test_only_so_many_requests_are_remembered(
    client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_owners, "REQUESTS_REMEMBERED", 1)
    for _ in range(SAME_REQUESTS):
        await client.sync_shard(*transfer())
        await client.sync_shard(*transfer(count=50))
    assert len((await client.sync_shard(*transfer())).slivers) == len(blobs)


async def test_slivers_of_an_invalid_blob_are_left_out(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    node.register(blobs[2])
    node.invalidate(blobs[2])
    await node.view.load()
    page = await client.sync_shard(*transfer())
    assert [blob_id for blob_id, _ in page.slivers] == [blobs[i].blob_id for i in (0, 1, 3, 4)]


async def test_a_page_brings_metadata_when_asked_but_of_no_invalid_blob(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    node.store.discard_metadata(blobs[4].blob_id, blobs[4].metadata.to_bcs())
    node.register(blobs[2])
    node.invalidate(blobs[2])
    await node.view.load()
    page = await client.sync_shard(*transfer(), with_metadata=True)
    assert page.metadata == {blobs[i].blob_id: blobs[i].metadata.to_bcs() for i in (0, 1, 3)}
    assert len(page.slivers) == 4, "a sliver whose metadata is not here comes all the same"
    assert (await client.sync_shard(*transfer())).metadata is None


async def test_metadata_counts_towards_the_size_of_a_page(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    sliver_bytes, metadata_bytes = 7 * 4, len(blobs[0].metadata.to_bcs())
    monkeypatch.setattr(wire, "PAGE_BYTES", 2 * (sliver_bytes + metadata_bytes))
    page = await client.sync_shard(*transfer(), with_metadata=True)
    assert (
        [blob_id for blob_id, _ in page.slivers]
        == list(page.metadata or {})
        == [one.blob_id for one in blobs[:2]]
    )
    assert page.next_blob_id == blobs[2].blob_id


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
    answer.refused(503, "UNAVAILABLE")


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
    (await ask("POST", "/v1/migrate/sync_shard", as_body(*request_))).refused(status, reason)


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
        answer.refused(403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_yesterdays_request(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    body = as_body(*transfer())
    assert (await ask("POST", "/v1/migrate/sync_shard", body))[0] == 200
    node.start_next()
    await node.view.refresh()
    (await ask("POST", "/v1/migrate/sync_shard", body)).refused(400, "INVALID_EPOCH")


async def test_sync_shard_refuses_a_message_of_another_intent(ask: Ask) -> None:
    message = messages.encode(messages.Intent.EJECT, 5, messages.eject_body(1, 77), DOMAIN)
    body = as_body(message, SECRETS[2].sign(message))
    (await ask("POST", "/v1/migrate/sync_shard", body)).refused(403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_in_the_first_epoch_in_which_nobody_held_anything(
    node: OneNode, ask: Ask
) -> None:
    node.view.state = dataclasses.replace(node.view.state, previous=None)
    (await ask("POST", "/v1/migrate/sync_shard", as_body(*transfer()))).refused(400, "SHARD_NOT_ASSIGNED")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"[" * 4000, b"\xff", as_body(b"", b"")[:-2], b'{"signed": {"signature": 1}}']
)
async def test_sync_shard_refuses_what_is_no_request(ask: Ask, body: bytes) -> None:
    (await ask("POST", "/v1/migrate/sync_shard", body)).refused(400, "INVALID_REQUEST")


@pytest.mark.parametrize("message", [b"", b"\x03", transfer()[0][:-1], transfer()[0] + b"\x00"])
async def test_sync_shard_refuses_a_message_of_another_length(ask: Ask, message: bytes) -> None:
    body = as_body(message, SECRETS[2].sign(message))
    (await ask("POST", "/v1/migrate/sync_shard", body)).refused(403, "REQUEST_UNAUTHORIZED")


async def test_sync_shard_refuses_an_overlong_body(ask: Ask) -> None:
    body = bytes(wire.MAX_REQUEST_JSON_BYTES + 1)
    (await ask("POST", "/v1/migrate/sync_shard", body)).refused(413, "INVALID_REQUEST")


# bodies


async def raw_request(node: OneNode, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.address.rpartition(":")[2]))
    writer.write(f"{head}\r\nHost: node\r\nContent-Length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    return reader, writer


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


# the report


async def test_who_asks_for_the_report_at_once_shares_one(
    node: OneNode, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    go_on = threading.Event()

    def report() -> dict[str, int]:
        made.append(1)
        assert go_on.wait(10)
        return {"made": len(made)}

    monkeypatch.setattr(node, "handover_report", report)
    asked = [asyncio.create_task(ask("GET", "/v1/handover")) for _ in range(20)]
    health = await ask("GET", "/v1/health")
    assert health.status == 200, "the loop is free meanwhile"
    go_on.set()
    assert [one.granted() for one in await asyncio.gather(*asked)] == [{"made": 1}] * len(asked)


async def test_a_report_is_made_anew_when_there_is_more_to_tell(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(range(10))
    monkeypatch.setattr(node, "handover_report", lambda: {"made": next(made)})
    for _ in range(2):
        assert (await ask("GET", "/v1/handover")).granted() == {"made": 0}
    tally = Tally(5, 1, blob.blob_id, "rebuilt", 1)
    for again in (1, 2):  # also what is tallied as waste
        node.store.put_sliver(blob.blob_id, 1, Axis.PRIMARY, node.sliver(blob, 1, Axis.PRIMARY), tally)
        assert (await ask("GET", "/v1/handover")).granted() == {"made": again}
    node.start_next()
    await node.view.refresh()
    assert (await ask("GET", "/v1/handover")).granted() == {"made": 3}
