"""Metadata that repair gets from helpers."""

from __future__ import annotations

import asyncio

import pytest

from storage.node.repair import RepairError
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
