"""Slivers of many blobs verified together, and metadata read by single roots: the same as one by one."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.redstuff import (
    Axis,
    BlobMetadata,
    EncodedBlob,
    InvalidEncoding,
    RedStuff,
    RedStuffError,
    RootMismatch,
    SingleRoot,
    SliverRoots,
    WrongSize,
    many,
)
from storage.redstuff.metadata import EncodedMetadata

CODES = {n: RedStuff(n) for n in (4, 7, 10, 100)}


@cache
def example(n: int, number: int) -> EncodedBlob:
    generator = random.Random(number)
    return CODES[n].encode(generator.randbytes(generator.choice((0, 1, 500, 5000))))


def verified_alone(
    code: RedStuff, axis: Axis, sliver: tuple[SliverRoots, int, bytes]
) -> type[RedStuffError] | None:
    try:
        code.verify_sliver(sliver[0], axis, sliver[1], sliver[2])
    except RedStuffError as error:
        return type(error)
    return None


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(CODES)), st.sampled_from(list(Axis)), st.integers(1, 300))
def test_slivers_together_are_judged_as_each_alone(
    draw: st.DataObject, n: int, axis: Axis, copied_bytes: int
) -> None:
    code, slivers = CODES[n], []
    for number in draw.draw(st.lists(st.integers(0, 9), max_size=20)):
        blob, index = example(n, number), draw.draw(st.integers(0, n - 1))
        symbols = bytearray(blob.sliver(axis, index))
        match draw.draw(st.sampled_from(("right", "right", "flipped", "cut", "elsewhere", "no index"))):
            case "flipped":
                symbols[draw.draw(st.integers(0, len(symbols) - 1))] ^= 1
            case "cut":
                del symbols[-1]
            case "elsewhere":
                index = (index + 1) % n
            case "no index":
                index = n
        slivers.append((blob.metadata, index, bytes(symbols)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "COPIED_BYTES", copied_bytes)
        together = code.verify_slivers(axis, slivers)
    assert [None if one is None else type(one) for one in together] == [
        verified_alone(code, axis, one) for one in slivers
    ]


@settings(deadline=None)
@given(st.sampled_from(sorted(CODES)), st.integers(0, 9), st.data())
def test_metadata_read_by_single_roots_are_the_metadata(n: int, number: int, draw: st.DataObject) -> None:
    blob = example(n, number)
    bcs = blob.metadata.to_bcs()
    assert len(bcs) == CODES[n].metadata_size
    read = CODES[n].read_metadata(bcs, blob.blob_id)
    assert isinstance(read, EncodedMetadata)
    assert (read.length, read.n_shards) == (blob.length, n)
    for axis in Axis:
        for index in range(n):
            assert read.sliver_root(axis, index) == blob.metadata.sliver_root(axis, index)
    with pytest.raises(IndexError):
        read.sliver_root(Axis.SECONDARY, n)
    changed = bytearray(bcs)
    changed[draw.draw(st.integers(0, len(bcs) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises((InvalidEncoding, WrongSize)):
        CODES[n].read_metadata(bytes(changed), blob.blob_id)


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(CODES)))
def test_metadata_read_together_are_judged_as_each_alone(draw: st.DataObject, n: int) -> None:
    wanted, expected = [], list[type]()
    for number in draw.draw(st.lists(st.integers(0, 9), max_size=10)):
        metadata = example(n, number).metadata
        blob_id = metadata.blob_id
        match draw.draw(st.sampled_from(("right", "right", "zeros", "another", "of other shards", "none"))):
            case "zeros":
                metadata = replace(metadata, primary_roots=(bytes(32), *metadata.primary_roots[1:]))
                blob_id = metadata.blob_id
            case "another":
                metadata = replace(metadata, length=metadata.length + 1)
            case "of other shards":
                metadata = example(4 if n != 4 else 7, number).metadata
                blob_id = metadata.blob_id
            case "none":
                blob_id = bytes(32)
        wanted.append((metadata.to_bcs(), blob_id, draw.draw(st.booleans())))
        try:
            expected.append(type(CODES[n].read_metadata(*wanted[-1][:2], is_checked=wanted[-1][2])))
        except RedStuffError as error:
            expected.append(type(error))
    assert [type(one) for one in CODES[n].read_each(wanted)] == expected


def test_metadata_with_a_node_of_zeros_are_read_too() -> None:
    blob = example(10, 1)
    roots = (bytes(32), *blob.metadata.secondary_roots[1:])
    metadata = replace(blob.metadata, secondary_roots=roots)
    read = CODES[10].read_metadata(metadata.to_bcs(), metadata.blob_id)
    assert read == metadata
    with pytest.raises(InvalidEncoding, match="another blob"):
        CODES[10].read_metadata(metadata.to_bcs(), blob.blob_id)


@given(st.sampled_from(sorted(CODES)), st.integers(0, 9), st.sampled_from(list(Axis)), st.data())
@settings(deadline=None)
def test_a_sliver_is_verified_against_its_single_root(
    n: int, number: int, axis: Axis, draw: st.DataObject
) -> None:
    blob, code, index = example(n, number), CODES[n], draw.draw(st.integers(0, n - 1))
    metadata = code.read_metadata(blob.metadata.to_bcs(), blob.blob_id)
    root = SingleRoot.of(metadata, axis, index)
    assert root.root == blob.metadata.sliver_root(axis, index)
    right = bytes(blob.sliver(axis, index))
    flipped = bytes([right[0] ^ 1]) + right[1:]
    wrong = code.verify_slivers(
        axis, [(root, index, right), (root, index, flipped), (root, index, right[1:])]
    )
    assert [type(one) for one in wrong] == [type(None), RootMismatch, WrongSize]
    for other, place in ((axis.other, index), (axis, (index + 1) % n)):
        with pytest.raises(IndexError):
            root.sliver_root(other, place)


def test_metadata_for_other_shards_are_refused() -> None:
    blob = example(7, 1)
    with pytest.raises(WrongSize, match="7 sliver pairs, for 10 shards"):
        CODES[10].read_metadata(blob.metadata.to_bcs(), blob.blob_id)


def test_metadata_that_were_checked_are_not_hashed_again() -> None:
    blob = example(10, 2)
    lie = BlobMetadata(blob.length + 1, blob.metadata.primary_roots, blob.metadata.secondary_roots)
    read = CODES[10].read_metadata(lie.to_bcs(), blob.blob_id, is_checked=True)
    assert read.length == blob.length + 1


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(CODES)), st.sampled_from(list(Axis)), st.booleans())
def test_symbols_of_many_slivers_are_those_of_each_alone(
    draw: st.DataObject, n: int, axis: Axis, is_large: bool
) -> None:
    code, wanted = CODES[n], draw.draw(st.integers(1, 3))
    slivers, targets = [], []
    blob = example(n, draw.draw(st.integers(0, 9)))
    t = code.symbol_size(blob.length)
    for _ in range(draw.draw(st.integers(0, 5))):
        slivers.append(blob.sliver(axis, draw.draw(st.integers(0, n - 1))))
        targets.append(draw.draw(st.lists(st.integers(0, n - 1), min_size=wanted, max_size=wanted)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "SINGLE_BYTES", 0 if is_large else 2**16)
        made = code.crossing_symbols(axis, slivers, targets, t)
    assert made.shape == (len(slivers), wanted if slivers else 0, t)
    for sliver, some, symbols in zip(slivers, targets, made, strict=True):
        apart = [code.recovery_symbols(axis, sliver, [target], t)[target] for target in some]
        assert [one.tobytes() for one in symbols] == apart


def test_symbols_that_there_are_not_are_refused() -> None:
    blob = example(10, 3)
    sliver, t = blob.sliver(Axis.PRIMARY, 0), CODES[10].symbol_size(blob.length)
    for target in (-1, 10):
        with pytest.raises(WrongSize):
            CODES[10].crossing_symbols(Axis.PRIMARY, [sliver], [[target]], t)
    with pytest.raises(WrongSize):
        CODES[10].crossing_symbols(Axis.PRIMARY, [sliver[:-1]], [[0]], t)


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(CODES)), st.sampled_from(list(Axis)))
def test_slivers_recovered_together_are_those_of_each_alone(draw: st.DataObject, n: int, axis: Axis) -> None:
    code, wanted = CODES[n], []
    number = draw.draw(st.integers(0, 9))
    for _ in range(draw.draw(st.integers(0, 5))):
        blob = example(n, number)
        target = draw.draw(st.integers(0, n - 1))
        count = code.source_symbols(axis) - draw.draw(st.sampled_from((0, 0, 0, 1)))
        helpers = draw.draw(st.permutations(range(n)))[:count]
        t = code.symbol_size(blob.length)
        symbols = {
            one: bytes(code.recovery_symbols(axis.other, blob.sliver(axis.other, one), [target], t)[target])
            for one in helpers
        }
        if draw.draw(st.sampled_from((False, False, True))):
            liar = draw.draw(st.sampled_from(helpers))
            symbols[liar] = bytes([symbols[liar][0] ^ 1]) + symbols[liar][1:]
        wanted.append((blob.metadata, target, symbols))
    together = code.recover_each(axis, wanted)
    for (metadata, target, symbols), made in zip(wanted, together, strict=True):
        try:
            assert made == code.recover(metadata, axis, target, symbols)
        except RedStuffError as error:
            assert type(made) is type(error)


def test_small_blobs_are_those_that_are_cheaper_together() -> None:
    assert RedStuff(1000).is_small(1000)
    assert not RedStuff(1000).is_small(100 * 2**20)
    assert RedStuff(10).is_small(7000)
    assert not RedStuff(10).is_small(8000)
