"""A node that has not seen a registration yet says so: "not yet" behind the block that a request names, and where it
stands in any case."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.node.http import admission
from storage.redstuff import Axis, EncodedBlob, blob_id_text
from tests.storage.conftest import Ask, OneNode


def paths(node: OneNode, blob: EncodedBlob) -> list[tuple[str, str, bytes | None]]:
    """The requests that need a registration: method, path and body."""
    where = f"/v1/blobs/{blob_id_text(blob.blob_id)}"
    return [
        ("PUT", f"{where}/metadata", blob.metadata.to_bcs()),
        ("PUT", f"{where}/slivers/{node.pair(blob, 2)}/primary", node.sliver(blob, 2, Axis.PRIMARY)),
        ("GET", f"{where}/confirmation/permanent", None),
        ("GET", f"{where}/confirmation/deletable/7", None),
    ]


def details(answer: Any) -> dict[str, Any]:
    (told,) = answer.body["error"]["details"]
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("which", range(4))
async def test_behind_the_block_that_is_named_it_is_not_yet(
    node: OneNode, ask: Ask, blob: EncodedBlob, which: int
) -> None:
    method, path, body = paths(node, blob)[which]
    block = node.view.block.number
    answer = await ask(method, f"{path}?registeredInBlock={block + 1}", body)
    assert answer.status == 425
    told = details(answer)
    assert (told["reason"], told["metadata"], told["domain"]) == (
        *("NOT_YET_REGISTERED", {"block": block}),
        "haulout.storage",
    )
    assert f"at block {block}" in answer.body["error"]["message"]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("shift", [None, 0, -1])
async def test_otherwise_it_is_not_registered_up_to_a_block(
    node: OneNode, ask: Ask, blob: EncodedBlob, which: int, shift: int | None
) -> None:
    method, path, body = paths(node, blob)[which]
    block = node.view.block.number
    query = "" if shift is None else f"?registeredInBlock={block + shift}"
    answer = await ask(method, path + query, body)
    assert answer.status == 400
    assert (details(answer)["reason"], details(answer)["metadata"]) == ("NOT_REGISTERED", {"block": block})


@pytest.mark.parametrize("named", ["", "x", "-1", "1" * 79, "1.5"])
async def test_a_block_that_is_no_number_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, named: str
) -> None:
    method, path, body = paths(node, blob)[0]
    (await ask(method, f"{path}?registeredInBlock={named}", body)).refused(400, "INVALID_REQUEST")


async def test_what_was_registered_meanwhile_is_granted(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    method, path, body = paths(node, blob)[0]
    (await ask(method, f"{path}?registeredInBlock=10000", body)).granted(201)


async def test_an_expired_blob_is_caught_up_with_before_it_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    """It is registered anew in a block that the node has not looked at."""
    node.register(blob, object_id=7, end_period=5)
    await node.view.refresh()
    node.register(blob, object_id=8)
    method, path, body = paths(node, blob)[0]
    (await ask(method, path, body)).granted(201)


async def test_a_request_that_asks_for_it_waits_for_the_registration(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    method, path, body = paths(node, blob)[0]
    asked = asyncio.create_task(ask(method, f"{path}?wait_for_registration=true&wait_millis=5000", body))
    before = node.ledger.questions
    while node.ledger.questions < before + 2:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0)
    assert not asked.done()
    node.register(blob)
    (await asked).granted(201)


@pytest.mark.parametrize("query", ["wait_for_registration=true&wait_millis=60", "wait_for_registration=true"])
async def test_it_waits_no_longer_than_it_says(
    node: OneNode, ask: Ask, blob: EncodedBlob, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_REGISTRATION_WAIT_S", 0.1)
    loop, (method, path, body) = asyncio.get_running_loop(), paths(node, blob)[0]
    began = loop.time()
    answer = await ask(method, f"{path}?{query}", body)
    assert (answer.status, details(answer)["reason"]) == (400, "NOT_REGISTERED")
    assert loop.time() - began >= 0.05


@pytest.mark.parametrize(
    "query",
    ["", "wait_for_registration=false&wait_millis=9000", "wait_millis=9000"],
)
async def test_a_request_that_does_not_ask_for_it_is_answered_after_one_look(
    node: OneNode, ask: Ask, blob: EncodedBlob, query: str
) -> None:
    method, path, body = paths(node, blob)[0]
    before = node.ledger.questions
    assert (await ask(method, f"{path}?{query}", body)).status == 400
    assert node.ledger.questions == before + 1


@pytest.mark.parametrize(
    "query",
    ["wait_for_registration=1", "wait_for_registration="]
    + [f"wait_for_registration=true&wait_millis={text}" for text in ("-1", "x", "1e3")],
)
async def test_a_wait_that_cannot_be_read_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, query: str
) -> None:
    method, path, body = paths(node, blob)[0]
    (await ask(method, f"{path}?{query}", body)).refused(400, "INVALID_REQUEST")
