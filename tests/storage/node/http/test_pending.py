"""Uploads that come before their blob's registration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from committee import messages
from committee.ledger import BlobRegistered
from storage.client import wire
from storage.client.failures import Reason
from storage.node.budgets import Requester
from storage.node.face import Refusal
from storage.node.http import pending
from storage.node.http.pending import ENTRY_BYTES, PendingUploads
from storage.node.store import StoreError
from storage.redstuff import Axis, EncodedBlob, SliverData, blob_id_text
from tests.storage.node.http.conftest import until

if TYPE_CHECKING:
    from tests.storage.conftest import Answer, Ask, OneNode

P, S = Axis.PRIMARY, Axis.SECONDARY
SHARDS = (0, 1, 2, 3)
"""The node's own."""
PutEarly = Callable[..., Coroutine[Any, Any, "Answer"]]


def path(blob: EncodedBlob, *parts: object) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob.blob_id), *map(str, parts)))


def sliver_path(node: OneNode, blob: EncodedBlob, shard: int, axis: Axis) -> str:
    return path(blob, "slivers", node.pair(blob, shard), axis.label)


@pytest.fixture
def put_early(node: OneNode, ask: Ask, blob: EncodedBlob) -> PutEarly:
    """`await put_early()` sends the metadata, `await put_early(shard, axis)` a sliver."""

    async def send(shard: int | None = None, axis: Axis = P, query: str = "?pending=true") -> Answer:
        if shard is None:
            return await ask("PUT", path(blob, "metadata") + query, blob.metadata.to_bcs())
        index = node.code.sliver_index(blob.blob_id, shard, axis)
        body = SliverData(node.sliver(blob, shard, axis), 40, index).to_bcs()
        return await ask("PUT", sliver_path(node, blob, shard, axis) + query, body)

    return send


async def test_what_comes_early_is_stored_when_the_blob_is_registered(
    node: OneNode, ask: Ask, put_early: PutEarly, blob: EncodedBlob
) -> None:
    (await put_early()).granted(202)
    (await put_early()).granted(200)
    for shard in SHARDS:
        for axis in Axis:
            (await put_early(shard, axis)).granted(202)
    (await put_early(2, P)).granted(200)
    sliver = sliver_path(node, blob, 2, P)
    for where in (path(blob, "metadata"), sliver):
        assert (await ask("GET", where + "/status")).granted() == "buffered"
    (await ask("GET", path(blob, "metadata"))).refused(404, "METADATA_NOT_FOUND")
    (await ask("GET", sliver)).refused(404, "SLIVER_NOT_FOUND")
    assert node.store.metadata(blob.blob_id) is None
    assert node.store.sliver_count() == 0
    confirmation = path(blob, "confirmation/permanent?wait_for_registration=true")
    before = node.ledger.questions
    asked = asyncio.create_task(ask("GET", confirmation))
    await until(lambda: node.ledger.questions > before)
    node.register(blob)
    # It is answered once all is stored.
    message, _ = wire.read_signed((await asked).granted())
    assert messages.decode(message).body == messages.blob_body(blob.blob_id)
    for where in (path(blob, "metadata"), sliver):
        assert (await ask("GET", where + "/status")).granted() == "stored"
    assert node.store.sliver_count() == 2 * len(SHARDS)
    assert node.store.sliver(blob.blob_id, 2, S) == node.sliver(blob, 2, S)


async def test_it_is_stored_at_once_when_the_blob_is_registered_already(
    prepared: OneNode, put_early: PutEarly, blob: EncodedBlob
) -> None:
    (await put_early()).granted(200)
    (await put_early(1, S)).granted(201)
    assert prepared.store.has_sliver(blob.blob_id, 1, S)


@pytest.mark.parametrize("query", ["", "?pending=false"])
async def test_without_pending_nothing_is_kept(put_early: PutEarly, query: str) -> None:
    (await put_early(query=query)).refused(400, "NOT_REGISTERED")
    (await put_early(0, P, query=query)).refused(400, "NOT_REGISTERED")


@pytest.mark.parametrize("query", ["?pending=", "?pending=1", "?pending=True"])
async def test_a_flag_is_true_or_false(put_early: PutEarly, query: str) -> None:
    (await put_early(query=query)).refused(400, "INVALID_REQUEST")


async def test_what_comes_early_is_checked_as_what_comes_in_time(
    node: OneNode, ask: Ask, put_early: PutEarly, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob]
) -> None:
    other = encode(b"another")
    (await put_early(0, P)).refused(400, "METADATA_NOT_FOUND")
    answer = await ask("PUT", path(blob, "metadata?pending=true"), other.metadata.to_bcs())
    answer.refused(400, "INVALID_METADATA")
    (await put_early()).granted(202)
    (await put_early(7, P)).refused(400, "SHARD_NOT_ASSIGNED")
    wrong = SliverData(bytes(7 * 40), 40, node.code.sliver_index(blob.blob_id, 0, P)).to_bcs()
    answer = await ask("PUT", sliver_path(node, blob, 0, P) + "?pending=true", wrong)
    answer.refused(400, "INVALID_SLIVER")


async def test_nothing_is_kept_of_an_invalid_blob(
    node: OneNode, put_early: PutEarly, blob: EncodedBlob
) -> None:
    node.register(blob)
    node.invalidate(blob)
    await node.view.refresh()
    (await put_early()).refused(400, "INVALID_BLOB")


async def test_a_registration_that_never_comes_leaves_nothing(
    node: OneNode, ask: Ask, put_early: PutEarly, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "KEPT_S", 0.0)
    (await put_early()).granted(202)
    assert (await ask("GET", path(blob, "metadata/status"))).granted() == "nonexistent"
    (await put_early(0, P)).refused(400, "METADATA_NOT_FOUND")


async def test_an_upload_whose_time_ends_while_it_is_stored_is_not_dropped(
    node: OneNode, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    unforeseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
    monkeypatch.setattr(pending, "KEPT_S", 0.0)
    uploads = PendingUploads(node.view, node.store)
    uploads.keep_metadata(Requester("one"), blob.metadata)
    told = BlobRegistered(node.view.block, 1, blob.blob_id, "", 1, blob.metadata.length, 2, deletable=False)
    uploads._on_event(told)
    await uploads.stored(blob.blob_id)
    assert node.store.metadata(blob.blob_id) == blob.metadata.to_bcs()
    assert not unforeseen


async def test_what_comes_of_a_blob_that_is_deleted_and_registered_anew_is_stored_too(
    node: OneNode, blob: EncodedBlob
) -> None:
    """All of it while the disk still takes what came first."""
    unforeseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
    uploads, requester = PendingUploads(node.view, node.store), Requester("one")
    told = BlobRegistered(node.view.block, 1, blob.blob_id, "", 1, blob.metadata.length, 2, deletable=False)
    for shard in SHARDS[:2]:
        uploads.keep_metadata(requester, blob.metadata)
        uploads.keep_sliver(requester, blob.blob_id, shard, P, node.sliver(blob, shard, P))
        uploads._on_event(told)
    await uploads.stored(blob.blob_id)
    await uploads.close()
    assert node.store.shards_with(blob.blob_id, P) == set(SHARDS[:2])
    assert not unforeseen


async def test_a_store_that_fails_loses_the_upload_and_no_more(
    node: OneNode, ask: Ask, put_early: PutEarly, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is not well")

    (await put_early()).granted(202)
    node.register(blob)
    with monkeypatch.context() as failing:
        failing.setattr(node.store, "put_metadata", fail)
        (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "MISSING_SLIVERS")
    (await put_early()).granted(201)


async def test_blobs_registered_together_do_not_fill_the_threads(
    node: OneNode, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = most = 0
    put_metadata = node.store.put_metadata

    def slowly(blob_id: bytes, metadata: bytes) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.005)  # a slow disk's
        at_once -= 1
        return put_metadata(blob_id, metadata)

    monkeypatch.setattr(node.store, "put_metadata", slowly)
    uploads = PendingUploads(node.view, node.store)
    blobs = [encode(bytes([number])) for number in range(4)]
    for number, one in enumerate(blobs):
        uploads.keep_metadata(Requester("one"), one.metadata)
        node.register(one, object_id=number + 1)
    await node.view.refresh()
    await asyncio.gather(*(uploads.stored(one.blob_id) for one in blobs))
    assert all(node.store.metadata(one.blob_id) for one in blobs)
    assert most == 1


# room


def kept(uploads: PendingUploads, requester: Requester, blob: EncodedBlob, shards: range) -> int:
    """How many slivers of these shards find room."""
    size_bytes = blob.primary.shape[1]
    for count, shard in enumerate(shards):
        try:
            uploads.keep_sliver(requester, blob.blob_id, shard, P, bytes(size_bytes))
        except Refusal as refusal:
            assert (refusal.status, refusal.reason) == (400, Reason.CACHE_SATURATED)
            return count
    return len(shards)


async def test_one_requester_leaves_room_to_others(
    node: OneNode, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = PendingUploads(node.view, node.store)
    entry = blob.primary.shape[1] + ENTRY_BYTES
    metadata = len(blob.metadata.to_bcs()) + ENTRY_BYTES
    monkeypatch.setattr(pending, "LIMIT_BYTES", 12 * entry + 3 * metadata)
    one, another = Requester("one"), Requester("another")
    assert uploads.keep_metadata(one, blob.metadata)
    assert kept(uploads, one, blob, range(1000)) == 6
    # The other finds a half of what is left.
    other = encode(b"x" * 1100)
    assert uploads.keep_metadata(another, other.metadata)
    assert kept(uploads, another, other, range(1000)) == 3
    await uploads.close()
    uploads.keep_metadata(one, blob.metadata)
    assert kept(uploads, one, blob, range(1000)) == 6, "all room is given back"
    await uploads.close()


async def test_room_is_given_back_once_all_is_stored(node: OneNode, blob: EncodedBlob) -> None:
    uploads = PendingUploads(node.view, node.store)
    uploads.keep_metadata(Requester("one"), blob.metadata)
    node.register(blob)
    await node.view.refresh()
    await uploads.stored(blob.blob_id)
    assert node.store.metadata(blob.blob_id) == blob.metadata.to_bcs()
    assert not uploads._held
