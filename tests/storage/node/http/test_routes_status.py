"""Confirmations, status and the rest of the interface over HTTP."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from committee import bls, messages
from committee.ledger import EpochStep, StepKind
from committee.rota import Turn
from storage.client import wire
from storage.client.batch_wire import Confirmable, confirmations_to_bcs, signed_from_bcs
from storage.node.budgets import Budget
from storage.node.chain import store, summaries
from storage.node.chain.changes import BlobObject
from storage.node.chain.rows import object_of
from storage.node.duties import Due
from storage.node.http.metrics import UPKEEP
from storage.node.http.routes import create_app
from storage.node.store.moving import Moving
from storage.redstuff import Axis, EncodedBlob, blob_id_text

if TYPE_CHECKING:
    from tests.storage.conftest import Ask, OneNode, Put

P, S = Axis.PRIMARY, Axis.SECONDARY
UNKNOWN = blob_id_text(bytes(range(32)))


def path(blob: EncodedBlob, *parts: object) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob.blob_id), *map(str, parts)))


# confirmation


async def test_a_complete_blob_is_confirmed(prepared: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    prepared.keep(blob, (0, 1, 2, 3))
    data = (await ask("GET", path(blob, "confirmation/permanent"))).granted()
    message, signature = wire.read_signed(data)
    assert message == messages.encode(
        messages.Intent.BLOB, 5, messages.blob_body(blob.blob_id), bytes(range(32))
    )
    assert bls.verify(prepared.secret.public_key, message, signature)


@pytest.mark.parametrize("object_id", [9, 2**255 + 0xAB])
@pytest.mark.parametrize("form", ["{}", "0x{:064x}", "0x{:064X}", "0x{:x}"])
async def test_a_deletable_object_is_confirmed_as_itself(
    node: OneNode, ask: Ask, blob: EncodedBlob, object_id: int, form: str
) -> None:
    node.register(blob, object_id=object_id, deletable=True)
    node.keep(blob)
    where = path(blob, "confirmation/deletable", form.format(object_id))
    message, _ = wire.read_signed((await ask("GET", where)).granted())
    assert messages.decode(message).body == messages.blob_body(blob.blob_id, object_id)


@pytest.mark.parametrize("kind", ["permanent", "deletable/8", f"deletable/0x{8:064x}"])
async def test_an_object_that_is_not_registered_is_not_confirmed(
    node: OneNode, ask: Ask, blob: EncodedBlob, kind: str
) -> None:
    node.register(blob, object_id=9, deletable=True)
    node.keep(blob)
    (await ask("GET", path(blob, "confirmation", kind))).refused(400, "NOT_REGISTERED")


async def test_a_permanent_object_is_not_confirmed_as_deletable(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    prepared.keep(blob)
    (await ask("GET", path(blob, "confirmation/deletable/7"))).refused(400, "NOT_REGISTERED")


async def test_a_blob_lacking_one_sliver_is_not_confirmed(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob
) -> None:
    prepared.keep(blob, (0, 1, 2))
    (await put(3, P)).granted(201)
    answer = await ask("GET", path(blob, "confirmation/permanent"))
    assert "1 secondary slivers are missing, of shards [3]" in answer.refused(400, "MISSING_SLIVERS")
    (await put(3, S)).granted(201)
    (await ask("GET", path(blob, "confirmation/permanent"))).granted()


async def test_an_unregistered_blob_is_not_confirmed(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "NOT_REGISTERED")


async def test_a_blob_without_metadata_is_not_confirmed(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "MISSING_SLIVERS")


async def test_a_node_outside_the_committee_confirms_nothing(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    prepared.keep(blob)
    prepared.view.node_id = 99
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "SHARD_NOT_ASSIGNED")


async def test_a_confirmation_names_the_epoch_whose_shards_were_checked(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.keep(blob)
    shards_with = prepared.store.shards_with

    def start_meanwhile(blob_id: bytes, axis: Axis) -> frozenset[int]:
        prepared.view.state = dataclasses.replace(prepared.view.state, epoch=6)
        return shards_with(blob_id, axis)

    monkeypatch.setattr(prepared.store, "shards_with", start_meanwhile)
    message, _ = wire.read_signed((await ask("GET", path(blob, "confirmation/permanent"))).granted())
    assert messages.decode(message).epoch == 5


# status

NO_DELETABLE = {"count_deletable_total": 0, "count_deletable_certified": 0}


async def test_status_of_a_blob_nobody_registered(ask: Ask) -> None:
    assert (await ask("GET", f"/v1/blobs/{UNKNOWN}/status")).granted() == "nonexistent"


async def test_status_of_a_permanent_blob(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    expected = {
        "endEpoch": 50,
        "isCertified": False,
        "initialCertifiedEpoch": None,
        "statusEvent": {"txDigest": "1" * 31 + "8", "eventSeq": "0"},
        "deletableCounts": NO_DELETABLE,
    }
    assert (await ask("GET", path(blob, "status"))).granted() == {"permanent": expected}
    node.certify()
    await node.view.refresh()
    expected |= {"isCertified": True, "initialCertifiedEpoch": 5}
    assert (await ask("GET", path(blob, "status"))).granted() == {"permanent": expected}


async def test_status_tells_the_certified_object_before_the_longer_one(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.register(blob)
    node.certify()
    node.register(blob, object_id=8, end_period=60)
    permanent = (await ask("GET", path(blob, "status"))).granted()["permanent"]
    assert (permanent["isCertified"], permanent["endEpoch"]) == (True, 50)


async def test_status_of_deletable_objects(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, object_id=1, deletable=True)
    node.register(blob, object_id=2, deletable=True)
    node.certify(object_id=2)
    assert (await ask("GET", path(blob, "status"))).granted() == {
        "deletable": {
            "initialCertifiedEpoch": 5,
            "deletableCounts": {"count_deletable_total": 2, "count_deletable_certified": 1},
        }
    }


async def test_a_blob_of_many_objects_costs_a_request_no_more(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may register it again and again. 10 000 objects, read for each request, held the loop for 300 ms."""
    count = 500
    for object_id in range(1, count + 1):
        node.register(blob, object_id=object_id, deletable=object_id > 1)
    node.keep(blob)
    await node.view.refresh()
    read: list[int] = []

    def counted(row: tuple[Any, ...]) -> BlobObject:
        one = object_of(row)
        read.append(one.record.object_id)
        return one

    monkeypatch.setattr(store, "object_of", counted)
    monkeypatch.setattr(summaries, "object_of", counted)
    asked = [
        *(
            "status",
            "confirmation/permanent",
            f"confirmation/deletable/{count}",
            "metadata",
            "metadata/status",
        ),
        f"slivers/{node.pair(blob, 0)}/primary",
    ]
    for rest in asked:
        assert (await ask("GET", path(blob, rest))).status == 200
    named = [Confirmable(blob.blob_id, count)]
    confirmed = await ask("POST", "/v1/confirmations", confirmations_to_bcs(named))
    assert not isinstance(signed_from_bcs(confirmed.body, 1)[0][0], int)
    assert len(read) <= 3 * len(asked)


async def test_status_of_an_expired_blob(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, end_period=5)
    assert (await ask("GET", path(blob, "status"))).granted() == "nonexistent"


# the chain


async def test_a_silent_chain_makes_unknown_blobs_unavailable(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.ledger.silent = True
    answer = await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())
    assert "the chain does not answer" in answer.refused(503, "UNAVAILABLE")


async def test_a_silent_chain_does_not_keep_known_blobs_from_being_served(
    prepared: OneNode, put: Put
) -> None:
    prepared.ledger.silent = True
    (await put(2, P)).granted(201)


# the rest of the interface


async def test_a_proxy_is_told_to_keep_nothing_but_a_blobs_bytes(
    prepared: OneNode, session: aiohttp.ClientSession, blob: EncodedBlob
) -> None:
    """A kept "not found" outlives its reason (cloudfoundry/gorouter#243); Varnish keeps one for two minutes unasked."""
    prepared.keep(blob, (0, 1, 2, 3))
    pair = prepared.pair(blob, 0)
    kept = (path(blob, "metadata"), path(blob, "slivers", pair, "primary"))
    passing = (
        *(
            "/v1/health",
            "/metrics",
            "/v1/nothing",
            path(blob, "status"),
            path(blob, "confirmation/permanent"),
        ),
        *(
            f"/v1/blobs/{UNKNOWN}/metadata",
            f"/v1/blobs/{UNKNOWN}/slivers/{pair}/primary",
            "/v1/blobs/x/status",
        ),
    )
    told = {}
    for where in (*kept, *passing):
        async with session.get(prepared.address + where) as answer:
            told[where] = answer.headers.get("Cache-Control")
    assert told == dict.fromkeys(kept) | dict.fromkeys(passing, "no-store")


async def test_health_tells_what_the_node_says(ask: Ask) -> None:
    assert (await ask("GET", "/v1/health")).granted() == {"version": "test", "epoch": 5}


async def test_every_route_is_in_the_openapi_document(node: OneNode, ask: Ask) -> None:
    status, document = await ask("GET", "/v1/api")
    assert status == 200
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in create_app(node, Budget()).router.routes()
        if route.resource is not None
    }
    served -= {("head", where) for method, where in served if method == "get"}
    assert served == {(method, one) for one, methods in document["paths"].items() for method in methods}


async def test_metrics_count_requests_and_slivers(prepared: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    prepared.keep(blob, (0, 1))
    await ask("DELETE", "/v1/health")
    for method in ("PURGE", "REBIND"):
        await ask(method, "/v1/health")
    status, text = await ask("GET", "/metrics")
    assert status == 200
    lines = text.decode().splitlines()
    assert (
        'haulout_requests_total{method="PUT",route="/v1/blobs/{blob_id}/metadata",status="201"} 1.0' in lines
    )
    assert 'haulout_requests_total{method="DELETE",route="unknown",status="405"} 1.0' in lines
    assert 'haulout_requests_total{method="other",route="unknown",status="405"} 2.0' in lines
    assert "haulout_slivers 4.0" in lines
    assert "haulout_proof_lacking_shards 2.0" in lines
    assert "haulout_proof_missed 0.0" in lines
    assert "haulout_clock_ahead_seconds -840.0" in lines
    assert f"haulout_sliver_bytes {2 * 11 * 40}.0" in lines


async def test_metrics_are_kept_in_no_folder_of_another_program(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As prometheus_client's own are where the environment has PROMETHEUS_MULTIPROC_DIR."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/nowhere/gauge_all_7.db")

    monkeypatch.setattr("prometheus_client.values.ValueClass", missing)
    routes = create_app(node, Budget()).router.resources()
    assert "/metrics" in {route.canonical for route in routes}


@pytest.mark.parametrize("name", UPKEEP)
async def test_metrics_tell_of_the_upkeep(ask: Ask, name: str) -> None:
    _, text = await ask("GET", "/metrics")
    assert f"haulout_{name} 7.0" in text.decode().splitlines()


async def test_metrics_tell_which_step_is_due_and_whose_turn_it_is(
    node: OneNode, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Due(EpochStep(StepKind.START, 6, 100), waited_s=12, turn=Turn(1, 3, is_open=True))
    for told, seconds, turn in (((due,), 12, 3), ((), 0, 0)):
        monkeypatch.setattr(node, "due", lambda told=told: told)
        lines = (await ask("GET", "/metrics")).body.decode().splitlines()
        assert f'haulout_step_due_seconds{{step="start"}} {seconds}.0' in lines
        assert 'haulout_step_due_seconds{step="select"} 0.0' in lines
        assert f'haulout_step_turn{{step="start"}} {turn}.0' in lines
        assert 'haulout_step_turn{step="pay_out"} 0.0' in lines


@pytest.mark.parametrize(
    ("method", "where", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v1/health", 405)]
)
async def test_what_is_not_served_is_told_in_json(ask: Ask, method: str, where: str, status: int) -> None:
    (await ask(method, where)).refused(status, None)


async def test_an_unforeseen_failure_tells_nothing_of_itself(
    prepared: OneNode, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(prepared, "health", fail)
    answer = await ask("GET", "/v1/health")
    message = answer.refused(500, "INTERNAL_ERROR")
    assert "secret" not in json.dumps(answer[1])
    assert "its operator" in message


async def test_metrics_tell_of_the_object_store_if_there_is_one(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"object_store" not in (await ask("GET", "/metrics")).body
    told = {"segments": 3, "waitingBytes": 5000, "failingSeconds": 1.5}
    monkeypatch.setattr(Moving, "status", lambda self: told)
    lines = (await ask("GET", "/metrics")).body.decode().splitlines()
    for line in ("segments 3.0", "waiting_bytes 5000.0", "failing_seconds 1.5"):
        assert f"haulout_object_store_{line}" in lines
