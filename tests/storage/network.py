"""Real storage nodes in the test's own process, over a chain in memory: HTTP, stores, handover and healing are real."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import aiohttp

from committee import certificate
from committee.bls import SecretKey
from committee.certificate import Certificate
from committee.errors import LedgerRefused
from committee.ledger import (
    Attestation,
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRecord,
    BlobRegistered,
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    Ledger,
    Parameters,
    RegisteredNode,
    ShardsAttested,
    Stretch,
    Transaction,
)
from committee.membership import Committee, Member
from committee.messages import Intent
from storage.client.client import Client
from storage.client.node_client import NodeClient
from storage.node.config import NodeConfig
from storage.node.node import StorageNode
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, RedStuff

N_SHARDS = 10  # p = 4, s = 7
SHARDS = {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}
DOMAIN = bytes(range(32))
PATIENCE_S = 600
"""Nobody is ejected here."""
LIMIT_S = 30.0


class BlobName(NamedTuple):
    """What the chain knows of a blob."""

    blob_id: bytes
    length: int


class Chain:
    """The chain: one block for every change."""

    def __init__(self) -> None:
        self.code = RedStuff(N_SHARDS)
        self.nodes: dict[int, RegisteredNode] = {}
        self.records: dict[int, BlobRecord] = {}
        self.attested: set[int] = set()
        self.missing: set[int] = set()
        """Shards neither kept nor attested in this epoch."""
        mark = BlockMark(0, bytes(32))
        self.state = EpochState(mark, 0, 0, None, True, 0, None, None, None)
        self.blocks: list[tuple[tuple[Event, ...], tuple[BlobRecord, ...]]] = [((), ())]

    def mark(self, number: int) -> BlockMark:
        return BlockMark(number, number.to_bytes(32, "big"))

    @property
    def next_mark(self) -> BlockMark:
        return self.mark(len(self.blocks))

    def mine(self, *events: Event, **changes: Any) -> Transaction:
        self.state = dataclasses.replace(self.state, block=self.next_mark, **changes)
        self.blocks.append((events, tuple(self.records.values())))
        return Transaction(bytes(32), self.state.block, 0)

    def select(self, shards: Mapping[int, Collection[int]]) -> None:
        """The next committee."""
        epoch = self.state.epoch + 1
        members = tuple(
            Member(node_id, one.name, one.address, one.public_key, tuple(shards[node_id]))
            for node_id, one in self.nodes.items()
            if node_id in shards
        )
        self.mine(CommitteeSelected(self.next_mark, epoch), next=Committee(epoch, N_SHARDS, members))

    def start(self, shards: Mapping[int, Collection[int]] | None = None) -> None:
        """The next epoch, with the committee that is selected, or with this one at once."""
        if shards is not None:
            self.select(shards)
        before, current = self.state.current, self.state.next
        assert current is not None
        unattested = frozenset(self.missing)
        self.attested = set()
        if before is not None:
            self.missing |= {
                shard
                for shard, owner in current.owner_of.items()
                if before.owner_of[shard].node_id != owner.node_id
            }
        self.mine(
            EpochStarted(self.next_mark, current.epoch),
            epoch=current.epoch,
            started_block=self.next_mark,
            previous=before,
            current=current,
            next=None,
            unattested=unattested,
        )

    def attest(self, epoch: int, node_id: int, shards: tuple[int, ...]) -> Transaction:
        self.attested.update(shards)
        self.missing.difference_update(shards)
        return self.mine(ShardsAttested(self.next_mark, epoch, node_id, shards))

    def register(self, blob: BlobMetadata | BlobName, *, end_epoch: int = 50, deletable: bool = False) -> int:
        number, epoch = len(self.records) + 1, self.state.epoch
        record = BlobRecord(number, blob.blob_id, blob.length, "0x1", epoch, None, end_epoch, deletable)
        self.records[number] = record
        self.mine(
            BlobRegistered(
                self.next_mark, number, blob.blob_id, "0x1", epoch, blob.length, end_epoch, deletable
            )
        )
        return number

    def certify(self, number: int, end_epoch: int | None = None) -> None:
        """Certify, or with an end epoch also extend."""
        one, epoch = self.records[number], self.state.epoch
        is_extension = one.certified_epoch is not None
        end_epoch = one.end_epoch if end_epoch is None else end_epoch
        self.records[number] = dataclasses.replace(one, certified_epoch=epoch, end_epoch=end_epoch)
        self.mine(
            BlobCertified(self.next_mark, number, one.blob_id, epoch, end_epoch, one.deletable, is_extension)
        )

    def delete(self, number: int) -> None:
        one = self.records[number] = dataclasses.replace(self.records[number], deleted=True)
        self.mine(BlobDeleted(self.next_mark, number, one.blob_id, self.state.epoch))

    def invalidate(self, blob_id: bytes) -> Transaction:
        for number, one in self.records.items():
            if one.blob_id == blob_id:
                self.records[number] = dataclasses.replace(one, invalid=True)
        return self.mine(BlobInvalidated(self.next_mark, blob_id, self.state.epoch))


class ChainLedger:
    """The chain as one node's account sees it."""

    def __init__(self, chain: Chain, node_id: int) -> None:
        self.chain = chain
        self.node_id = node_id
        self.account = f"0x{node_id}"
        self.held: BlockMark | None = None
        """The newest block it is told of, while it is kept from seeing more."""

    async def parameters(self) -> Parameters:
        return Parameters(N_SHARDS, 60, 60, PATIENCE_S, 500, DOMAIN)

    async def nodes(self) -> list[RegisteredNode]:
        return list(self.chain.nodes.values())

    async def head(self) -> BlockMark:
        return self.held or self.chain.state.block

    async def epoch_state(self, at: BlockMark | None = None) -> EpochState:
        return self.chain.state

    async def blobs(self, at: BlockMark | None = None) -> list[BlobRecord]:
        return list(self.chain.blocks[at.number if at else -1][1])

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        return [event for events, _ in self.chain.blocks[first_block : last_block + 1] for event in events]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        return Stretch((until,), await self.events(after.number + 1, until.number))

    async def attested_shards(self) -> frozenset[int]:
        return frozenset(self.chain.attested)

    async def missing_shards(self, epoch: int, at: BlockMark | None = None) -> frozenset[int]:
        return (
            frozenset(self.chain.missing) if epoch == self.chain.state.epoch else self.chain.state.unattested
        )

    async def attest(self, epoch: int, attestations: Iterable[Attestation]) -> Transaction:
        if epoch != self.chain.state.epoch:
            raise LedgerRefused("attest", "WrongEpoch", {})
        return self.chain.attest(epoch, self.node_id, tuple(one.shard for one in attestations))

    async def invalidate_blob(self, blob_id: bytes, proof: Certificate) -> Transaction:
        assert self.chain.state.current is not None
        certificate.verify(proof, self.chain.state.current, DOMAIN, "one_correct", Intent.INVALID_BLOB)
        assert proof.message.endswith(blob_id)
        if any(one.invalid for one in self.chain.records.values() if one.blob_id == blob_id):
            raise LedgerRefused("invalidate", "InvalidBlob", {})
        return self.chain.invalidate(blob_id)


class Network:
    """Four nodes, their chain, and what a test does to them."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.session = session
        self.chain = Chain()
        self.code = self.chain.code
        self.running: dict[int, StorageNode] = {}
        self.ledgers: dict[int, ChainLedger] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        for node_id, port in zip(SHARDS, free_ports(len(SHARDS)), strict=True):
            key = self.secret(node_id).public_key
            address = f"http://127.0.0.1:{port}"
            self.chain.nodes[node_id] = RegisteredNode(
                node_id=node_id,
                owner=f"0x{node_id}",
                operator=f"0x{node_id}",
                receiver=f"0x{node_id}",
                name=f"node-{node_id}",
                address=address,
                tls_key=bytes(32),
                public_key=key,
                commission=0,
                stake=0,
                is_candidate=True,
                barred_until_s=0,
                pending_public_key=key,
                public_key_from=0,
                pending_commission=0,
                commission_from=0,
            )

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
                **settings,
            )
            ledger = self.ledgers[node_id] = ChainLedger(self.chain, node_id)
            node = StorageNode(self.folder / str(node_id), config, self.secret(node_id), cast(Ledger, ledger))
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

    async def read(self, blob_id: bytes) -> bytes:
        """A blob as its user reads it."""
        async with Client(cast(Ledger, ChainLedger(self.chain, 0))) as client:
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
        head = self.chain.state.block
        views = [node.view for node_id, node in self.running.items() if self.ledgers[node_id].held is None]
        await self.until(lambda: all(view.block.number >= head.number for view in views))

    async def upload(self, blob: EncodedBlob, metadata: BlobMetadata | None = None, **options: Any) -> int:
        """Register, store on every running node, certify; the object's number."""
        metadata = metadata or blob.metadata
        number = self.chain.register(metadata, **options)
        current = self.chain.state.current
        assert current is not None
        for node_id in self.running:
            client = self.client(node_id)
            await client.put_metadata(metadata)
            for shard in current.shards_of(node_id):
                pair = self.code.pair_of_shard(metadata.blob_id, shard)
                for axis in Axis:
                    sliver = blob.sliver(axis, self.code.sliver_of_pair(pair, axis))
                    await client.put_sliver(metadata, pair, axis, sliver)
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


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, each another one."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in taken]
    finally:
        for one in taken:
            one.close()
