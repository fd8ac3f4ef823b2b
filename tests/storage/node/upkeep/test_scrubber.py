"""The scrubber over one store: what it finds, what it leaves alone, where it goes on, how fast."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.node.store import SliverStore, StoreError
from storage.node.upkeep import scrubber as scrubber_module
from storage.node.upkeep.scrubber import Scrubber
from storage.redstuff import Axis, EncodedBlob, RedStuff

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
    sliver, reads = store.sliver, []

    def fail_at_the_fourth(blob_id: bytes, shard: int, axis: Axis) -> bytes | memoryview | None:
        reads.append(blob_id)
        if blob_id == BLOBS[3].blob_id:
            raise StoreError("test")
        return sliver(blob_id, shard, axis)

    with monkeypatch.context() as patch:
        patch.setattr(store, "sliver", fail_at_the_fourth)
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
    slow = Scrubber(store, CODE, lambda blob_id: None, 1000.0, 1.0)
    await slow.scrub_to_end()
    assert slow.size_bytes == store.stored_bytes()
    assert clock[0] == pytest.approx(slow.size_bytes / 1000.0, abs=scrubber_module.SHORTEST_PAUSE_S)
    assert min(pauses) >= scrubber_module.SHORTEST_PAUSE_S
