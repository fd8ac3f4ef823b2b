"""The chain as one account sees it: all that nodes and clients ask of a chain, and its reservations."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused
from committee.ledger import (
    Absence,
    Attestation,
    BlobObjects,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Event,
    Parameters,
    RegisteredNode,
    Stretch,
    Transaction,
)
from committee.terms import Terms
from tests.memory_chain import blobs, epochs, registry, votes
from tests.memory_chain.accounts_proofs import AccountsProofs
from tests.memory_chain.contracts import Contracts, Revert

PAGE_ITEMS = 200
"""Objects on a page."""


class MemoryLedger(AccountsProofs):
    """A `MemoryChain` as one account sees it; None can only read. Every method is as in `Ledger`."""

    @property
    def is_development_chain(self) -> bool:
        """Yes: its nodes are on this machine."""
        return True

    @property
    def domain(self) -> bytes:
        """As `Ledger.domain`."""
        return self.chain.parameters.domain

    @property
    def is_confirmed(self) -> bool:
        """Yes: there is one chain, and it does not lie."""
        return True

    def reading_anew(self) -> AbstractContextManager[None]:
        """As `Ledger.reading_anew`; nothing is ever unconfirmed."""
        return nullcontext()

    async def close(self) -> None:
        """As `Ledger.close`; there is nothing to give back."""

    # reading

    async def parameters(self) -> Parameters:
        """As `Ledger`; so are all that follow."""
        return self.chain.parameters

    async def head(self) -> BlockMark:
        """As `Ledger.head`."""
        return self.chain.settled

    async def newest(self) -> BlockMark:
        """As `Ledger.newest`."""
        return self.chain.blocks[-1].mark

    async def chain_time_s(self) -> int:
        """As `Ledger.chain_time_s`."""
        return self.chain.contracts.time_s

    async def chain_times_s(self) -> tuple[int, ...]:
        """As `Ledger.chain_times_s`."""
        return (await self.chain_time_s(),)

    async def block_time_s(self, number: int, *, is_followed: bool = False) -> int:
        """Return the time of a block that exists, in seconds."""
        return self.chain.blocks[number].contracts.time_s

    async def epoch_state(self, at: BlockMark | None = None, *, is_followed: bool = False) -> EpochState:
        """As `Ledger.epoch_state`."""
        return (await self._at(at)).state

    async def nodes(self) -> list[RegisteredNode]:
        """As `Ledger.nodes`."""
        return list(self.chain.nodes.values())

    async def node(self, node_id: int) -> RegisteredNode:
        """As `Ledger.node`."""
        if node_id not in self.chain.nodes:
            raise LedgerRefused("Registry.node", "UnknownNode", {"nodeId": node_id})
        return self.chain.nodes[node_id]

    async def node_of(self, account: str) -> RegisteredNode | None:
        """Return the node that the account operates; None when it operates none."""
        return self.chain.nodes.get(self.chain.contracts.node_of(account))

    async def absence(self, node_id: int) -> Absence:
        """As `Ledger.absence`."""
        return self.chain.contracts.absences.get(node_id, Absence.NEVER_STOOD)

    async def candidates(self) -> list[Candidate]:
        """As `Ledger.candidates`."""
        return [Candidate(one, self.chain.nodes[one].stake) for one in self.chain.contracts.candidates]

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_followed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """As `Ledger.live_page`; the cursor is an object id."""
        now = await self._at(at)
        live = [
            number
            for number in sorted(now.records)
            if number >= cursor and now.records[number].is_registered(now.state.period)
        ]
        page, left = live[:PAGE_ITEMS], live[PAGE_ITEMS:]
        return [now.records[number] for number in page], left[0] if left else 0

    async def lost_objects(self, object_ids: Sequence[int], at: BlockMark) -> list[BlobRecord]:
        """As `Ledger.lost_objects`."""
        records, invalid = (await self._at(at)).records, self.chain.contracts.invalid
        known = [records[one] for one in object_ids if one in records]
        return [replace(one, invalid=one.blob_id in invalid) for one in known if not one.deleted]

    async def blob_object(self, object_id: int) -> BlobRecord:
        """As `Ledger.blob_object`."""
        if object_id not in self.chain.records:
            raise LedgerRefused("Blobs.blob", "UnknownObject", {"objectId": object_id})
        return self.chain.records[object_id]

    async def blob_objects(self, root: bytes, length: int) -> BlobObjects:
        """As `Ledger.blob_objects`."""
        return blobs.objects(self.chain.contracts, root, length)

    async def objects_of_blobs(self, asked: Sequence[tuple[bytes, int]]) -> list[BlobObjects]:
        """As `Ledger.objects_of_blobs`."""
        return [await self.blob_objects(*blob) for blob in asked]

    async def attested_shards(self) -> frozenset[int]:
        """As `Ledger.attested_shards`."""
        return self.chain.attested

    async def missing_shards(
        self, epoch: int, at: BlockMark | None = None, *, is_followed: bool = False
    ) -> frozenset[int]:
        """As `Ledger.missing_shards`."""
        contracts = self.chain.contracts if at is None else self.chain.block(at).contracts
        try:
            return contracts.missing_shards(epoch)
        except Revert as revert:
            raise LedgerRefused("Committee.missingShards", revert.reason, revert.arguments) from None

    async def members_of(self, period: int) -> frozenset[int]:
        """As `Ledger.members_of`."""
        return frozenset(self.chain.contracts.weights_of[period])

    async def unpaid(self, epoch: int, node_ids: Sequence[int]) -> tuple[int, ...]:
        """Return no node: this chain has no payments."""
        return ()

    async def pay_out(
        self, node_ids: Sequence[int] | None = None, until: int | None = None
    ) -> list[Transaction]:
        """As `Ledger.pay_out`; there is nothing to pay."""
        return []

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """As `Ledger.events`."""
        blocks = self.chain.blocks[max(0, first_block) : last_block + 1]
        return [event for block in blocks for event in block.events]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """As `Ledger.stretch`; all of it at once."""
        self.chain.block(after), self.chain.block(until)
        marks = tuple(one.mark for one in self.chain.blocks[after.number + 1 : until.number + 1])
        return Stretch(marks, await self.events(after.number + 1, until.number))

    def only_payer(self, root: bytes) -> AbstractAsyncContextManager[None]:
        """Exclude the account's other ledgers; no other process has this chain."""
        return self.chain.payers.setdefault((self._sender(), root), asyncio.Lock())

    async def drain(self) -> None:
        """As `Ledger.drain`; every transaction is mined when it is sent."""

    # sending: nodes

    async def register_node(
        self, name: str, address: str, public_key: bytes, proof_of_possession: bytes, **options: Any
    ) -> tuple[int, Transaction]:
        """As `Ledger.register_node`; the key must be proven."""
        sent = self._sender(), name, address, public_key, proof_of_possession
        transaction = self.chain.send("Registry.registerNode", registry.register_node, *sent, **options)
        return len(self.chain.nodes), transaction

    async def update_address(self, node_id: int, address: str, tls_key: bytes = bytes(32)) -> Transaction:
        """As `Ledger.update_address`."""
        sent = self._sender(), node_id, address, tls_key
        return self.chain.send("Registry.updateNetworkAddress", registry.update_address, *sent)

    async def offer_node(self, node_id: int, account: str | None) -> Transaction:
        """As `Ledger.offer_node`."""
        return self.chain.send("Registry.offerNode", registry.offer, self._sender(), node_id, account)

    async def accept_node(self, node_id: int) -> Transaction:
        """As `Ledger.accept_node`."""
        return self.chain.send("Registry.acceptNode", registry.accept, self._sender(), node_id)

    async def terms(self) -> Terms:
        """As `Ledger.terms`."""
        return self.chain.contracts.terms

    async def vote_of(self, node_id: int, period: int) -> Terms | None:
        """As `Ledger.vote_of`."""
        return votes.vote_of(self.chain.contracts, node_id, period)

    async def decision(self) -> Terms | None:
        """As `Ledger.decision`."""
        now = self.chain.contracts
        return votes.decision(now) if now.decided_period < now.state.period else None

    async def vote(self, terms: Terms) -> Transaction:
        """As `Ledger.vote`."""
        return self.chain.send("Ballot.vote", votes.vote, self._sender(), terms)

    async def decide_terms(self) -> Transaction:
        """As `Ledger.decide_terms`."""
        return self.chain.send("Ballot.decide", votes.decide)

    async def stake(self, node_id: int, amount: int) -> Transaction:
        """As `Ledger.stake`; the tokens come out of nothing."""
        self._sender()
        return self.chain.send("Staking.stake", registry.stake, node_id, amount)

    async def leave(self, node_id: int | None = None) -> Transaction:
        """The account's node when None."""
        sent = self._sender(), node_id or self._operated()
        return self.chain.send("Registry.leaveCandidates", registry.leave, *sent)

    async def become_candidate(self, node_id: int | None = None) -> Transaction:
        """The account's node when None."""
        sent = self._sender(), node_id or self._operated()
        return self.chain.send("Registry.becomeCandidate", registry.become_candidate, *sent)

    # sending: epochs

    async def select(self) -> Transaction:
        """As `Ledger.select`."""
        return self.chain.send("Committee.select", epochs.select)

    async def replace(self) -> Transaction:
        """As `Ledger.replace`."""
        return self.chain.send("Committee.replace", epochs.replace_ejected)

    async def start(self) -> Transaction:
        """As `Ledger.start`."""
        return self.chain.send("Committee.start", epochs.start)

    async def attest(self, epoch: int, attestations: Sequence[Attestation]) -> Transaction:
        """As `Ledger.attest`."""
        return self.chain.send("Committee.attest", epochs.attest, self._sender(), epoch, attestations)

    async def close_handover(self) -> Transaction:
        """As `Ledger.close_handover`."""
        return self.chain.send("Committee.close", epochs.close)

    async def eject(
        self, node_id: int, reason: int, deadline_s: int, certificate: Certificate
    ) -> Transaction:
        """As `Ledger.eject`."""
        return self.chain.send("Committee.eject", epochs.eject, node_id, reason, deadline_s, certificate)

    # sending: blobs

    async def register_blob(
        self,
        root: bytes,
        length: int,
        periods: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
        max_cost: int | None = None,
    ) -> tuple[int, Transaction]:
        """As `Ledger.register_blob`; space and gas are free."""
        sent = self._sender(), root, length, periods, deletable, known_up_to
        transaction = self.chain.send("Blobs.reserveAndRegister", blobs.reserve_and_register, *sent)
        return max(self.chain.records), transaction

    async def register_blobs(
        self,
        new: Sequence[tuple[bytes, int]],
        periods: int,
        deletable: bool = False,
        *,
        known_up_to: int | None = None,
    ) -> tuple[list[BlobRecord], Transaction]:
        """As `Ledger.register_blobs`; all in one block."""
        sent = self._sender(), new, periods, deletable, known_up_to
        transaction = self.chain.send("Blobs.reserveAndRegister", blobs.reserve_and_register_all, *sent)
        records = self.chain.records
        return [records[object_id] for object_id in sorted(records)[-len(new) :]], transaction

    async def certify_blob(self, object_id: int, certificate: Certificate) -> Transaction:
        """As `Ledger.certify_blob`."""
        return self.chain.send("Blobs.certify", blobs.certify, object_id, certificate)

    async def certify_blobs(self, certificates: Mapping[int, Certificate]) -> list[Transaction]:
        """As `Ledger.certify_blobs`."""
        by_signers: dict[tuple[int, bytes], dict[int, Certificate]] = defaultdict(dict)
        for object_id, one in certificates.items():
            by_signers[one.epoch, one.bitmap][object_id] = one
        return [
            self.chain.send("Blobs.certifyMany", blobs.certify_many, some) for some in by_signers.values()
        ]

    async def transfer_blob(self, object_id: int, to: str) -> Transaction:
        """As `Ledger.transfer_blob`."""
        return self.chain.send("Blobs.transferBlob", blobs.transfer, self._sender(), object_id, to)

    async def extend_blob(
        self, object_id: int, periods: int, *, known_end: int | None = None, max_cost: int | None = None
    ) -> Transaction:
        """As `Ledger.extend_blob`; space is free."""
        self._sender()
        return self.chain.send("Blobs.extend", blobs.extend, object_id, periods, known_end)

    async def extend_blob_with(self, object_id: int, resource_id: int) -> Transaction:
        """As `Ledger.extend_blob_with`."""
        sent = self._sender(), object_id, resource_id
        return self.chain.send("Blobs.extendWith", blobs.extend_with, *sent)

    async def delete_blob(self, object_id: int) -> Transaction:
        """As `Ledger.delete_blob`."""
        return self.chain.send("Blobs.remove", blobs.remove, self._sender(), object_id)

    async def invalidate_blob(self, blob_id: bytes, certificate: Certificate) -> Transaction:
        """As `Ledger.invalidate_blob`."""
        return self.chain.send("Blobs.invalidate", blobs.invalidate, blob_id, certificate)

    # how

    async def _at(self, at: BlockMark | None) -> Contracts:
        return self.chain.block(at or await self.head()).contracts

    def _operated(self) -> int:
        node_id = self.chain.contracts.node_of(self._sender())
        if node_id == 0:
            raise LedgerError(f"account {self.account} operates no node")
        return node_id
