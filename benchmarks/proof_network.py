"""A round of storage proofs of real processes on a real chain, with members that lack what they have committed to."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from localnet.network import LocalNetwork
from tests.localnet.proof_rounds import ProvingNetwork

N_SHARDS = 32
HONEST = {"amundsen": 800, "ross": 700, "weddell": 700}
"""Name → stake. Together they have 22 shards, which are just a quorum."""
LACKING = {
    1: ("all-1", "all-2"),
    10: tuple(f"tenth-{i}" for i in range(4)),
    100: tuple(f"hundredth-{i}" for i in range(4)),
}
"""N → the names of members, of a shard each, that delete one of N sliver pairs."""
BLOBS = 100
LEAST_BLOB_BYTES = 1000


@dataclass(frozen=True)
class Seen:
    """What came of a round, by names of members."""

    certified: frozenset[str]
    """Those for which a quorum of their fellows signed."""
    missed: frozenset[str]


async def round_with_lacking_members() -> Seen:
    """Return what came of one round, in a network of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-proofs-") as folder:
        parameters = ProvingNetwork.parameters(N_SHARDS)
        async with LocalNetwork(Path(folder), parameters, keeper=True) as network, network.mining():
            proving = ProvingNetwork(network, N_SHARDS)
            lacking = {name: every for every, names in LACKING.items() for name in names}
            sizes = range(LEAST_BLOB_BYTES, LEAST_BLOB_BYTES + BLOBS)
            await proving.begin(HONEST | dict.fromkeys(lacking, 100), *sizes)
            for name, every in lacking.items():
                await network.nodes[name].stop()
                await network.nodes[name].start(cheat=f"delete-one-of={every}")
            await network.serving()
            await proving.period_passes()
            seen = await proving.round()
            await seen.committed(seen.names)
            await seen.drawn()
            await seen.proven(HONEST)
            await seen.answers_begin()
            await seen.answered([name for name, every in lacking.items() if every > 1])
            await seen.judged()
            parts = await seen.parts()
            return Seen(
                frozenset(name for name, part in parts.items() if part.is_proven and not part.answered),
                frozenset(name for name, part in parts.items() if part.is_missed),
            )
