"""The store against a dictionary: after any actions both hold the same slivers, with an object store too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.node.store import NewSliver, SliverStore, StoreUnavailable
from storage.redstuff import Axis
from tests.storage.node.places import on_disk, segments_of
from tests.storage.node.store.object_stores import Faulty


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


def small(number: int) -> bytes:
    return bytes([number]) * 10


def large(number: int) -> bytes:
    return bytes([number]) * 5000


_keys = st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(list(Axis)))
_batches = st.lists(st.tuples(_keys, st.integers(0, 255), st.booleans()), max_size=5)
_actions = st.one_of(
    st.tuples(st.just("put"), _batches),
    st.tuples(st.just("drop"), st.integers(0, 2)),
    st.tuples(st.just("drop blob"), st.integers(0, 3)),
    st.tuples(st.just("tidy"), st.none()),
    st.tuples(st.just("reopen"), st.none()),
)


_moves = st.one_of(
    st.tuples(st.just("move"), st.sampled_from([set(), {"write"}, {"length"}, {"read"}, {"remove"}])),
    st.tuples(st.just("lie"), st.none()),
    st.tuples(st.just("send all"), st.none()),
    st.tuples(st.just("fetch all"), st.none()),
)


@pytest.fixture(scope="module")
def small_segments() -> Iterator[None]:
    """Segments that are full with three of the larger slivers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.node.store.segments.SEGMENT_BYTES", 12_000)
        patch.setattr("storage.node.store.moving.BLOCK_BYTES", 7000)
        yield


@settings(max_examples=25, deadline=None)
@given(st.lists(_actions, max_size=8))
def test_the_store_does_as_a_dictionary_does(actions: list[tuple[str, object]]) -> None:
    check(actions, None)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(_actions, _moves), max_size=12))
def test_so_it_does_with_an_object_store_that_fails_and_lies(
    small_segments: None, actions: list[tuple[str, object]]
) -> None:
    check(actions, Faulty())


def move(store: SliverStore, objects: Faulty, action: str, argument: object) -> None:
    """Move segments as an action says."""
    if action == "send all":
        while store.tidy():
            pass
        list(store.moving.send_all())
        assert segments_of(store.folder) == []
    elif action == "fetch all":
        list(store.moving.fetch_all())
        assert objects.there() == []
    else:
        objects.fails = argument if isinstance(argument, set) else set()
        objects.made_of = (lambda content: content[:-1]) if action == "lie" else (lambda content: content)
        try:
            while store.moving.step():
                pass
        except StoreUnavailable:
            assert objects.fails or action == "lie"
        objects.fails, objects.made_of = set(), lambda content: content


def check(actions: list[tuple[str, object]], objects: Faulty | None) -> None:
    model: dict[tuple[int, int, Axis], bytes] = {}
    connect = objects.connect if objects is not None else None
    with tempfile.TemporaryDirectory() as folder, SliverStore(Path(folder), connect) as store:
        for action, argument in actions:
            if action == "put":
                assert isinstance(argument, list)
                offered = [
                    (key, large(fill) if is_large else small(fill)) for key, fill, is_large in argument
                ]
                before = len(model)
                for key, symbols in offered:
                    model.setdefault(key, symbols)
                batch = [NewSliver(blob(b), s, a, symbols) for (b, s, a), symbols in offered]
                assert store.put_slivers(batch) == len(model) - before
            elif objects is not None and action in ("move", "lie", "send all", "fetch all"):
                move(store, objects, action, argument)
            elif action == "tidy":
                store.tidy()
            elif action == "drop blob":
                assert isinstance(argument, int)
                store.drop_blobs([blob(argument)], lambda some: ())
                model = {key: symbols for key, symbols in model.items() if key[0] != argument}
            elif action == "drop":
                assert isinstance(argument, int)
                gone = [key for key in model if key[1] == argument]
                assert store.drop_shard(argument) == len(gone)
                for key in gone:
                    del model[key]
            else:
                store.close()
                store.open()
                assert store.damaged == []
        for b in range(4):
            for s in range(3):
                for a in Axis:
                    assert store.sliver(blob(b), s, a) == model.get((b, s, a))
        assert store.shards() == {s for _, s, _ in model}
        assert store.sliver_count() == len(model)
        assert store.stored_bytes() == sum(map(len, model.values()))
        if objects is not None:
            move(store, objects, "move", set())
            list(store.moving.fetch_all())
        while store.tidy():
            pass
        assert {(one.blob_id, one.shard, one.axis) for one in on_disk(Path(folder))} == {
            (blob(b), s, a) for b, s, a in model
        }
        assert {name.partition("-")[0] for name in segments_of(Path(folder))} == {str(s) for _, s, _ in model}
