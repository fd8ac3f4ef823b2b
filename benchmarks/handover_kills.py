"""A node that gains shards is killed again and again, while it fetches ahead and after the epoch has started.

Whether it asks for a sliver it had made durable is what this is about. What had come and was not durable yet, or was
just passing the relay, is lost with a kill: it is told, and bounded by what the node has under way at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.handover_bytes import STAYING, split, stakes_of
from benchmarks.node_network import MeasuredNetwork, WireTally
from benchmarks.relay import Exchange
from benchmarks.rows import KIB, MIB, Row, row
from storage.node import fail_points
from storage.node.handover.copying import PAGE_SLIVERS
from storage.node.handover.filling import BLOBS_AT_ONCE
from storage.node.handover.sources import STREAMS_FROM_A_SOURCE
from storage.node.repair.rebuild import BATCHES_AT_ONCE, TARGETS_AT_ONCE
from storage.node.repair.together import BLOBS_TOGETHER
from storage.node.store import SliverStore
from storage.redstuff import Axis, RedStuff

KILLS_AHEAD, KILLS_AFTER = 5, 5
"""Before and after the epoch starts; the run after them may end by itself."""
LEAST_KILLS_AHEAD, LEAST_KILLS_AMID, LEAST_KILLS = 4, 4, 8

Slivers = set[tuple[bytes, int, Axis]]
"""Blob id, shard and axis of each."""


@dataclass(frozen=True)
class Loss:
    """Shards of a dead member, and those a living one gives up: all are the killed node's to fill."""

    n: int
    staying: int
    lost: int
    shrunk: int
    blobs: int
    blob_bytes: int
    most_answers: int
    """Between a start and the kill while all is lacking, and fewer as less is: the kills must not run out of work."""

    @property
    def needed(self) -> int:
        """Slivers to be gained."""
        return (self.lost + self.shrunk) * len(Axis) * self.blobs


LOSSES = (
    Loss(10, 3, 2, 2, blobs=24, blob_bytes=MIB, most_answers=40),
    Loss(100, STAYING, 11, 5, blobs=8, blob_bytes=256 * KIB, most_answers=24),
    Loss(1000, STAYING, 111, 50, blobs=8, blob_bytes=256 * KIB, most_answers=60),
)


@dataclass
class Victim:
    """The node that is killed, and what came of it. Bytes are of symbols and slivers, and of messages that were cut."""

    network: MeasuredNetwork
    loss: Loss
    node_id: int
    dice: random.Random
    kills_amid: int = 0
    """When some slivers were durable and some were not."""
    refetched: int = 0
    """Slivers that were durable."""
    lost_bytes: list[int] = field(default_factory=list)
    """At each kill."""
    durable: Slivers = field(default_factory=set)

    async def killed_within(self, kills: int) -> int:
        """Run and kill it so often, or until it ends by itself; how often it was killed.

        By turns after some answers, whatever came of them, and as soon as anything more is durable.
        """
        for kill in range(kills):
            lacking = self.loss.needed - len(self.durable)
            most = max(1, self.loss.most_answers * lacking // self.loss.needed)
            answers, more = (self.dice.randint(1, most), 0) if kill % 2 == 0 else (1, 1)
            if not await self.run(answers, len(self.durable) + more):
                return kill
        return kills

    async def run(self, answers: int | None, durable: int = 0) -> bool:
        """One run, killed after so many answers and when so many slivers are durable; whether it came to that."""
        network = self.network
        network.tally, before = WireTally(), network.wire_bytes
        was_killed = await _until_killed(network, self.node_id, answers, durable)
        sliver_bytes = network.tally.sliver_bytes
        self.refetched += sum(one in self.durable for one in sliver_bytes)
        self.durable = _durable(network, self.node_id)
        if was_killed:
            cut_bytes = network.wire_bytes - before - sum(network.tally.by_purpose.values())
            lost_bytes = sum(count for one, count in sliver_bytes.items() if one not in self.durable)
            self.lost_bytes.append(cut_bytes + lost_bytes)
            self.kills_amid += 0 < len(self.durable) < self.loss.needed
        return was_killed


async def killed() -> list[Row]:
    """At each number of shards."""
    return [one for loss in LOSSES for one in await kill(loss)]


async def kill(loss: Loss, seed: int = 1) -> list[Row]:
    """The rows of one victim."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(Path(folder), loss.n) as network:
            node_id = await _prepare_victim(network, loss)
            victim = Victim(network, loss, node_id, random.Random(seed))
            kills_ahead = await victim.killed_within(KILLS_AHEAD)
            network.chain.start()
            await network.seen()
            _hand_chain(network)
            if await victim.killed_within(KILLS_AFTER) == KILLS_AFTER:
                await victim.run(None)
    return _rows(victim, kills_ahead)


def _rows(victim: Victim, kills_ahead: int) -> list[Row]:
    loss = victim.loss
    where = (loss.n, loss.blob_bytes, loss.lost)
    code = RedStuff(loss.n)
    primary, secondary = (code.sliver_size(loss.blob_bytes, axis) for axis in (Axis.PRIMARY, Axis.SECONDARY))
    # Of each blob under repair the slivers of one axis; of each stream from a source one page.
    at_once = max(BLOBS_AT_ONCE, BATCHES_AT_ONCE * BLOBS_TOGETHER)
    rebuilding = min(loss.blobs, at_once) * min(loss.lost, TARGETS_AT_ONCE)
    copying = STREAMS_FROM_A_SOURCE * min(loss.blobs, PAGE_SLIVERS)
    under_way_bytes = (rebuilding + copying) * max(primary, secondary)
    needed_bytes = loss.needed * (primary + secondary) // len(Axis)
    what = "kill -9 of a node that gains shards"
    return [
        row(f"{what}: durable slivers refetched", *where, victim.refetched, "exactly", 0),
        row(
            f"{what}: kills made, while it fetches ahead",
            *where,
            kills_ahead,
            "at least",
            LEAST_KILLS_AHEAD,
        ),
        row(f"{what}: kills made, all", *where, len(victim.lost_bytes), "at least", LEAST_KILLS),
        row(
            f"{what}: kills made, when some slivers were durable and some not",
            *where,
            victim.kills_amid,
            "at least",
            LEAST_KILLS_AMID,
        ),
        row(
            f"{what}: slivers gained and durable in the end ÷ slivers gained",
            *where,
            len(victim.durable) / loss.needed,
            "exactly",
            1,
        ),
        row(
            f"{what}: most bytes in flight lost with one kill ÷ what may be under way at once",
            *where,
            max(victim.lost_bytes, default=0) / under_way_bytes,
            "at most",
            1,
        ),
        row(
            f"{what}: what may be under way at once ÷ the slivers gained",
            *where,
            under_way_bytes / needed_bytes,
        ),
        row(
            f"{what}: bytes in flight lost with a kill ÷ the slivers gained, mean of the kills",
            *where,
            sum(victim.lost_bytes) / max(1, len(victim.lost_bytes)) / needed_bytes,
        ),
    ]


async def _prepare_victim(network: MeasuredNetwork, loss: Loss) -> int:
    """A newcomer that is selected for a dead member's shards and some of a living one's.

    Its process is not begun yet, nor is the epoch.
    """
    largest, *rest = split(loss.n - loss.lost, loss.staying)
    staying = network.add_nodes(loss.staying)
    dead, victim = network.add_node(), network.add_node()
    network.elect(stakes_of([*staying, dead], [largest, *rest, loss.lost]))
    network.chain.start()
    await network.start(*staying)
    code = RedStuff(loss.n)
    await network.upload(*(code.encode(os.urandom(loss.blob_bytes)) for _ in range(loss.blobs)))
    shares = [largest - loss.shrunk, *rest, loss.lost + loss.shrunk]
    network.elect(stakes_of([*staying, victim], shares))
    await network.seen()
    (network.folder / "node.pickle").write_bytes(pickle.dumps((victim, network.config(victim).model_dump())))
    _hand_chain(network)
    return victim


def _hand_chain(network: MeasuredNetwork) -> None:
    """The chain as it is now, for the victim's process."""
    (network.folder / "chain.pickle").write_bytes(pickle.dumps(network.chain))


async def _until_killed(network: MeasuredNetwork, victim: int, answers: int | None, durable: int) -> bool:
    """Run the victim's process, and kill it at an answer of slivers or symbols; whether it came to that.

    That is the first one from `answers` on that finds so many slivers durable. By itself it ends when its shards are
    attested or, before the epoch has started, fetched.
    """
    seen, was_killed, store = 0, False, network.store_folder(victim)

    def count(exchange: Exchange) -> None:
        """The last answer has passed the relay, and not come to the victim yet."""
        nonlocal seen, was_killed
        if was_killed or answers is None or exchange.purpose not in ("decodingSymbols", "sync_shard"):
            return
        seen += 1
        if seen >= answers and process.returncode is None and _count_durable(store) >= durable:
            was_killed = True
            process.kill()

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.node_process", str(network.folder)),
        env=os.environ | {fail_points.ENVIRONMENT: "prefetch.complete"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    network.watchers = [count]
    try:
        await network.until(lambda: process.returncode is not None, what="the node's process goes on")
    finally:
        if process.returncode is None:
            process.kill()
    status = await process.wait()
    network.watchers = []
    await _quiet(network)
    if status > 0:
        raise RuntimeError(f"the node's process ended with status {status}")
    return was_killed


async def _quiet(network: MeasuredNetwork) -> None:
    """Wait until what was under way at the kill has run out."""
    before = -1
    while before != network.wire_bytes:
        before = network.wire_bytes
        await asyncio.sleep(0.2)


def _count_durable(store: Path) -> int:
    """Slivers in a store that another process has open: a row is there when its sliver is durable."""
    address = f"{(store / 'index.sqlite').as_uri()}?mode=ro"
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(address, uri=True)) as index,
    ):
        return int(index.execute("SELECT count(*) FROM sliver").fetchone()[0])
    return 0  # not set up yet


def _durable(network: MeasuredNetwork, victim: int) -> Slivers:
    """The victim owns nothing but what it gained."""
    with SliverStore(network.store_folder(victim)) as store:
        return {
            (record.blob_id, shard, axis)
            for record in network.chain.records.values()
            for axis in Axis
            for shard in store.shards_with(record.blob_id, axis)
        }
