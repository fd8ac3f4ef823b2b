"""A reader and a writer that never rest, before a handover, through it and after it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from benchmarks.handover_bytes import STAKE_OF_A_SHARD
from benchmarks.handover_faults import PATIENCE_S, WATCH_INTERVAL_S
from benchmarks.node_network import MeasuredNetwork
from benchmarks.rows import Row, row
from committee.errors import CommitteeError
from storage.client.client import Client
from storage.client.errors import ClientError
from storage.redstuff import RedStuff
from tests.memory_chain import WRITER

PAIRS_MOVED = 400
"""Of the blobs that are there before, and are read all the time, about so many: enough for a handover that lasts."""
BEFORE = 4
"""Reads, and writes, with which those during the handover are compared."""
LEAST_DURING = 8
"""Reads, and writes, begun between the selection and the end of the handover."""
AFTER = 2
"""Reads, and writes, begun and ended once the handover is over: by then all that were begun before have ended."""

LONGEST_WAIT_S = 600.0
"""For some operations: at 1000 shards, with all nodes in one process, each takes seconds, more on a busy machine."""

Kind = Literal["read", "write"]
KINDS: tuple[Kind, ...] = ("read", "write")


@dataclass(frozen=True)
class Operation:
    """A read or a write that has ended. Times are `time.monotonic`."""

    kind: Kind
    began_s: float
    seconds: float


@dataclass
class Users:
    """The reader and the writer, what they did, and what went wrong for them."""

    client: Client
    blobs: dict[bytes, bytes]
    size_bytes: int
    """Of what is written."""
    done: list[Operation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def read(self) -> None:
        """Read one blob after the other."""
        while True:
            for blob_id, data in list(self.blobs.items()):
                await self._timed("read", self._read_one(blob_id, data))

    async def write(self) -> None:
        """Write new blobs; what was written is read too from then on."""
        while True:
            await self._timed("write", self._write_one(os.urandom(self.size_bytes)))

    async def _read_one(self, blob_id: bytes, data: bytes) -> None:
        if await self.client.read(blob_id) != data:
            self.failures.append("a read gave other bytes")

    async def _write_one(self, data: bytes) -> None:
        stored = await self.client.store(data, periods=20)
        self.blobs[stored.blob_id] = data

    async def _timed(self, kind: Kind, work: Awaitable[None]) -> None:
        began_s = time.monotonic()
        try:
            await work
        except (ClientError, CommitteeError) as error:
            self.failures.append(f"{kind}: {error}")
        self.done.append(Operation(kind, began_s, time.monotonic() - began_s))

    def took_s(self, kind: Kind, first_s: float, end_s: float = float("inf")) -> list[float]:
        """Seconds of each operation begun between two times and ended by now."""
        return [one.seconds for one in self.done if one.kind == kind and first_s <= one.began_s < end_s]

    async def go_on(self, network: MeasuredNetwork, count: int, since_s: float, when: str) -> None:
        """Wait until `count` reads and `count` writes begun since then have ended."""
        await network.until(
            lambda: all(len(self.took_s(kind, since_s)) >= count for kind in KINDS),
            what=f"reading and writing go on {when}",
            limit_s=LONGEST_WAIT_S,
        )


@dataclass(frozen=True)
class Times:
    """Of a handover under users' eyes; `time.monotonic`."""

    selected_s: float
    started_s: float
    ended_s: float
    """When it is declared done and every gained shard is attested."""


async def reads_and_writes(n: int, size_bytes: int) -> list[Row]:
    """A member leaves, another is stopped without notice, one joins; a reader and a writer are at it all the time."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(
            Path(folder), n, patience_s=PATIENCE_S, watch_interval_s=WATCH_INTERVAL_S, counted=False
        ) as network:
            members = network.add_nodes(10)
            newcomer = network.add_node()
            network.elect(dict.fromkeys(members, STAKE_OF_A_SHARD))
            network.chain.start()
            await network.start(*members, newcomer)
            code = RedStuff(n, threads=2)
            async with Client(network.chain.ledger(WRITER)) as client:
                contents = [os.urandom(size_bytes) for _ in range(max(2, PAIRS_MOVED * 10 // (2 * n)))]
                blobs = [code.encode(data) for data in contents]
                await network.upload(*blobs)
                known = {bytes(blob.blob_id): data for blob, data in zip(blobs, contents, strict=True)}
                users = Users(client, known, size_bytes)
                departed, times = await _disturb(network, users, members, newcomer)
            for failure in dict.fromkeys(users.failures):
                print(f"  {failure}")
    return rows_of((n, size_bytes, departed), users, times)


def rows_of(where: tuple[int, int, int], users: Users, times: Times) -> list[Row]:
    """The figures of one handover; there must be operations of both kinds before it and during it."""
    # Those before and after it count too.
    rows = [row("failed reads and writes during a handover", *where, len(users.failures), "exactly", 0)]
    for kind in KINDS:
        during = users.took_s(kind, times.selected_s, times.ended_s)
        usual_s = median(users.took_s(kind, 0, times.selected_s))
        started = len(users.took_s(kind, times.started_s, times.ended_s))
        what = f"{kind}s begun between the selection and the end of the handover"
        rows += [
            row(what, *where, len(during), "at least", LEAST_DURING),
            row(f"{what}, of these after the epoch's start", *where, started),
            row(f"{what}: median latency ÷ without a handover", *where, median(during) / usual_s),
            row(f"{what}: median latency, seconds", *where, median(during)),
            row(f"{what}: the slowest, seconds", *where, max(during)),
        ]
    return rows


async def _disturb(
    network: MeasuredNetwork, users: Users, members: list[int], newcomer: int
) -> tuple[int, Times]:
    """The handover under the users' eyes; how many shards departed, and when it was."""
    current = network.chain.state.current
    assert current is not None
    tasks = [asyncio.create_task(users.read()), asyncio.create_task(users.write())]
    try:
        await users.go_on(network, BEFORE, 0, "without a handover")
        left, killed = members[0], members[1]
        selected_s = time.monotonic()
        network.elect(dict.fromkeys([*members[2:], newcomer], STAKE_OF_A_SHARD))
        # As many as there must be: how long the handover takes after this cannot be told beforehand.
        await users.go_on(network, LEAST_DURING, selected_s, "while the next committee waits")
        await network.stop(killed)
        started_s = time.monotonic()
        network.chain.start()
        await network.until(
            lambda: network.chain.state.handover_done and not network.chain.missing, what="the handover ends"
        )
        ended_s = time.monotonic()
        await users.go_on(network, AFTER, ended_s, "after the handover")
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    users.failures += [
        f"a user ended: {one!r}"
        for one in outcomes
        if one is not None and not isinstance(one, asyncio.CancelledError)
    ]
    departed = len(current.shards_of(left)) + len(current.shards_of(killed))
    return departed, Times(selected_s, started_s, ended_s)
