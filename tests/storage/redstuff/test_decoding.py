"""Decoding in the blob's own memory, whatever the order in which slivers come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.redstuff import Axis, InconsistentBlob, RedStuff, TooFewShards

CODE = RedStuff(10)
DATA = bytes(range(256)) * 20
BLOB = CODE.encode(DATA)
ORDERS = st.permutations(range(CODE.n_shards)).map(lambda order: order[: CODE.p])


@given(ORDERS)
@settings(max_examples=60, deadline=None)
def test_any_slivers_in_any_order_give_the_blob(order: list[int]) -> None:
    decoding = CODE.decoding(BLOB.metadata)
    for number, index in enumerate(order):
        decoding.add(index, BLOB.sliver(Axis.PRIMARY, index))
        assert decoding.indices == set(order[: number + 1])
    assert decoding.blob() == DATA


@given(st.permutations(range(CODE.n_shards)), st.sampled_from(Axis))
@settings(max_examples=60, deadline=None)
def test_the_given_slivers_are_left_alone(order: list[int], axis: Axis) -> None:
    slivers = {index: bytes(BLOB.sliver(axis, index)) for index in order[: CODE.source_symbols(axis.other)]}
    assert CODE.decode(BLOB.metadata, axis, slivers) == DATA
    assert all(sliver == BLOB.sliver(axis, index) for index, sliver in slivers.items())


def test_too_few_slivers_are_refused() -> None:
    decoding = CODE.decoding(BLOB.metadata)
    decoding.add(0, BLOB.sliver(Axis.PRIMARY, 0))
    with pytest.raises(TooFewShards, match="needed 4 primary slivers to decode, given 1"):
        decoding.blob()


def test_slivers_of_no_blob_are_found_out() -> None:
    roots = list(BLOB.metadata.primary_roots)
    roots[0] = roots[1]
    decoding = CODE.decoding(replace(BLOB.metadata, primary_roots=tuple(roots)))
    for index in range(CODE.n_shards - CODE.p, CODE.n_shards):
        decoding.add(index, BLOB.sliver(Axis.PRIMARY, index))
    with pytest.raises(InconsistentBlob):
        decoding.blob()
