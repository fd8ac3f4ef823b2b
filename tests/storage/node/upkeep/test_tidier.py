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
