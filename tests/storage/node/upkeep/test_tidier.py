"""The tidier: it does all there is to do, and a store that fails is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.node.store import NewSliver, SliverStore, StoreError
from storage.node.upkeep import tidier as tidier_module
from storage.node.upkeep.tidier import Tidier
from storage.redstuff import Axis


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SliverStore]:
    """Forty rows of a shard that is dropped."""
    monkeypatch.setattr("storage.node.store.tidying.ROWS_IN_A_STEP", 8)
    with SliverStore(tmp_path) as opened:
        opened.put_slivers(
            [NewSliver(number.to_bytes(32, "little"), 0, Axis.PRIMARY, b"ab") for number in range(40)]
        )
        opened.drop_shard(0)
        yield opened


def rows(store: SliverStore) -> int:
    return int(store._index.query("SELECT COUNT(*) FROM sliver")[0][0])


async def test_it_does_all_there_is_to_do(store: SliverStore) -> None:
    tidier = Tidier(store)
    await tidier.tidy()
    assert rows(store) == 0
    assert tidier.steps >= 5
    await tidier.tidy()
    assert not store.tidy()


async def test_a_store_that_fails_is_tried_again(store: SliverStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidier_module, "LOOK_S", 0.0)
    real, failed = store.tidy, list[bool]()

    def tidy() -> bool:
        if not failed:
            failed.append(True)
            raise StoreError("test")
        return real()

    monkeypatch.setattr(store, "tidy", tidy)
    running = asyncio.create_task(Tidier(store).run())
    async with asyncio.timeout(10):
        while rows(store):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)
    running.cancel()
    assert failed


async def test_a_segment_that_a_write_finds_lost_is_tidied_at_once(tmp_path: Path) -> None:
    """Nothing else would find the lost slivers before the next look, and they would not be healed until then."""
    blob, other = bytes(32), bytes([1]) * 32
    with SliverStore(tmp_path) as store:
        store.put_slivers([NewSliver(blob, 0, Axis.PRIMARY, b"ab")])
        is_told = asyncio.Event()
        told: list[bytes] = []
        loop = asyncio.get_running_loop()

        def take(blob_id: bytes) -> None:
            told.append(blob_id)
            loop.call_soon_threadsafe(is_told.set)

        store.on_damage = take
        looked = asyncio.Event()
        real = store.tidy

        def tidy() -> bool:
            has_more = real()
            loop.call_soon_threadsafe(looked.set)
            return has_more

        store.tidy = tidy  # type: ignore[method-assign]
        running = asyncio.create_task(Tidier(store).run())
        async with asyncio.timeout(10):
            await looked.wait()
            (segment,) = (tmp_path / "segments").iterdir()
            segment.unlink()
            await asyncio.to_thread(store.put_slivers, [NewSliver(other, 0, Axis.PRIMARY, b"cd")])
            await is_told.wait()
        running.cancel()
        await asyncio.wait([running])
        assert told == [blob]
        assert store.sliver(other, 0, Axis.PRIMARY) == b"cd"
