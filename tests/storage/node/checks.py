"""What every fault ends in, over the network in memory; the checks are the same for all of them.

Every live blob is readable and equal; every shard has one owner, whose slivers are the right ones; no more was fetched
than had to be, and nothing for nothing unless somebody lied; no file is left that nobody needs; the network is quiet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from storage.redstuff import Axis, EncodedBlob

if TYPE_CHECKING:
    from tests.storage.network import Network

QUIET_LOOKS = 10
"""So many times in a row nobody may have asked for anything since the last look."""


async def check(network: Network, *, lied: bool = False) -> None:
    """All of it, for the nodes that run; `lied` if some peer's answers had to be thrown away."""
    await network.seen()
    await network.until(lambda: _is_settled(network))
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
            assert network.is_complete(node_id, blob)
        await network.until(lambda node_id=node_id: not _stray(network, node_id))
        _check_bytes(network, node_id, lied)


def _content(network: Network, blob: EncodedBlob) -> bytes:
    """What its writer stored."""
    return blob.primary[: network.code.p].tobytes()[: blob.length]


def _live(network: Network) -> set[bytes]:
    epoch = network.chain.state.epoch
    return {one.blob_id for one in network.chain.records.values() if one.is_live(epoch)}


def _is_settled(network: Network) -> bool:
    """Whoever runs has attested all that it gained, and has nothing to heal."""
    attested = network.chain.attested
    for node in network.running.values():
        plan = node.handover.plan()
        if node.healing.waiting or (plan is not None and not attested.issuperset(plan.attest)):
            return False
    return True


async def _check_quiet(network: Network) -> None:
    """Nobody asks anybody for slivers any more."""
    before: Counter[int] = Counter()
    looks = 0
    while looks < QUIET_LOOKS:
        now: Counter[int] = Counter()
        for node_id in network.running:
            for line in (await network.client(node_id).metrics()).splitlines():
                if line.startswith("haulout_requests_total") and re.search("sync_shard|Symbols", line):
                    now[node_id] += int(float(line.split()[-1]))
        before, looks = now, looks + 1 if now == before else 0


def _wanted(network: Network, node_id: int) -> set[int]:
    """Shards that a node must or may hold: its own, those of the epoch before and after, and those it owes."""
    state = network.chain.state
    committees = [one for one in (state.previous, state.current, state.next) if one is not None]
    return {shard for one in committees for shard in one.shards_of(node_id)} | network.chain.missing


def _kept(network: Network, node_id: int) -> Collection[bytes]:
    """Blobs of which a node holds slivers: the live ones, and those that were live when the epoch started."""
    return _live(network) | set(network.running[node_id].view.live_at_start)


def _stray(network: Network, node_id: int) -> list[str]:
    """What lies in a node's store and nobody needs."""
    folder, shards, blobs = network.store_folder(node_id), _wanted(network, node_id), _kept(network, node_id)
    stray = [str(path) for name in ("incoming", "dropped") for path in (folder / name).iterdir()]
    for path in (folder / "slivers").rglob("*"):
        if path.is_file():
            shard, axis, _, blob = path.relative_to(folder / "slivers").parts
            if int(shard) not in shards or bytes.fromhex(blob) not in blobs:
                stray.append(f"{blob} of shard {shard}, {axis}")
    return stray + [f"shard {shard}" for shard in network.running[node_id].store.shards() - shards]


def _check_bytes(network: Network, node_id: int, lied: bool) -> None:
    """Of each sliver its own size was fetched, once; what lies cost is no more than that again."""
    node = network.running[node_id]
    sizes = {
        blob_id: sum(network.code.sliver_size(network.uploaded[blob_id].length, axis) for axis in Axis)
        for blob_id in _kept(network, node_id)
    }
    fetched: Counter[tuple[int, bytes]] = Counter()
    wasted_bytes = 0
    for one in node.store.tallies(node.view.state.epoch):
        assert one.received_bytes <= one.symbol_bytes
        fetched[one.shard, one.blob_id] += one.symbol_bytes
        wasted_bytes += one.wasted_bytes
    assert all(size_bytes <= sizes.get(blob_id, size_bytes) for (_, blob_id), size_bytes in fetched.items())
    assert wasted_bytes <= (fetched.total() if lied else 0)
    stored = node.store.stored_bytes()
    assert stored <= len(_wanted(network, node_id)) * sum(sizes.values())
