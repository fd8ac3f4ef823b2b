"""A chain in memory behind the `Ledger` interface: the contracts' rules as far as nodes and clients meet them.

Every transaction is a block of its own, and every block keeps the whole state behind it, so that a node can read at any
block. The shards are elected by `committee.shards.assign`, certificates are verified. Time stands still: whoever runs
the chain selects and starts epochs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from committee import certificate as certificates
from committee.certificate import Certificate
from committee.errors import InvalidCertificate, LedgerRefused
from committee.ledger import (
    Attestation,
    BlobCertified,
    BlobRecord,
    BlobRegistered,
    BlockMark,
    CommitteeSelected,
    EpochStarted,
    EpochState,
    Event,
    HandoverDone,
    MemberEjected,
    Parameters,
    RegisteredNode,
    ShardsAttested,
    Stretch,
    Transaction,
)
from committee.membership import Committee, Member
from committee.messages import Intent
from committee.shards import assign
from storage.redstuff.metadata import BlobMetadata

NODE_ACCOUNT = "node-{}"
WRITER_ACCOUNT = "writer"


@dataclass(frozen=True)
class Block:
    """One block: what it told, and the state behind it."""

    events: tuple[Event, ...]
    state: EpochState
    records: tuple[BlobRecord, ...]


@dataclass
class MemoryChain:
    """The chain; `ledger` gives one account's access to it."""

    parameters: Parameters
    nodes: dict[int, RegisteredNode] = field(default_factory=dict)
    records: dict[int, BlobRecord] = field(default_factory=dict)
    attested: set[int] = field(default_factory=set)
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        genesis = BlockMark(0, bytes(32))
        state = EpochState(genesis, 0, 0, None, True, 0, None, None, None)
        self.blocks.append(Block((), state, ()))

    @property
    def state(self) -> EpochState:
        """The newest block's."""
        return self.blocks[-1].state

    @property
    def gained(self) -> frozenset[int]:
        """Shards whose owner the current epoch changed."""
        previous, current = self.state.previous, self.state.current
        if previous is None or current is None:
            return frozenset()
        return frozenset(
            shard
            for shard, owner in current.owner_of.items()
            if owner.node_id != previous.owner_of[shard].node_id
        )

    @property
    def complete(self) -> bool:
        """Whether every gained shard is attested: more than the quorum that ends the handover."""
        return self.attested >= self.gained

    def ledger(self, account: str | None) -> MemoryLedger:
        """The chain as one account sees it."""
        return MemoryLedger(self, account)

    # whoever runs the chain

    def add_node(self, name: str, address: str, public_key: bytes) -> int:
        """Register a node; its id."""
        node_id = len(self.nodes) + 1
        account = NODE_ACCOUNT.format(node_id)
        self.nodes[node_id] = RegisteredNode(
            node_id=node_id,
            owner=account,
            operator=account,
            receiver=account,
            name=name,
            address=address,
            tls_key=bytes(32),
            public_key=public_key,
            commission=0,
            stake=1,
            is_candidate=True,
            barred_until_s=0,
            pending_public_key=public_key,
            public_key_from=0,
            pending_commission=0,
            commission_from=0,
        )
        return node_id

    def move_nodes(self, addresses: Mapping[int, str]) -> None:
        """Node id → the address the chain names from now on, in the registry and in the current committee."""
        for node_id, address in addresses.items():
            self.nodes[node_id] = dataclasses.replace(self.nodes[node_id], address=address)
        current = self.state.current
        if current is not None:
            members = (
                dataclasses.replace(one, address=self.nodes[one.node_id].address) for one in current.members
            )
            self.mine(current=dataclasses.replace(current, members=tuple(members)))

    def select(self, stakes: Mapping[int, int]) -> Committee:
        """Elect the next committee by these stakes, node id → stake in candidate order."""
        current = self.state.current
        held = None if current is None else {one.node_id: one.shards for one in current.members}
        shards = assign(held, list(stakes.items()), self.parameters.n_shards, self.parameters.band_millis)
        epoch = self.state.epoch + 1
        members = (
            Member(node_id, node.name, node.address, node.public_key, shards[node_id])
            for node_id, node in sorted(self.nodes.items())
            if node_id in shards
        )
        elected = Committee(epoch, self.parameters.n_shards, tuple(members))
        self.mine(CommitteeSelected(self.next_mark, epoch), next=elected)
        return elected

    def start(self) -> None:
        """Start the selected epoch."""
        state, mark = self.state, self.next_mark
        self.attested.clear()
        self.mine(
            EpochStarted(mark, state.epoch + 1),
            epoch=state.epoch + 1,
            started_block=mark,
            handover_done=state.current is None,
            previous=state.current,
            current=state.next,
            next=None,
        )
        self.end_handover()

    def registered(self, blob_id: bytes, length: int) -> int:
        """A blob registered in the current epoch, past the writer's path; its object's number."""
        number, epoch = len(self.records) + 1, self.state.epoch
        self.records[number] = BlobRecord(
            number, blob_id, length, WRITER_ACCOUNT, epoch, None, epoch + 50, deletable=False
        )
        self.mine(
            BlobRegistered(
                self.next_mark, number, blob_id, WRITER_ACCOUNT, epoch, length, epoch + 50, deletable=False
            )
        )
        return number

    def certified(self, number: int) -> None:
        """An object certified in the current epoch, past the writer's path."""
        one, epoch = self.records[number], self.state.epoch
        self.records[number] = dataclasses.replace(one, certified_epoch=epoch)
        self.mine(
            BlobCertified(
                self.next_mark, number, one.blob_id, epoch, one.end_epoch, deletable=False, is_extension=False
            )
        )

    # blocks

    @property
    def next_mark(self) -> BlockMark:
        """The block the next transaction makes."""
        number = len(self.blocks)
        return BlockMark(number, number.to_bytes(32, "big"))

    def mine(self, *events: Event, **changes: object) -> Transaction:
        """A block with these events and changes of the epoch's state."""
        state = dataclasses.replace(self.state, block=self.next_mark, **changes)  # type: ignore[arg-type]
        self.blocks.append(Block(events, state, tuple(self.records.values())))
        return Transaction(state.block.hash, state.block, 0)

    def end_handover(self) -> None:
        """Tell that the handover is done, once a quorum of the shards is kept or attested."""
        state = self.state
        kept = self.parameters.n_shards - len(self.gained)
        if (
            state.current is not None
            and not state.handover_done
            and state.current.is_quorum(kept + len(self.attested))
        ):
            self.mine(HandoverDone(self.next_mark, state.epoch), handover_done=True)


@dataclass(frozen=True)
class MemoryLedger:
    """`committee.ledger.Ledger` for one account of a `MemoryChain`, as far as nodes and clients use it."""

    chain: MemoryChain
    account: str | None

    async def close(self) -> None:
        """Nothing to give back."""

    async def parameters(self) -> Parameters:
        """As `Ledger`; so are all that follow."""
        return self.chain.parameters

    async def head(self) -> BlockMark:
        """The newest block: this chain is never reorganised."""
        return self.chain.state.block

    async def chain_time_s(self) -> int:
        """Time stands still."""
        return 0

    async def epoch_state(self, at: BlockMark | None = None) -> EpochState:
        """At a block, or the newest."""
        return self._block(at).state

    async def nodes(self) -> list[RegisteredNode]:
        """By node id."""
        return list(self.chain.nodes.values())

    async def blobs(self, at: BlockMark | None = None) -> list[BlobRecord]:
        """By object id."""
        return list(self._block(at).records)

    async def blob_object(self, object_id: int) -> BlobRecord:
        """Raises `LedgerRefused` for an unknown one."""
        if object_id not in self.chain.records:
            raise LedgerRefused("blob_object", "UnknownObject")
        return self.chain.records[object_id]

    async def attested_shards(self) -> frozenset[int]:
        """In the current epoch."""
        return frozenset(self.chain.attested)

    async def missing_shards(self, epoch: int, at: BlockMark | None = None) -> frozenset[int]:
        """As `Ledger.missing_shards`; every shard is attested before the next epoch starts here."""
        chain = self.chain
        return frozenset(chain.gained - chain.attested) if epoch == chain.state.epoch else frozenset()

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """In chain order."""
        blocks = self.chain.blocks[max(0, first_block) : last_block + 1]
        return [event for block in blocks for event in block.events]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """All of it at once."""
        return Stretch((until,), await self.events(after.number + 1, until.number))

    async def attest(self, epoch: int, attestations: Sequence[Attestation]) -> Transaction:
        """Only in the current epoch, only one's own gained shards, each once."""
        chain = self.chain
        node_id = next(one.node_id for one in chain.nodes.values() if one.operator == self.account)
        shards = tuple(one.shard for one in attestations)
        current = chain.state.current
        if current is None or epoch != chain.state.epoch:
            raise LedgerRefused("attest", "WrongEpoch", {"epoch": epoch})
        if not set(shards) <= set(current.shards_of(node_id)) & chain.gained - chain.attested:
            raise LedgerRefused("attest", "NotToBeAttested", {"shards": shards})
        chain.attested.update(shards)
        done = chain.mine(ShardsAttested(chain.next_mark, epoch, node_id, shards))
        chain.end_handover()
        return done

    async def eject(self, node_id: int, reason: int, certificate: Certificate) -> Transaction:
        """By a quorum of the current committee."""
        self._verify(certificate, Intent.EJECT)
        return self.chain.mine(MemberEjected(self.chain.next_mark, self.chain.state.epoch, node_id, reason))

    async def register_blob(
        self, root: bytes, length: int, epochs: int, deletable: bool = False
    ) -> tuple[int, Transaction]:
        """Space is free here."""
        chain = self.chain
        number, epoch = len(chain.records) + 1, chain.state.epoch
        record = BlobRecord(
            number,
            BlobMetadata.id_of(length, root),
            length,
            WRITER_ACCOUNT,
            epoch,
            None,
            epoch + epochs,
            deletable,
        )
        chain.records[number] = record
        event = BlobRegistered(
            chain.next_mark,
            number,
            record.blob_id,
            record.owner,
            epoch,
            length,
            record.end_epoch,
            deletable,
        )
        return number, chain.mine(event)

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """By a quorum of the current committee, or of the previous one until the handover is done."""
        self._verify(certificate, Intent.BLOB)
        chain = self.chain
        record = dataclasses.replace(chain.records[object_id], certified_epoch=chain.state.epoch)
        chain.records[object_id] = record
        event = BlobCertified(
            chain.next_mark,
            object_id,
            record.blob_id,
            chain.state.epoch,
            record.end_epoch,
            record.deletable,
            is_extension=False,
        )
        return chain.mine(event)

    def _verify(self, certificate: Certificate, intent: Intent) -> None:
        state = self.chain.state
        committees = [state.current] if state.handover_done else [state.current, state.previous]
        for committee in committees:
            if committee is not None and committee.epoch == certificate.epoch:
                try:
                    certificates.verify(certificate, committee, self.chain.parameters.domain, intent=intent)
                except InvalidCertificate as error:
                    raise LedgerRefused(intent.name, "InvalidCertificate", {"why": str(error)}) from error
                return
        raise LedgerRefused(intent.name, "WrongEpoch", {"epoch": certificate.epoch})

    def _block(self, at: BlockMark | None) -> Block:
        return self.chain.blocks[-1 if at is None else at.number]
