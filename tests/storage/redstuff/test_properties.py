"""What holds of every blob: any slivers decode, crossings agree, slivers can be rebuilt, lies are found."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.redstuff import (
    Axis,
    BlobMetadata,
    EncodedBlob,
    InconsistencyProof,
    InconsistentBlob,
    InvalidEncoding,
    InvalidProof,
    MerkleProof,
    Parameters,
    RedStuff,
    RootMismatch,
    SliverData,
    TooFewShards,
    TooLarge,
    WrongSize,
)

AXES = st.sampled_from(list(Axis))
SHARDS = st.sampled_from([4, 5, 6, 7, 10, 13, 31, 64, 100])


@cache
def example(n: int, size: int = 3001) -> tuple[RedStuff, bytes, EncodedBlob]:
    data = random.Random(n).randbytes(size)
    code = RedStuff(n)
    return code, data, code.encode(data)


def choose(draw: st.DataObject, n: int, count: int) -> list[int]:
    return draw.draw(st.permutations(range(n)))[:count]


def flipped(symbols: bytes | memoryview, draw: st.DataObject) -> bytes:
    changed = bytearray(symbols)
    bit = draw.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def helpers_symbols(
    code: RedStuff, blob: EncodedBlob, axis: Axis, target: int, helpers: list[int]
) -> dict[int, bytes]:
    return {index: crossing(code, blob, axis.other, index, target) for index in helpers}


def crossing(code: RedStuff, blob: EncodedBlob, axis: Axis, index: int, target: int) -> bytes:
    """The symbol of one sliver at its crossing with sliver `target` of the other axis."""
    t = code.symbol_size(blob.length)
    return bytes(code.recovery_symbols(axis, blob.sliver(axis, index), [target], t)[target])


@given(SHARDS, AXES, st.integers(0, 3000), st.sampled_from(["skip", "default", "strict"]), st.data())
@settings(max_examples=60, deadline=None)
def test_any_slivers_decode(n: int, axis: Axis, size: int, check: str, draw: st.DataObject) -> None:
    code = RedStuff(n)
    data = example(n)[1][:size]
    blob = code.encode(data)
    slivers = {index: blob.sliver(axis, index) for index in choose(draw, n, code.source_symbols(axis.other))}
    assert code.decode(blob.metadata, axis, slivers, check) == data  # type: ignore[arg-type]


@given(SHARDS, st.data())
@settings(max_examples=40, deadline=None)
def test_row_and_column_agree_where_they_cross(n: int, draw: st.DataObject) -> None:
    code, _, blob = example(n)
    row, column = draw.draw(st.integers(0, n - 1)), draw.draw(st.integers(0, n - 1))
    of_row = crossing(code, blob, Axis.PRIMARY, row, column)
    assert of_row == crossing(code, blob, Axis.SECONDARY, column, row)


@given(SHARDS, AXES, st.data())
@settings(max_examples=60, deadline=None)
def test_any_helpers_rebuild_any_sliver(n: int, axis: Axis, draw: st.DataObject) -> None:
    code, _, blob = example(n)
    target = draw.draw(st.integers(0, n - 1))
    symbols = helpers_symbols(code, blob, axis, target, choose(draw, n, code.source_symbols(axis)))
    assert code.recover(blob.metadata, axis, target, symbols) == blob.sliver(axis, target)


@given(SHARDS, AXES, st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_a_sliver_is_found_and_named(n: int, axis: Axis, draw: st.DataObject) -> None:
    code, _, blob = example(n)
    chosen = choose(draw, n, code.source_symbols(axis.other))
    slivers: dict[int, bytes | memoryview] = {index: blob.sliver(axis, index) for index in chosen}
    bad = draw.draw(st.sampled_from(chosen))
    slivers[bad] = flipped(slivers[bad], draw)
    with pytest.raises(RootMismatch) as found:
        code.verify_sliver(blob.metadata, axis, bad, slivers[bad])
    assert found.value.indices == (bad,)
    check = draw.draw(st.sampled_from(["default", "strict"]))
    with pytest.raises(RootMismatch, match=axis.label) as blamed:
        code.decode(blob.metadata, axis, slivers, check)  # type: ignore[arg-type]
    assert blamed.value.indices == (bad,)


@pytest.mark.parametrize("check", ["default", "strict"])
def test_a_bit_flipped_in_what_pads_the_blob_is_found_and_named(check: Literal["default", "strict"]) -> None:
    code, _, blob = example(100)
    slivers = {index: bytes(blob.sliver(Axis.PRIMARY, index)) for index in range(code.p)}
    slivers[code.p - 1] = slivers[code.p - 1][:-1] + b"\x01"
    with pytest.raises(RootMismatch) as found:
        code.decode(blob.metadata, Axis.PRIMARY, slivers, check)
    assert found.value.indices == (code.p - 1,)


@given(SHARDS, AXES, st.data())
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_in_a_symbol_is_found(n: int, axis: Axis, draw: st.DataObject) -> None:
    code, _, blob = example(n)
    target = draw.draw(st.integers(0, n - 1))
    symbols = helpers_symbols(code, blob, axis, target, choose(draw, n, code.source_symbols(axis)))
    bad = draw.draw(st.sampled_from(sorted(symbols)))
    symbols[bad] = flipped(symbols[bad], draw)
    with pytest.raises(RootMismatch) as found:
        code.recover(blob.metadata, axis, target, symbols)
    assert found.value.indices == (target,)


@given(SHARDS, AXES, st.data())
@settings(max_examples=40, deadline=None)
def test_a_proven_symbol_holds_and_a_changed_one_does_not(n: int, axis: Axis, draw: st.DataObject) -> None:
    # No padding: two symbols of zeros side by side have each other's proofs.
    code, data, blob = example(n, 16 * Parameters(n).p * Parameters(n).s)
    index, target = draw.draw(st.integers(0, n - 1)), draw.draw(st.integers(0, n - 1))
    root = blob.metadata.sliver_root(axis, index)
    symbol, proof = code.prove_symbol(axis, blob.sliver(axis, index), target, code.symbol_size(len(data)))
    proof.verify(root, symbol, target, n)
    with pytest.raises(InvalidProof):
        proof.verify(root, flipped(symbol, draw), target, n)
    with pytest.raises(InvalidProof):
        proof.verify(root, symbol, target ^ 1, n)
    with pytest.raises(InvalidProof):
        MerkleProof(proof.siblings[:-1]).verify(root, symbol, target, n)


def lie(n: int, axis: Axis) -> tuple[RedStuff, EncodedBlob, BlobMetadata, int]:
    """A blob whose writer gave a wrong root for one sliver, on purpose."""
    code, _, blob = example(n)
    roots = {
        one: list(blob.metadata.primary_roots if one is Axis.PRIMARY else blob.metadata.secondary_roots)
        for one in Axis
    }
    roots[axis][0] = bytes(32)
    metadata = BlobMetadata(blob.length, tuple(roots[Axis.PRIMARY]), tuple(roots[Axis.SECONDARY]))
    return code, blob, metadata, 0


def prove(code: RedStuff, blob: EncodedBlob, axis: Axis, target: int) -> dict[int, tuple[bytes, MerkleProof]]:
    size = code.symbol_size(blob.length)
    return {
        index: code.prove_symbol(axis.other, blob.sliver(axis.other, index), target, size)
        for index in range(code.n_shards - code.source_symbols(axis), code.n_shards)
    }


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("n", [4, 7, 31])
def test_a_writers_lie_is_proven(n: int, axis: Axis) -> None:
    code, blob, metadata, target = lie(n, axis)
    proof = code.inconsistency_proof(metadata, axis, target, prove(code, blob, axis, target))
    again = InconsistencyProof.from_bcs(axis, proof.to_bcs())
    assert again == proof
    code.verify_inconsistency_proof(metadata, again)


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("n", [4, 7, 31])
def test_a_false_inconsistency_proof_against_a_good_blob_is_refused(n: int, axis: Axis) -> None:
    code, _, blob = example(n)
    proven = prove(code, blob, axis, 2)
    with pytest.raises(InvalidProof, match="consistent"):
        code.inconsistency_proof(blob.metadata, axis, 2, proven)
    helper = min(proven)
    changed = bytes([proven[helper][0][0] ^ 1]) + proven[helper][0][1:]
    with pytest.raises(InvalidProof, match="another root"):
        code.inconsistency_proof(blob.metadata, axis, 2, proven | {helper: (changed, proven[helper][1])})
    missing = {index: one for index, one in proven.items() if index != helper}
    with pytest.raises(InvalidProof, match="needed"):
        code.inconsistency_proof(blob.metadata, axis, 2, missing)


def test_an_inconsistency_proof_refuses_a_symbol_given_twice() -> None:
    code, blob, metadata, target = lie(7, Axis.PRIMARY)
    proof = code.inconsistency_proof(metadata, Axis.PRIMARY, target, prove(code, blob, Axis.PRIMARY, target))
    doubled = replace(proof, symbols=(*proof.symbols[:-1], proof.symbols[0]))
    with pytest.raises(InvalidProof, match="twice"):
        code.verify_inconsistency_proof(metadata, doubled)


def test_decode_names_the_writer_when_all_slivers_are_right() -> None:
    code, blob, metadata, _ = lie(7, Axis.PRIMARY)
    slivers = {index: blob.sliver(Axis.SECONDARY, index) for index in range(code.s)}
    with pytest.raises(InconsistentBlob):
        code.decode(metadata, Axis.SECONDARY, slivers)


def test_wrong_counts_and_sizes_are_refused() -> None:
    code, _, blob = example(7)
    metadata, slivers = blob.metadata, {index: blob.sliver(Axis.PRIMARY, index) for index in range(3)}
    with pytest.raises(TooFewShards, match="needed 3"):
        code.decode(metadata, Axis.PRIMARY, {0: slivers[0], 1: slivers[1]})
    with pytest.raises(WrongSize, match="sliver 1"):
        code.decode(metadata, Axis.PRIMARY, slivers | {1: slivers[1][:-1]})
    with pytest.raises(WrongSize, match="there are 7"):
        code.decode(metadata, Axis.PRIMARY, {0: slivers[0], 1: slivers[1], 7: slivers[2]})
    with pytest.raises(WrongSize, match="7 sliver pairs"):
        RedStuff(10).verify_sliver(metadata, Axis.PRIMARY, 0, slivers[0])
    symbols = helpers_symbols(code, blob, Axis.SECONDARY, 1, [0, 1, 2])
    with pytest.raises(TooFewShards, match="needed 3"):
        code.recover(metadata, Axis.SECONDARY, 1, {0: symbols[0]})
    with pytest.raises(WrongSize, match="symbols of"):
        code.recover(metadata, Axis.SECONDARY, 1, symbols | {1: symbols[1] + b"\0\0"})
    with pytest.raises(WrongSize, match="there are 7"):
        code.recover(metadata, Axis.SECONDARY, 7, symbols)
    with pytest.raises(WrongSize):
        code.recovery_symbols(Axis.PRIMARY, b"1234567", [0], 2)


@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_blob_too_large_is_refused(n: int) -> None:
    with pytest.raises(TooLarge, match="at most"):
        RedStuff(n).encode(bytes(RedStuff(n).max_blob_bytes + 1))


@pytest.mark.parametrize(
    "content", ["text", None, 7, ["list"], io.StringIO("text")], ids=lambda one: type(one).__name__
)
def test_what_is_no_content_is_told(content: Any) -> None:
    with pytest.raises(TypeError, match="the content of a blob is bytes, not"):
        RedStuff(10).encode(content)


def test_fewer_than_four_shards_are_refused() -> None:
    with pytest.raises(TooFewShards):
        RedStuff(3)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_read_or_refused(encoded: bytes) -> None:
    for read in (
        BlobMetadata.from_bcs,
        SliverData.from_bcs,
        lambda one: InconsistencyProof.from_bcs(Axis.PRIMARY, one),
    ):
        with suppress(InvalidEncoding):
            assert read(encoded).to_bcs() == encoded
