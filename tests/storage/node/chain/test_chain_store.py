"""What a node saves of the chain: whole or not at all, and never another deployment's."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.ledger import BlobRecord, BlockMark, EpochState, Parameters
from committee.ledger.follower import MARKS_KEPT
from committee.membership import Committee, Member
from storage.node.chain import rows, summaries
from storage.node.chain.changes import BlobObject, Change
from storage.node.chain.conditions import over_in
from storage.node.chain.saved import Saved
from storage.node.chain.store import FILE, ChainStore
from storage.node.chain.summaries import Registered, Summary
from storage.node.sqlite import StoreError
from storage.redstuff import BlobId
from tests.storage.node.chain.kept import DOMAIN, Kept, kept, objects_in, put

A, B = bytes([1]) * 32, bytes([2]) * 32
COMMITTEE = Committee(
    2, 4, (Member(1, "a", "http://a:1", bytes(48), (0, 3)), Member(2, "b", "http://b:1", bytes(48), (2, 1)))
)


def mark(number: int) -> BlockMark:
    return BlockMark(number, number.to_bytes(32, "big"))


GONE = Member(12, "c", "http://c:1", bytes(48), (2,))
STATE = EpochState(
    *(mark(9), 2, 1, 1, 100, mark(7), False, 50, 40, None, COMMITTEE, None, {2: GONE}, 60, True, 55),
    salt_seed=bytes(range(32)),
)
RECORD = BlobRecord(1, A, 10, "0x1", 1, None, 3, True)
PARAMETERS = Parameters(10, 600, 60, 30, 500, DOMAIN)
OBJECT = BlobObject(RECORD)
FIRST = Change((mark(9),), {1: OBJECT}, {7: 1}, STATE)
SAVED = Kept(Saved((mark(9),), {7: 1}, STATE, None, False, True), (OBJECT,))


def save(folder: Path, *changes: Change) -> None:
    with contextlib.closing(ChainStore(folder)) as store:
        store.open(DOMAIN)
        put(store, *changes)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    save(tmp_path, FIRST)
    assert kept(tmp_path) == SAVED


def test_a_step_changes_only_what_it_names(tmp_path: Path) -> None:
    certified = BlobObject(dataclasses.replace(RECORD, certified_epoch=2), certified_block=10)
    gone = BlobRecord(2**255, B, 2**64 - 1, "0x2", 2, None, 4, False, deleted=True, invalid=True)
    another = BlobObject(gone, deleted_block=11, invalid_block=10)
    save(tmp_path, FIRST, Change((mark(10), mark(11)), {1: certified, 2**255: another}, {8: 2}))
    marks = (mark(9), mark(10), mark(11))
    assert kept(tmp_path) == Kept(Saved(marks, {7: 1, 8: 2}, STATE, None, False, True), (certified, another))


def test_whether_it_was_confirmed_is_kept_and_whether_the_state_is_owed(tmp_path: Path) -> None:
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, dataclasses.replace(FIRST, is_confirmed=False), owes_state=True)
    found = kept(tmp_path)
    assert found is not None
    assert (found.saved.is_confirmed, found.saved.owes_state) == (False, True)


def test_another_table_takes_the_place_of_all_that_there_was(tmp_path: Path) -> None:
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, FIRST)
        other = BlobObject(dataclasses.replace(RECORD, object_id=5, blob_id=B))
        with store.writing() as writing:
            writing.put_objects(1, [other])
        assert store.of(B) == []
        store.use_table(
            1, lambda rows: store.write(rows, 1, Change((mark(10),), state=STATE), owes_state=False)
        )
        assert (store.of(A), store.of(B)) == ([], [other])
        with store.writing() as writing:
            writing.clear(0)
    found = kept(tmp_path)
    assert found is not None and found.objects == (other,)


def test_only_the_newest_marks_are_kept(tmp_path: Path) -> None:
    save(tmp_path, FIRST, *(Change((mark(number),)) for number in range(10, 300)))
    found = kept(tmp_path)
    assert found is not None
    assert found.saved.marks == tuple(mark(number) for number in range(300 - MARKS_KEPT, 300))


def test_a_change_that_fails_half_way_leaves_everything_as_it_was(tmp_path: Path) -> None:
    deleted = BlobObject(dataclasses.replace(RECORD, deleted=True), deleted_block=10)
    broken = Change((mark(10), cast(BlockMark, None)), {1: deleted})
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, FIRST)
        with pytest.raises(AttributeError):
            put(store, broken)
    assert kept(tmp_path) == SAVED


def test_objects_that_are_over_are_removed_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.chain.store.REMOVED_AT_ONCE", 2)
    records = [dataclasses.replace(RECORD, object_id=number, end_period=number) for number in range(8)]
    objects = {one.object_id: BlobObject(one) for one in records}
    kinds = {
        5: (None, 8),
        6: (4, 8),
        7: (6, 8),
    }  # deleted without a certificate, in the epoch, and certified in it too
    for number, (certified_block, deleted_block) in kinds.items():
        objects[number] = BlobObject(records[number], certified_block, deleted_block)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, Change((mark(9),), objects, {}, STATE))
        store.look_for_what_is_over()
        steps = 1
        while store.tidy(over_in(2, 5)):
            steps += 1
        assert [one.record.object_id for one in objects_in(store)] == [3, 4, 6]
    assert steps >= rows.BUCKETS
    found = kept(tmp_path)
    assert found is not None and len(found.objects) == 3


def test_another_deployments_file_is_made_anew(tmp_path: Path) -> None:
    save(tmp_path, FIRST)
    assert kept(tmp_path, bytes(32)) is None
    assert kept(tmp_path) is None


@pytest.mark.parametrize("damage", ["noise", "text", "state", "marks"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    save(tmp_path, FIRST)
    path = tmp_path / FILE
    match damage:
        case "noise":
            path.write_bytes(bytes(range(256)) * 64)
        case "text":
            path.write_text("no database")
        case _:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                statement = "UPDATE note SET value = '{}' WHERE name = 'state'"
                connection.execute(statement if damage == "state" else "DELETE FROM mark")
    assert kept(tmp_path) is None
    save(tmp_path, FIRST)
    assert kept(tmp_path) == SAVED


STEP = Change(
    (mark(10), mark(11)), {1: BlobObject(dataclasses.replace(RECORD, deleted=True), None, 10)}, {8: 2}
)


def test_a_bit_that_changed_anywhere_makes_the_file_anew(tmp_path: Path) -> None:
    """Also one within a row, by which a blob would be another's, deleted, or to be kept for ever."""
    save(tmp_path, dataclasses.replace(FIRST, parameters=PARAMETERS), STEP)
    right, content = kept(tmp_path), (tmp_path / FILE).read_bytes()
    chance, found_anew = random.Random(1), 0
    used = [place for place, byte in enumerate(content) if byte]
    for place in chance.sample(used, 150):
        for name in (f"{FILE}-wal", f"{FILE}-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        (tmp_path / FILE).write_bytes(changed)
        found = kept(tmp_path)
        assert found in (None, right), place
        found_anew += found is None
    assert found_anew > 100


def test_pages_of_two_times_make_the_file_anew(tmp_path: Path) -> None:
    """As when the log is lost of which a part had come into the file: a checkpoint without its events."""
    save(tmp_path, FIRST)
    old = (tmp_path / FILE).read_bytes()
    save(tmp_path, STEP)
    new = (tmp_path / FILE).read_bytes()
    assert len(old) == len(new)
    pages = range(0, len(old), 4096)
    changed = [place for place in pages if old[place : place + 4096] != new[place : place + 4096]]
    assert len(changed) > 3
    states = []
    for content in (old, new):
        (tmp_path / FILE).write_bytes(content)
        states.append(kept(tmp_path))
    for newer in range(1, 2 ** len(changed) - 1):
        mixed = bytearray(old)
        for number, place in enumerate(changed):
            if newer >> number & 1:
                mixed[place : place + 4096] = new[place : place + 4096]
        (tmp_path / FILE).write_bytes(mixed)
        assert kept(tmp_path) in (None, *states), newer


@pytest.mark.parametrize("name", ["state", "parameters"])
@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 10**6,
        b'{"a":' * 10**6,
        b"NaN",
        b'{"n_shards": 1e9, "domain": ""}',
        7,
    ],
)
def test_a_note_that_cannot_be_read_is_made_anew(tmp_path: Path, name: str, note: bytes | int) -> None:
    save(tmp_path, dataclasses.replace(FIRST, parameters=PARAMETERS))
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("UPDATE note SET value = ? WHERE name = ?", (note, name))
    assert kept(tmp_path) is None
    save(tmp_path, FIRST)
    assert kept(tmp_path) == SAVED


def test_parameters_and_the_nodes_id_are_kept(tmp_path: Path) -> None:
    key, another = bytes([3]) * 48, bytes([4]) * 48
    with contextlib.closing(ChainStore(tmp_path)) as store:
        assert store.node_id(DOMAIN, key) is None
        store.open(DOMAIN)
        put(store, dataclasses.replace(FIRST, parameters=PARAMETERS))
        store.save_node_id(12, key)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        assert store.node_id(DOMAIN, key) == 12
        assert store.node_id(DOMAIN, another) is None
        assert store.node_id(bytes(32), key) is None
        change = store.open(DOMAIN)
    assert change is not None and change.parameters == PARAMETERS
    (tmp_path / FILE).write_bytes(b"no database")
    with contextlib.closing(ChainStore(tmp_path)) as store:
        assert store.node_id(DOMAIN, key) is None


def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not open"):
        put(ChainStore(tmp_path), FIRST)


def test_a_blob_is_read_once_between_two_writes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, really = list[bytes](), Summary.read

    def counted(connection: sqlite3.Connection, table: str, blob_id: bytes) -> Summary:
        read.append(blob_id)
        return really(connection, table, blob_id)

    monkeypatch.setattr(Summary, "read", counted)
    monkeypatch.setattr("storage.node.chain.summaries.KEPT", 2)
    certified = BlobObject(dataclasses.replace(RECORD, certified_epoch=2), certified_block=10)
    other = BlobObject(dataclasses.replace(RECORD, object_id=2, blob_id=B))
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, FIRST)
        assert [store.summary(A), store.summary(A)] == [Summary.of([OBJECT])] * 2
        assert read == [A]
        put(store, Change((mark(10),), {2: other}, {7: 1}, STATE))
        assert (store.summary(A), store.summary(B)) == (Summary.of([OBJECT]), Summary.of([other]))
        assert read == [A, B], "nothing of the first blob was written"
        put(store, Change((mark(11),), {1: certified}, {7: 1}, STATE))
        assert (store.summary(A), store.summary(B)) == (Summary.of([certified]), Summary.of([other]))
        assert read == [A, B, A]
        assert store.summary(bytes(32)) == Summary.of([])
        assert store.summary(A) == Summary.of([certified])
        assert read == [A, B, A, bytes(32), A], "no more blobs than may be are kept"


def test_what_is_costly_to_read_is_kept_however_many_blobs_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may name thousands; of a blob of 100 000 objects a reading takes a tenth of a second."""
    read = list[bytes]()
    for kind in (Summary, Registered):
        really = kind.read

        def counted(connection: Any, table: str, blob_id: bytes, *more: int, really: Any = really) -> Any:
            read.append(blob_id)
            return really(connection, table, blob_id, *more)

        monkeypatch.setattr(kind, "read", counted)
    monkeypatch.setattr(summaries, "KEPT", 8)
    monkeypatch.setattr(summaries, "COSTLY_OBJECTS", 3)
    many = [BlobObject(dataclasses.replace(RECORD, object_id=number)) for number in range(1, 4)]
    with contextlib.closing(ChainStore(tmp_path)) as store:
        store.open(DOMAIN)
        put(store, Change((mark(9),), {one.record.object_id: one for one in many}, {7: 1}, STATE))
        for number in range(50):
            assert store.summary(A) == Summary.of(many)
            assert store.registered(A, 1) == Registered.of(many, 1)
            assert store.summary(bytes([number]) * 33) == Summary.of([])
        assert read.count(A) == 2
        assert store.registered(A, 3) == Registered.of(many, 3), "of another period"
        certified = BlobObject(dataclasses.replace(many[0].record, certified_epoch=2), certified_block=10)
        put(store, Change((mark(10),), {1: certified}, {7: 1}, STATE))
        assert store.summary(A) == Summary.of([certified, *many[1:]])
        assert store.registered(A, 1) == Registered.of([certified, *many[1:]], 1)


records = st.builds(
    BlobRecord,
    *(st.just(0), st.just(A), st.just(10), st.just("0x1"), st.just(1)),
    *(st.none() | st.integers(1, 4), st.integers(2, 6), st.booleans(), st.booleans(), st.booleans()),
)


@given(st.lists(records, max_size=8), st.integers(1, 6))
def test_what_objects_come_to_is_the_same_in_sql(some: list[BlobRecord], period: int) -> None:
    objects = [
        BlobObject(
            dataclasses.replace(one, object_id=number),
            certified_block=one.certified_epoch,
            deleted_block=5 if one.deleted else None,
            invalid_block=6 if one.invalid else None,
        )
        for number, one in zip((7, 3, 300, 2, 2**200, 5, 11, 256), some, strict=False)
    ]
    change = Change((mark(9),), {one.record.object_id: one for one in objects}, {}, STATE)
    with contextlib.closing(ChainStore(None)) as store:
        store.open(DOMAIN)
        put(store, change)
        registered = store.registered(A, period)
        assert store.summary(A) == Summary.of(objects)
        assert dataclasses.replace(registered, permanent=None) == dataclasses.replace(
            Registered.of(objects, period), permanent=None
        )
        told = [
            None if one is None else (one.certified_epoch is not None, one.end_period)
            for one in (registered.permanent, Registered.of(objects, period).permanent)
        ]
        assert told[0] == told[1]
        assert store.those_invalid([A, B]) == ({A} if Summary.of(objects).is_invalid else set())
        assert store.lengths([A, B]) == ({A: 10} if objects else {})


def test_objects_are_those_that_were_saved_whatever_class_their_ids_had(tmp_path: Path) -> None:
    """An id that names itself by another text is still the same bytes in the file."""
    named = BlobObject(dataclasses.replace(RECORD, blob_id=BlobId(A)))
    save(tmp_path, dataclasses.replace(FIRST, objects={1: named}))
    assert kept(tmp_path) == SAVED
