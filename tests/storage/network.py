"""Real storage nodes in the test's own process, over a chain in memory: HTTP, stores, handover and healing are real."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from committee.bls import SecretKey
from committee.ledger import BlockMark, Parameters
from localnet.ports import free_port
from storage.client.client import Client
from storage.client.node_client import NodeClient
from storage.node.config import NodeConfig
from storage.node.node import StorageNode
from storage.node.store import NewSliver
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, RedStuff
from tests.memory_chain import WRITER, MemoryChain, MemoryLedger

SHARDS = {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}
N_SHARDS = 10  # p = 4, s = 7; 7 are a quorum
DOMAIN = bytes(range(32))
PATIENCE_S = 600
"""Nobody is ejected here."""
PARAMETERS = Parameters(N_SHARDS, 60, 60, PATIENCE_S, 500, DOMAIN, notice_s=10)
LIMIT_S = 30.0


class HeldLedger(MemoryLedger):
    """A node's, which can be kept from seeing more of the chain."""

    held: BlockMark | None = None
    """The newest block it is told of, while it is."""

    async def head(self) -> BlockMark:
        return self.held or await super().head()


class Network:
    """Four nodes, their chain, and what a test does to them."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.session = session
        self.chain = MemoryChain(PARAMETERS)
        self.code = RedStuff(N_SHARDS)
        self.running: dict[int, StorageNode] = {}
        self.ledgers: dict[int, HeldLedger] = {}
        self.uploaded: dict[bytes, EncodedBlob] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        for node_id in SHARDS:
            key = self.secret(node_id).public_key
            self.chain.add_node(f"node-{node_id}", f"http://127.0.0.1:{free_port()}", key)

    @staticmethod
    def secret(node_id: int) -> SecretKey:
        return SecretKey(0xBEEF + node_id)

    def store_folder(self, node_id: int) -> Path:
        return self.folder / str(node_id) / "store"

    async def start(self, *node_ids: int, **settings: Any) -> None:
        """Start nodes; serving when this returns."""
        for node_id in node_ids:
            known = self.chain.nodes[node_id]
            config = NodeConfig(
                name=known.name,
                port=int(known.address.rpartition(":")[2]),
                rpc_url="",
                deployment=Path(),
                poll_interval_s=0.01,
                **{"keeper": False, **settings},
            )
            ledger = self.ledgers[node_id] = HeldLedger(self.chain, known.name)
            node = StorageNode(self.folder / str(node_id), config, self.secret(node_id), ledger)
            (self.folder / str(node_id)).mkdir(exist_ok=True)
            self.running[node_id] = node
            self._tasks[node_id] = asyncio.create_task(node.run())
            await self.until(hasattr, node, "scrubber")
            await self.client(node_id).health()

    async def stop(self, *node_ids: int) -> None:
        for node_id in node_ids:
            task = self._tasks.pop(node_id)
            del self.running[node_id]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def wipe(self, node_id: int) -> None:
        shutil.rmtree(self.store_folder(node_id))

    def client(self, node_id: int) -> NodeClient:
        known = self.chain.nodes[node_id]
        return NodeClient(self.session, known.name, known.address)

    async def read(self, blob_id: bytes) -> bytearray:
        """A blob as its user reads it."""
        async with Client(self.chain.ledger(WRITER)) as client:
            return await client.read(blob_id)

    async def until(self, condition: Callable[..., object], *arguments: object) -> None:
        """Wait for something that the nodes bring about by themselves."""
        async with asyncio.timeout(LIMIT_S):
            while not condition(*arguments):
                for node_id, task in self._tasks.items():
                    assert not task.done(), f"node {node_id} ended: {task}"
                await asyncio.sleep(0.01)

    def hold(self, node_id: int) -> None:
        """Keep a node from seeing more of the chain than there is now."""
        self.ledgers[node_id].held = self.chain.state.block

    def let_go(self, node_id: int) -> None:
        self.ledgers[node_id].held = None

    async def seen(self) -> None:
        """Every running node that is not held has followed the chain to its head, or past it: nodes mine too."""
        head = self.chain.settled
        views = [node.view for node_id, node in self.running.items() if self.ledgers[node_id].held is None]
        await self.until(
            lambda: all(view.block.number >= head.number and self.chain.has(view.block) for view in views)
        )

    async def upload(self, blob: EncodedBlob, metadata: BlobMetadata | None = None, **options: Any) -> int:
        """Register, store on every running node as after an upload, certify; the object's number."""
        metadata = metadata or blob.metadata
        self.uploaded[metadata.blob_id] = blob
        number = self.chain.register(metadata, **options)
        await self.seen()  # a node drops slivers of blobs that nobody has registered
        current = self.chain.state.current
        assert current is not None
        for node_id, node in self.running.items():
            slivers = [
                NewSliver(metadata.blob_id, shard, axis, bytes(blob.sliver(axis, index)))
                for shard in current.shards_of(node_id)
                for axis in Axis
                for index in [self.code.sliver_index(metadata.blob_id, shard, axis)]
            ]
            await asyncio.to_thread(node.store.put_blobs, {metadata.blob_id: metadata.to_bcs()}, slivers)
        self.chain.certify(number)
        await self.seen()
        return number

    def is_complete(self, node_id: int, blob: EncodedBlob) -> bool:
        """Whether the node holds just the right slivers of all its shards, and the metadata."""
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
        store = self.running[node_id].store
        # Unlike a glob, a walk does not mind folders that vanish meanwhile.
        files = [name for _, _, names in os.walk(self.store_folder(node_id)) for name in names]
        shards = [store.shards_with(blob_id, axis) for axis in Axis]
        return blob_id.hex() not in files and not any(shards) and store.metadata(blob_id) is None
