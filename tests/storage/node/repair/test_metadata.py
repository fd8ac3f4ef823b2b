"""Metadata that repair gets from helpers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from storage.client.errors import NodeRefused
from storage.node.budgets import REQUESTS_AT_ONCE
from storage.node.repair import RepairError
from storage.redstuff import BlobMetadata
from tests.storage.node.repair.conftest import BLOB, Bench


async def test_metadata_that_several_ask_for_are_fetched_once(bench: Bench) -> None:
    for shard in (0, 1):
        bench.helpers[shard].is_down = True
    repair = bench.repair
    got = await asyncio.gather(*(repair.metadata(BLOB.blob_id) for _ in range(5)))
    assert got == [BLOB.metadata] * 5
    assert [helper.metadata_asked for helper in bench.helpers.values()] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


async def test_metadata_that_nobody_gave_are_asked_for_again(bench: Bench) -> None:
    for helper in bench.helpers.values():
        helper.is_down = True
    with pytest.raises(RepairError, match="no metadata"):
        await bench.repair.metadata(BLOB.blob_id)
    bench.helpers[3].is_down = False
    assert await bench.repair.metadata(BLOB.blob_id) == BLOB.metadata


async def test_who_waits_for_metadata_gets_them_though_the_first_to_ask_is_cancelled(bench: Bench) -> None:
    first = asyncio.create_task(bench.repair.metadata(BLOB.blob_id))
    second = asyncio.create_task(bench.repair.metadata(BLOB.blob_id))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == BLOB.metadata


async def test_metadata_nobody_has_is_told_with_names(bench: Bench) -> None:
    for helper in bench.helpers.values():
        helper.is_down = True
    with pytest.raises(RepairError, match=r"no metadata of blob .* no answer from node0"):
        await bench.repair.metadata(BLOB.blob_id)


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_helper_that_answers_just_in_time_is_asked_after_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """Members that do so would else take most of the turns, of every node that lacks many blobs' metadata."""
    loop, late_s = asyncio.get_running_loop(), 0.0
    real_time, first = loop.time, bench.helpers[0]
    answer = first.metadata

    async def answer_late(blob_id: bytes, timeout_s: float) -> BlobMetadata:
        nonlocal late_s
        late_s += timeout_s - 0.1
        metadata = await answer(blob_id, timeout_s)
        if refuses:
            raise NodeRefused("node0", "http://node0", 404, None, "test")
        return metadata

    monkeypatch.setattr(loop, "time", lambda: real_time() + late_s)
    fetch = bench.repair._metadata._fetch
    await fetch(BLOB.blob_id)
    assert first.metadata_asked == 1
    monkeypatch.setattr(first, "metadata", answer_late)
    for _ in range(3):
        assert await fetch(BLOB.blob_id) == BLOB.metadata
    assert first.metadata_asked == 2


async def test_a_request_for_metadata_that_has_waited_for_its_turn_avoids_a_helper_found_slow_meanwhile(
    bench: Bench,
) -> None:
    async with AsyncExitStack() as taken:
        for _ in range(REQUESTS_AT_ONCE):
            await taken.enter_async_context(bench.repair._budget.request())
        fetching = asyncio.create_task(bench.repair.metadata(BLOB.blob_id))
        while not bench.repair._budget._requests.is_short:
            await asyncio.sleep(0)
            assert not fetching.done()
        bench.repair.reputation.kept_waiting(bench.helpers[0].member)
    assert await fetching == BLOB.metadata
    assert [helper.metadata_asked for helper in bench.helpers.values()][:2] == [0, 1]
