"""Metadata and slivers over HTTP: what is taken, what is refused, and with which reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from storage.client import wire
from storage.node.block_list import BlockList
from storage.node.budgets import Budget
from storage.node.http.routes import create_app
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, SliverData, blob_id_text
from tests.memory_chain import space
from tests.storage.conftest import Answer, served

if TYPE_CHECKING:
    from tests.storage.conftest import Ask, OneNode, Put

P, S = Axis.PRIMARY, Axis.SECONDARY
UNKNOWN = blob_id_text(bytes(range(32)))
SHARD = 2
NOT_MINE = 7


def path(blob: EncodedBlob, *parts: object) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob.blob_id), *map(str, parts)))


# metadata


async def test_metadata_is_taken_once_and_comes_back(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    assert (await ask("GET", path(blob, "metadata/status"))).granted() == "nonexistent"
    (await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())).granted(201)
    (await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())).granted(200)
    assert (await ask("GET", path(blob, "metadata/status"))).granted() == "stored"
    assert await ask("GET", path(blob, "metadata")) == (200, blob.blob_id + blob.metadata.to_bcs())


async def test_metadata_of_an_unregistered_blob_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    answer = await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())
    answer.refused(400, "NOT_REGISTERED")
    assert node.store.metadata(blob.blob_id) is None


async def test_metadata_of_an_expired_blob_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob, end_period=5)
    (await ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs())).refused(400, "NOT_REGISTERED")


async def test_metadata_of_another_blob_is_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob]
) -> None:
    node.register(blob)
    other = encode(b"another")
    (await ask("PUT", path(blob, "metadata"), other.metadata.to_bcs())).refused(400, "INVALID_METADATA")


async def test_metadata_with_a_flipped_bit_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    body = bytearray(blob.metadata.to_bcs())
    body[40] ^= 1
    (await ask("PUT", path(blob, "metadata"), bytes(body))).refused(400, "INVALID_METADATA")


@pytest.mark.parametrize("length", [0, 1, 9, 11, 400])
async def test_truncated_metadata_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob, length: int) -> None:
    node.register(blob)
    body = blob.metadata.to_bcs()[:length]
    (await ask("PUT", path(blob, "metadata"), body)).refused(400, "INVALID_CONTENT_TYPE")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/octet-stream", 201),
        ("Application/Octet-Stream; charset=binary", 201),
        ("application/json", 400),
        ("text/plain", 400),
        ("octets", 400),
    ],
)
async def test_metadata_under_another_content_type_is_refused(
    node: OneNode,
    session: aiohttp.ClientSession,
    blob: EncodedBlob,
    content_type: str,
    status: int,
) -> None:
    node.register(blob)
    where, headers = node.address + path(blob, "metadata"), {"Content-Type": content_type}
    async with session.put(where, data=blob.metadata.to_bcs(), headers=headers) as answer:
        assert answer.status == status
        if status == 400:
            Answer(400, await answer.json()).refused(400, "INVALID_CONTENT_TYPE")


async def test_metadata_for_another_number_of_shards_is_refused(node: OneNode, ask: Ask) -> None:
    metadata = BlobMetadata(8, (bytes(32),) * 4, (b"\x01" * 32,) * 4)
    node.register(metadata)
    answer = await ask("PUT", f"/v1/blobs/{blob_id_text(metadata.blob_id)}/metadata", metadata.to_bcs())
    assert "4 pairs, for 10 shards" in answer.refused(400, "INVALID_METADATA")


async def test_metadata_of_a_length_no_grid_holds_is_refused(
    node: OneNode, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contracts register no such blob, but a provider may tell that they did."""
    monkeypatch.setattr(space, "needed", lambda now, length: 1)
    metadata = BlobMetadata(2**63, (bytes(32),) * 10, (b"\x01" * 32,) * 10)
    node.register(metadata)
    answer = await ask("PUT", f"/v1/blobs/{blob_id_text(metadata.blob_id)}/metadata", metadata.to_bcs())
    answer.refused(400, "INVALID_METADATA")


async def test_overlong_metadata_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    answer = await ask("PUT", path(blob, "metadata"), bytes(wire.MAX_METADATA_BYTES + 1))
    answer.refused(413, "INVALID_REQUEST")


async def test_metadata_that_is_not_here_is_not_found(ask: Ask) -> None:
    (await ask("GET", f"/v1/blobs/{UNKNOWN}/metadata")).refused(404, "METADATA_NOT_FOUND")


# slivers


@pytest.mark.parametrize("axis", list(Axis))
async def test_a_sliver_is_taken_once_and_comes_back(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob, axis: Axis
) -> None:
    where = path(blob, "slivers", prepared.pair(blob, SHARD), axis.label)
    assert (await ask("GET", where + "/status")).granted() == "nonexistent"
    (await ask("GET", where)).refused(404, "SLIVER_NOT_FOUND")
    (await put(SHARD, axis)).granted(201)
    (await put(SHARD, axis)).granted(200)
    assert (await ask("GET", where + "/status")).granted() == "stored"
    index = prepared.code.sliver_index(blob.blob_id, SHARD, axis)
    symbols = prepared.sliver(blob, SHARD, axis)
    assert await ask("GET", where) == (200, SliverData(symbols, 40, index).to_bcs())
    assert prepared.store.sliver(blob.blob_id, SHARD, axis) == symbols


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=0-", 0, None),
        ("bytes=99999999-", 0, None),
        ("bytes=9-5", 0, None),
        ("bytes=0-1,4-5", 0, None),
        ("rows=1-2", 0, None),
        ("bytes=-", 0, None),
    ],
)
async def test_a_range_of_a_sliver_is_given_and_what_is_none_is_not_heeded(
    prepared: OneNode,
    session: aiohttp.ClientSession,
    put: Put,
    blob: EncodedBlob,
    asked: str,
    first: int,
    end: int | None,
) -> None:
    (await put(SHARD, P)).granted(201)
    index = prepared.code.sliver_index(blob.blob_id, SHARD, P)
    whole = SliverData(prepared.sliver(blob, SHARD, P), 40, index).to_bcs()
    where = prepared.address + path(blob, "slivers", prepared.pair(blob, SHARD), P.label)
    async with session.get(where, headers={"Range": asked}) as answer:
        assert await answer.read() == whole[first:end]
        first %= len(whole)
        told = f"bytes {first}-{len(whole[:end]) - 1}/{len(whole)}" if whole[first:end] != whole else None
        assert answer.headers.get("Content-Range") == told
        assert answer.status == (206 if told else 200)
    for validator in ('"tag"', "Mon, 30 Nov 2026 00:00:00 GMT"):
        async with session.get(where, headers={"Range": asked, "If-Range": validator}) as answer:
            assert (answer.status, await answer.read()) == (200, whole)


def refuse_sliver(answer: Answer, node: OneNode, reason: str, status: int = 400) -> None:
    answer.refused(status, reason)
    assert node.store.sliver_count() == 0


async def test_head_tells_a_slivers_size_and_costs_no_read(
    prepared: OneNode,
    blob: EncodedBlob,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sender takes no bytes for what the node reads or computes."""
    prepared.keep(blob, (SHARD,))
    url = prepared.address + path(blob, "slivers", prepared.pair(blob, SHARD), P.label)
    async with session.get(url) as answer:
        size = len(await answer.read())
    monkeypatch.setattr(prepared.store, "sliver", None)
    async with session.head(url) as answer:
        assert (answer.status, answer.content_length, answer.content_type) == (200, size, wire.BCS)
    for symbols in ("decodingSymbols?targetSlivers=1", "recoverySymbols?targetSliver=1"):
        async with session.head(f"{prepared.address}{path(blob, symbols)}&targetType=primary") as answer:
            assert answer.status == 405
    for opening in ("at/0", f"{bytes(32).hex()}/0"):
        async with session.head(f"{prepared.address}/v1/openings/{opening}") as answer:
            assert answer.status == 405


async def test_a_sliver_of_an_unregistered_blob_is_refused(node: OneNode, put: Put) -> None:
    refuse_sliver(await put(SHARD, P), node, "NOT_REGISTERED")


async def test_a_sliver_before_its_metadata_is_refused(node: OneNode, put: Put, blob: EncodedBlob) -> None:
    node.register(blob)
    refuse_sliver(await put(SHARD, P), node, "METADATA_NOT_FOUND", 400)


async def test_a_sliver_of_a_shard_not_mine_is_refused(prepared: OneNode, put: Put) -> None:
    refuse_sliver(await put(NOT_MINE, P), prepared, "SHARD_NOT_ASSIGNED")


async def test_a_sliver_of_a_shard_given_up_is_refused(prepared: OneNode, put: Put) -> None:
    refuse_sliver(await put(4, P), prepared, "SHARD_NOT_ASSIGNED")


async def test_a_sliver_with_a_flipped_bit_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = bytearray(prepared.sliver(blob, SHARD, S))
    wrong[-1] ^= 0x80
    refuse_sliver(await put(SHARD, S, symbols=bytes(wrong)), prepared, "INVALID_SLIVER")


async def test_another_pairs_sliver_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = prepared.sliver(blob, SHARD + 1, P)
    refuse_sliver(await put(SHARD, P, symbols=wrong), prepared, "INVALID_SLIVER")


async def test_another_blobs_sliver_is_refused(
    prepared: OneNode, put: Put, encode: Callable[[bytes], EncodedBlob]
) -> None:
    wrong = prepared.sliver(encode(bytes(1100)), SHARD, P)
    refuse_sliver(await put(SHARD, P, symbols=wrong), prepared, "INVALID_SLIVER")


async def test_a_sliver_of_the_other_axis_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    wrong = prepared.sliver(blob, SHARD, P)
    refuse_sliver(await put(SHARD, S, symbols=wrong[: 4 * 40]), prepared, "INVALID_SLIVER")


async def test_a_sliver_under_another_index_is_refused(prepared: OneNode, put: Put) -> None:
    index = prepared.code.sliver_of_pair(3, P)
    wrong = 9 if index != 9 else 8
    refuse_sliver(await put(SHARD, P, index=wrong), prepared, "INVALID_SLIVER")


async def test_a_sliver_with_another_symbol_size_is_refused(prepared: OneNode, put: Put) -> None:
    refuse_sliver(await put(SHARD, P, symbol_size=20), prepared, "INVALID_SLIVER")


async def test_a_sliver_a_symbol_short_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    short = prepared.sliver(blob, SHARD, P)[:-40]
    refuse_sliver(await put(SHARD, P, symbols=short), prepared, "INVALID_SLIVER")


async def test_a_sliver_a_symbol_long_is_refused(prepared: OneNode, put: Put, blob: EncodedBlob) -> None:
    long = prepared.sliver(blob, SHARD, P) + bytes(40)
    refuse_sliver(await put(SHARD, P, symbols=long), prepared, "INVALID_REQUEST", 413)


async def test_every_truncation_of_a_sliver_is_refused(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    index = prepared.code.sliver_index(blob.blob_id, SHARD, S)
    body = SliverData(prepared.sliver(blob, SHARD, S), 40, index).to_bcs()
    where = path(blob, "slivers", prepared.pair(blob, SHARD), "secondary")
    for length in (*range(0, len(body), 13), len(body) - 1):
        refuse_sliver(await ask("PUT", where, body[:length]), prepared, "INVALID_CONTENT_TYPE")


@pytest.mark.parametrize("axis", list(Axis))
@pytest.mark.parametrize("what", ["", "/status"])
async def test_a_sliver_of_another_nodes_shard_is_not_looked_for_here(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, axis: Axis, what: str
) -> None:
    where = path(blob, "slivers", prepared.pair(blob, NOT_MINE), axis.label) + what
    answer = await ask("GET", where)
    assert f"shard {NOT_MINE}" in answer.refused(400, "SHARD_NOT_ASSIGNED")
    assert answer.body["error"]["status"] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("shard", [4, NOT_MINE])
async def test_what_a_former_owner_still_has_is_served(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob], shard: int
) -> None:
    """Shard 4 was the node's in the epoch before; shard 7 must have been so in one long past."""
    prepared.keep(blob, (shard,))
    where = path(blob, "slivers", prepared.pair(blob, shard), "primary")
    assert (await ask("GET", where))[0] == 200
    assert (await ask("GET", where + "/status")).granted() == "stored"
    other = encode(b"of which it has nothing")
    where = path(other, "slivers", prepared.pair(other, shard), "primary")
    (await ask("GET", where)).refused(404, "SLIVER_NOT_FOUND")
    assert (await ask("GET", where + "/status")).granted() == "nonexistent"


async def test_a_body_without_a_length_is_refused(prepared: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    async def body() -> Any:
        for _ in range(100):
            yield bytes(1000)

    where = path(blob, "slivers", prepared.pair(blob, SHARD), "primary")
    refuse_sliver(await ask("PUT", where, body()), prepared, "INVALID_REQUEST", 411)


async def test_an_invalid_blob_is_as_good_as_gone(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob
) -> None:
    prepared.keep(blob)
    sliver = path(blob, "slivers", prepared.pair(blob, SHARD), "primary")
    assert (await ask("GET", path(blob, "metadata")))[0] == 200, "it is at hand"
    prepared.invalidate(blob)
    await prepared.view.refresh()
    (await ask("GET", path(blob, "metadata"))).refused(404, "METADATA_NOT_FOUND")
    (await ask("GET", sliver)).refused(404, "SLIVER_NOT_FOUND")
    for where in (path(blob, "metadata/status"), sliver + "/status"):
        assert (await ask("GET", where)).granted() == "nonexistent"
    for query in ("decodingSymbols?targetSlivers=1", "recoverySymbols?targetSliver=1"):
        answer = await ask("GET", path(blob, query) + "&targetType=primary")
        answer.refused(404, "METADATA_NOT_FOUND")
    for request in (ask("PUT", path(blob, "metadata"), blob.metadata.to_bcs()), put(SHARD, P)):
        (await request).refused(400, "INVALID_BLOB")
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "NOT_REGISTERED")
    status = (await ask("GET", path(blob, "status"))).granted()
    assert status == {"invalid": {"event": {"txDigest": "1" * 31 + "8", "eventSeq": "0"}}}


async def test_a_blocked_blob_is_forbidden_to_who_would_have_it(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob, tmp_path: Path
) -> None:
    prepared.keep(blob)
    listed = tmp_path / "blocked"
    listed.write_text(blob_id_text(blob.blob_id))
    block_list = BlockList(listed)
    block_list.read()
    prepared.block_list = block_list
    async with served(create_app(prepared, Budget())) as prepared.address:
        sliver = path(blob, "slivers", prepared.pair(blob, SHARD), "primary")
        for where in (
            path(blob, "metadata"),
            sliver,
            path(blob, "decodingSymbols?targetSlivers=1&targetType=primary"),
            path(blob, "recoverySymbols?targetSliver=1&targetType=primary"),
        ):
            answer = await ask("GET", where)
            answer.refused(451, "FORBIDDEN_BLOB")
            assert answer.body["error"]["status"] == "UNAVAILABLE_FOR_LEGAL_REASONS"
        question = wire.Question(P, [1], [SHARD], [blob.blob_id])
        answer = await ask("POST", "/v1/decodingSymbols", question.to_bcs())
        assert b"FORBIDDEN_BLOB" in answer.body
        # What is stored and confirmed does not change, nor what is told of it.
        (await put(SHARD, P)).granted(200)
        (await ask("GET", path(blob, "confirmation/permanent"))).granted()
        assert (await ask("GET", sliver + "/status")).granted() == "stored"


@pytest.mark.parametrize(
    "where",
    [
        "/v1/blobs/short/metadata",
        f"/v1/blobs/{UNKNOWN}=/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}-/metadata",
        f"/v1/blobs/{UNKNOWN[:-1]}%C3%A4/status",
        f"/v1/blobs/{UNKNOWN}/slivers/-1/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/x/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/%D9%A3/primary",
        f"/v1/blobs/{UNKNOWN}/slivers/1/Primary",
        f"/v1/blobs/{UNKNOWN}/slivers/1/tertiary/status",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/x",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/{2**256}",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/{'9' * 300}",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/0x",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/0x{'0' * 65}",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/0xg1",
        f"/v1/blobs/{UNKNOWN}/confirmation/deletable/0x1_1",
    ],
)
async def test_a_path_that_names_nothing_is_refused(ask: Ask, where: str) -> None:
    (await ask("GET", where)).refused(400, "INVALID_REQUEST")


@pytest.mark.parametrize("pair", [10, 65_535, 65_536, 10**70])
@pytest.mark.parametrize("what", ["", "/status"])
async def test_a_pair_that_no_grid_of_this_network_has_is_out_of_range(
    prepared: OneNode, ask: Ask, blob: EncodedBlob, pair: int, what: str
) -> None:
    for method in ("GET",) if what else ("GET", "PUT"):
        answer = await ask(method, path(blob, "slivers", pair, "primary") + what)
        answer.refused(400, "INDEX_OUT_OF_RANGE")
        assert answer.body["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_pair_twice_in_a_path_exceeds_the_limit(ask: Ask) -> None:
    where = f"/v1/blobs/{UNKNOWN}/slivers/1,2/primary"
    (await ask("GET", where)).refused(400, "SLIVER_COUNT_EXCEEDS_LIMIT")
