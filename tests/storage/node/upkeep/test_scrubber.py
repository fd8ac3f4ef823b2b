"""The scrubber over one store: what it finds, what it leaves alone, where it goes on, how fast."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.node.sqlite import StoreDamaged
from storage.node.store import SliverStore, StoreError
from storage.node.upkeep import scrubber as scrubber_module
from storage.node.upkeep.scrubber import Scrubber
from storage.redstuff import Axis, EncodedBlob, RedStuff
from tests.storage.node.places import place_of
from tests.storage.node.store.object_stores import Faulty

CODE = RedStuff(10)
P, S = Axis.PRIMARY, Axis.SECONDARY
ENCODED = (CODE.encode(random.Random(number).randbytes(2000)) for number in range(5))
BLOBS = sorted(ENCODED, key=lambda blob: blob.blob_id)


def keep(store: SliverStore, blob: EncodedBlob, wrong: tuple[int, Axis] | None = None) -> None:
    """Metadata and the slivers of shards 0 and 1, one of them another's."""
    store.put_metadata(blob.blob_id, blob.metadata.to_bcs())
    for shard in (0, 1):
        for axis in Axis:
            index = CODE.sliver_index(blob.blob_id, shard, axis)
            store.put_sliver(
                blob.blob_id, shard, axis, blob.sliver(axis, (index + ((shard, axis) == wrong)) % 10)
            )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SliverStore]:
    with SliverStore(tmp_path) as opened:
        yield opened


@pytest.fixture
def asked() -> list[bytes]:
    return []


@pytest.fixture
def scrubber(store: SliverStore, asked: list[bytes]) -> Scrubber:
    """One without a limit to its rate."""
    store.on_damage = asked.append
    return Scrubber(store, CODE, asked.append, 1e12, 1.0)


async def test_a_good_store_is_left_as_it_is(
    store: SliverStore, scrubber: Scrubber, asked: list[bytes]
) -> None:
    for blob in BLOBS:
        keep(store, blob)
    await scrubber.scrub_to_end()
    assert (scrubber.slivers, scrubber.size_bytes, scrubber.passes) == (20, store.stored_bytes(), 1)
    assert (store.sliver_count(), store.damaged_count, asked) == (20, 0, [])


async def test_an_index_that_is_found_damaged_ends_the_pass(
    store: SliverStore, scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(connection: object, what: str) -> None:
        raise StoreDamaged(f"{what}: row not in PRIMARY KEY order for sliver")

    keep(store, BLOBS[0])
    monkeypatch.setattr("storage.node.store.index._check_all", damaged)
    with pytest.raises(StoreDamaged):
        await scrubber.scrub_to_end()
    assert (scrubber.slivers, scrubber.passes) == (4, 0)
    with pytest.raises(StoreDamaged, match=r"not in PRIMARY KEY order.* move .* away and start again"):
        store.require_whole()


@pytest.mark.parametrize("axis", Axis)
async def test_a_sliver_that_does_not_hash_to_its_root_is_discarded_and_looked_after(
    store: SliverStore, scrubber: Scrubber, asked: list[bytes], axis: Axis
) -> None:
    for number, blob in enumerate(BLOBS):
        keep(store, blob, wrong=(1, axis) if number == 2 else None)
    await scrubber.scrub_to_end()
    assert store.damaged == [(BLOBS[2].blob_id, 1, axis)]
    assert not store.has_sliver(BLOBS[2].blob_id, 1, axis)
    assert asked == [BLOBS[2].blob_id]
    assert store.sliver_count() == 19


async def test_metadata_that_are_not_the_blobs_are_discarded_and_looked_after(
    store: SliverStore, scrubber: Scrubber, asked: list[bytes]
) -> None:
    keep(store, BLOBS[0])
    store.put_metadata(BLOBS[1].blob_id, BLOBS[2].metadata.to_bcs())
    await scrubber.scrub_to_end()
    assert store.metadata(BLOBS[1].blob_id) is None
    assert store.damaged_count == 1
    assert set(asked) == {BLOBS[1].blob_id}
    assert store.sliver_count() == 4


async def test_slivers_without_metadata_are_looked_after_and_kept(
    store: SliverStore, scrubber: Scrubber, asked: list[bytes]
) -> None:
    store.put_sliver(BLOBS[0].blob_id, 0, P, b"symbols")
    await scrubber.scrub_to_end()
    assert (asked, store.sliver_count(), scrubber.slivers) == ([BLOBS[0].blob_id], 1, 0)


async def test_a_restart_goes_on_where_it_was(
    store: SliverStore, scrubber: Scrubber, asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubber_module, "BLOBS_IN_A_STEP", 2)
    for blob in BLOBS:
        keep(store, blob)
    slivers_of = store.slivers_of

    def fail_at_the_fourth(blob_id: bytes, *arguments: Any) -> Any:
        if blob_id == BLOBS[3].blob_id:
            raise StoreError("test")
        return slivers_of(blob_id, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, "slivers_of", fail_at_the_fourth)
        with pytest.raises(StoreError):
            await scrubber.scrub_to_end()
    store.close()
    store.open()
    again = Scrubber(store, CODE, asked.append, 1e12, 1.0)
    await again.scrub_to_end()
    assert again.slivers == 4 * 3, "the step it was in, and the rest"
    await again.scrub_to_end()
    assert again.slivers == 4 * 3 + 4 * 5, "from the beginning"


async def test_an_empty_store_is_scrubbed_in_no_time(scrubber: Scrubber) -> None:
    await scrubber.scrub_to_end()
    assert scrubber.passes == 1


async def test_it_reads_no_faster_than_its_rate(store: SliverStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for blob in BLOBS:
        keep(store, blob)
    pauses: list[float] = []
    clock = [0.0]

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
    monkeypatch.setattr(asyncio, "sleep", pause)
    monkeypatch.setattr(scrubber_module, "STEP_BYTES", 1)
    slow = Scrubber(store, CODE, lambda blob_id: None, 1000.0, 1.0)
    await slow.scrub_to_end()
    assert slow.size_bytes == store.stored_bytes()
    assert clock[0] == pytest.approx(slow.size_bytes / 1000.0, abs=scrubber_module.SHORTEST_PAUSE_S)
    assert min(pauses) >= scrubber_module.SHORTEST_PAUSE_S


async def test_it_takes_no_more_than_its_share_of_a_core(
    store: SliverStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slivers of which each takes half a second, as far as the clock tells."""
    for blob in BLOBS:
        keep(store, blob)
    clock, pauses = [0.0], list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    def tick() -> float:
        clock[0] += 0.5
        return clock[0]

    monkeypatch.setattr("storage.node.upkeep.scrubber.time.perf_counter", tick)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
    monkeypatch.setattr(asyncio, "sleep", pause)
    await Scrubber(store, CODE, lambda blob_id: None, 1e12, 1.0).scrub_to_end()
    worked_s = 0.5 * 20
    assert sum(pauses) == pytest.approx(worked_s / scrubber_module.CORE_SHARE - worked_s, rel=0.1)
    assert len(pauses) == 20, "a step a sliver"


async def test_slivers_of_a_blob_come_in_pieces_and_damaged_ones_are_left_out(store: SliverStore) -> None:
    keep(store, BLOBS[0])
    blob_id = BLOBS[0].blob_id
    place_of(store.folder, blob_id, 0, S).flip()
    size = len(bytes(BLOBS[0].sliver(P, 0)))
    seen: list[tuple[int, Axis, Any]] = []
    place: tuple[int, int] | None = (0, 0)
    pieces = 0
    while place is not None:
        slivers, place = store.slivers_of(blob_id, place, size)
        seen += slivers
        pieces += 1
    assert [(shard, axis) for shard, axis, _ in seen] == [(0, P), (1, P), (1, S)]
    assert all(symbols == store.sliver(blob_id, shard, axis) for shard, axis, symbols in seen)
    assert pieces == 4
    assert store.damaged == [(blob_id, 0, S)]
    assert store.slivers_of(BLOBS[1].blob_id) == ([], None)


async def test_objects_that_no_segment_needs_are_deleted_and_a_list_that_fails_ends_no_pass(
    tmp_path: Path, asked: list[bytes]
) -> None:
    objects = Faulty()
    with SliverStore(tmp_path, objects.connect) as store:
        keep(store, BLOBS[0])
        list(store.moving.send_all())
        needed = objects.there()
        objects.put_in("0-1-ffffffff", b"of an upload that came through late")
        scrubber = Scrubber(store, CODE, asked.append, 1e12, 1.0)
        objects.fails = {"names"}
        await scrubber.scrub_to_end()
        objects.fails = set()
        store.moving.step()
        assert len(objects.there()) == 3
        await scrubber.scrub_to_end()
        store.moving.step()
        assert (objects.there(), scrubber.passes, scrubber.slivers) == (needed, 2, 8)


async def test_a_scrubber_that_stops_waits_for_no_end_of_a_list(tmp_path: Path, asked: list[bytes]) -> None:
    objects, pages = Faulty(), itertools.count(1)
    objects.listed = ([f"{next(pages)}"] for _ in itertools.repeat(None))
    with SliverStore(tmp_path, objects.connect) as store:
        scrubbing = asyncio.create_task(Scrubber(store, CODE, asked.append, 1e12, 1.0).run())
        async with asyncio.timeout(20):
            while next(pages) < 100:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
            scrubbing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scrubbing
