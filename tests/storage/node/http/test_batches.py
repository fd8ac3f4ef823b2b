"""Uploads and confirmations of many blobs in one request: an outcome for each, by the rules of single requests."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from storage.client import batch_wire
from storage.client.batch_wire import Confirmable, PairSliver, Upload
from storage.client.errors import NodeRefused
from storage.client.failures import Reason
from storage.node.http.admission import SMALL_BODY_BYTES
from storage.node.http.turns import Turns
from storage.node.store.files import Appended, SegmentFiles
from storage.redstuff import Axis, EncodedBlob, SliverData, blob_id_text
from tests.storage.node.http.conftest import Connect, body_of, port_of, until

if TYPE_CHECKING:
    from storage.client.node_client import NodeClient
    from tests.storage.conftest import Ask, OneNode

OWN = (0, 1, 2, 3)
"""The node's shards in epoch 5."""
Encode = Callable[[bytes], EncodedBlob]


@pytest.fixture
def blobs(encode: Encode) -> list[EncodedBlob]:
    return [encode(bytes((number,)) * (100 + number)) for number in range(4)]


def upload(node: OneNode, blob: EncodedBlob, shards: Sequence[int] = OWN) -> Upload:
    size = node.code.symbol_size(blob.length)
    slivers = []
    for shard in shards:
        for axis in Axis:
            index = node.code.sliver_index(blob.blob_id, shard, axis)
            sliver = SliverData(node.sliver(blob, shard, axis), size, index)
            slivers.append(PairSliver(node.pair(blob, shard), axis, sliver))
    return Upload(blob.metadata, slivers)


def register(node: OneNode, blobs: Sequence[EncodedBlob]) -> None:
    for number, blob in enumerate(blobs):
        node.register(blob, object_id=1 + number)


def changed(one: Upload, **changes: Any) -> Upload:
    """The upload with its first sliver changed."""
    first = dataclasses.replace(one.slivers[0], sliver=dataclasses.replace(one.slivers[0].sliver, **changes))
    return dataclasses.replace(one, slivers=[first, *one.slivers[1:]])


def holds_all(node: OneNode, blob: EncodedBlob) -> bool:
    return node.store.metadata(blob.blob_id) == blob.metadata.to_bcs() and all(
        bytes(node.store.sliver(blob.blob_id, shard, axis) or b"") == node.sliver(blob, shard, axis)
        for shard in OWN
        for axis in Axis
    )


def holds_nothing(node: OneNode, blob: EncodedBlob) -> bool:
    return node.store.metadata(blob.blob_id) is None and not any(
        node.store.shards_with(blob.blob_id, axis) for axis in Axis
    )


def reasons(outcomes: Sequence[object]) -> list[Reason | None]:
    return [one.reason if isinstance(one, NodeRefused) else None for one in outcomes]


# uploads


async def test_blobs_are_stored_in_one_group_commit(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(node, blobs)
    written: list[int] = []
    write = SegmentFiles.write

    def counted(files: SegmentFiles, pieces: Sequence[Appended]) -> None:
        written.append(len(pieces))
        write(files, pieces)

    monkeypatch.setattr(SegmentFiles, "write", counted)
    assert await client.put_blobs([upload(node, blob) for blob in blobs]) == [None] * 4
    assert written == [len(OWN)]
    assert all(holds_all(node, blob) for blob in blobs)
    assert await client.put_blobs([upload(node, blob) for blob in blobs]) == [None] * 4  # once more


async def test_a_wrong_sliver_refuses_its_blob_alone_and_whole(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs)
    uploads = [upload(node, blob) for blob in blobs]
    symbols = bytes(uploads[1].slivers[0].sliver.symbols)
    uploads[1] = changed(uploads[1], symbols=bytes((symbols[0] ^ 1,)) + symbols[1:])
    outcomes = await client.put_blobs(uploads)
    assert reasons(outcomes) == [None, Reason.INVALID_SLIVER, None, None]
    assert holds_nothing(node, blobs[1])
    assert all(holds_all(node, blob) for blob in (blobs[0], *blobs[2:]))


async def test_each_blob_is_refused_for_its_own_reason(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob], encode: Encode
) -> None:
    unknown, invalid, good, _ = blobs
    more = [encode(bytes((9, number))) for number in range(3)]
    register(node, [invalid, good, *more])
    node.invalidate(invalid)
    uploads = [
        upload(node, unknown),
        upload(node, invalid),
        upload(node, good),
        upload(node, more[0], (0, 4)),
        dataclasses.replace(
            upload(node, more[1]), slivers=[PairSliver(10, Axis.PRIMARY, SliverData(b"", 2, 0))]
        ),
        changed(upload(node, more[2]), symbol_size=4),
    ]
    assert reasons(await client.put_blobs(uploads)) == [
        Reason.NOT_REGISTERED,
        Reason.INVALID_BLOB,
        None,
        Reason.SHARD_NOT_ASSIGNED,
        Reason.INDEX_OUT_OF_RANGE,
        Reason.INVALID_SLIVER,
    ]
    assert holds_all(node, good)
    assert all(holds_nothing(node, one) for one in (unknown, invalid, *more))


async def test_metadata_of_another_blob_are_refused(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs)
    body = bytearray(batch_wire.uploads_to_bcs([upload(node, blobs[0])]))
    body[1:33] = blobs[1].blob_id
    status, answer = await ask("POST", "/v1/uploads", bytes(body))
    assert status == 200
    [outcome] = batch_wire.stored_from_bcs(answer, 1)
    assert outcome is not None
    assert outcome[0] == 400
    assert b"INVALID_METADATA" in outcome[1]


async def test_a_part_that_cannot_be_read_refuses_its_blob_alone(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs)
    body = bytearray(batch_wire.uploads_to_bcs([upload(node, blob) for blob in blobs]))
    body[1 + 4 * batch_wire.HEAD_BYTES] = 0xFF  # the length of the first one's metadata
    status, answer = await ask("POST", "/v1/uploads", bytes(body))
    assert status == 200
    first, *others = batch_wire.stored_from_bcs(answer, 4)
    assert first is not None
    assert b"INVALID_CONTENT_TYPE" in first[1]
    assert others == [None] * 3


async def test_a_node_before_the_registrations_block_says_not_yet_and_where_it_stands(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs[:1])
    await node.view.refresh()
    block = node.view.block.number
    body = batch_wire.uploads_to_bcs([upload(node, blob) for blob in blobs[:2]])
    _, answer = await ask("POST", f"/v1/uploads?registeredInBlock={block + 100}", bytes(body))
    known, unknown = batch_wire.stored_from_bcs(answer, 2)
    assert known is None
    assert unknown is not None
    assert unknown[0] == 425
    told = json.loads(unknown[1])["error"]["details"][0]
    assert (told["reason"], told["metadata"]) == ("NOT_YET_REGISTERED", {"block": node.view.block.number})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body + b"\x00",
        lambda body: bytes((65,)) + body[1:],
    ],
    ids=["empty", "truncated", "too long", "too many"],
)
async def test_a_body_that_cannot_be_read_stores_nothing(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob], spoil: Callable[[bytes], bytes]
) -> None:
    register(node, blobs)
    body = bytes(batch_wire.uploads_to_bcs([upload(node, blob) for blob in blobs]))
    (await ask("POST", "/v1/uploads", spoil(body))).refused(400, "INVALID_REQUEST")
    assert all(holds_nothing(node, blob) for blob in blobs)


async def test_a_blob_named_twice_is_refused(node: OneNode, ask: Ask, blobs: list[EncodedBlob]) -> None:
    register(node, blobs)
    body = batch_wire.uploads_to_bcs([upload(node, blobs[0])] * 2)
    (await ask("POST", "/v1/uploads", bytes(body))).refused(400, "INVALID_REQUEST")


async def test_a_body_over_the_limit_is_refused(ask: Ask) -> None:
    body = BytesIO(bytes(batch_wire.MAX_UPLOADS_BYTES + 1))
    (await ask("POST", "/v1/uploads", body)).refused(413, "INVALID_REQUEST")


async def test_the_parts_of_blobs_that_the_chain_does_not_know_are_not_waited_for(
    node: OneNode, connect: Connect
) -> None:
    size_bytes = 2**20
    heads = b"\x02" + b"".join(
        bytes(31) + bytes((number, 1, 0)) + size_bytes.to_bytes(4, "little") for number in (1, 2)
    )
    total = len(heads) + 2 * size_bytes
    raw = await connect(port_of(node))
    head = f"POST /v1/uploads HTTP/1.1\r\nHost: node\r\nContent-Length: {total}\r\n\r\n"
    await raw.send(head.encode() + heads + bytes(SMALL_BODY_BYTES))
    status, answer = await raw.answer()
    assert status == 200
    outcomes = batch_wire.stored_from_bcs(answer.partition(b"\r\n\r\n")[2], 2)
    assert all(one is not None and b"NOT_REGISTERED" in one[1] for one in outcomes)


async def test_the_chain_is_looked_at_once_for_all_unknown_blobs(
    node: OneNode, client: NodeClient, encode: Encode
) -> None:
    unknown = [encode(bytes((number, 7))) for number in range(20)]
    before = node.ledger.questions
    outcomes = await client.put_blobs([upload(node, one, (0,)) for one in unknown])
    assert reasons(outcomes) == [Reason.NOT_REGISTERED] * 20
    assert node.ledger.questions <= before + 1


async def test_a_blob_counts_for_as_many_turns_as_its_single_requests(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(node, blobs)
    weights: list[int] = []
    turn = Turns.turn

    def counted(turns: Turns, request: web.Request, weight: int = 1) -> AbstractAsyncContextManager[None]:
        weights.append(weight)
        return turn(turns, request, weight)

    monkeypatch.setattr(Turns, "turn", counted)
    await client.put_blobs([upload(node, blob) for blob in blobs])
    looks = [4, 4]  # whether the blobs are registered, and which are not
    assert weights == [*looks, *[1 + 2 * len(OWN)] * 4, 1]
    weights.clear()
    await client.confirmations([Confirmable(blob.blob_id, None) for blob in blobs])
    assert weights == [*looks, *[1] * 4]


@pytest.mark.parametrize("is_confirmation", [False, True])
async def test_what_the_chain_tells_of_many_blobs_is_looked_at_in_a_thread(
    node: OneNode,
    client: NodeClient,
    encode: Encode,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_confirmation: bool,
) -> None:
    """A look takes 80 µs: of 64 blobs in each of 500 requests that come together it keeps an event loop for seconds."""
    unknown = [encode(bytes((number, 7))) for number in range(20)]
    looks: list[tuple[bytes, bool]] = []
    summary = node.view.summary

    def watched(blob_id: bytes) -> Any:
        looks.append((blob_id, threading.current_thread() is threading.main_thread()))
        return summary(blob_id)

    monkeypatch.setattr(node.view, "summary", watched)
    if is_confirmation:
        asked = [Confirmable(blob.blob_id, number) for number, blob in enumerate(unknown)]
        outcomes: Sequence[object] = await client.confirmations(asked)
    else:
        outcomes = await client.put_blobs([upload(node, one, (0,)) for one in unknown])
    assert reasons(outcomes) == [Reason.NOT_REGISTERED] * len(unknown)
    assert {blob_id for blob_id, _ in looks} == {one.blob_id for one in unknown}
    assert not any(is_on_the_loop for _, is_on_the_loop in looks)


async def test_while_one_blob_is_waited_for_those_that_are_there_are_not_looked_at_again(
    node: OneNode, ask: Ask, blobs: list[EncodedBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, unknown, *others = blobs
    known = [first, *others]
    register(node, known)
    node.view.poll_interval_s = 0.01
    looks: Counter[bytes] = Counter()
    summary = node.view.summary

    def counted(blob_id: bytes) -> Any:
        looks[blob_id] += 1
        return summary(blob_id)

    monkeypatch.setattr(node.view, "summary", counted)
    body = batch_wire.confirmations_to_bcs([Confirmable(blob.blob_id, None) for blob in blobs])
    asking = asyncio.create_task(ask("POST", "/v1/confirmations?wait_for_registration=true", body))
    await until(lambda: looks[unknown.blob_id] >= 10)
    assert max(looks[one.blob_id] for one in known) <= 2
    node.register(unknown, object_id=99)
    assert (await asking).status == 200


# confirmations


async def test_confirmations_are_those_of_single_requests(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs[:3])
    node.register(blobs[3], object_id=9, deletable=True)
    for blob in blobs:
        node.keep(blob, OWN)
    asked = [*(Confirmable(blob.blob_id, None) for blob in blobs[:3]), Confirmable(blobs[3].blob_id, 9)]
    assert await client.confirmations(asked) == [
        await client.confirmation(one.blob_id, one.object_id) for one in asked
    ]


async def test_what_a_node_lacks_is_refused_alone(
    node: OneNode, client: NodeClient, blobs: list[EncodedBlob], encode: Encode
) -> None:
    register(node, blobs)
    node.keep(blobs[0], OWN)
    node.keep(blobs[1], OWN[1:])
    unknown = encode(b"unknown")
    asked = [Confirmable(blob.blob_id, None) for blob in (*blobs[:3], unknown)]
    asked.append(Confirmable(blobs[3].blob_id, 4))  # permanent, and asked for as deletable
    outcomes = await client.confirmations(asked)
    assert reasons(outcomes) == [
        None,
        Reason.MISSING_SLIVERS,
        Reason.MISSING_SLIVERS,
        Reason.NOT_REGISTERED,
        Reason.NOT_REGISTERED,
    ]


async def test_requests_for_confirmations_that_cannot_be_read_are_refused(ask: Ask) -> None:
    (await ask("POST", "/v1/confirmations", b"\x00")).refused(400, "INVALID_REQUEST")
    too_long = bytes(batch_wire.MAX_CONFIRMATIONS_BYTES + 1)
    (await ask("POST", "/v1/confirmations", too_long)).refused(413, "INVALID_REQUEST")


async def test_a_get_of_uploads_is_no_request_of_the_protocol(node: OneNode, connect: Connect) -> None:
    raw = await connect(port_of(node))
    await raw.send(b"GET /v1/uploads HTTP/1.1\r\nHost: node\r\n\r\n")
    status, answer = await raw.answer()
    assert status == 405
    assert body_of(answer)["error"]["code"] == 405


async def test_a_single_put_and_a_batch_store_the_same(
    node: OneNode, ask: Ask, client: NodeClient, blobs: list[EncodedBlob]
) -> None:
    register(node, blobs)
    sent = upload(node, blobs[0])
    await client.put_blobs([sent])
    assert holds_all(node, blobs[0])
    path = f"/v1/blobs/{blob_id_text(blobs[0].blob_id)}"
    (await ask("PUT", f"{path}/metadata", blobs[0].metadata.to_bcs())).granted(200)  # not new
    for one in sent.slivers:
        where = f"{path}/slivers/{one.pair}/{one.axis.label}"
        (await ask("PUT", where, one.sliver.to_bcs())).granted(200)  # nor are they
