"""A store whose segments go to an object store: what is acknowledged is there, whatever the object store does."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from storage.node.store import (
    RESERVE_BYTES,
    NewSliver,
    SliverStore,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from storage.node.store.files import SegmentFiles
from storage.node.store.moving import Progress
from storage.node.store.records import Place, Symbols
from storage.redstuff import Axis
from tests.moto.server import SECRETS
from tests.storage.node.places import segments_of
from tests.storage.node.store.object_stores import Faulty

P = Axis.PRIMARY
SIZE = 1000
IN_A_SEGMENT = 4
LIMIT_BYTES = 20 * SIZE


def blob(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(24)


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", IN_A_SEGMENT * SIZE)
    monkeypatch.setattr("storage.node.store.moving.BLOCK_BYTES", 3 * SIZE)


@pytest.fixture
def objects() -> Faulty:
    return Faulty()


@pytest.fixture
def store(tmp_path: Path, objects: Faulty) -> Iterator[SliverStore]:
    """Ten slivers of shard 0: the full segments 1 and 2, and half of segment 3."""
    with SliverStore(tmp_path / "store", objects.connect, LIMIT_BYTES) as opened:
        put(opened, range(10))
        yield opened


def put(store: SliverStore, numbers: range, shard: int = 0) -> None:
    for number in numbers:
        assert store.put_sliver(blob(number), shard, P, content(number))


def move(store: SliverStore) -> None:
    """Move until there is no more to do."""
    while store.moving.step():
        pass


def tidy(store: SliverStore) -> None:
    while store.tidy():
        pass


def drop(store: SliverStore, *numbers: int) -> None:
    assert store.drop_blobs([blob(number) for number in numbers], lambda some: ())


def check(store: SliverStore, numbers: range | set[int] = range(10)) -> None:
    """These slivers are stored whole, and no others."""
    for number in range(20):
        assert store.sliver(blob(number), 0, P) == (content(number) if number in numbers else None)
    assert (store.sliver_count(), store.stored_bytes()) == (len(numbers), SIZE * len(numbers))
    assert store.damaged == []


def names(objects: Faulty) -> list[str]:
    """Shard and number of all segments that are there."""
    return [name.rpartition("-")[0] for name in objects.there()]


def reopened(store: SliverStore) -> None:
    store.close()
    store.open()


# in good order


def test_full_segments_become_objects_and_the_others_stay_files(store: SliverStore, objects: Faulty) -> None:
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2"], ["0-3"])
    check(store)
    reopened(store)
    check(store)
    put(store, range(10, 13))
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2", "0-3"], ["0-4"])
    check(store, range(13))
    assert store.moving.status() == {"segments": 3, "waitingBytes": SIZE, "failingSeconds": 0.0}


def test_a_page_of_slivers_is_read_from_files_and_objects(store: SliverStore) -> None:
    move(store)
    page = store.slivers_from(0, P, bytes(32), 100, 10**6)
    assert [(blob_id, bytes(symbols)) for blob_id, symbols in page.slivers] == [
        (blob(number), content(number)) for number in range(10)
    ]


def test_opening_asks_the_object_store_nothing(store: SliverStore, objects: Faulty) -> None:
    move(store)
    objects.asked.clear()
    reopened(store)
    assert store.sliver_count() == 10
    assert store.missing(0, P, [blob(1), blob(19)]) == [blob(19)]
    assert objects.asked == []


def test_slivers_that_are_stored_already_are_found_in_the_object_store(store: SliverStore) -> None:
    move(store)
    batch = [NewSliver(blob(number), 0, P, content(number)) for number in range(12)]
    assert store.put_slivers(batch) == 2
    check(store, range(12))


def test_a_dropped_shards_objects_are_deleted(store: SliverStore, objects: Faulty) -> None:
    put(store, range(3), shard=1)
    move(store)
    assert store.drop_shard(0) == 10
    assert store.sliver(blob(1), 0, P) is None
    move(store)
    assert (objects.there(), segments_of(store.folder)) == ([], ["1-4"])
    tidy(store)
    assert [store.sliver(blob(number), 1, P) for number in range(3)] == [content(n) for n in range(3)]


def test_a_segment_half_of_which_is_dead_is_fetched_rewritten_and_deleted(
    store: SliverStore, objects: Faulty
) -> None:
    move(store)
    drop(store, 0, 3)
    tidy(store)
    assert names(objects) == ["0-1", "0-2"]
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-2"], ["0-1", "0-3"])
    check(store, set(range(10)) - {0, 3})
    tidy(store)
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-2", "0-3"], [])
    check(store, set(range(10)) - {0, 3})
    reopened(store)
    check(store, set(range(10)) - {0, 3})


def test_a_segment_that_is_dead_is_deleted_and_not_fetched(store: SliverStore, objects: Faulty) -> None:
    move(store)
    objects.asked.clear()
    drop(store, 0, 1, 2, 3)
    move(store)
    assert names(objects) == ["0-2"]
    assert {method for method, _ in objects.asked} == {"remove"}


def test_files_take_no_more_than_half_of_what_they_may_for_long(store: SliverStore, objects: Faulty) -> None:
    """Many shards with little in each: the largest segment goes first, full or not."""
    move(store)
    for shard in range(1, 10):
        put(store, range(3 if shard == 5 else 1), shard=shard)
    assert store._segments.file_bytes == 13 * SIZE
    move(store)
    assert store._segments.file_bytes == 10 * SIZE
    assert names(objects) == ["0-1", "0-2", "5-8"]
    put(store, range(3, 5), shard=5)
    assert "5-13" in segments_of(store.folder), "what was sent takes nothing more"
    assert [store.sliver(blob(number), 5, P) for number in range(5)] == [content(n) for n in range(5)]


def test_a_segment_that_is_being_sent_takes_nothing_more(store: SliverStore, objects: Faulty) -> None:
    move(store)

    def meanwhile(method: str, name: str) -> None:
        if method == "write" and name.startswith("0-3"):
            put(store, range(10, 11))

    objects.before = meanwhile
    assert [one.segments_left for one in store.moving.send_all()] == [0, 0]
    check(store, range(11))
    assert [name[:3] for name in objects.there()] == ["0-1", "0-2", "0-3", "0-4"]


# all of it, there and back


def test_all_segments_are_sent_and_fetched_again(store: SliverStore, objects: Faulty) -> None:
    put(store, range(2), shard=1)
    before = {name: (store.folder / "segments" / name).read_bytes() for name in segments_of(store.folder)}
    sent = list(store.moving.send_all())
    assert sent[0] == Progress(1, 4000, 3, 8000)
    assert sent[-1] == Progress(4, 12_000, 0, 0)
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2", "0-3", "1-4"], [])
    check_both(store)
    reopened(store)
    check_both(store)
    assert list(store.moving.fetch_all())[-1] == Progress(4, 12_000, 0, 0)
    assert objects.there() == []
    assert ("remove", "store") in objects.asked
    assert before == {
        name: (store.folder / "segments" / name).read_bytes() for name in segments_of(store.folder)
    }
    store.close()
    with SliverStore(store.folder) as without:
        check_both(without)
        assert without.put_sliver(blob(10), 0, P, content(10))


def check_both(store: SliverStore) -> None:
    assert [store.sliver(blob(number), 0, P) for number in range(10)] == [content(n) for n in range(10)]
    assert [store.sliver(blob(number), 1, P) for number in range(2)] == [content(n) for n in range(2)]


def test_moving_goes_on_where_it_was_ended(store: SliverStore, objects: Faulty) -> None:
    next(store.moving.send_all())
    reopened(store)
    check(store)
    assert list(store.moving.send_all())[-1] == Progress(2, 6000, 0, 0)
    next(store.moving.fetch_all())
    reopened(store)
    check(store)
    assert list(store.moving.fetch_all())[-1] == Progress(2, 6000, 0, 0)
    check(store)
    assert list(store.moving.fetch_all()) == []


def test_segments_fetched_before_they_were_full_are_tidied_as_others(store: SliverStore) -> None:
    """Each was the last of its shard when it was sent."""
    list(store.moving.send_all())
    put(store, range(10, 12))
    list(store.moving.send_all())
    list(store.moving.fetch_all())
    assert segments_of(store.folder) == ["0-1", "0-2", "0-3", "0-4"]
    put(store, range(12, 14))
    assert segments_of(store.folder) == ["0-1", "0-2", "0-3", "0-4"]
    drop(store, 8)
    tidy(store)
    assert "0-3" not in segments_of(store.folder)
    check(store, set(range(14)) - {8})


def test_nothing_is_fetched_to_a_disk_without_room_for_all(
    store: SliverStore, objects: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(store.moving.send_all())
    with monkeypatch.context() as full:
        full.setattr(SegmentFiles, "free_bytes", lambda self: RESERVE_BYTES + 9999)
        with pytest.raises(
            StoreFull, match="no room for 10000 bytes of segments from the object store: 9999"
        ):
            list(store.moving.fetch_all())
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2", "0-3"], [])
    list(store.moving.fetch_all())
    check(store)


def test_a_store_without_the_object_store_that_it_needs_is_not_opened(store: SliverStore) -> None:
    move(store)
    store.close()
    with pytest.raises(StoreError, match="2 segments of the store lie in an object store: name it"):
        SliverStore(store.folder).open()
    store.open()
    check(store)


def test_a_store_of_the_version_before_is_opened_and_moved(tmp_path: Path, objects: Faulty) -> None:
    with SliverStore(tmp_path / "store") as store:
        put(store, range(10))
    with closing(sqlite3.connect(tmp_path / "store" / "index.sqlite")) as index, index:
        index.execute("ALTER TABLE segment DROP COLUMN object")
        index.execute("DROP TABLE removal")
        index.execute("PRAGMA user_version = 5")
    with SliverStore(tmp_path / "store", objects.connect) as store:
        assert store._index.query("PRAGMA user_version") == [(6,)]
        check(store)
        list(store.moving.send_all())
        check(store)


# an object store that fails


@pytest.mark.parametrize("method", ["claim", "write", "length", "read"])
def test_what_cannot_be_sent_stays_a_file_and_is_sent_later(
    store: SliverStore, objects: Faulty, method: str
) -> None:
    before = segments_of(store.folder)
    objects.fails = {method}
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"fails: {method}"):
            store.moving.step()
    assert segments_of(store.folder) == before
    check(store)
    reopened(store)
    objects.fails = set()
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2"], ["0-3"]), (
        "and of each no more than one"
    )
    check(store)


LIES: dict[str, Callable[[bytes], bytes | None]] = {
    "nothing": lambda content: None,
    "cut short": lambda content: content[:-1],
    "too long": lambda content: content + b"x",
    "one bit": lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    "the last bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_a_write_is_found_before_the_file_goes(
    store: SliverStore, objects: Faulty, lie: Callable[[bytes], bytes | None]
) -> None:
    objects.made_of = lie
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"than it took|of them; sending them again"):
            store.moving.step()
    assert segments_of(store.folder) == ["0-1", "0-2", "0-3"]
    check(store)
    assert objects.there() == [], "what was written wrongly is deleted"
    objects.made_of = lambda content: content
    move(store)
    assert names(objects) == ["0-1", "0-2"]
    check(store)


def test_slivers_in_an_object_store_that_fails_cannot_be_read_now_and_nothing_is_given_up(
    store: SliverStore, objects: Faulty
) -> None:
    move(store)
    objects.fails = {"read", "length", "require_own"}
    for ask in (
        lambda: store.sliver(blob(0), 0, P),
        lambda: store.slivers_of(blob(0)),
        lambda: store.slivers_from(0, P, bytes(32), 3, 10**6),
        lambda: store.put_sliver(blob(0), 0, P, content(0)),
    ):
        with pytest.raises(StoreUnavailable, match="fails"):
            ask()
    assert store.sliver(blob(9), 0, P) == content(9), "files are read all the same"
    assert store.has_sliver(blob(0), 0, P)
    assert store.put_sliver(blob(10), 0, P, content(10))
    objects.fails = set()
    check(store, range(11))


def test_no_writer_waits_while_an_object_is_read(store: SliverStore, objects: Faulty) -> None:
    move(store)
    asked, answered = threading.Event(), threading.Event()

    def wait(method: str, name: str) -> None:
        if method == "read":
            asked.set()
            assert answered.wait(20)

    objects.before = wait
    readers = [
        threading.Thread(target=lambda: store.sliver(blob(0), 0, P)),
        threading.Thread(target=lambda: store.put_sliver(blob(0), 0, P, content(0))),
    ]
    for reader in readers:
        asked.clear()
        reader.start()
        assert asked.wait(20)
    put(store, range(10, 11))
    drop(store, 10)
    assert not store.tidy()
    answered.set()
    for reader in readers:
        reader.join()
    check(store)


@pytest.mark.parametrize("damage", [b"", b"x" * IN_A_SEGMENT * SIZE], ids=["gone", "other bytes"])
def test_no_writer_waits_while_a_lost_object_is_read(
    store: SliverStore, objects: Faulty, damage: bytes
) -> None:
    """Nor when it is read once more, before what lay in it is given up."""
    move(store)
    objects.put_in(objects.there()[0], damage)
    stored = iter(range(10, 20))

    def write(method: str, name: str) -> None:
        if method == "read":
            number = next(stored)
            writer = threading.Thread(target=put, args=(store, range(number, number + 1)))
            writer.start()
            writer.join(20)
            assert not writer.is_alive()

    objects.before = write
    assert store.sliver(blob(0), 0, P) is None
    assert store.damaged == [(blob(0), 0, P)]
    assert next(stored) == 12, "it is read twice"
    assert all(store.sliver(blob(number), 0, P) == content(number) for number in (4, 9, 10, 11))


def test_what_is_moved_while_it_is_looked_for_is_found(store: SliverStore, objects: Faulty) -> None:
    """A file is gone when it is read, as its segment has just become an object; and that one is read for the first time
    when the writers have been waited for."""
    read, moved = store._reading._read, list[None]()

    def late(places: Sequence[Place]) -> list[Symbols | None]:
        if moved:
            return read(places)
        move(store)
        moved.append(None)
        return [None for _ in places]

    store._reading._read = late  # type: ignore[method-assign]
    assert store.sliver(blob(0), 0, P) == content(0)
    assert store.damaged == []


def test_another_object_store_in_its_place_is_no_loss(store: SliverStore, objects: Faulty) -> None:
    """As when the bucket's name was changed in the settings, or its mark is not seen."""
    move(store)
    objects.is_the_same = False
    with pytest.raises(StoreUnavailable, match="another object store"):
        store.sliver(blob(0), 0, P)
    reopened(store)
    put(store, range(10, 13))
    objects.asked.clear()
    with pytest.raises(StoreUnavailable, match="another object store"):
        store.moving.step()
    assert objects.asked == [("require_own", "")], "nothing is written to it, least of all the mark"
    objects.is_the_same = True
    check(store, range(13))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], set[int]]] = {
    "gone": (lambda content: b"", {0, 1, 2, 3}),
    "cut short": (lambda content: content[:1500], {1, 2, 3}),
    "one bit": (lambda content: b"x" + content[1:], {0}),
}


@pytest.mark.parametrize(("damage", "lost"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("is_fetched", [False, True], ids=["read", "fetched"])
def test_what_an_object_store_loses_counts_as_missing_and_can_be_stored_again(
    store: SliverStore,
    objects: Faulty,
    damage: Callable[[bytes], bytes],
    lost: set[int],
    is_fetched: bool,
) -> None:
    told: list[bytes] = []
    store.on_damage = told.append
    move(store)
    first = objects.there()[0]
    objects.put_in(first, damage(b"".join(map(content, range(4)))))
    if is_fetched:
        list(store.moving.fetch_all())
        tidy(store)
        assert (told == []) == (damage(b"abc") == b"xbc"), (
            "what is cut off is told of, whether or not it is read"
        )
    for number in range(10):
        assert store.sliver(blob(number), 0, P) == (None if number in lost else content(number))
    assert sorted(told) == [blob(number) for number in sorted(lost)]
    assert store.missing(0, P, [blob(number) for number in range(10)]) == [
        blob(number) for number in sorted(lost)
    ]
    batch = [NewSliver(blob(number), 0, P, content(number)) for number in range(10)]
    assert store.put_slivers(batch) == len(lost)
    assert all(store.sliver(blob(number), 0, P) == content(number) for number in range(10))


def test_storing_what_is_damaged_in_the_object_store_stores_it_anew(
    store: SliverStore, objects: Faulty
) -> None:
    move(store)
    objects.put_in(objects.there()[0], b"x" + b"".join(map(content, range(4)))[1:])
    assert store.put_sliver(blob(0), 0, P, content(0))
    assert store.sliver(blob(0), 0, P) == content(0)
    assert store.damaged == [(blob(0), 0, P)]


def test_a_file_that_cannot_be_read_whole_is_rewritten_and_not_sent(
    store: SliverStore, objects: Faulty
) -> None:
    (store.folder / "segments" / "0-1").write_bytes(content(0) + content(1)[:10])
    move(store)
    assert names(objects) == ["0-2"]
    tidy(store)
    move(store)
    assert sorted(store.damaged) == [(blob(number), 0, P) for number in (1, 2, 3)]
    assert [number for number in range(10) if store.sliver(blob(number), 0, P)] == [0, *range(4, 10)]


def test_deletions_that_fail_are_kept_across_restarts_and_tried_again(
    store: SliverStore, objects: Faulty
) -> None:
    move(store)
    objects.fails = {"remove"}
    store.drop_shard(0)
    put(store, range(4), shard=1)
    with pytest.raises(StoreUnavailable, match="fails: remove"):
        store.moving.step()
    assert names(objects) == ["0-1", "0-2", "1-4"], "what is to be sent is sent all the same"
    reopened(store)
    objects.fails = set()
    move(store)
    assert names(objects) == ["1-4"]
    assert store._index.query("SELECT * FROM removal") == []


def test_writes_are_refused_while_too_much_waits_to_be_sent(store: SliverStore, objects: Faulty) -> None:
    objects.fails = {"write"}
    put(store, range(10, 20))
    for refused in (
        lambda: store.put_sliver(blob(20), 0, P, b"x"),
        lambda: store.put_metadata(blob(20), b"metadata"),
        lambda: store.require_room(1),
    ):
        with pytest.raises(
            StoreUnavailable, match="20000 wait to be sent to the object store, which lags behind"
        ):
            refused()
    check(store, range(20))
    drop(store, 0)
    objects.fails = set()
    move(store)
    put(store, range(20, 30))


def test_what_an_upload_leaves_behind_its_end_is_found_by_the_list(
    store: SliverStore, objects: Faulty
) -> None:
    """The object store took a write that it had failed, or did not delete what it said it did."""
    move(store)
    objects.put_in("0-1-ffffffff", b"came late")
    objects.put_in("notes", b"an operator's")
    objects.deletes = False
    drop(store, 4, 5, 6, 7)
    move(store)
    assert len(objects.there()) == 4
    objects.deletes = True
    assert store.moving.note_orphans() == 2
    move(store)
    assert [name[:3] for name in objects.there()] == ["0-1", "not"]
    assert store.moving.note_orphans() == 0
    check(store, set(range(10)) - {4, 5, 6, 7})


def test_an_object_store_that_lists_late_loses_nothing(store: SliverStore, objects: Faulty) -> None:
    objects.listed = [[], ["0-9-00000000"], []]
    move(store)
    assert store.moving.note_orphans() == 1
    move(store)
    reopened(store)
    check(store)
    assert names(objects) == ["0-1", "0-2"]


def made_up(first: int) -> Iterator[list[str]]:
    """Names without an end."""
    for number in itertools.count(first):
        yield [f"0-9-{number:08x}"]


def test_a_list_without_an_end_is_left(
    store: SliverStore, objects: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.store.moving.ORPHANS_NOTED", 7)
    objects.listed = made_up(0)
    assert store.moving.note_orphans() == 7
    looks = iter([False] * 3)
    objects.listed = made_up(100)
    assert store.moving.note_orphans(lambda: next(looks, True)) == 3
    monkeypatch.setattr("storage.node.store.moving.LISTED_S", 0.0)
    objects.listed = made_up(200)
    assert store.moving.note_orphans() == 0


def test_an_upload_under_way_is_no_orphan(store: SliverStore, objects: Faulty) -> None:
    found: list[int] = []

    def meanwhile(method: str, name: str) -> None:
        if method == "length":
            found.append(store.moving.note_orphans())

    objects.before = meanwhile
    move(store)
    assert found == [0, 0]
    check(store)


def test_a_shard_dropped_while_its_segment_is_sent_or_fetched_leaves_nothing(
    store: SliverStore, objects: Faulty
) -> None:
    def drop_meanwhile(method: str, name: str) -> None:
        if method in ("length", "read"):
            store.drop_shard(0)
            store.drop_shard(1)

    objects.before = drop_meanwhile
    store.moving.step()
    objects.before = lambda method, name: None
    move(store)
    assert (objects.there(), segments_of(store.folder)) == ([], [])
    put(store, range(4), shard=1)
    move(store)
    objects.before = drop_meanwhile
    list(store.moving.fetch_all())
    assert (objects.there(), segments_of(store.folder)) == ([], [])


def test_slivers_dropped_while_their_segment_is_sent_stay_dropped(
    store: SliverStore, objects: Faulty
) -> None:
    objects.before = lambda method, name: (
        drop(store, 1) if name.startswith("0-1") and method == "write" else None
    )
    move(store)
    objects.before = lambda method, name: None
    check(store, set(range(10)) - {1})
    reopened(store)
    check(store, set(range(10)) - {1})


def test_a_sliver_is_read_while_its_segment_moves_and_keeps_no_writer_waiting(
    store: SliverStore, objects: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SegmentFiles.read
    locked: list[bool] = []
    owned: Callable[[], bool] = store._writing._is_owned  # type: ignore[attr-defined]
    objects.before = lambda method, name: locked.append(owned())

    def read_after_that(files: SegmentFiles, *arguments: object) -> list[memoryview | None]:
        monkeypatch.setattr(SegmentFiles, "read", read)
        move(store)
        return read(files, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentFiles, "read", read_after_that)
    assert store.sliver(blob(0), 0, P) == content(0)
    assert store.damaged == []
    assert locked and not any(locked)


def test_closing_ends_an_upload_soon(store: SliverStore, objects: Faulty) -> None:
    begun = threading.Event()

    def wait(method: str, name: str) -> None:
        if method == "write":
            begun.set()
            assert store.moving._stopped.wait(20)

    objects.before = wait
    errors: list[Exception] = []

    def step() -> None:
        try:
            store.moving.step()
        except StoreUnavailable as error:
            errors.append(error)

    mover = threading.Thread(target=step)
    mover.start()
    assert begun.wait(20)
    store.close()
    mover.join()
    assert "being closed" in str(errors[0])
    objects.before = lambda method, name: None
    store.open()
    move(store)
    check(store)
    assert names(objects) == ["0-1", "0-2"]


def test_a_full_disk_refuses_what_is_new_and_segments_are_sent_all_the_same(
    store: SliverStore, objects: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SegmentFiles, "free_bytes", lambda self: RESERVE_BYTES)
    with pytest.raises(StoreFull):
        store.put_sliver(blob(10), 0, P, content(10))
    move(store)
    assert (names(objects), segments_of(store.folder)) == (["0-1", "0-2"], ["0-3"])
    drop(store, 0, 1, 2)
    move(store)
    assert names(objects) == ["0-1", "0-2"], "there is no room to fetch what is half dead"
    check(store, set(range(3, 10)))


@pytest.mark.parametrize("is_fetched", [False, True], ids=["opened", "fetched"])
def test_a_file_that_was_left_by_a_kill_or_could_not_be_removed_is_removed(
    store: SliverStore, is_fetched: bool
) -> None:
    copy = store.folder.parent / "0-1"
    shutil.copy(store.folder / "segments" / "0-1", copy)
    move(store)
    shutil.move(copy, store.folder / "segments" / "0-1")
    if is_fetched:
        list(store.moving.fetch_all())
        assert segments_of(store.folder) == ["0-1", "0-2", "0-3"], "and none was put aside"
    else:
        reopened(store)
        assert segments_of(store.folder) == ["0-3"]
    check(store)


def test_no_key_is_in_the_store(store: SliverStore) -> None:
    move(store)
    store.close()
    for path in store.folder.rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in SECRETS.values())
