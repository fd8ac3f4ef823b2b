"""Store and read over slow links: `make bench-links`. About a quarter of an hour; rows go to `results/links.json`.

Real nodes, up to MOST_MEMBERS, over a chain in memory. A client reaches them over a link whose rate all its connections
share (`slow_link`); what the nodes ask of each other does not pass it. "Needed" are the bodies that must pass: for
storing the metadata to each member and all slivers, for reading the metadata and `p` primary slivers. "Moved" is all
that passes the link in both directions, HTTP heads included.

With arguments only these parts run, and nothing is written: 10, 100, faults, breaks, fades.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from benchmarks import parts
from benchmarks import rows as table
from benchmarks.node_network import MeasuredNetwork
from benchmarks.rows import MIB, Row, row
from benchmarks.slow_link import SlowLink
from committee.ledger import BlockMark, EpochState
from committee.membership import Committee, Member
from storage.client.client import Client
from storage.client.errors import NodeStalled
from storage.client.node_client import NodeClient
from storage.redstuff import Axis, Parameters, RedStuff
from tests.memory_chain import WRITER, MemoryChain
from tests.storage.network import HeldLedger

RESULTS = Path(__file__).parent / "results"
BYTES_PER_MBIT = 125_000
LONGEST = 1.5
"""Times the needed bytes at the link's rate."""
LONGEST_WITH_A_FAULT = 2.5
"""Times the same, where a member hangs or drips, and other members are asked in its place."""
MOST_MOVED = 1.1
"""Times the needed bytes."""
DRIP_ENDS_S = 60.0
STORE_BREAKS_S, READ_BREAKS_S = 3.0, 2.0
"""Times between two resets of all connections. Alone on 1 Mbit/s, 375 kB pass between two of a store; a primary sliver
of the largest blob of 10 shards has 459 kB."""
FADES_AFTER_S = (3.0, 6.0)
"""Times in a read of 8 s after which its link fades from FADES_FROM to FADES_TO Mbit/s."""
FADES_FROM, FADES_TO = 20, 1
STAKE = 10**18
MOST_MEMBERS = 25
"""All nodes are in this process: with 100 of them it is the processor that is measured."""


@dataclass(frozen=True)
class Case:
    """One blob over one link."""

    n: int
    size_bytes: int
    mbit_per_s: int


CASES = {
    "10": [Case(10, Parameters(10).max_blob_bytes, rate) for rate in (1, 5, 50)],
    "100": [Case(100, 2 * MIB, 1), Case(100, 20 * MIB, 5), Case(100, 20 * MIB, 50)],
}


class FarLedger(HeldLedger):
    """The chain as a client or node sees it that reaches the nodes over the link."""

    def __init__(self, chain: MemoryChain, account: str, addresses: dict[str, str]) -> None:
        """`addresses` are the members' own → those on this side of the link."""
        super().__init__(chain, account)
        self._addresses = addresses

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        """The state, the members' addresses being the link's."""
        state = await super().epoch_state(at, is_followed=is_followed)
        return replace(
            state,
            previous=self._moved(state.previous),
            current=self._moved(state.current),
            next=self._moved(state.next),
            unattested={shard: self._moved_member(one) for shard, one in state.unattested.items()},
        )

    def _moved(self, committee: Committee | None) -> Committee | None:
        if committee is None:
            return None
        return replace(committee, members=tuple(map(self._moved_member, committee.members)))

    def _moved_member(self, member: Member) -> Member:
        return replace(member, address=self._addresses[member.address])


@dataclass
class Far:
    """A client behind a link, and the network beyond it."""

    client: Client
    link: SlowLink
    ports: list[int]
    """Of the nodes, on the client's side."""

    async def timed(self, work: Awaitable[object]) -> tuple[float, int]:
        """Seconds that the work takes, and the bytes that pass the link meanwhile."""
        began_s, before = time.monotonic(), self.link.carried_bytes
        await work
        return time.monotonic() - began_s, self.link.carried_bytes - before


@asynccontextmanager
async def serving(n: int) -> AsyncIterator[MeasuredNetwork]:
    """A network of `n` shards, evenly held by `members_of(n)` members."""
    with tempfile.TemporaryDirectory(prefix="haulout-bench-") as folder:
        async with MeasuredNetwork(
            Path(folder), n, watch_interval_s=3600, poll_interval_s=0.5, counted=False
        ) as network:
            members = network.add_nodes(members_of(n))
            network.elect(dict.fromkeys(members, STAKE))
            network.chain.start()
            await network.start(*members)
            yield network


@asynccontextmanager
async def far_client(network: MeasuredNetwork, mbit_per_s: float) -> AsyncIterator[Far]:
    """A client of the network behind a link of that rate."""
    async with SlowLink(mbit_per_s * BYTES_PER_MBIT) as link:
        addresses, ports = {}, []
        for node in network.running.values():
            ports.append(await link.open(node.config.port))
            addresses[node.config.address] = f"http://127.0.0.1:{ports[-1]}"
        async with Client(FarLedger(network.chain, WRITER, addresses)) as client:
            yield Far(client, link, ports)


def members_of(n: int) -> int:
    """How many members hold `n` shards."""
    return min(n, MOST_MEMBERS)


def needed_bytes(case: Case) -> tuple[int, int]:
    """Bytes to store the blob, and to read it."""
    shape = Parameters(case.n)
    metadata_bytes = 64 * case.n
    pair, row_bytes = (
        sum(shape.sliver_size(case.size_bytes, axis) for axis in axes) for axes in (Axis, (Axis.PRIMARY,))
    )
    return case.n * pair + members_of(case.n) * metadata_bytes, metadata_bytes + shape.p * row_bytes


def rows_of(
    what: str, case: Case, needed: int, seconds: float, moved: int, longest: float = LONGEST
) -> list[Row]:
    """The figures of one store or read."""
    where = (case.n, case.size_bytes, None)
    least_s = needed / (case.mbit_per_s * BYTES_PER_MBIT)
    figure = f"{what} at {case.mbit_per_s} Mbit/s"
    print(
        f"  n={case.n}: {figure}: {seconds:.1f} s for {least_s:.1f} s, {moved:,} B for {needed:,} B",
        flush=True,
    )
    return [
        row(
            f"{figure}: time ÷ needed bytes at the link's rate", *where, seconds / least_s, "at most", longest
        ),
        row(f"{figure}: bytes moved ÷ bytes needed", *where, moved / needed, "at most", MOST_MOVED),
    ]


async def stored_and_read(far: Far, case: Case, what: str = "") -> list[Row]:
    """Store a new blob over the link and read it back."""
    data = os.urandom(case.size_bytes)
    to_store, to_read = needed_bytes(case)
    stored = await far.timed(far.client.store(data, periods=5))
    found = rows_of(f"store{what}", case, to_store, *stored)
    blob_id = RedStuff(case.n).encode(data).blob_id

    async def read() -> None:
        if await far.client.read(blob_id) != data:
            raise AssertionError("a read gave other bytes")

    return found + rows_of(f"read{what}", case, to_read, *await far.timed(read()))


async def grid(part: str) -> list[Row]:
    """Store and read at each rate."""
    cases = CASES[part]
    async with serving(cases[0].n) as network:
        found = []
        for case in cases:
            async with far_client(network, case.mbit_per_s) as far:
                found += await stored_and_read(far, case)
    return found


async def faults() -> list[Row]:
    """A member that hangs, and one whose answers drip: owners of pairs that a reader asks for first."""
    case = Case(10, Parameters(10).max_blob_bytes, 5)
    async with serving(case.n) as network:
        data = os.urandom(case.size_bytes)
        to_store, to_read = needed_bytes(case)
        code = RedStuff(case.n)
        blob = code.encode(data)
        current = network.chain.state.current
        assert current is not None
        hanging, dripping = (
            current.owner_of[code.shard_of_pair(blob.blob_id, pair)].node_id - 1 for pair in (0, 1)
        )
        found = []
        async with far_client(network, case.mbit_per_s) as far:
            far.link.stall(far.ports[hanging])
            found += rows_of(
                "store, one member hangs,",
                case,
                to_store,
                *await far.timed(far.client.store(data, periods=5)),
                LONGEST_WITH_A_FAULT,
            )
            found += rows_of(
                "read, one member hangs,",
                case,
                to_read,
                *await far.timed(far.client.read(blob.blob_id)),
                LONGEST_WITH_A_FAULT,
            )
        async with far_client(network, case.mbit_per_s) as far, aiohttp.ClientSession() as session:
            far.link.drip(far.ports[dripping])
            found += rows_of(
                "read, one member drips,",
                case,
                to_read,
                *await far.timed(far.client.read(blob.blob_id)),
                LONGEST_WITH_A_FAULT,
            )
            node = NodeClient(session, "dripping", f"http://127.0.0.1:{far.ports[dripping]}")
            began_s = time.monotonic()
            try:
                await node.sliver(blob.blob_id, 1, Axis.PRIMARY)
            except NodeStalled:
                pass
            else:
                raise AssertionError("a dripping member gave a sliver")
            seconds = time.monotonic() - began_s
            found.append(
                row(
                    "a byte a second: seconds until it is given up",
                    *(case.n, None, None),
                    seconds,
                    "at most",
                    DRIP_ENDS_S,
                )
            )
    return found


async def breaks() -> list[Row]:
    """A link whose connections are all reset again and again, before a sliver has passed."""
    case = Case(10, Parameters(10).max_blob_bytes, 1)
    data = os.urandom(case.size_bytes)
    to_store, to_read = needed_bytes(case)
    async with serving(case.n) as network:
        async with far_client(network, case.mbit_per_s) as far:
            far.link.break_every(STORE_BREAKS_S)
            stored = await far.timed(far.client.store(data, periods=5))
        async with far_client(network, case.mbit_per_s) as far:
            far.link.break_every(READ_BREAKS_S)
            read = await far.timed(far.client.read(RedStuff(case.n).encode(data).blob_id))
    return [
        *rows_of(f"store, reset each {STORE_BREAKS_S:g} s,", case, to_store, *stored),
        *rows_of(f"read, reset each {READ_BREAKS_S:g} s,", case, to_read, *read),
    ]


async def fades() -> list[Row]:
    """A link that becomes much slower in the middle of a read."""
    case = Case(100, 20 * MIB, FADES_FROM)
    data = os.urandom(case.size_bytes)
    blob_id, (_, to_read) = RedStuff(case.n).encode(data).blob_id, needed_bytes(case)
    found = []
    async with serving(case.n) as network:
        async with far_client(network, 20 * FADES_FROM) as far:
            await far.client.store(data, periods=5)
        for after_s in FADES_AFTER_S:
            async with far_client(network, FADES_FROM) as far:
                loop, slow = asyncio.get_running_loop(), FADES_TO * BYTES_PER_MBIT
                loop.call_later(after_s, far.link.fade, slow)
                seconds, moved = await far.timed(far.client.read(blob_id))
            figure = f"read, {FADES_FROM} Mbit/s fade to {FADES_TO} after {after_s:g} s"
            print(f"  n={case.n}: {figure}: {seconds:.1f} s, {moved:,} B for {to_read:,} B", flush=True)
            where = (case.n, case.size_bytes, None)
            found.append(
                row(f"{figure}: bytes moved ÷ bytes needed", *where, moved / to_read, "at most", MOST_MOVED)
            )
    return found


PARTS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "10": lambda: grid("10"),
    "100": lambda: grid("100"),
    "faults": faults,
    "breaks": breaks,
    "fades": fades,
}


def main() -> None:
    """Run, print, and write unless only parts were asked for."""
    rows, is_whole = parts.run(
        "benchmarks.bench_links",
        "Store and read over slow links: all parts, into benchmarks/results, or some and nothing written.",
        PARTS,
    )
    table.show(rows, "Slow links")
    if is_whole:
        table.write(RESULTS / "links.json", rows)
    if any(one.holds is False for one in rows):
        sys.exit("some rows fall short of their goals")


if __name__ == "__main__":
    main()
