"""The processor time, at both ends, of copying and of rebuilding slivers of many small blobs.

Sources, helpers and the node that gains a shard are in one process: real stores on disk, real HTTP over loopback, real
views of a chain in memory that stands still. A figure is the time of all threads of the process while the slivers are
brought, verified and stored, divided by their number. Beside copying stands the time of moving metadata alone, from one
bare database over a bare connection to another one. Beside rebuilding stands the time of the same arithmetic in memory:
the symbols that helpers give, the slivers made of them, and their roots; for one blob after the other by transforms,
and for all blobs together.
"""

from __future__ import annotations

import contextlib
import gc
import random
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from committee import transition
from committee.bls import SecretKey
from committee.ledger import BlobRecord, Event, Parameters
from localnet.ports import free_port
from storage.client.wire import PAGE_BYTES
from storage.node.block_list import BlockList
from storage.node.budgets import Budget
from storage.node.chain import ChainView
from storage.node.handover.copying import Copying
from storage.node.handover.filling import Filling
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.node.peers import Peers
from storage.node.repair import Repair
from storage.node.store import NewSliver, SliverStore
from storage.redstuff import Axis, EncodedBlob, RedStuff, RedStuffError
from tests.memory_chain import WRITER, MemoryChain, MemoryLedger
from tests.memory_chain.contracts import Contracts

SHARD_COUNTS = (10, 100, 1000)
MOST_BLOBS = {10: 2000, 100: 1000, 1000: 200}
"""Number of shards → blobs at most: at 1000 shards one has 2000 slivers, and metadata of 66 KB."""
BLOB_BYTES = 1000
HOLDERS = 10
"""Members that hold all shards but the last one, whose owner is gone."""
NEWCOMER, DEPARTED = HOLDERS + 1, HOLDERS + 2
BATCH_SLIVERS = 4096
INSERT, SELECT = "INSERT INTO metadata VALUES (?, ?)", "SELECT bcs FROM metadata WHERE id = ?"
WARM_UP = 3
"""Blobs that are filled before the time is taken: kernels are loaded, or compiled, with the first."""


@dataclass
class Site:
    """A node without its duties, as its HTTP routes see it."""

    store: SliverStore
    view: ChainView
    code: RedStuff
    secret: SecretKey
    block_list: BlockList = field(default_factory=lambda: BlockList(None))
    rounds: None = None
    """Nobody asks for storage proofs here."""

    def upkeep(self) -> dict[str, int]:
        """Nothing."""
        return {}


async def filling(n_blobs: int, folder: Path) -> Mapping[str, float]:
    """Measure copying and rebuilding at each number of shards, with so many blobs or MOST_BLOBS."""
    at: dict[str, float] = {}
    for n in SHARD_COUNTS:
        at |= await _figures(n, min(n_blobs, MOST_BLOBS[n]))
    return at


_measured: dict[tuple[int, int], dict[str, float]] = {}
"""(shards, blobs) → figures: larger sizes would measure the same blobs again."""


async def _figures(n: int, n_blobs: int) -> dict[str, float]:
    if (n, n_blobs) not in _measured:
        blobs = [_encoded(n, number) for number in range(n_blobs + WARM_UP)]
        copied_s = await _filled(n, blobs, 0) / n_blobs / len(Axis)
        rebuilt_s = await _filled(n, blobs, n - 1) / n_blobs
        one_by_one_s, together_s = (_kernels(n, blobs[:50], way) for way in (_one_by_one, _together))
        _measured[n, n_blobs] = {
            f"CPU of both ends for a small sliver copied, {n} shards": 1000 * copied_s,
            f"the same ÷ moving its blob's metadata alone, {n} shards": copied_s
            / _metadata_alone(n, blobs[WARM_UP:]),
            f"CPU of both ends for a small pair rebuilt, {n} shards": 1000 * rebuilt_s,
            f"the same ÷ the kernels, blob by blob, {n} shards": rebuilt_s / one_by_one_s,
            f"the same ÷ the kernels, all blobs together, {n} shards": rebuilt_s / together_s,
        }
    return _measured[n, n_blobs]


@cache
def _encoded(n: int, number: int) -> EncodedBlob:
    return RedStuff(n).encode(random.Random(number).randbytes(BLOB_BYTES))


class Sites:
    """A network of sites, of which the newcomer gains one shard."""

    def __init__(self, n: int, blobs: Sequence[EncodedBlob], gained: int, folder: Path) -> None:
        """The shard is copied from its holder, or rebuilt if it is the last one."""
        self.code = RedStuff(n)
        self.gained = gained
        self._blobs = sorted(blobs, key=lambda blob: blob.blob_id)
        self._folder = folder
        self._chain = MemoryChain(Parameters(n, 3600, 600, 60, 500, bytes(range(32))))
        self._secrets = {node_id: SecretKey(0x5CA1E + node_id) for node_id in range(1, DEPARTED + 1)}
        for node_id, secret in self._secrets.items():
            self._chain.add_node(f"node-{node_id}", f"http://127.0.0.1:{free_port()}", secret.public_key)
        held = {1 + place: tuple(range(place, n - 1, HOLDERS)) for place in range(HOLDERS)}
        self._held = {node_id: shards for node_id, shards in held.items() if shards}
        self._chain.start({**self._held, DEPARTED: (n - 1,)})
        self._chain.send("register", self._registered)
        after = {
            node_id: tuple(one for one in shards if one != gained) for node_id, shards in self._held.items()
        }
        after[1] = (*after[1], *({n - 1} - {gained}))
        self._chain.select({**{one: some for one, some in after.items() if some}, NEWCOMER: (gained,)})

    def _registered(self, now: Contracts) -> tuple[Contracts, tuple[Event, ...]]:
        made = {
            number: BlobRecord(number, blob.blob_id, BLOB_BYTES, WRITER, 1, 1, 50, deletable=True)
            for number, blob in enumerate(self._blobs, 1)
        }
        return replace(now, records=made), ()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        """Serve all holders; give the newcomer, which has the metadata of blobs that it is to rebuild."""
        async with contextlib.AsyncExitStack() as stack:
            for node_id, shards in self._held.items():
                site = await self._site(node_id, stack)
                self._keep(site, shards)
                port = int(self._chain.nodes[node_id].address.rpartition(":")[2])
                listening = socket.create_server(("127.0.0.1", port))
                await stack.enter_async_context(HttpServer(create_app(cast(Any, site), Budget()), listening))
            newcomer = await self._site(NEWCOMER, stack)
            if self.gained == self.code.n_shards - 1:
                self._keep(newcomer, ())
            yield newcomer

    async def _site(self, node_id: int, stack: contextlib.AsyncExitStack) -> Site:
        store = stack.enter_context(SliverStore(self._folder / str(node_id)))
        view = ChainView(MemoryLedger(self._chain, None), node_id)
        await view.load()
        return Site(store, view, self.code, self._secrets[node_id])

    def _keep(self, site: Site, shards: Sequence[int]) -> None:
        """Store metadata, and the slivers of these shards."""
        at_once = max(1, BATCH_SLIVERS // max(1, len(shards)))
        for first in range(0, len(self._blobs), at_once):
            some = self._blobs[first : first + at_once]
            slivers = [
                NewSliver(
                    blob.blob_id,
                    shard,
                    axis,
                    blob.sliver(axis, self.code.sliver_index(blob.blob_id, shard, axis)),
                )
                for blob in some
                for shard in shards
                for axis in Axis
            ]
            site.store.put_blobs({blob.blob_id: blob.metadata.to_bcs() for blob in some}, slivers)


async def _filled(n: int, blobs: Sequence[EncodedBlob], gained: int) -> float:
    """Return the processor time of filling the gained shard, but for the first WARM_UP blobs."""
    with TemporaryDirectory(prefix="bench-scale-") as folder:
        sites = Sites(n, blobs, gained, Path(folder))
        async with sites.running() as site, Peers(site.view, allow_private=True) as peers:
            repair = Repair(site.view, site.store, site.code, peers, Budget())
            copying = Copying(site.view, site.store, site.code, peers, repair, site.secret, Budget())
            filling = Filling(site.store, site.code, repair, copying)
            current, selected = site.view.state.current, site.view.state.next
            assert selected is not None
            plan = transition.plan_filling(transition.Change(current, selected), NEWCOMER)
            ids = sorted(blob.blob_id for blob in blobs)

            async def fill(some: Sequence[bytes]) -> None:
                def page(last: bytes, most: int) -> list[bytes]:
                    return [one for one in some if one > last][:most]

                filled = filling.filled(plan, page, tuple, lambda blob_id: True, to_the_end=True)
                async with contextlib.aclosing(filled):
                    async for _ in filled:
                        pass
                missing = [site.store.missing(gained, axis, list(some)) for axis in Axis]
                assert not any(missing)

            await fill(ids[:WARM_UP])
            with _own_objects_left_alone():
                began_s = time.process_time()
                await fill(ids[WARM_UP:])
                took_s = time.process_time() - began_s
            (cost,) = site.store.tallies.by_shard(plan.epoch)
            assert (cost.way == "rebuilt") == (gained == n - 1)
            assert cost.wasted_bytes == 0
            return took_s


@contextlib.contextmanager
def _own_objects_left_alone() -> Iterator[None]:
    """Keep Python's garbage collector from going through the encoded blobs in the block: no node has them in memory."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _metadata_alone(n: int, blobs: Sequence[EncodedBlob]) -> float:
    """Return the time, for one of a blob's two slivers, of moving the blob's metadata and nothing else.

    It is read from a database, sent over loopback, verified, and written to another database. Whoever copies slivers
    cannot do with less: the databases are as bare as a table can be, and so is the connection.
    """
    code, ids = RedStuff(n), [blob.blob_id for blob in blobs]
    at_once = max(1, PAGE_BYTES // code.metadata_size)
    with TemporaryDirectory(prefix="bench-scale-") as folder, contextlib.ExitStack() as stack:
        source, target = (
            stack.enter_context(contextlib.closing(_database(Path(folder) / name))) for name in ("from", "to")
        )
        sending, receiving = map(stack.enter_context, _connected())
        sender = stack.enter_context(ThreadPoolExecutor(1))
        with source:
            source.executemany(INSERT, [(blob.blob_id, blob.metadata.to_bcs()) for blob in blobs])
        with _own_objects_left_alone():
            began_s = time.process_time()
            for first in range(0, len(ids), at_once):
                some = ids[first : first + at_once]
                found = b"".join(source.execute(SELECT, (one,)).fetchone()[0] for one in some)
                sent = sender.submit(sending.sendall, found)
                came = memoryview(receiving.recv(len(found), socket.MSG_WAITALL))
                sent.result()
                size = len(came) // len(some)
                each = [came[at : at + size] for at in range(0, len(came), size)]
                read = code.read_each([(bcs, one, False) for one, bcs in zip(some, each, strict=True)])
                assert not any(isinstance(one, RedStuffError) for one in read)
                with target:
                    target.executemany(INSERT, zip(some, each, strict=True))
            return (time.process_time() - began_s) / len(ids) / len(Axis)


def _connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sending = socket.create_connection(listening.getsockname())
        return sending, listening.accept()[0]


def _database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE metadata (id BLOB PRIMARY KEY, bcs BLOB NOT NULL)")
    return database


Way = Callable[[RedStuff, Sequence[EncodedBlob], Axis, Mapping[int, Sequence[int]]], None]


def _kernels(n: int, blobs: Sequence[EncodedBlob], way: Way) -> float:
    """Return the time of the arithmetic of rebuilding one pair, from symbols of helpers chosen at random."""
    code, chosen = RedStuff(n), random.Random(1)
    took_s = 0.0
    for axis in Axis:
        helpers = {place: chosen.sample(range(n), code.source_symbols(axis)) for place in range(len(blobs))}
        for some in (blobs[:1], blobs):  # the first warms up
            began_s = time.process_time()
            way(code, some, axis, helpers)
            last_s = time.process_time() - began_s
        took_s += last_s / len(blobs)
    return took_s


def _target(code: RedStuff, blob: EncodedBlob, axis: Axis) -> int:
    return code.sliver_index(blob.blob_id, code.n_shards - 1, axis)


def _one_by_one(
    code: RedStuff, blobs: Sequence[EncodedBlob], axis: Axis, helpers: Mapping[int, Sequence[int]]
) -> None:
    for place, blob in enumerate(blobs):
        t, target = code.symbol_size(blob.length), _target(code, blob, axis)
        symbols = {
            index: code.recovery_symbols(axis.other, blob.sliver(axis.other, index), [target], t)[target]
            for index in helpers[place]
        }
        code.recover(blob.metadata, axis, target, symbols)


def _together(
    code: RedStuff, blobs: Sequence[EncodedBlob], axis: Axis, helpers: Mapping[int, Sequence[int]]
) -> None:
    wanted = []
    for place, blob in enumerate(blobs):
        target, slivers = _target(code, blob, axis), [blob.sliver(axis.other, one) for one in helpers[place]]
        made = code.crossing_symbols(
            axis.other, slivers, [[target]] * len(slivers), code.symbol_size(blob.length)
        )
        symbols = {index: one[0].data for index, one in zip(helpers[place], made, strict=True)}
        wanted.append((blob.metadata, target, symbols))
    code.recover_each(axis, wanted)
