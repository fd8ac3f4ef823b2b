"""Handovers that are disturbed: reads and writes meanwhile, a node killed at many points, dead members."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.handover_bytes import LEAVING, STAKE_OF_A_SHARD, STAYING, Blobs, split, stakes_of
from benchmarks.node_network import NodeNetwork, TookTooLong, until
from benchmarks.rows import MIB, Row, row
from committee.errors import CommitteeError
from localnet.memory_chain import WRITER
from storage.client.client import Client
from storage.client.errors import ClientError
from storage.redstuff import EncodedBlob, Parameters, RedStuff

PATIENCE_S = 2
WATCH_INTERVAL_S = 0.2
PAIRS_MOVED = 400
"""Of the blobs that are there before, and are read all the time, about so many: enough for a handover that lasts."""
WRITES_AFTER = 2
"""Blobs still written once every gained shard is attested."""


# reads and writes meanwhile


@dataclass
class Users:
    """A reader and a writer that never rest, and what went wrong for them."""

    client: Client
    blobs: dict[bytes, bytes]
    size_bytes: int
    """Of what is written."""
    reads: int = 0
    writes: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    async def read(self) -> None:
        """Read one blob after the other."""
        while True:
            for blob_id, data in list(self.blobs.items()):
                began = time.monotonic()
                try:
                    if await self.client.read(blob_id) != data:
                        self.failures.append("a read gave other bytes")
                except (ClientError, CommitteeError) as error:
                    self.failures.append(f"read: {error}")
                self.reads += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    async def write(self) -> None:
        """Write new blobs; what was written is read too from then on."""
        while True:
            data, began = os.urandom(self.size_bytes), time.monotonic()
            try:
                stored = await self.client.store(data, epochs=20)
                self.blobs[stored.blob_id] = data
            except (ClientError, CommitteeError) as error:
                self.failures.append(f"write: {error}")
            self.writes += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


async def reads_and_writes(n: int, size_bytes: int) -> list[Row]:
    """A member leaves, another is stopped without notice, one joins; a reader and a writer are at it all the time."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with NodeNetwork(
            Path(folder), n, patience_s=PATIENCE_S, watch_interval_s=WATCH_INTERVAL_S, counted=False
        ) as network:
            members = network.add_nodes(10)
            newcomer = network.add_node()
            network.elect(dict.fromkeys(members, STAKE_OF_A_SHARD))
            network.chain.start()
            await network.start(*members, newcomer)
            code = RedStuff(n, threads=2)
            async with Client(network.chain.ledger(WRITER)) as client:
                users = Users(client, {}, size_bytes)
                for _ in range(max(2, PAIRS_MOVED * 10 // (2 * n))):
                    data = os.urandom(size_bytes)
                    blob = code.encode(data)
                    await network.store(blob)
                    users.blobs[blob.blob_id] = data
                departed = await _disturb(network, users, members, newcomer)
            for failure in dict.fromkeys(users.failures):
                print(f"  {failure}")
    where = (n, size_bytes, departed)
    return [
        row("failed reads and writes during a handover", *where, len(users.failures), "exactly", 0),
        row("reads during it", *where, users.reads),
        row("writes during it", *where, users.writes),
        row("the slowest of them, seconds", *where, users.slowest_s),
    ]


async def _disturb(network: NodeNetwork, users: Users, members: list[int], newcomer: int) -> int:
    """The handover under the users' eyes; how many shards departed."""
    current = network.chain.state.current
    assert current is not None
    tasks = [asyncio.create_task(users.read()), asyncio.create_task(users.write())]
    try:
        await until(lambda: users.reads > 1 and users.writes > 1, "reading and writing begin")
        left, killed = members[0], members[1]
        network.elect(dict.fromkeys([*members[2:], newcomer], STAKE_OF_A_SHARD))
        await until(lambda: users.writes > WRITES_AFTER, "writing goes on while the next committee waits")
        await network.stop(killed)
        network.chain.start()
        await until(lambda: not network.chain.missing, "every gained shard is attested")
        written = users.writes
        await until(lambda: users.writes > written + WRITES_AFTER, "writing goes on after the handover")
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    users.failures += [
        f"a user ended: {one!r}"
        for one in outcomes
        if one is not None and not isinstance(one, asyncio.CancelledError)
    ]
    return len(current.shards_of(left)) + len(current.shards_of(killed))


# dead members


async def dead_members(n: int, blobs: Blobs, *, hanging: bool = False) -> list[Row]:
    """Members with `f` shards die together as the epoch starts; some have left, the others are members still.

    Dead ones refuse connections at once; `hanging` ones accept them and never answer, so that all must be waited for.
    """
    blob = blobs.get(n, MIB)
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with NodeNetwork(
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
    network: NodeNetwork, blob: EncodedBlob, f: int, end: Callable[[int], Awaitable[None]]
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
    await network.store(blob)
    # One of the dead has left; the others are members still, with half their shards.
    halves = [max(1, count // 2) for count in dying[1:]]
    network.elect(stakes_of(alive + dead[1:], living + halves))
    await asyncio.gather(*(end(node_id) for node_id in dead))
    network.chain.start()
    current = network.chain.state.current
    assert current is not None
    theirs = {shard for node_id in alive for shard in current.shards_of(node_id)} & network.chain.gained
    began = time.monotonic()
    # What has not come by then is what the rows are there to tell.
    with contextlib.suppress(TookTooLong):
        await until(
            lambda: network.chain.state.handover_done and network.chain.attested >= theirs,
            "the handover ends",
        )
    seconds = time.monotonic() - began
    return len(theirs - network.chain.attested), network.chain.state.handover_done, seconds
