"""What every fault ends in, over the network in memory; the checks are the same for all of them.

Every live blob is readable and equal; every shard has one owner, whose slivers are the right ones; no more was fetched
than had to be, and nothing in vain but what a test says; no file and no row is left that nobody needs; the network
is quiet, and nobody waits to try again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import node as package
from storage.node.chain import pages
from storage.redstuff import Axis, EncodedBlob
from tests.storage.node.places import on_disk, segments_of
from tests.storage.node.tallies import tallies

if TYPE_CHECKING:
    from tests.storage.network import Network

QUIET_LOOKS = 10
"""So many times in a row nobody may have asked for anything since the last look."""
NEVER_QUIET = ("/metrics", "/v1/health", "sign_of_life")
"""What the looks themselves and the watch over the members ask for."""
_JOBS = Path(*package.__path__) / "handover" / "jobs.py"
_WORKPLACES = (_JOBS.parent, _JOBS.parents[1] / "repair", _JOBS.parents[1] / "upkeep" / "invalidation.py")
"""Whose tasks end with their work."""


async def check(network: Network, *, in_vain: int = 0) -> None:
    """All of it, for the nodes that run; at most `in_vain` times as much as was stored may have been thrown away."""
    await network.seen()
    await _check_quiet(network)
    live = [network.uploaded[blob_id] for blob_id in _live(network)]
    for blob in live:
        assert await network.read(blob.blob_id) == _content(network, blob)
    current = network.chain.state.current
    assert current is not None
    assert sorted(shard for member in current.members for shard in member.shards) == list(
        range(network.code.n_shards)
    )
    for node_id in network.running:
        for blob in live:
            assert network.is_complete(node_id, blob), (
                f"node {node_id} lacks something of {blob.blob_id.hex()}"
            )
        await _check_nothing_stray(network, node_id)
        _check_bytes(network, node_id, in_vain)


def _content(network: Network, blob: EncodedBlob) -> bytes:
    """What its writer stored."""
    return blob.primary[: network.code.p].tobytes()[: blob.length]


def _live(network: Network) -> set[bytes]:
    period = network.chain.state.period
    return {one.blob_id for one in network.chain.records.values() if one.is_live(period)}


def _unsettled(network: Network) -> list[str]:
    """What is to be attested or healed by those that run."""
    left = []
    for node_id, node in network.running.items():
        plan = node.handover.plan()
        if node.healing.waiting:
            left.append(f"{node.healing.waiting} blobs to heal at node {node_id}")
        if plan is not None and not network.chain.attested.issuperset(plan.attest):
            left.append(f"shards to attest of node {node_id}")
    return left


async def _check_quiet(network: Network) -> None:
    """All is attested and healed, nobody asks anybody for anything any more, and nobody is about to."""
    looks, before, left = 0, Counter[str](), list[str]()
    try:
        async with asyncio.timeout(network.limit_s):
            while looks < QUIET_LOOKS:
                now = await _requests(network)
                left = [*_unsettled(network), *_under_way(network), *(now - before)]
                looks = 0 if left else looks + 1
                before = now
    except TimeoutError:
        pytest.fail(f"never quiet: {', '.join(left)}")


async def _requests(network: Network) -> Counter[str]:
    """Node, route and status → requests answered."""
    requests: Counter[str] = Counter()
    for node_id in network.running:
        for line in (await network.client(node_id).metrics()).splitlines():
            if line.startswith("haulout_requests_total") and not any(one in line for one in NEVER_QUIET):
                what, _, count = line.rpartition(" ")
                requests[f"{what} of node {node_id}"] += int(float(count))
    return requests


def _under_way(network: Network) -> list[str]:
    """The tasks of handovers and repairs, those between two tries too.

    But for jobs that wait for the start of a selected epoch: all nodes are in this process.
    """
    is_selected = any(node.view.state.next is not None for node in network.running.values())
    tasks = []
    for task in asyncio.all_tasks():
        place = Path(task.get_coro().cr_code.co_filename)  # type: ignore[union-attr]
        if any(place.is_relative_to(one) for one in _WORKPLACES) and not (is_selected and place == _JOBS):
            tasks.append(repr(task))
    return tasks


def _wanted(network: Network, node_id: int) -> set[int]:
    """Shards that a node must or may hold: its own, those of the epoch before and after, and those it owes."""
    state = network.chain.state
    committees = [one for one in (state.previous, state.current, state.next) if one is not None]
    return {shard for one in committees for shard in one.shards_of(node_id)} | network.chain.missing


def _kept(network: Network, node_id: int) -> set[bytes]:
    """Blobs of which a node holds slivers: the registered ones, and those that were live when the epoch started."""
    view, period = network.running[node_id].view, network.chain.state.period
    registered = {
        one.blob_id for one in network.chain.records.values() if one.is_registered(period) and not one.invalid
    }
    return registered | {blob_id for page in pages(view.live_at_start) for blob_id in page}


async def _check_nothing_stray(network: Network, node_id: int) -> None:
    """Garbage is collected when it is nobody's turn."""
    try:
        await network.until(lambda: not _stray(network, node_id))
    except TimeoutError:
        pytest.fail(f"stray at node {node_id}: {', '.join(_stray(network, node_id))}")


def _stray(network: Network, node_id: int) -> list[str]:
    """What lies in a node's store and nobody needs: rows of the index that count, and files."""
    folder, shards, blobs = network.store_folder(node_id), _wanted(network, node_id), _kept(network, node_id)
    with closing(sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True)) as index:
        metadata = {
            blob_id
            for (blob_id,) in index.execute("SELECT blob_id FROM metadata JOIN blob ON blob.number = blob")
        }
        listed = {f"{shard}-{number}" for shard, number in index.execute("SELECT shard, number FROM segment")}
    stray = [f"metadata of {blob_id.hex()}" for blob_id in metadata - blobs]
    stray.extend(
        f"row of {one.blob_id.hex()} of shard {one.shard}, {one.axis.label}"
        for one in on_disk(folder)
        if one.shard not in shards or one.blob_id not in blobs
    )
    return stray + [f"file {name}" for name in segments_of(folder) if name not in listed]


def _check_bytes(network: Network, node_id: int, in_vain: int) -> None:
    """Of each sliver its own size was fetched, once; what came in vain is no more than so many times that."""
    node = network.running[node_id]
    sizes = {
        blob_id: sum(network.code.sliver_size(network.uploaded[blob_id].length, axis) for axis in Axis)
        for blob_id in _kept(network, node_id)
    }
    fetched: Counter[tuple[int, bytes]] = Counter()
    wasted_bytes = 0
    for one in tallies(node.store, node.view.state.epoch):
        assert one.received_bytes <= one.symbol_bytes
        fetched[one.shard, one.blob_id] += one.symbol_bytes
        wasted_bytes += one.wasted_bytes
    assert all(size_bytes <= sizes.get(blob_id, size_bytes) for (_, blob_id), size_bytes in fetched.items())
    assert wasted_bytes <= in_vain * fetched.total()
    stored = node.store.stored_bytes()
    assert stored <= len(_wanted(network, node_id)) * sum(sizes.values())
