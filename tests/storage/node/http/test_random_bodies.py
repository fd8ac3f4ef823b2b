"""Bodies that nobody meant, to every route that takes one: each is refused or right, and nothing wrong is kept."""

from __future__ import annotations

import random

import pytest

from storage.client import batch_wire, wire
from storage.redstuff import Axis, EncodedBlob, SliverData, blob_id_text
from tests.logged import captured
from tests.storage.conftest import Ask, OneNode
from tests.storage.node.http.test_batches import upload

CASES, SLOW_CASES = 300, 6000
"""Random bodies, spread over the routes."""

Body = tuple[str, str, bytes]
"""Method, path and a body that is granted."""


def bodies(node: OneNode, blob: EncodedBlob) -> list[Body]:
    """A right one for each route that takes a body, or one that is right but for its authority."""
    name, pair = blob_id_text(blob.blob_id), node.pair(blob, 2)
    sliver = SliverData(
        node.sliver(blob, 2, Axis.PRIMARY), 40, node.code.sliver_index(blob.blob_id, 2, Axis.PRIMARY)
    )
    question = wire.Question(Axis.PRIMARY, range(2), range(2), [blob.blob_id])
    return [
        ("PUT", f"/v1/blobs/{name}/metadata", blob.metadata.to_bcs()),
        ("PUT", f"/v1/blobs/{name}/slivers/{pair}/primary", sliver.to_bcs()),
        ("POST", f"/v1/blobs/{name}/inconsistencyProof/primary", sliver.to_bcs()),
        ("POST", "/v1/decodingSymbols", question.to_bcs()),
        ("POST", "/v1/migrate/sync_shard", random.Random(1).randbytes(300)),
        ("POST", "/v1/uploads", bytes(batch_wire.uploads_to_bcs([upload(node, blob)]))),
        ("POST", "/v1/confirmations", blob.blob_id + bytes(40)),
    ]


def spoilt(chance: random.Random, body: bytes) -> bytes:
    """The body with bytes changed, left out or put in; or bytes that have nothing of it."""
    if chance.randrange(6) == 0:
        return chance.randbytes(chance.choice((0, 1, 33, 200, 5000)))
    place, end = sorted(chance.choices(range(len(body) + 1), k=2))
    match chance.randrange(4):
        case 0:
            return body[:place]
        case 1:
            return body[:place] + body[end:]
        case 2:
            return body[:place] + chance.randbytes(chance.randint(1, 40)) + body[place:]
        case _:
            return (
                body[:place]
                + chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * min(end - place, 9)
                + body[place:]
            )


async def send_all(node: OneNode, ask: Ask, blob: EncodedBlob, cases: int) -> set[int]:
    """Send random bodies of each route; return the statuses that came."""
    chance, statuses = random.Random(cases), set()
    right = bodies(node, blob)
    for case in range(cases):
        method, path, body = right[case % len(right)]
        answer = await ask(method, path, spoilt(chance, body))
        assert answer.status < 500, (method, path, answer)
        statuses.add(answer.status)
    return statuses


def check_what_is_kept(node: OneNode, blob: EncodedBlob) -> None:
    assert node.store.metadata(blob.blob_id) in (None, blob.metadata.to_bcs())
    for shard in range(4):
        for axis in Axis:
            kept = node.store.sliver(blob.blob_id, shard, axis)
            assert kept is None or bytes(kept) == node.sliver(blob, shard, axis)
    assert not node.view.is_invalid(blob.blob_id)


@pytest.mark.parametrize(
    "cases", [pytest.param(CASES, id="some"), pytest.param(SLOW_CASES, id="many", marks=pytest.mark.slow)]
)
async def test_random_bodies_are_refused_and_leave_nothing_wrong(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, cases: int
) -> None:
    with captured() as logs:
        statuses = await send_all(prepared, ask, blob, cases)
    assert 400 in statuses
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]
    check_what_is_kept(prepared, blob)
