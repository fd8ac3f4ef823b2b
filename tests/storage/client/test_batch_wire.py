"""The forms of requests about many blobs, and of their answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee.bcs import uleb128
from storage.client import batch_wire
from storage.client.batch_wire import Confirmable, Head, PairSliver, Upload
from storage.client.bodies import Bytes
from storage.redstuff import Axis, BlobMetadata, InvalidEncoding, RedStuff, SliverData

CODE = RedStuff(10)
IDS = st.binary(min_size=32, max_size=32)
REFUSALS = st.tuples(st.integers(400, 599), st.binary(max_size=300))
SIGNED = st.tuples(st.binary(max_size=104), st.binary(min_size=96, max_size=96))


def upload(data: bytes, pairs: tuple[int, ...] = (0, 3)) -> Upload:
    blob = CODE.encode(data)
    size = CODE.symbol_size(len(data))
    slivers = [
        PairSliver(pair, axis, SliverData(blob.sliver(axis, index), size, index))
        for pair in pairs
        for axis in Axis
        for index in [CODE.sliver_of_pair(pair, axis)]
    ]
    return Upload(blob.metadata, slivers)


def read(body: Bytes) -> list[batch_wire.Part]:
    heads, begin = batch_wire.heads_from_bcs(body, len(body))
    parts = []
    for head in heads:
        parts.append(batch_wire.part_from_bcs(body[begin : begin + head.size_bytes], head.n_slivers))
        begin += head.size_bytes
    return parts


@settings(deadline=None)  # the first example loads the kernels
@given(st.lists(st.binary(max_size=500), min_size=1, max_size=4, unique=True))
def test_uploads_are_read_back_as_they_were_written(contents: list[bytes]) -> None:
    uploads = [upload(data) for data in contents]
    body = batch_wire.uploads_to_bcs(uploads)
    assert len(body) <= sum(one.most_bytes for one in uploads) + 2
    heads, _ = batch_wire.heads_from_bcs(body, len(body))
    assert [one.blob_id for one in heads] == [one.metadata.blob_id for one in uploads]
    for part, sent in zip(read(body), uploads, strict=True):
        assert BlobMetadata.from_bcs(part.metadata) == sent.metadata
        assert [dataclasses.replace(one.sliver, symbols=b"") for one in part.slivers] == [
            dataclasses.replace(one.sliver, symbols=b"") for one in sent.slivers
        ]
        assert [bytes(one.sliver.symbols) for one in part.slivers] == [
            bytes(one.sliver.symbols) for one in sent.slivers
        ]


def test_the_heads_are_read_without_the_parts() -> None:
    uploads = [upload(b"a"), upload(b"b", (1,))]
    body = batch_wire.uploads_to_bcs(uploads)
    beginning = body[: 1 + 2 * batch_wire.HEAD_BYTES]
    heads, begin = batch_wire.heads_from_bcs(beginning, len(body))
    sizes = [len(one.part()) for one in uploads]
    assert heads == [
        Head(one.metadata.blob_id, n_slivers, size)
        for one, n_slivers, size in zip(uploads, (4, 2), sizes, strict=True)
    ]
    assert begin == len(beginning)


def test_an_upload_cut_off_anywhere_is_refused() -> None:
    body = bytes(batch_wire.uploads_to_bcs([upload(b"a", (0,))]))
    for size in range(len(body)):
        with pytest.raises(InvalidEncoding):
            read(body[:size])


def heads(*blob_ids: bytes) -> bytes:
    return uleb128(len(blob_ids)) + b"".join(one + bytes(6) for one in blob_ids)


@pytest.mark.parametrize(
    "body",
    [
        b"\x00",
        heads(bytes(32), bytes(32)),
        heads(*(bytes(31) + bytes((number,)) for number in range(batch_wire.MAX_BLOBS + 1))),
        heads(bytes(32)) + b"\x00",
    ],
    ids=["none", "one blob twice", "one too many", "a byte too many"],
)
def test_heads_that_cannot_be_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        batch_wire.heads_from_bcs(body, len(body))


def test_a_part_of_other_slivers_than_its_head_tells_is_refused() -> None:
    part = upload(b"a").part()
    for n_slivers in (0, 3, 5, 2001):
        with pytest.raises(InvalidEncoding):
            batch_wire.part_from_bcs(part, n_slivers)


def test_a_sliver_of_a_third_axis_is_refused() -> None:
    part = bytearray(upload(b"a", (0,)).part())
    axis = len(uleb128(len(upload(b"a").metadata.to_bcs()))) + len(upload(b"a").metadata.to_bcs()) + 2
    assert part[axis] == 0
    part[axis] = 2
    with pytest.raises(InvalidEncoding, match="axis 2"):
        batch_wire.part_from_bcs(bytes(part), 2)


@settings(deadline=None)
@given(st.dictionaries(IDS, st.none() | st.integers(0, 2**256 - 1), min_size=1, max_size=64))
def test_requests_for_confirmations_are_read_back(objects: dict[bytes, int | None]) -> None:
    asked = [Confirmable(*one) for one in objects.items()]
    body = batch_wire.confirmations_to_bcs(asked)
    assert len(body) <= batch_wire.MAX_CONFIRMATIONS_BYTES
    assert batch_wire.confirmations_from_bcs(body) == asked
    with pytest.raises(InvalidEncoding):
        batch_wire.confirmations_from_bcs(body[:-1])


@pytest.mark.parametrize(
    "body",
    [b"\x00", b"\x01" + bytes(32) + b"\x02", b"\x02" + 2 * bytes(33), b"\x41" + bytes(65 * 33)],
    ids=["none", "of a third kind", "one blob twice", "one too many"],
)
def test_requests_for_confirmations_that_cannot_be_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        batch_wire.confirmations_from_bcs(body)


@settings(deadline=None)
@given(st.lists(st.none() | REFUSALS, max_size=5), st.lists(SIGNED | REFUSALS, max_size=5))
def test_outcomes_are_read_back(
    stored: list[tuple[int, bytes] | None], signed: list[tuple[bytes, bytes] | tuple[int, bytes]]
) -> None:
    assert batch_wire.stored_from_bcs(batch_wire.outcomes_to_bcs(stored), len(stored)) == stored
    assert batch_wire.signed_from_bcs(batch_wire.outcomes_to_bcs(signed), len(signed)) == signed


@pytest.mark.parametrize("from_bcs", [batch_wire.stored_from_bcs, batch_wire.signed_from_bcs])
@pytest.mark.parametrize("answer", [b"", b"\x02", b"\x01\x90\x01\x05abc", b"\x00" * 200])
def test_outcomes_that_cannot_be_are_refused(from_bcs: Callable[..., object], answer: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        from_bcs(answer, 1)
