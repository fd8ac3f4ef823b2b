"""How fast a helper and a rebuilder are over HTTP, beside RedStuff's own kernels, at slivers of 1 MiB.

The node, and after it the kernels, have one core; who asks or is asked is another process, on another core. MB/s are
of the slivers: those a helper reads to give some symbols of each, those a rebuilder makes. Storing them durably, which
depends on the disk more than on the code, is told in a row of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.handover_bytes import STAKE_OF_A_SHARD
from benchmarks.node_network import MeasuredNetwork
from benchmarks.rows import MIB, Row, row
from benchmarks.timing import cores, on_core, shortest, shortest_here
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.node import StorageNode
from storage.node.peers import Peers
from storage.node.repair import Repair
from storage.node.store import NewSliver, SliverStore
from storage.node.threads import finished
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, RedStuff

N = 100
MEMBERS = 10
TARGETS = 10
"""Slivers rebuilt at once: as many as a departed member of ten held."""
SLIVER_BYTES = MIB
TIMES_STORED = 10
MEGABYTE = 1e6


def blob_for(axis: Axis) -> EncodedBlob:
    """A blob whose slivers of `axis` are just over 1 MiB."""
    code = RedStuff(N, threads=2)
    symbol_bytes = -(-SLIVER_BYTES // code.source_symbols(axis))
    return code.encode(os.urandom(code.p * code.s * (symbol_bytes + symbol_bytes % 2)))


async def speeds() -> list[Row]:
    """Rows for both axes: helpers, then rebuilders."""
    rows = []
    mine, others = cores()
    for axis in Axis:
        blob = blob_for(axis)
        with on_core(mine):
            rows += await _helper(blob, axis, others)
            rows += await _rebuilder(blob, axis, others)
    return rows


def _rows(what: str, blob: EncodedBlob, speed: float, kernel: str, kernel_speed: float) -> list[Row]:
    where = (N, blob.length, None)
    return [
        row(f"{what}: kernels' speed ({kernel}) ÷ the node's", *where, kernel_speed / speed, "at most", 2),
        row(f"{what}: MB/s", *where, speed / MEGABYTE),
        row(f"{kernel} alone: MB/s", *where, kernel_speed / MEGABYTE),
    ]


async def _helper(blob: EncodedBlob, axis: Axis, core: int) -> list[Row]:
    """One node gives symbols of its slivers of `axis`."""
    code = RedStuff(N)
    t = code.symbol_size(blob.length)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        folder = Path(name)
        async with _lonely_node(folder, blob) as (_, node):
            shards = node.view.my_shards()
            targets = random.Random(1).sample(range(N), TARGETS)
            wanted = (node.config.address, blob.blob_id, int(axis.other), targets, shards)
            (folder / "wanted").write_bytes(pickle.dumps(wanted))
            async with _process("asker", folder / "wanted", core) as seconds_told:
                seconds = float(seconds_told)
            slivers = [
                bytes(blob.sliver(axis, code.sliver_index(blob.blob_id, shard, axis))) for shard in shards
            ]
            kernel_s = await shortest_here(
                lambda: [code.recovery_symbols(axis, sliver, targets, t) for sliver in slivers]
            )
            size_bytes = len(shards) * code.sliver_size(blob.length, axis)
    what = f"a helper with {axis.label} slivers of 1 MiB"
    return _rows(what, blob, size_bytes / seconds, "recovery_symbols", size_bytes / kernel_s)


async def _rebuilder(blob: EncodedBlob, axis: Axis, core: int) -> list[Row]:
    """One node rebuilds slivers of `axis` from helpers that answer at once."""
    code = RedStuff(N)
    t, needed = code.symbol_size(blob.length), code.source_symbols(axis)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as name:
        folder = Path(name)
        async with _lonely_node(folder, None) as (network, node):
            shards = list(node.view.my_shards())[:TARGETS]
            targets = [code.sliver_index(blob.blob_id, shard, axis) for shard in shards]
            symbols = {
                index: {
                    target: bytes(symbol)
                    for target, symbol in code.recovery_symbols(
                        axis.other, blob.sliver(axis.other, index), targets, t
                    ).items()
                }
                for index in range(N)
            }
            (folder / "symbols").write_bytes(pickle.dumps((N, blob.blob_id, int(axis), symbols)))
            async with _process("symbol_server", folder / "symbols", core) as port:
                network.send_to(int(port), besides=node.view.node_id)
                # The node's own view goes on from what it saved, and has seen no event of the new addresses.
                view = ChainView(node.view.ledger, node.view.node_id)
                await view.load()
                peers = Peers(view, allow_private=True)
                try:
                    repair = Repair(view, node.store, node.code, peers, Budget())
                    seconds = await shortest(lambda: repair.rebuild(blob.metadata, axis, shards))
                    stored_s = await _until_durable(repair, node.store, blob.metadata, axis, shards)
                finally:
                    await peers.close()
            chosen = random.Random(1).sample(range(N), needed)
            given = [{index: symbols[index][target] for index in chosen} for target in targets]
            kernel_s = await shortest_here(
                lambda: [
                    code.recover(blob.metadata, axis, target, one)
                    for target, one in zip(targets, given, strict=True)
                ]
            )
    size_bytes = len(shards) * code.sliver_size(blob.length, axis)
    what = f"a rebuilder of {axis.label} slivers of 1 MiB"
    durable = f"{what}, storing them durably too, one batch of {len(shards)} after the other: MB/s"
    return [
        *_rows(what, blob, size_bytes / seconds, "recover", size_bytes / kernel_s),
        row(durable, N, blob.length, None, size_bytes / stored_s / MEGABYTE),
    ]


async def _until_durable(
    repair: Repair, store: SliverStore, metadata: BlobMetadata, axis: Axis, shards: Sequence[int]
) -> float:
    """Seconds to rebuild and store these slivers, as `Repair.fill` does on each axis: the shortest of some times."""
    took_s = []
    for _ in range(TIMES_STORED):
        began_s = time.perf_counter()
        rebuilt = await repair.rebuild(metadata, axis, shards)
        slivers = [NewSliver(metadata.blob_id, one.shard, axis, one.symbols) for one in rebuilt]
        await finished(store.put_slivers, slivers)
        took_s.append(time.perf_counter() - began_s)
        for shard in shards:
            store.drop_shard(shard)
    return min(took_s)


@contextlib.asynccontextmanager
async def _process(module: str, path: Path, core: int) -> AsyncIterator[bytes]:
    """What a process of another module of this folder on that core prints first; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.{module}", str(path), str(core)), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield await process.stdout.readline()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _lonely_node(
    folder: Path, blob: EncodedBlob | None
) -> AsyncIterator[tuple[MeasuredNetwork, StorageNode]]:
    """The one member of ten that runs, with its slivers of the blob if one is given."""
    async with MeasuredNetwork(folder, N, patience_s=3600, watch_interval_s=3600, counted=False) as network:
        members = network.add_nodes(MEMBERS)
        network.elect(dict.fromkeys(members, STAKE_OF_A_SHARD))
        network.chain.start()
        await network.start(members[0])
        if blob is not None:
            await network.upload(blob)
        yield network, network.running[members[0]]
