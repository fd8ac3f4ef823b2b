"""Handovers that must end without members that are dead, whether they refuse connections or hang."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.handover_bytes import LEAVING, STAYING, Blobs, split, stakes_of
from benchmarks.node_network import LONGEST_WAIT_S, MeasuredNetwork
from benchmarks.rows import MIB, Row, row
from storage.redstuff import EncodedBlob, Parameters
from tests.storage.network import TookTooLong

PATIENCE_S = 2
WATCH_INTERVAL_S = 0.2


async def dead_members(n: int, blobs: Blobs, *, hanging: bool = False) -> list[Row]:
    """Members with `f` shards die together as the epoch starts; some have left, the others are members still.

    Dead ones refuse connections at once; `hanging` ones accept them and never answer, so that all must be waited for.
    """
    blob = blobs.get(n, MIB)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(
            Path(folder), n, patience_s=PATIENCE_S, watch_interval_s=WATCH_INTERVAL_S, counted=hanging
        ) as network:
            f = Parameters(n).f
            end = network.hang if hanging else network.stop
            stuck, is_done, seconds = await _outlive(network, blob, f, end)
    what = f"handover with f {'hanging' if hanging else 'dead'} members"
    return [
        row(f"{what}: gained shards not attested", n, MIB, f, stuck, "exactly", 0),
        row(f"{what}: declared done", n, MIB, f, int(is_done), "exactly", 1),
        row(f"{what}: seconds", n, MIB, f, seconds),
    ]


async def _outlive(
    network: MeasuredNetwork, blob: EncodedBlob, f: int, end: Callable[..., Awaitable[None]]
) -> tuple[int, bool, float]:
    """(shards that living members gained and did not attest, whether the handover is done, seconds).

    As it stands when all this has come, or when the time for it is up.
    """
    n = network.chain.parameters.n_shards
    living, dying = split(n - f, min(STAYING, n - f)), split(f, LEAVING)
    alive, dead = network.add_nodes(len(living)), network.add_nodes(len(dying))
    network.elect(stakes_of(alive + dead, living + dying))
    network.chain.start()
    await network.start(*alive, *dead)
    await network.upload(blob)
    # One of the dead has left; the others are members still, with half their shards.
    halves = [max(1, count // 2) for count in dying[1:]]
    await end(*dead)
    # At once, as the selection is dropped when one of the dead is ejected before the start.
    network.elect(stakes_of(alive + dead[1:], living + halves))
    network.chain.start()
    current = network.chain.state.current
    assert current is not None
    theirs = {shard for node_id in alive for shard in current.shards_of(node_id)} & network.chain.gained
    began = time.monotonic()
    # What has not come by then is what the rows are there to tell.
    with contextlib.suppress(TookTooLong):
        await network.until(
            lambda: network.chain.state.handover_done and network.chain.attested >= theirs,
            what="the handover ends",
            limit_s=LONGEST_WAIT_S,
        )
    seconds = time.monotonic() - began
    return len(theirs - network.chain.attested), network.chain.state.handover_done, seconds
