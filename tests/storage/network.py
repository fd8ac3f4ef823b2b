"""Real storage nodes in this process, over a chain in memory: HTTP, stores, handover and healing are real.

Tests and benchmarks share it. It knows nothing of pytest, and `benchmarks/node_network.py` adds what measures.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from committee.bls import SecretKey
from committee.ledger import BlockMark, Parameters
from localnet.ports import free_port
from storage.client.client import Client
from storage.client.node_client import NodeClient
from storage.node.config import NodeConfig
from storage.node.node import StorageNode
from storage.node.store import NewSliver
from storage.redstuff import Axis, EncodedBlob, RedStuff
from tests.memory_chain import WRITER, MemoryChain, MemoryLedger

SHARDS = {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}
N_SHARDS = 10  # p = 4, s = 7; 7 are a quorum
DOMAIN = bytes(range(32))
PATIENCE_S = 600
"""Nobody is ejected here."""
PARAMETERS = Parameters(N_SHARDS, 60, 60, PATIENCE_S, 500, DOMAIN, notice_s=10)
LIMIT_S = 30.0
STEP_S = 0.01
"""Time between two looks at a condition, and between two looks of a node at the chain."""
SLIVERS_AT_ONCE = 256


class TookTooLong(TimeoutError):
    """Something that should have happened has not; the message says what."""


class HeldLedger(MemoryLedger):
    """A node's ledger, which can be kept from seeing more of the chain."""

    held: BlockMark | None = None
    """The newest block that the node is told of; None when it is told of all."""

    async def head(self) -> BlockMark:
        """Return the block held at, else the chain's newest settled one."""
        return self.held or await super().head()


class Network:
    """Nodes over one chain, none at first; a context manager that stops them all in the end.

    The chain knows the nodes, `running` holds those that run. Whatever waits raises `TookTooLong` after `limit_s`, and
    `AssertionError` when a node has ended by itself.
    """

    def __init__(self, folder: Path, chain: MemoryChain, **settings: Any) -> None:
        """Each node has a folder of its own in `folder`, and these settings of a `NodeConfig`."""
        self.folder = folder
        self.chain = chain
        self.code = RedStuff(chain.parameters.n_shards)
        self.limit_s = LIMIT_S
        self.running: dict[int, StorageNode] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        """Of the nodes in `running`."""
        self.ledgers: dict[int, HeldLedger] = {}
        """Of each node, the one that it was last built with."""
        self.uploaded: dict[bytes, EncodedBlob] = {}
        self.session = aiohttp.ClientSession()
        self._settings = {"poll_interval_s": STEP_S, "keeper": False, **settings}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop(*self.running)
        await self.session.close()

    # nodes that need not run

    def add_node(self) -> int:
        """Register a node on the chain, a candidate without stake; return its id."""
        node_id = len(self.chain.nodes) + 1
        address = f"http://127.0.0.1:{free_port()}"
        return self.chain.add_node(f"node-{node_id}", address, self.secret(node_id).public_key)

    def add_nodes(self, count: int) -> list[int]:
        """Register several nodes; return their ids."""
        return [self.add_node() for _ in range(count)]

    def elect(self, stakes: Mapping[int, int]) -> None:
        """Select the next committee by these stakes: node id → stake, in candidate order."""
        self.chain.stand(stakes)
        self.chain.select()

    @staticmethod
    def secret(node_id: int) -> SecretKey:
        """Return a node's BLS key."""
        return SecretKey(0xBEEF + node_id)

    def folder_of(self, node_id: int) -> Path:
        """Return where a node keeps everything."""
        return self.folder / str(node_id)

    def store_folder(self, node_id: int) -> Path:
        """Return where a node keeps its slivers."""
        return self.folder_of(node_id) / "store"

    def wipe(self, node_id: int) -> None:
        """Delete the slivers of a node that does not run."""
        shutil.rmtree(self.store_folder(node_id))

    def config(self, node_id: int, **settings: Any) -> NodeConfig:
        """Return the settings of a node at its address on the chain; `settings` go before the network's."""
        known = self.chain.nodes[node_id]
        return NodeConfig(
            **{
                "name": known.name,
                "port": int(known.address.rpartition(":")[2]),
                "rpc_url": "memory:",
                "deployment": Path(),
                **self._settings,
                **settings,
            }
        )

    def ledger_of(self, node_id: int) -> HeldLedger:
        """Return a new ledger of a node: the chain as it sees it."""
        return HeldLedger(self.chain, self.chain.nodes[node_id].name)

    def build(self, node_id: int, folder: Path | None = None, **settings: Any) -> StorageNode:
        """Return a node that does not run, in its own folder or in this one."""
        folder = folder or self.folder_of(node_id)
        folder.mkdir(parents=True, exist_ok=True)
        self.ledgers[node_id] = self.ledger_of(node_id)
        return StorageNode(
            folder, self.config(node_id, **settings), self.secret(node_id), self.ledgers[node_id]
        )

    # nodes that run

    async def start(self, *node_ids: int, **settings: Any) -> None:
        """Start nodes, which serve when this returns; `settings` go before the network's."""
        nodes = {node_id: self.build(node_id, **settings) for node_id in node_ids}
        for node_id, node in nodes.items():
            self.running[node_id] = node
            self.tasks[node_id] = asyncio.create_task(node.run())
        for node_id, node in nodes.items():
            await self.until(node.serves.is_set, what=f"node {node_id} serves")

    async def stop(self, *node_ids: int) -> None:
        """End nodes that run, or have ended by themselves; return when they have let go of their folders."""
        ending = [self.tasks.pop(node_id) for node_id in node_ids]
        for node_id, task in zip(node_ids, ending, strict=True):
            del self.running[node_id]
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def client(self, node_id: int) -> NodeClient:
        """Return a client of one node, at its address on the chain."""
        known = self.chain.nodes[node_id]
        return NodeClient(self.session, known.name, known.address)

    async def until(
        self,
        condition: Callable[..., object],
        *arguments: object,
        what: str = "what the nodes should bring about",
        limit_s: float | None = None,
    ) -> float:
        """Wait until the condition holds for these arguments; return the seconds waited.

        `limit_s` goes before the network's.
        """
        limit_s = self.limit_s if limit_s is None else limit_s
        now = asyncio.get_running_loop().time
        began_s = now()
        while not condition(*arguments):
            for node_id, task in self.tasks.items():
                assert not task.done(), f"node {node_id} ended: {task}"
            if now() - began_s > limit_s:
                raise TookTooLong(f"{what}: not within {limit_s:g} s")
            await asyncio.sleep(STEP_S)
        return now() - began_s

    def hold(self, node_id: int) -> None:
        """Keep a node from seeing more of the chain than there is now."""
        self.ledgers[node_id].held = self.chain.state.block

    def let_go(self, node_id: int) -> None:
        """Let a node see all of the chain."""
        self.ledgers[node_id].held = None

    async def seen(self) -> None:
        """Wait until every running node that is not held has followed the chain to its head.

        Or past it: nodes send transactions too.
        """
        head = self.chain.settled
        views = [node.view for node_id, node in self.running.items() if self.ledgers[node_id].held is None]
        await self.until(
            lambda: all(view.block.number >= head.number and self.chain.has(view.block) for view in views),
            what="the nodes follow the chain",
        )

    # blobs

    async def upload(self, *blobs: EncodedBlob, **options: Any) -> int:
        """Register blobs, store them on every running member as after an upload, and certify them.

        `options` are those of `MemoryChain.register`. Return the number of the first blob's object.
        """
        self.uploaded.update((blob.blob_id, blob) for blob in blobs)
        numbers = [self.chain.register(blob, **options) for blob in blobs]
        await self.seen()  # a node drops slivers of blobs that nobody has registered
        current = self.chain.state.current
        assert current is not None
        for node_id, node in self.running.items():
            for blob in blobs:
                await asyncio.to_thread(self._put, node, blob, current.shards_of(node_id))
        for number in numbers:
            self.chain.certify(number)
        await self.seen()
        return numbers[0]

    def _put(self, node: StorageNode, blob: EncodedBlob, shards: Sequence[int]) -> None:
        metadata = {bytes(blob.blob_id): blob.metadata.to_bcs()}
        slivers = [
            NewSliver(blob.blob_id, shard, axis, blob.sliver(axis, index))
            for shard in shards
            for axis in Axis
            for index in [self.code.sliver_index(blob.blob_id, shard, axis)]
        ]
        for first in range(0, len(slivers), SLIVERS_AT_ONCE):
            node.store.put_blobs(metadata, slivers[first : first + SLIVERS_AT_ONCE])

    async def read(self, blob_id: bytes) -> bytearray:
        """Return a blob as its user reads it."""
        async with Client(self.chain.ledger(WRITER)) as client:
            return await client.read(blob_id)

    def is_complete(self, node_id: int, blob: EncodedBlob) -> bool:
        """Return whether a running node holds the right slivers of all its shards, and the metadata."""
        node = self.running[node_id]
        if node.store.metadata(blob.blob_id) != blob.metadata.to_bcs():
            return False
        for shard in node.view.my_shards():
            for axis in Axis:
                index = self.code.sliver_index(blob.blob_id, shard, axis)
                if node.store.sliver(blob.blob_id, shard, axis) != bytes(blob.sliver(axis, index)):
                    return False
        return True

    def has_nothing(self, node_id: int, blob_id: bytes) -> bool:
        """Return whether a running node holds neither slivers nor metadata of a blob, nor a file of its name."""
        store = self.running[node_id].store
        # Unlike a glob, a walk does not mind folders that vanish meanwhile.
        files = [name for _, _, names in os.walk(self.store_folder(node_id)) for name in names]
        shards = [store.shards_with(blob_id, axis) for axis in Axis]
        return blob_id.hex() not in files and not any(shards) and store.metadata(blob_id) is None


@asynccontextmanager
async def begun(
    folder: Path,
    shards: Mapping[int, Sequence[int]] = SHARDS,
    parameters: Parameters = PARAMETERS,
    **settings: Any,
) -> AsyncIterator[Network]:
    """A network in epoch 1 whose members run: by node id, from 1 on, the shards of each."""
    async with Network(folder, MemoryChain(parameters), **settings) as network:
        network.add_nodes(len(shards))
        network.chain.start(shards)
        await network.start(*shards)
        yield network
