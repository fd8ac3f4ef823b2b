"""The sliver store with many small slivers: what one costs on the disk and in time, opening, dropping a shard."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.scale_chain import blob_ids
from storage.node.store import NewSliver, SliverStore
from storage.redstuff import Axis

SHARDS = (3, 8, 11, 400, 401)
"""A blob has both slivers of these shards. With fewer of a blob each costs more, as its id is kept once."""
SLIVER_BYTES = 64
BLOBS_AT_ONCE = 100
"""A thousand slivers are stored at once."""
WRITES_APART_S = 0.002
"""Pause of the writer between two slivers while a shard is dropped."""


async def store(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Store so many blobs' slivers, open the store anew, drop one of its shards beside a writer, and tidy it."""
    return await asyncio.to_thread(_measured, n_blobs, folder)


def _measured(n_blobs: int, folder: Path) -> Mapping[str, float]:
    at: dict[str, float] = {}
    slivers = len(SHARDS) * len(Axis) * n_blobs
    with SliverStore(folder) as opened:
        times = list(_stored(opened, n_blobs))
    last = times[-max(1, len(times) // 10) :]
    at["a small sliver stored in a batch, once all others are there"] = (
        1e6 * statistics.median(last) / (len(SHARDS) * len(Axis) * BLOBS_AT_ONCE)
    )
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    at["bytes on the disk beyond a small sliver's own"] = on_disk / slivers - SLIVER_BYTES
    began_s = time.perf_counter()
    with opened:
        at["a store opened"] = time.perf_counter() - began_s
        writes: list[float] = []
        done = threading.Event()
        writer = threading.Thread(target=_write, args=(opened, writes, done))
        writer.start()
        began_s = time.perf_counter()
        opened.drop_shard(SHARDS[0])
        at["a shard dropped"] = time.perf_counter() - began_s
        began_s = time.perf_counter()
        while opened.tidy():
            time.sleep(0)
        at["the rows of a dropped shard removed"] = time.perf_counter() - began_s
        done.set()
        writer.join()
        at["a writer's wait while a shard is dropped, the longest but one in a hundred"] = (
            1000 * sorted(writes)[len(writes) * 99 // 100]
        )
        log = folder / "index.sqlite-wal"
        at["the index' log after a shard was dropped"] = log.stat().st_size / 2**20
    return at


def _stored(opened: SliverStore, n_blobs: int) -> Iterator[float]:
    """Yield the seconds that each batch takes."""
    noise = random.Random(1).randbytes(2**20)
    ids = blob_ids(n_blobs)
    while some := list(itertools.islice(ids, BLOBS_AT_ONCE)):
        batch = [
            NewSliver(blob_id, shard, axis, _content(noise, blob_id, shard, axis))
            for blob_id in some
            for shard in SHARDS
            for axis in Axis
        ]
        began_s = time.perf_counter()
        opened.put_slivers(batch)
        yield (time.perf_counter() - began_s) * BLOBS_AT_ONCE / len(some)


def _content(noise: bytes, blob_id: bytes, shard: int, axis: Axis) -> bytes:
    at = int.from_bytes(blob_id[-2:], "big") + shard + axis
    return noise[at : at + SLIVER_BYTES]


def _write(opened: SliverStore, writes: list[float], done: threading.Event) -> None:
    """Store single slivers of another shard until told to stop, and note how long each took."""
    for number in itertools.count():
        began_s = time.perf_counter()
        opened.put_sliver(number.to_bytes(32, "big"), SHARDS[1], Axis.PRIMARY, b"a sliver beside")
        writes.append(time.perf_counter() - began_s)
        if done.wait(WRITES_APART_S):
            return
