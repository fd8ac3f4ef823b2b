"""Slivers of a large blob that are made together: the right ones, within their memory, and none of them twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.redstuff import Axis, RedStuff, groups
from storage.redstuff.groups import Groups
from storage.redstuff.memory import Bytes

P, S = Axis.PRIMARY, Axis.SECONDARY
SIZES = {P: 10, S: 5}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for eight primary slivers in a group; three are worth a pass."""
    monkeypatch.setattr(groups, "GROUP_BYTES", 80)
    monkeypatch.setattr(groups, "LEAST_GROUP", 3)


class Passes:
    """Makes slivers whose bytes are their indices, and notes which it was asked for."""

    def __init__(self) -> None:
        self.made: list[list[int]] = []
        self.groups = Groups(self._make, SIZES)

    def _make(self, axis: Axis, indices: Sequence[int], out: Sequence[Bytes]) -> None:
        self.made.append(list(indices))
        for index, sliver in zip(indices, out, strict=True):
            assert sliver.shape == (SIZES[axis],)
            sliver[:] = index

    def takes(self, axis: Axis, index: int) -> bool:
        """Whether the sliver comes of a pass."""
        sliver = self.groups.take(axis, index)
        assert sliver is None or bytes(sliver) == bytes([index]) * SIZES[axis]
        return sliver is not None


def test_those_that_are_wanted_next_by_all_nodes_are_made_together() -> None:
    passes = Passes()
    passes.groups.expect(P, range(20, 30))
    passes.groups.expect(P, range(40, 50))
    assert passes.takes(P, 40)
    assert passes.made == [[40, 20, 21, 41, 22, 42, 23, 43]]
    for index in (20, 41, 21, 42, 22, 43, 23):
        assert passes.takes(P, index)
    assert len(passes.made) == 1
    assert passes.takes(P, 24)
    assert passes.made[1:] == [[24, 44, 25, 45, 26, 46, 27, 47]]


def test_each_is_taken_once_and_one_that_nobody_expects_is_made_alone() -> None:
    passes = Passes()
    passes.groups.expect(S, [7, 8, 9])
    assert not passes.takes(S, 6)
    assert not passes.takes(P, 7)
    assert passes.takes(S, 8)
    assert not passes.takes(S, 8)
    assert passes.takes(S, 7) and passes.takes(S, 9)
    assert passes.made == [[8, 7, 9]]


def test_few_are_made_alone() -> None:
    passes = Passes()
    passes.groups.expect(P, [4, 5])
    assert not passes.takes(P, 4)
    passes.groups.expect(P, [6, 7])
    assert passes.takes(P, 5), "three by now"
    assert passes.made == [[5, 6, 7]]


def test_large_ones_are_made_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "GROUP_BYTES", 29)
    passes = Passes()
    passes.groups.expect(P, range(10))
    assert not passes.takes(P, 0)
    assert passes.made == []


def test_those_of_two_passes_are_kept_and_what_was_taken_stays_as_it_was() -> None:
    passes = Passes()
    passes.groups.expect(P, range(40))
    first = passes.groups.take(P, 0)
    assert passes.takes(P, 8), "while seven of the first pass wait to be taken"
    assert passes.takes(P, 1) and passes.takes(P, 9)
    assert passes.takes(P, 16)
    assert passes.made == [list(range(8)), list(range(8, 16)), list(range(16, 24))]
    assert not passes.takes(P, 2), "the third pass has taken its place"
    assert passes.takes(P, 10) and passes.takes(P, 17)
    assert first is not None and bytes(first) == bytes(SIZES[P])


def test_a_pass_that_fails_leaves_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes()
    passes.groups.expect(P, range(9))
    with monkeypatch.context() as patch:
        patch.setattr(passes.groups, "_make", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            passes.groups.take(P, 0)
    assert not any(passes.takes(P, index) for index in range(8))


@pytest.mark.parametrize("length", [1, 999, 5000, 20_001])
@pytest.mark.parametrize("n_shards", [10, 31])
def test_slivers_made_together_are_those_of_an_encoding(
    n_shards: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_BYTES", 10**6)
    monkeypatch.setattr("storage.redstuff.streaming.BAND_BYTES", 3000)
    code, data = RedStuff(n_shards), random.Random(length).randbytes(length)
    expected, blob = code.encode(data), code.encode_large(data)
    order = random.Random(1).sample(range(n_shards), n_shards)
    for axis in Axis:
        blob.expect(axis, order)

    def one(axis: Axis, index: int) -> bytes:
        return b"".join(make() for make in blob.sliver(axis, index).pieces(100))

    with ThreadPoolExecutor(4) as pool:
        for axis in Axis:
            made = list(pool.map(lambda index, axis=axis: one(axis, index), order))
            assert made == [bytes(expected.sliver(axis, index)) for index in order]


def test_a_sliver_gone_on_with_is_the_rest_of_one_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "GROUP_BYTES", 10**6)
    code, data = RedStuff(10), random.Random(1).randbytes(3000)
    blob, sliver = code.encode_large(data), bytes(code.encode(data).sliver(P, 9))
    blob.expect(P, range(10))
    for start in (0, 1, 100, len(sliver) - 1):
        assert b"".join(make() for make in blob.sliver(P, 9).pieces(64, start)) == sliver[start:]


@pytest.mark.parametrize(("n", "size"), [(2, 10), (3, 10), (10, 26), (10, 27), (10, 80)])
def test_memory_of_groups_is_foretold(n: int, size: int) -> None:
    some = Groups(lambda axis, indices, out: None, {P: size, S: 1000})
    some.expect(P, range(n))
    some.expect(S, range(n))
    for index in range(n):
        some.take(P, index)
        some.take(S, index)
    assert groups.most_kept(n, [size, 1000]) == sum(one.nbytes for one in some._memory)
