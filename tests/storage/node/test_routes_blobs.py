"""Metadata, slivers, confirmations and status over HTTP: what is taken, what is refused, and with which reason."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from committee import bls, messages
from storage.client import wire
from storage.node.admission import Admission
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, SliverData, blob_id_text

if TYPE_CHECKING:
    from tests.storage.conftest import Ask, OneNode

P, S = Axis.PRIMARY, Axis.SECONDARY
UNKNOWN = blob_id_text(bytes(range(32)))
SHARD = 2
NOT_MINE = 7


def path(blob: EncodedBlob, *parts: object) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob.blob_id), *map(str, parts)))


def refused(answer: tuple[int, Any], status: int, reason: str | None) -> str:
    """The message of an answer that is an error with this status and reason, in the protocol's form."""
    code, body = answer
    assert code == status, body
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() == {"status", "code", "message", "details"}
    assert error["code"] == status
    expected = [] if reason is None else [{"reason": reason, "domain": wire.DOMAIN}]
    assert error["details"] == expected, error
    assert isinstance(error["message"], str)
    return str(error["message"])


def granted(answer: tuple[int, Any], status: int = 200) -> Any:
    """The data of an answer in the protocol's form."""
    code, body = answer
    assert code == status, body
    assert body["success"].keys() == {"code", "data"}
    assert body["success"]["code"] == status
    return body["success"]["data"]


@pytest.fixture
async def prepared(node: OneNode, ask: Ask, blob: EncodedBlob) -> OneNode:
    """The blob is registered and its metadata is here."""
    node.register(blob)
    granted(await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()), 201)
    return node


@pytest.fixture
def put(node: OneNode, ask: Ask, blob: EncodedBlob) -> Callable[..., Coroutine[Any, Any, tuple[int, Any]]]:
    """`await put(shard, axis, changes…)`: put the right sliver, or one with fields changed."""

    async def send(shard: int, axis: Axis, **changes: Any) -> tuple[int, Any]:
        index = node.code.sliver_index(blob.blob_id, shard, axis)
        sliver = SliverData(node.sliver(blob, shard, axis), 40, index)
        body = dataclasses.replace(sliver, **changes).to_bcs()
        return await ask("PUT", path(blob, "slivers", node.pair(blob, shard), axis.label), body)

    return send


Put = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]

# metadata


async def test_metadata_is_taken_once_and_comes_back(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    assert granted(await ask("GET", path(blob, "metadata/status"))) == "nonexistent"
    granted(await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()), 201)
    granted(await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()), 200)
    assert granted(await ask("GET", path(blob, "metadata/status"))) == "stored"
    assert await ask("GET", path(blob, "metadata")) == (200, blob.metadata.to_bcs_with_id())


async def test_metadata_of_an_unregistered_blob_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    answer = await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())
    refused(answer, 400, "NOT_REGISTERED")
    assert node.store.metadata(blob.blob_id) is None


async def test_metadata_of_an_expired_blob_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, end_epoch=5)
    refused(await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()), 400, "NOT_REGISTERED")


async def test_metadata_of_another_blob_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob]
) -> None:
    node.register(blob)
    other = encode(b"another")
    refused(await ask("PUT", path(blob, "metadata"), other.metadata.to_bcs()), 400, "INVALID_METADATA")


async def test_metadata_with_a_flipped_bit_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    body = bytearray(blob.metadata.to_bcs())
    body[40] ^= 1
    refused(await ask("PUT", path(blob, "metadata"), bytes(body)), 400, "INVALID_METADATA")


@pytest.mark.parametrize("length", [0, 1, 9, 11, 400])
async def test_truncated_metadata_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob, length: int) -> None:
    node.register(blob)
    body = blob.metadata.to_bcs()[:length]
    refused(await ask("PUT", path(blob, "metadata"), body), 400, "INVALID_METADATA")


async def test_metadata_for_another_number_of_shards_is_refused(node: OneNode, ask: Ask) -> None:
    metadata = BlobMetadata(8, (bytes(32),) * 4, (b"\x01" * 32,) * 4)
    node.register(metadata)
    answer = await ask("PUT", f"/v1/blobs/{blob_id_text(metadata.blob_id)}/metadata", metadata.to_bcs())
    assert "4 pairs, for 10 shards" in refused(answer, 400, "INVALID_METADATA")


async def test_metadata_of_a_length_no_grid_holds_is_refused(node: OneNode, ask: Ask) -> None:
    metadata = BlobMetadata(2**63, (bytes(32),) * 10, (b"\x01" * 32,) * 10)
    node.register(metadata)
    answer = await ask("PUT", f"/v1/blobs/{blob_id_text(metadata.blob_id)}/metadata", metadata.to_bcs())
    refused(answer, 400, "INVALID_METADATA")


async def test_overlong_metadata_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    answer = await ask("PUT", path(blob, "metadata"), bytes(wire.MAX_METADATA_BYTES + 1))
    refused(answer, 413, "INVALID_REQUEST")


async def test_metadata_that_is_not_here_is_not_found(ask: Ask) -> None:
    refused(await ask("GET", f"/v1/blobs/{UNKNOWN}/metadata"), 404, "METADATA_NOT_FOUND")


# slivers


@pytest.mark.parametrize("axis", list(Axis))
async def test_a_sliver_is_taken_once_and_comes_back(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob, axis: Axis
) -> None:
    where = path(blob, "slivers", prepared.pair(blob, SHARD), axis.label)
    assert granted(await ask("GET", where + "/status")) == "nonexistent"
    refused(await ask("GET", where), 404, "SLIVER_NOT_FOUND")
    granted(await put(SHARD, axis), 201)
    granted(await put(SHARD, axis), 200)
    assert granted(await ask("GET", where + "/status")) == "stored"
    index = prepared.code.sliver_index(blob.blob_id, SHARD, axis)
    symbols = prepared.sliver(blob, SHARD, axis)
    assert await ask("GET", where) == (200, SliverData(symbols, 40, index).to_bcs())
    assert prepared.store.sliver(blob.blob_id, SHARD, axis) == symbols


async def refuse_sliver(answer: tuple[int, Any], node: OneNode, reason: str, status: int = 400) -> None:
    refused(answer, status, reason)
    assert node.store.sliver_count() == 0


async def test_a_sliver_of_an_unregistered_blob_is_refused(node: OneNode, put: Put) -> None:
    await refuse_sliver(await put(SHARD, P), node, "NOT_REGISTERED")


async def test_a_sliver_before_its_metadata_is_refused(node: OneNode, put: Put, blob: EncodedBlob) -> None:
    node.register(blob)
    await refuse_sliver(await put(SHARD, P), node, "METADATA_NOT_FOUND", 404)


async def test_a_sliver_of_a_shard_not_mine_is_refused(prepared: OneNode, put: Put) -> None:
    await refuse_sliver(await put(NOT_MINE, P), prepared, "SHARD_NOT_ASSIGNED")


async def test_a_sliver_of_a_shard_given_up_is_refused(prepared: OneNode, put: Put) -> None:
    await refuse_sliver(await put(4, P), prepared, "SHARD_NOT_ASSIGNED")


async def test_a_sliver_with_a_flipped_bit_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = bytearray(prepared.sliver(blob, SHARD, S))
    wrong[-1] ^= 0x80
    await refuse_sliver(await put(SHARD, S, symbols=bytes(wrong)), prepared, "INVALID_SLIVER")


async def test_another_pairs_sliver_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = prepared.sliver(blob, SHARD + 1, P)
    await refuse_sliver(await put(SHARD, P, symbols=wrong), prepared, "INVALID_SLIVER")


async def test_another_blobs_sliver_is_refused(
    prepared: OneNode, put: Put, encode: Callable[[bytes], EncodedBlob]
) -> None:
    wrong = prepared.sliver(encode(bytes(1100)), SHARD, P)
    await refuse_sliver(await put(SHARD, P, symbols=wrong), prepared, "INVALID_SLIVER")


async def test_a_sliver_of_the_other_axis_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = prepared.sliver(blob, SHARD, P)
    await refuse_sliver(await put(SHARD, S, symbols=wrong[: 4 * 40]), prepared, "INVALID_SLIVER")


async def test_a_sliver_under_another_index_is_refused(prepared: OneNode, put: Put) -> None:
    index = prepared.code.sliver_of_pair(3, P)
    wrong = 9 if index != 9 else 8
    await refuse_sliver(await put(SHARD, P, index=wrong), prepared, "SLIVER_INDEX_MISMATCH")


async def test_a_sliver_with_another_symbol_size_is_refused(prepared: OneNode, put: Put) -> None:
    await refuse_sliver(await put(SHARD, P, symbol_size=20), prepared, "INVALID_SLIVER")


async def test_a_sliver_a_symbol_short_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    short = prepared.sliver(blob, SHARD, P)[:-40]
    await refuse_sliver(await put(SHARD, P, symbols=short), prepared, "INVALID_SLIVER")


async def test_a_sliver_a_symbol_long_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    long = prepared.sliver(blob, SHARD, P) + bytes(40)
    await refuse_sliver(await put(SHARD, P, symbols=long), prepared, "INVALID_REQUEST", 413)


async def test_every_truncation_of_a_sliver_is_refused(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    index = prepared.code.sliver_index(blob.blob_id, SHARD, S)
    body = SliverData(prepared.sliver(blob, SHARD, S), 40, index).to_bcs()
    where = path(blob, "slivers", prepared.pair(blob, SHARD), "secondary")
    for length in (*range(0, len(body), 13), len(body) - 1):
        await refuse_sliver(await ask("PUT", where, body[:length]), prepared, "INVALID_SLIVER")


async def test_an_overlong_body_without_a_length_is_refused(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    async def body() -> Any:
        for _ in range(100):
            yield bytes(1000)

    where = path(blob, "slivers", prepared.pair(blob, SHARD), "primary")
    await refuse_sliver(await ask("PUT", where, body()), prepared, "INVALID_REQUEST", 413)


async def test_an_invalid_blob_is_forbidden(prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob) -> None:
    prepared.keep(blob)
    prepared.invalidate(blob)
    await prepared.view.refresh()
    pair = prepared.pair(blob, SHARD)
    for request in (
        ask("GET", path(blob, "metadata")),
        ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()),
        ask("GET", path(blob, "slivers", pair, "primary")),
        put(SHARD, P),
        ask("GET", path(blob, "confirmation/permanent")),
        ask("GET", path(blob, "decodingSymbols?targetSlivers=1&targetType=primary")),
        ask("GET", path(blob, "recoverySymbols?targetSliver=1&targetType=primary")),
    ):
        refused(await request, 451, "FORBIDDEN_BLOB")
    assert granted(await ask("GET", path(blob, "status"))) == {"invalid": {"event": None}}


@pytest.mark.parametrize(
    "where",
    [
        "/v1/blobs/short/metadata",
        f"/v1/blobs/{UNKNOWN}=/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}-/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}%C3%A4/status",
        f"/v1/blobs/{UNKNOWN}/slivers/10/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/-1/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/x/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/%D9%A3/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/1/Primary",
        f"/v1/blobs/{UNKNOWN}/slivers/1/tertiary/status",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/x",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/{2**256}",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/{'9' * 2000}",
    ],
)
async def test_a_path_that_names_nothing_is_refused(ask: Ask, where: str) -> None:
    refused(await ask("GET", where), 400, "INVALID_REQUEST")


async def test_a_pair_twice_in_a_path_exceeds_the_limit(ask: Ask) -> None:
    where = f"/v1/blobs/{UNKNOWN}/slivers/1,2/primary"
    refused(await ask("GET", where), 400, "SLIVER_COUNT_EXCEEDS_LIMIT")


# confirmation


async def test_a_complete_blob_is_confirmed(prepared: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    prepared.keep(blob, (0, 1, 2, 3))
    data = granted(await ask("GET", path(blob, "confirmation/permanent")))
    message, signature = wire.read_signed(data)
    assert message == messages.encode(
        messages.Intent.BLOB, 5, messages.blob_body(blob.blob_id), bytes(range(32))
    )
    assert bls.verify(prepared.secret.public_key, message, signature)


async def test_a_deletable_object_is_confirmed_as_itself(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, object_id=9, deletable=True)
    node.keep(blob)
    message, _ = wire.read_signed(granted(await ask("GET", path(blob, "confirmation/deletable/9"))))
    assert messages.decode(message).body == messages.blob_body(blob.blob_id, 9)


@pytest.mark.parametrize("kind", ["permanent", "deletable/8"])
async def test_an_object_that_is_not_registered_is_not_confirmed(
    node: OneNode, ask: Ask, blob: EncodedBlob, kind: str
) -> None:
    node.register(blob, object_id=9, deletable=True)
    node.keep(blob)
    refused(await ask("GET", path(blob, "confirmation", kind)), 400, "NOT_REGISTERED")


async def test_a_permanent_object_is_not_confirmed_as_deletable(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    prepared.keep(blob)
    refused(await ask("GET", path(blob, "confirmation/deletable/7")), 400, "NOT_REGISTERED")


async def test_a_blob_lacking_one_sliver_is_not_confirmed(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob
) -> None:
    prepared.keep(blob, (0, 1, 2))
    granted(await put(3, P), 201)
    answer = await ask("GET", path(blob, "confirmation/permanent"))
    assert "1 secondary slivers are missing, of shards [3]" in refused(answer, 400, "MISSING_SLIVERS")
    granted(await put(3, S), 201)
    granted(await ask("GET", path(blob, "confirmation/permanent")))


async def test_an_unregistered_blob_is_not_confirmed(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    refused(await ask("GET", path(blob, "confirmation/permanent")), 400, "NOT_REGISTERED")


async def test_a_blob_without_metadata_is_not_confirmed(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    refused(await ask("GET", path(blob, "confirmation/permanent")), 404, "METADATA_NOT_FOUND")


async def test_a_node_outside_the_committee_confirms_nothing(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    prepared.keep(blob)
    prepared.view.node_id = 99
    refused(await ask("GET", path(blob, "confirmation/permanent")), 400, "SHARD_NOT_ASSIGNED")


async def test_a_confirmation_names_the_epoch_whose_shards_were_checked(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.keep(blob)
    shards_with = prepared.store.shards_with

    def start_meanwhile(blob_id: bytes, axis: Axis) -> frozenset[int]:
        prepared.view.state = dataclasses.replace(prepared.view.state, epoch=6)
        return shards_with(blob_id, axis)

    monkeypatch.setattr(prepared.store, "shards_with", start_meanwhile)
    message, _ = wire.read_signed(granted(await ask("GET", path(blob, "confirmation/permanent"))))
    assert messages.decode(message).epoch == 5


# status

NO_DELETABLE = {"count_deletable_total": 0, "count_deletable_certified": 0}


async def test_status_of_a_blob_nobody_registered(ask: Ask) -> None:
    assert granted(await ask("GET", f"/v1/blobs/{UNKNOWN}/status")) == "nonexistent"


async def test_status_of_a_permanent_blob(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    expected = {
        "endEpoch": 50,
        "isCertified": False,
        "initialCertifiedEpoch": None,
        "statusEvent": {"txDigest": "", "eventSeq": "7"},
        "deletableCounts": NO_DELETABLE,
    }
    assert granted(await ask("GET", path(blob, "status"))) == {"permanent": expected}
    node.certify(blob)
    await node.view.refresh()
    expected |= {"isCertified": True, "initialCertifiedEpoch": 5}
    assert granted(await ask("GET", path(blob, "status"))) == {"permanent": expected}


async def test_status_tells_the_certified_object_before_the_longer_one(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.register(blob)
    node.certify(blob)
    node.register(blob, object_id=8, end_epoch=60)
    permanent = granted(await ask("GET", path(blob, "status")))["permanent"]
    assert (permanent["isCertified"], permanent["endEpoch"]) == (True, 50)


async def test_status_of_deletable_objects(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, object_id=1, deletable=True)
    node.register(blob, object_id=2, deletable=True)
    node.certify(blob, object_id=2, deletable=True)
    assert granted(await ask("GET", path(blob, "status"))) == {
        "deletable": {
            "initialCertifiedEpoch": 5,
            "deletableCounts": {"count_deletable_total": 2, "count_deletable_certified": 1},
        }
    }


async def test_status_of_an_expired_blob(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, end_epoch=5)
    assert granted(await ask("GET", path(blob, "status"))) == "nonexistent"


# the chain


async def test_a_silent_chain_makes_unknown_blobs_unavailable(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.ledger.silent = True
    answer = await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())
    assert "the chain does not answer" in refused(answer, 503, "UNAVAILABLE")


async def test_a_silent_chain_does_not_keep_known_blobs_from_being_served(
    prepared: OneNode, put: Put
) -> None:
    prepared.ledger.silent = True
    granted(await put(SHARD, P), 201)


async def test_requests_that_wait_for_the_chain_together_cost_one_question(node: OneNode) -> None:
    before = node.ledger.questions
    asked, go_on = asyncio.Event(), asyncio.Event()
    head = node.ledger.head

    async def slow_head() -> Any:
        asked.set()
        await go_on.wait()
        return await head()

    node.ledger.head = slow_head  # type: ignore[method-assign]
    admission = Admission(node)
    first = asyncio.create_task(admission.know(bytes(32)))
    await asked.wait()
    others = [asyncio.create_task(admission.know(bytes([one] * 32))) for one in range(1, 50)]
    go_on.set()
    await asyncio.gather(first, *others)
    assert node.ledger.questions - before == 2


async def test_a_request_given_up_leaves_the_chain_to_the_others(node: OneNode, blob: EncodedBlob) -> None:
    node.register(blob)
    admission = Admission(node)
    given_up = asyncio.create_task(admission.know(blob.blob_id))
    waiting = asyncio.create_task(admission.know(blob.blob_id))
    asyncio.get_running_loop().call_soon(given_up.cancel)
    await waiting
    assert node.view.is_registered(blob.blob_id)


# the rest of the interface


async def test_health_tells_what_the_node_says(ask: Ask) -> None:
    assert granted(await ask("GET", "/v1/health")) == {"version": "test", "epoch": 5}


async def test_every_route_is_in_the_openapi_document(node: OneNode, ask: Ask) -> None:
    status, document = await ask("GET", "/v1/api")
    assert status == 200
    assert node.server is not None
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in node.server.app.router.routes()  # type: ignore[attr-defined]
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == {(method, one) for one, methods in document["paths"].items() for method in methods}


async def test_metrics_count_requests_and_slivers(prepared: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    prepared.keep(blob, (0, 1))
    await ask("DELETE", "/v1/health")
    status, text = await ask("GET", "/metrics")
    assert status == 200
    lines = text.decode().splitlines()
    assert (
        'haulout_requests_total{method="PUT",route="/v1/blobs/{blob_id}/metadata",status="201"} 1.0' in lines
    )
    assert 'haulout_requests_total{method="DELETE",route="unknown",status="405"} 1.0' in lines
    assert "haulout_slivers 4.0" in lines
    assert f"haulout_sliver_bytes {2 * 11 * 40}.0" in lines


@pytest.mark.parametrize(
    ("method", "where", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v1/health", 405)]
)
async def test_what_is_not_served_is_told_in_json(ask: Ask, method: str, where: str, status: int) -> None:
    refused(await ask(method, where), status, None)


async def test_an_unforeseen_failure_tells_nothing_of_itself(
    prepared: OneNode, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(prepared, "health", fail)
    answer = await ask("GET", "/v1/health")
    message = refused(answer, 500, None)
    assert "secret" not in json.dumps(answer[1])
    assert "its operator" in message
