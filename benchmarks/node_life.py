"""A node's life with many small blobs: it is given them, an epoch starts, a shard moves, is dropped, and nodes restart.

Two nodes of four shards run in this process, with their own stores, HTTP, handover, garbage collection and tidying; the
chain is in memory, and its blobs are on it as if each had been registered and certified. The memory that is told is the
highest of the process in each part of that life, beyond what it had before the nodes began, chain and blobs included.

    .venv/bin/python -m benchmarks.node_life BLOBS
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.node_network import MeasuredNetwork
from committee.ledger import BlobRecord, BlockMark, Event
from storage.node.store import NewSliver, SliverStore
from storage.redstuff import Axis, RedStuff
from tests.memory_chain import WRITER, MemoryChain
from tests.memory_chain.contracts import Contracts
from tests.storage.network import HeldLedger

N_SHARDS = 4
BLOB_BYTES = 100
END_PERIOD = 50
PAGE_ITEMS = 200
BLOBS_AT_ONCE = 500
BEFORE = {1: (0, 1, 2), 2: (3,)}
AFTER = {1: (0, 1), 2: (2, 3)}
MOVED = 2
"""The shard that goes from node 1 to node 2."""
LONGEST_S = 3600.0
MIB = 2**20
MOST_BYTES = 400 * MIB
"""Memory that two nodes may take beyond the chain, with up to 200 000 blobs; most of it is what SQLite caches."""


@dataclass(frozen=True)
class Phase:
    """One part of the nodes' life."""

    name: str
    seconds: float
    highest_bytes: int
    """The process' highest memory in it, beyond what it had before the nodes began."""


@dataclass(frozen=True)
class Life:
    """All parts, and what the stores then have."""

    n_blobs: int
    phases: Sequence[Phase]
    slivers: Sequence[int]
    """In the stores of the two nodes, at the end."""
    disk_bytes: int

    @property
    def highest_bytes(self) -> int:
        """The most memory of any part."""
        return max(one.highest_bytes for one in self.phases)


class _PagedLedger(HeldLedger):
    """A ledger that finds a page without going through all objects, as the contracts do."""

    def __init__(self, chain: MemoryChain, account: str) -> None:
        super().__init__(chain, account)
        self._records = list(chain.records.values())

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """Of the objects that there were at first, all of which live; the cursor is a place."""
        following = cursor + PAGE_ITEMS
        return self._records[cursor:following], following if following < len(self._records) else 0


class _Network(MeasuredNetwork):
    def ledger_of(self, node_id: int) -> HeldLedger:
        """Return a new ledger of a node."""
        return _PagedLedger(self.chain, self.chain.nodes[node_id].name)


def _blobs(code: RedStuff, n_blobs: int) -> Iterator[tuple[int, bytes]]:
    for number in range(1, n_blobs + 1):
        yield number, number.to_bytes(8, "big") * (BLOB_BYTES // 8) + bytes(BLOB_BYTES % 8)


def _filled(now: Contracts, ids: Sequence[bytes]) -> tuple[Contracts, tuple[Event, ...]]:
    """A rule: a certified blob object for each id, without events."""
    made = {
        number: BlobRecord(number, blob_id, BLOB_BYTES, WRITER, 1, 1, END_PERIOD, deletable=True)
        for number, blob_id in enumerate(ids, 1)
    }
    return replace(now, records=made), ()


class _Watched:
    """The phases so far."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self._before_bytes = _memory("VmRSS")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block, and take its highest memory."""
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory counts anew (proc(5))
        began_s = time.monotonic()
        yield
        seconds = time.monotonic() - began_s
        self.phases.append(Phase(name, round(seconds, 2), _memory("VmHWM") - self._before_bytes))


def _memory(what: str) -> int:
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(what))
    return int(line.split()[1]) * 1024


def _load(folders: Mapping[int, Path], code: RedStuff, n_blobs: int) -> None:
    """Give the stores of both nodes, which do not run yet, their slivers and the blobs' metadata."""
    with ExitStack() as opened:
        stores = {node_id: opened.enter_context(SliverStore(folder)) for node_id, folder in folders.items()}
        _put(stores, code, n_blobs)


def _put(stores: dict[int, SliverStore], code: RedStuff, n_blobs: int) -> None:
    metadata: dict[bytes, bytes] = {}
    slivers: dict[int, list[NewSliver]] = {node_id: [] for node_id in stores}
    for number, data in _blobs(code, n_blobs):
        blob = code.encode(data)
        metadata[blob.blob_id] = blob.metadata.to_bcs()
        for node_id, shards in BEFORE.items():
            slivers[node_id] += [
                NewSliver(
                    *(blob.blob_id, shard, axis),
                    blob.sliver(axis, code.sliver_index(blob.blob_id, shard, axis)),
                )
                for shard in shards
                for axis in Axis
            ]
        if len(metadata) == BLOBS_AT_ONCE or number == n_blobs:
            for node_id, store in stores.items():
                store.put_blobs(metadata, slivers[node_id])
                slivers[node_id] = []
            metadata = {}


async def life(n_blobs: int, folder: Path) -> Life:
    """Run the nodes through it all; their folders are below `folder`."""
    async with _Network(folder, N_SHARDS, counted=False) as network:
        code, network.limit_s = network.code, LONGEST_S
        node_ids = network.add_nodes(2)
        network.chain.start(BEFORE)
        ids = [code.encode(data).blob_id for _, data in _blobs(code, n_blobs)]
        network.chain.send("fill", _filled, ids)
        watched = _Watched()

        def stores() -> dict[int, SliverStore]:
            return {node_id: node.store for node_id, node in network.running.items()}

        with watched.phase("load"):
            folders = {node_id: network.store_folder(node_id) for node_id in node_ids}
            await asyncio.to_thread(_load, folders, code, n_blobs)
        with watched.phase("start"):
            await network.start(1, 2)
            await network.seen()
        with watched.phase("handover"):
            network.chain.start(AFTER)
            await network.until(lambda: not network.chain.missing, what="the shard that moved is attested")
        with watched.phase("drop"):
            network.chain.start(AFTER)  # a shard stays for an epoch after it was given away
            network.chain.time_s += network.chain.parameters.certificate_grace_s + 1
            network.chain.mine()
            await network.until(lambda: _count(stores()[1]) == 4 * n_blobs, what="the shard is dropped")
            await asyncio.to_thread(_tidied, stores()[1])
        with watched.phase("restart"):
            await network.stop(1, 2)
            await network.start(1, 2)
            await network.seen()
        slivers = [_count(store) for store in stores().values()]
        await asyncio.to_thread(_require_all, stores(), ids)
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())  # noqa: ASYNC240
    return Life(n_blobs, watched.phases, slivers, on_disk)


def _count(store: SliverStore) -> int:
    return store.sliver_count()


def _tidied(store: SliverStore) -> None:
    while store.tidy():
        pass


def _require_all(stores: dict[int, SliverStore], ids: Sequence[bytes]) -> None:
    """Raise `RuntimeError` unless each node has the slivers of its shards, and none of the one that left it."""
    for node_id, shards in AFTER.items():
        for shard in shards:
            for axis in Axis:
                if stores[node_id].missing(shard, axis, sorted(ids)):
                    raise RuntimeError(f"node {node_id} lacks {axis.label} slivers of shard {shard}")
    if len(stores[1].missing(MOVED, Axis.PRIMARY, sorted(ids))) != len(ids):
        raise RuntimeError(f"node 1 has slivers of shard {MOVED}, which it gave away")


async def in_its_own_process(n_blobs: int) -> Life:
    """Run a life in a process of its own, so that its memory is nobody else's."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.node_life", str(n_blobs), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the nodes' process ended with {process.returncode}")
    told = json.loads(output)
    return Life(
        told["n_blobs"], [Phase(**one) for one in told["phases"]], told["slivers"], told["disk_bytes"]
    )


def main() -> None:
    """Run a life, and print its parts."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(prefix="node-life-") as folder:
        found = asyncio.run(life(int(sys.argv[1]), Path(folder)))
    if "--json" in sys.argv:
        print(json.dumps(asdict(found)))
        return
    for one in found.phases:
        print(f"{one.name:10} {one.seconds:8.1f} s  {one.highest_bytes / MIB:8.1f} MiB")
    print(f"{found.slivers} slivers, {found.disk_bytes / found.n_blobs:.0f} bytes on the disk for each blob")


if __name__ == "__main__":
    main()
