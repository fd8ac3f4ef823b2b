"""Symbols and findings of inconsistency, which nodes ask of each other over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from committee import bls, messages
from storage.client import wire
from storage.redstuff import (
    Axis,
    BlobMetadata,
    EncodedBlob,
    InconsistencyProof,
    ProvenSymbol,
    RedStuff,
    blob_id_text,
)
from tests.storage.node.places import place_of

if TYPE_CHECKING:
    from storage.client.node_client import NodeClient
    from tests.storage.conftest import Ask, OneNode

P, S = Axis.PRIMARY, Axis.SECONDARY
DOMAIN = bytes(range(32))


def path(blob: EncodedBlob | BlobMetadata, rest: str) -> str:
    return f"/v1/blobs/{blob_id_text(blob.blob_id)}/{rest}"


# symbols


async def test_without_helper_shards_all_that_is_here_helps(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 2))
    status, body = await ask("GET", path(blob, "decodingSymbols?targetSlivers=5,1&targetType=secondary"))
    assert status == 200
    symbols = wire.symbols_from_bcs(body, 100)
    assert symbols.keys() == {node.code.sliver_index(blob.blob_id, shard, P) for shard in (0, 2)}
    for helper, by_target in symbols.items():
        size = node.code.symbol_size(blob.length)
        assert by_target == node.code.recovery_symbols(P, blob.sliver(P, helper), (1, 5), size)


async def test_a_helper_shard_that_is_not_here_is_left_out(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 2))
    query = "decodingSymbols?targetSlivers=5&targetType=primary&helperShards=2,9"
    _, body = await ask("GET", path(blob, query))
    assert wire.symbols_from_bcs(body, 100).keys() == {node.code.sliver_index(blob.blob_id, 2, S)}


async def test_questions_about_several_blobs_have_an_answer_or_a_refusal_each(
    node: OneNode, ask: Ask, blob: EncodedBlob, encode: Callable[[bytes], EncodedBlob]
) -> None:
    other, invalid = encode(b"other" * 900), encode(b"invalid")
    for one in (blob, other, invalid):
        node.keep(one, (0, 2))
    node.register(invalid)
    node.invalidate(invalid)
    await node.view.load()
    asked = [bytes(32), blob.blob_id, invalid.blob_id, other.blob_id, blob.blob_id]
    for axis in Axis:
        question = wire.Question(axis, [5, 1], [2, 9, 0], asked)
        status, body = await ask("POST", "/v1/decodingSymbols", question.to_bcs())
        assert status == 200
        unknown, first, refused, last, again = wire.answers_from_bcs(body, [6] * 5)
        for one, symbols in ((blob, first), (other, last), (blob, again)):
            targets = ",".join(str(node.code.sliver_index(one.blob_id, shard, axis)) for shard in (5, 1))
            query = f"decodingSymbols?targetSlivers={targets}&targetType={axis.label}&helperShards=0,2"
            _, alone = await ask("GET", path(one, query))
            assert symbols == wire.symbols_from_bcs(alone, 4)
        for answer, reason in ((unknown, b"SLIVER_NOT_FOUND"), (refused, b"METADATA_NOT_FOUND")):
            assert isinstance(answer, tuple)
            assert answer[0] == 404
            assert reason in answer[1]


async def test_a_damaged_sliver_is_left_out_of_answers_about_several_blobs(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 2))
    place_of(node.store.folder, blob.blob_id, 2, S).flip()
    question = wire.Question(P, [5], [0, 2], [blob.blob_id])
    _, body = await ask("POST", "/v1/decodingSymbols", question.to_bcs())
    (symbols,) = wire.answers_from_bcs(body, [2])
    assert isinstance(symbols, dict)
    assert symbols.keys() == {node.code.sliver_index(blob.blob_id, 0, S)}
    assert node.store.damaged_count == 1


async def test_more_symbols_than_one_answer_holds_are_refused_before_any_is_read(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(blob, (0, 2))
    t = node.code.symbol_size(blob.length)
    question = wire.Question(P, [5, 6], [0, 2], [blob.blob_id] * 3)
    monkeypatch.setattr(wire, "MAX_SYMBOLS_BYTES", 12 * t)
    assert (await ask("POST", "/v1/decodingSymbols", question.to_bcs())).status == 200
    monkeypatch.setattr(wire, "MAX_SYMBOLS_BYTES", 12 * t - 1)
    monkeypatch.setattr(node.store.bulk, "read", lambda found: 1 // 0)
    (await ask("POST", "/v1/decodingSymbols", question.to_bcs())).refused(400, "SLIVER_COUNT_EXCEEDS_LIMIT")


async def test_slivers_of_many_blobs_that_are_too_much_to_read_at_once_are_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large slivers a question costs much more to answer than the answer has bytes."""
    node.keep(blob, (0, 2))
    question = wire.Question(P, [5], [0, 2], [blob.blob_id])
    read_bytes = 2 * len(blob.sliver(S, 0))
    monkeypatch.setattr("storage.node.http.symbols.MAX_READ_BYTES", read_bytes)
    assert (await ask("POST", "/v1/decodingSymbols", question.to_bcs())).status == 200
    monkeypatch.setattr("storage.node.http.symbols.MAX_READ_BYTES", read_bytes - 1)
    (await ask("POST", "/v1/decodingSymbols", question.to_bcs())).refused(400, "SLIVER_COUNT_EXCEEDS_LIMIT")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"\xff" * 100, 400), (bytes(wire.MAX_QUESTION_BYTES + 1), 413)],
    ids=["empty", "no questions", "too long"],
)
async def test_questions_that_cannot_be_read_are_refused(ask: Ask, body: bytes, status: int) -> None:
    (await ask("POST", "/v1/decodingSymbols", body)).refused(status, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "query", ["decodingSymbols?targetSlivers=5", "recoverySymbols?targetSliver=5&proofAxis=secondary"]
)
async def test_helpers_that_are_not_here_are_not_found(
    node: OneNode, ask: Ask, blob: EncodedBlob, query: str
) -> None:
    node.keep(blob, (0, 2))
    answer = await ask("GET", path(blob, query + "&targetType=primary&helperShards=9"))
    answer.refused(404, "SLIVER_NOT_FOUND")


@pytest.mark.parametrize("query", ["decodingSymbols?targetSlivers=5", "recoverySymbols?targetSliver=5"])
async def test_symbols_of_an_unknown_blob_are_not_found(ask: Ask, blob: EncodedBlob, query: str) -> None:
    (await ask("GET", path(blob, query + "&targetType=primary"))).refused(404, "METADATA_NOT_FOUND")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "targetSlivers=1&targetSliver=1",
        "targetType=primary",
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
    (await ask("GET", path(blob, f"{what}?{query}"))).refused(400, "INVALID_REQUEST")


@pytest.mark.parametrize("what", ["decodingSymbols?targetSlivers", "recoverySymbols?targetSliver"])
async def test_a_target_that_no_grid_of_this_network_has_is_out_of_range(
    node: OneNode, ask: Ask, blob: EncodedBlob, what: str
) -> None:
    node.keep(blob)
    (await ask("GET", path(blob, f"{what}=10&targetType=primary"))).refused(400, "INDEX_OUT_OF_RANGE")


async def test_a_target_named_twice_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    answer = await ask("GET", path(blob, "decodingSymbols?targetSlivers=1,1&targetType=primary"))
    answer.refused(400, "INVALID_REQUEST")


async def test_a_proof_on_the_targets_own_axis_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    query = "recoverySymbols?targetSliver=1&targetType=primary&proofAxis=primary"
    (await ask("GET", path(blob, query))).refused(400, "INVALID_REQUEST")


async def test_more_targets_than_allowed_are_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob)
    targets = ",".join(map(str, range(3 * wire.MAX_TARGETS)))
    answer = await ask("GET", path(blob, f"decodingSymbols?targetSlivers={targets}&targetType=primary"))
    answer.refused(400, "SLIVER_COUNT_EXCEEDS_LIMIT")


async def test_more_symbols_than_an_answer_holds_are_refused(
    node: OneNode, ask: Ask, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(blob, (0, 1))
    monkeypatch.setattr(wire, "MAX_SYMBOLS_BYTES", 2 * 2 * 40)
    two = path(blob, "decodingSymbols?targetType=primary&targetSlivers=1,2")
    assert (await ask("GET", two))[0] == 200
    (await ask("GET", two + ",3")).refused(400, "SLIVER_COUNT_EXCEEDS_LIMIT")


async def test_a_sliver_lost_on_the_disk_is_left_out(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.keep(blob, (0, 2))
    sliver = node.store.sliver
    node.store.sliver = lambda blob_id, shard, axis: (  # type: ignore[method-assign]
        None if shard == 0 else sliver(blob_id, shard, axis)
    )
    _, body = await ask("GET", path(blob, "decodingSymbols?targetSlivers=5&targetType=primary"))
    assert wire.symbols_from_bcs(body, 100).keys() == {node.code.sliver_index(blob.blob_id, 2, S)}


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
    (await ask("POST", path(metadata, f"inconsistencyProof/{axis}"), body)).refused(400, "INVALID_PROOF")


async def test_a_consistent_blob_is_not_called_inconsistent(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    _, proof = badly_encoded(blob)
    node.register(blob)
    node.keep(blob)
    answer = await ask("POST", path(blob, "inconsistencyProof/secondary"), proof.to_bcs())
    assert "consistent" in answer.refused(400, "INVALID_PROOF")


async def test_an_inconsistency_of_an_unregistered_blob_is_not_signed(
    node: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    metadata, proof = badly_encoded(blob)
    node.store.put_metadata(metadata.blob_id, metadata.to_bcs())
    answer = await ask("POST", path(metadata, "inconsistencyProof/secondary"), proof.to_bcs())
    answer.refused(400, "NOT_REGISTERED")


async def test_a_proof_before_the_metadata_is_refused(node: OneNode, ask: Ask, blob: EncodedBlob) -> None:
    node.register(blob)
    answer = await ask("POST", path(blob, "inconsistencyProof/primary"), b"")
    answer.refused(400, "METADATA_NOT_FOUND")
    assert answer.body["error"]["status"] == "FAILED_PRECONDITION"
