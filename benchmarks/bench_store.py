"""Store small blobs one by one and together: `make bench-store`. All rows go to `results/store.json`.

A chain and MEMBERS nodes, all processes of their own on this machine, and the client in this one. Blobs of SIZE_BYTES
random bytes are stored in three ways: with a request for each sliver (as a node is sent them that knows no batches) and
with a request for each node, both by SINGLES_AT_ONCE stores at once; and by `Client.store_many`. Chain reads are all
requests to the chain's endpoint by the client, but for transactions handed over.

With arguments only these parts run, and nothing is written: 10, 100, 1000.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import parts
from benchmarks import rows as table
from benchmarks.rows import Row, row
from committee.ledger.evm import DeploymentParameters
from committee.ledger.evm.rpc import Rpc
from localnet.network import LocalNetwork
from storage.client.purchase import StoredBlob

RESULTS = Path(__file__).parent / "results"
MEMBERS = 4
STAKE_TOKENS = 100
SIZE_BYTES = 1024
PERIODS = 2
SINGLES_AT_ONCE = 8
LEAST_BLOBS_PER_S = 50.0
"""Stored together, at 100 shards."""
MOST_READS = 2.0
"""Of the chain, for a blob of those stored together."""
SENDING = "eth_sendRawTransaction"


@dataclass(frozen=True)
class Case:
    """How many blobs are stored in each way."""

    n: int
    by_sliver: int
    by_node: int
    together: int


CASES = {"10": Case(10, 40, 80, 1024), "100": Case(100, 16, 64, 1024), "1000": Case(1000, 3, 6, 48)}


class Failed(Exception):
    """A blob that should have been stored was not."""


@asynccontextmanager
async def network_of(n: int) -> AsyncIterator[LocalNetwork]:
    """A network of `n` shards in its first epoch."""
    parameters = DeploymentParameters(n_shards=n, price_per_mib_period=1, write_price_per_mib=1)
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        async with LocalNetwork(Path(folder), parameters) as network:
            for number in range(MEMBERS):
                await network.add_node(f"node-{number}", stake_tokens=STAKE_TOKENS)
            await network.serving()
            await network.next_epoch()
            await network.client.store(b"the first blob, for which all that is lazy is loaded", PERIODS)
            yield network


@contextmanager
def asked_of_the_chain() -> Iterator[Counter[str]]:
    """Count this process's requests to the chain by their method."""
    asked: Counter[str] = Counter()
    request, batch = Rpc.request, Rpc.batch

    async def counted(rpc: Rpc, method: str, *arguments: Any, **options: Any) -> Any:
        asked[method] += 1
        return await request(rpc, method, *arguments, **options)

    async def all_counted(rpc: Rpc, method: str, requests: Sequence[Any], *arguments: Any) -> Any:
        asked[method] += len(requests)
        return await batch(rpc, method, requests, *arguments)

    Rpc.request, Rpc.batch = counted, all_counted  # type: ignore[method-assign, assignment]
    try:
        yield asked
    finally:
        Rpc.request, Rpc.batch = request, batch  # type: ignore[method-assign]


@dataclass(frozen=True)
class Measured:
    """What storing some blobs in one way took."""

    blobs_per_s: float
    reads_per_blob: float


Store = Callable[[Sequence[bytes]], Awaitable[None]]


async def measured(store: Store, count: int) -> Measured:
    """Store `count` new blobs."""
    blobs = [os.urandom(SIZE_BYTES) for _ in range(count)]
    with asked_of_the_chain() as asked:
        began = time.monotonic()
        await store(blobs)
        elapsed_s = time.monotonic() - began
    return Measured(count / elapsed_s, (asked.total() - asked[SENDING]) / count)


def one_by_one(network: LocalNetwork, *, takes_batches: bool) -> Store:
    """Stores of single blobs, some at once."""

    async def store(blobs: Sequence[bytes]) -> None:
        at_once = asyncio.Semaphore(SINGLES_AT_ONCE)
        for node in network.client._nodes.values():
            node.takes_batches = takes_batches

        async def one(data: bytes) -> None:
            async with at_once:
                await network.client.store(data, PERIODS)

        await asyncio.gather(*map(one, blobs))

    return store


def together(network: LocalNetwork) -> Store:
    """All blobs by `store_many`."""

    async def store(blobs: Sequence[bytes]) -> None:
        async for stored in network.client.store_many(blobs, PERIODS):
            if not isinstance(stored, StoredBlob):
                raise Failed(f"a blob was not stored: {stored}") from stored

    return store


async def failed_transactions(network: LocalNetwork, after: int) -> int:
    """Count the transactions mined behind a block that failed."""
    chain, failed = network.chain, 0
    for number in range(after + 1, int(await chain.request("eth_blockNumber"), 16) + 1):
        receipts = await chain.request("eth_getBlockReceipts", hex(number))
        failed += sum(int(one["status"], 16) == 0 for one in receipts)
    return failed


async def run(case: Case) -> list[Row]:
    """Measure the three ways, one after the other on one network."""
    async with network_of(case.n) as network:
        before = (await network.operator.newest()).number
        by_sliver = await measured(one_by_one(network, takes_batches=False), case.by_sliver)
        by_node = await measured(one_by_one(network, takes_batches=True), case.by_node)
        many = await measured(together(network), case.together)
        failed = await failed_transactions(network, before)
    goal = ("at least", LEAST_BLOBS_PER_S) if case.n == 100 else (None, 0.0)
    at = case.n, SIZE_BYTES, None
    return [
        row("blobs a second, a request a sliver", *at, by_sliver.blobs_per_s),
        row("blobs a second, a request a node", *at, by_node.blobs_per_s),
        row("blobs a second, together", *at, many.blobs_per_s, *goal),
        row(
            "times as many together as with a request a sliver", *at, many.blobs_per_s / by_sliver.blobs_per_s
        ),
        row("chain reads a blob, one by one", *at, by_node.reads_per_blob),
        row("chain reads a blob, together", *at, many.reads_per_blob, "at most", MOST_READS),
        row("transactions mined that failed", *at, failed, "exactly", 0),
    ]


PARTS = {name: lambda case=case: run(case) for name, case in CASES.items()}


def main() -> None:
    """Run, print, and write unless only parts were asked for."""
    rows, are_all = parts.run("benchmarks.bench_store", __doc__ or "", PARTS)
    table.show(rows, "Storing small blobs")
    if are_all:
        table.write(RESULTS / "store.json", rows)
    if any(one.holds is False for one in rows):
        sys.exit("some figures fall short of their goals")


if __name__ == "__main__":
    main()
