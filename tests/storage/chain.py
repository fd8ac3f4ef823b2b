"""A chain in memory for the nodes' and the client's tests: one block for every change, and reorganisations."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from committee import certificate
from committee.certificate import Certificate
from committee.errors import LedgerRefused, LedgerReorganised
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
    Parameters,
    RegisteredNode,
    ShardsAttested,
    Stretch,
    Transaction,
)
from committee.membership import Committee, Member
from committee.messages import Intent
from storage.redstuff import BlobMetadata, RedStuff

N_SHARDS = 10  # p = 4, s = 7
DOMAIN = bytes(range(32))
PATIENCE_S = 600
"""Nobody is ejected here."""


class BlobName(NamedTuple):
    """What the chain knows of a blob."""

    blob_id: bytes
    length: int


@dataclass(frozen=True)
class Block:
    """What a block told, and what there is behind it."""

    events: tuple[Event, ...]
    state: EpochState
    records: tuple[BlobRecord, ...]
    attested: frozenset[int]
    missing: frozenset[int]


class Chain:
    """The chain: one block for every change."""

    def __init__(self) -> None:
        self.code = RedStuff(N_SHARDS)
        self.nodes: dict[int, RegisteredNode] = {}
        self.records: dict[int, BlobRecord] = {}
        self.attested: set[int] = set()
        self.missing: set[int] = set()
        """Shards neither kept nor attested in this epoch."""
        self.digests: dict[int, Attestation] = {}
        """The newest attestation of a shard."""
        self.confirmations = 0
        """A block is settled when so many follow it."""
        self.state = EpochState(BlockMark(0, bytes(32)), 0, 0, None, True, 0, None, None, None)
        self.blocks: list[Block] = []
        self._forks = 0
        self._keep()

    @property
    def settled(self) -> BlockMark:
        return self.blocks[max(len(self.blocks) - 1 - self.confirmations, 0)].state.block

    @property
    def next_mark(self) -> BlockMark:
        number = len(self.blocks)
        return BlockMark(number, self._forks.to_bytes(16, "big") + number.to_bytes(16, "big"))

    def block(self, mark: BlockMark) -> Block | None:
        """The block, if it is still there."""
        kept = self.blocks[mark.number : mark.number + 1]
        return kept[0] if kept and kept[0].state.block == mark else None

    def _keep(self, *events: Event) -> None:
        records = tuple(self.records.values())
        self.blocks.append(
            Block(events, self.state, records, frozenset(self.attested), frozenset(self.missing))
        )

    def mine(self, *events: Event, **changes: Any) -> Transaction:
        self.state = dataclasses.replace(self.state, block=self.next_mark, **changes)
        self._keep(*events)
        return Transaction(bytes(32), self.state.block, 0)

    def rewind(self, mark: BlockMark) -> None:
        """A reorganisation: what was mined behind this block is gone, and other blocks come."""
        del self.blocks[mark.number + 1 :]
        last = self.blocks[-1]
        self.state, self.records = last.state, {one.object_id: one for one in last.records}
        self.attested, self.missing = set(last.attested), set(last.missing)
        self._forks += 1

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
        return self.held or self.chain.settled

    def _block(self, at: BlockMark) -> Block:
        block = self.chain.block(at)
        if block is None:
            raise LedgerReorganised(f"block {at.number} was replaced")
        return block

    async def epoch_state(self, at: BlockMark | None = None) -> EpochState:
        return self._block(at or await self.head()).state

    async def blobs(self, at: BlockMark | None = None) -> list[BlobRecord]:
        return list(self._block(at or await self.head()).records)

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        return [event for block in self.chain.blocks[first_block : last_block + 1] for event in block.events]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        self._block(until)
        self._block(after)
        blocks = self.chain.blocks[after.number + 1 : until.number + 1]
        return Stretch(
            tuple(one.state.block for one in blocks), await self.events(after.number + 1, until.number)
        )

    async def attested_shards(self) -> frozenset[int]:
        return frozenset(self.chain.attested)

    async def missing_shards(self, epoch: int, at: BlockMark | None = None) -> frozenset[int]:
        block = self._block(at or self.chain.state.block)
        return block.missing if epoch == block.state.epoch else block.state.unattested

    async def attest(self, epoch: int, attestations: Iterable[Attestation]) -> Transaction:
        if epoch != self.chain.state.epoch:
            raise LedgerRefused("attest", "WrongEpoch", {})
        by_shard = {one.shard: one for one in attestations}
        if by_shard.keys() & self.chain.attested:
            raise LedgerRefused("attest", "AlreadyAttested", {})
        self.chain.digests.update(by_shard)
        return self.chain.attest(epoch, self.node_id, tuple(by_shard))

    async def invalidate_blob(self, blob_id: bytes, proof: Certificate) -> Transaction:
        assert self.chain.state.current is not None
        certificate.verify(proof, self.chain.state.current, DOMAIN, "one_correct", Intent.INVALID_BLOB)
        assert proof.message.endswith(blob_id)
        if any(one.invalid for one in self.chain.records.values() if one.blob_id == blob_id):
            raise LedgerRefused("invalidate", "InvalidBlob", {})
        return self.chain.invalidate(blob_id)
