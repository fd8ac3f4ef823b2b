"""Blocks, one for every transaction, each with the contracts behind it; and what a test may do by hand.

Nothing happens by itself: time stands still until it is moved, and epochs are selected and started by hand, which moves
the clock as far as it takes. What is done by hand keeps the contracts' rules but for signatures and ownership.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

from committee.bls import SecretKey
from committee.errors import LedgerRefused, LedgerReorganised
from committee.ledger import (
    Absence,
    Attestation,
    BlobRecord,
    BlockMark,
    EpochState,
    Event,
    Parameters,
    RegisteredNode,
    Transaction,
)
from committee.ledger.proofs import Means, ProofTerms
from committee.ledger.steps import selectable_at_s, startable_at_s
from committee.messages import EjectionReason
from tests.memory_chain import blobs, epochs, registry
from tests.memory_chain.contracts import Contracts, Revert, Rule, Sent, usual_proof_terms
from tests.memory_chain.epochs import Shards
from tests.memory_chain.ledger import MemoryLedger

WRITER = "writer"
"""The account of blobs that are registered by hand."""


class Named(Protocol):
    """What the chain knows of a blob: its metadata, or the encoded blob."""

    @property
    def blob_id(self) -> bytes:
        """32 bytes."""

    @property
    def length(self) -> int:
        """Bytes of the blob as it is, not encoded."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a block told, and the contracts behind it."""

    contracts: Contracts
    events: tuple[Event, ...] = ()

    @property
    def mark(self) -> BlockMark:
        """Its number and hash."""
        return self.contracts.state.block


class MemoryChain:
    """The chain; `ledger` gives one account's access to it."""

    def __init__(
        self, parameters: Parameters, time_s: int = 0, proof_terms: ProofTerms | None = None
    ) -> None:
        """Without terms of storage proofs, those that are usual hold."""
        terms = proof_terms or usual_proof_terms(parameters.period_duration_s)
        self.confirmations = 0
        """A block is settled when this many blocks follow it."""
        self.time_s = time_s
        self.means = Means(0, 0)
        """What every account has for answers on chain, and what they take."""
        self.blocks = [Block(Contracts.deployed(parameters, BlockMark(0, bytes(32)), time_s, terms))]
        self.payers: WeakValueDictionary[tuple[str, bytes], asyncio.Lock] = WeakValueDictionary()
        """(account, root) → the lock of the ledgers that pay for a blob."""
        self._forks = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle takes: all but the payers, as another process has its own."""
        return {name: value for name, value in self.__dict__.items() if name != "payers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.payers = WeakValueDictionary()

    def ledger(self, account: str | None) -> MemoryLedger:
        """Return the chain as one account sees it, as far as nodes and clients use it; None can only read."""
        return MemoryLedger(self, account)

    # blocks

    @property
    def settled(self) -> BlockMark:
        """The newest settled block."""
        return self.blocks[max(len(self.blocks) - 1 - self.confirmations, 0)].mark

    def block(self, mark: BlockMark) -> Block:
        """Return a block that is still part of the chain. Raises `LedgerReorganised`."""
        if not self.has(mark):
            raise LedgerReorganised(f"block {mark.number} was replaced")
        return self.blocks[mark.number]

    def has(self, mark: BlockMark) -> bool:
        """Return whether a block is still part of the chain."""
        return mark.number < len(self.blocks) and self.blocks[mark.number].mark == mark

    def hash_of(self, number: int) -> bytes | None:
        """Return the hash of a block; None when there is none of this number."""
        return self.blocks[number].mark.hash if number < len(self.blocks) else None

    def send(self, action: str, rule: Rule[Sent], *sent: Sent.args, **named: Sent.kwargs) -> Transaction:
        """Make a block with one transaction. Raises `LedgerRefused` with the contract's own error, and makes none."""
        number = len(self.blocks)
        mark = BlockMark(number, self._forks.to_bytes(16, "big") + number.to_bytes(16, "big"))
        now = replace(self.contracts.changed(block=mark), time_s=self.time_s)
        try:
            then, events = rule(now, *sent, **named)
        except Revert as revert:
            raise LedgerRefused(action, revert.reason, revert.arguments) from None
        self.blocks.append(Block(then.changed(replaceable_at_s=epochs.replaceable_at_s(then)), events))
        return Transaction(mark.hash, mark, 0)

    def mine(self) -> Transaction:
        """Make a block in which nothing happens."""
        return self.send("mine", lambda now: (now, ()))

    def rewind(self, mark: BlockMark) -> None:
        """Reorganise the chain: the blocks behind this one are gone, and others come in their place."""
        self.block(mark)
        del self.blocks[mark.number + 1 :]
        self._forks += 1

    # the newest block's

    @property
    def contracts(self) -> Contracts:
        """The contracts behind the newest block."""
        return self.blocks[-1].contracts

    @property
    def parameters(self) -> Parameters:
        """What the contracts were deployed with."""
        return self.contracts.parameters

    @property
    def state(self) -> EpochState:
        """Committees and phase."""
        return self.contracts.state

    @property
    def nodes(self) -> Mapping[int, RegisteredNode]:
        """Return the registered nodes by node id."""
        return self.contracts.nodes

    @property
    def records(self) -> Mapping[int, BlobRecord]:
        """Blob objects by id."""
        return self.contracts.records

    @property
    def attestations(self) -> Mapping[int, Attestation]:
        """Return the current epoch's attestations by shard."""
        return self.contracts.attestations

    @property
    def attested(self) -> frozenset[int]:
        """Shards attested in the current epoch."""
        return frozenset(self.attestations)

    @property
    def missing(self) -> frozenset[int]:
        """Shards neither kept nor attested in the current epoch."""
        return self.contracts.missing_shards(self.state.epoch)

    @property
    def gained(self) -> frozenset[int]:
        """Shards that are, or were, to be attested in the current epoch."""
        return self.attested | self.missing

    # nodes, by hand

    def add_node(self, name: str, address: str, public_key: bytes) -> int:
        """Register a node, a candidate without stake, whose account has its name; its id."""
        self.send("Registry.registerNode", registry.register_node, name, name, address, public_key, None)
        return len(self.nodes)

    def add_candidates(self, shards: Shards) -> None:
        """Register nodes 1, 2, … that are not to be reached; the stake of each is the number of its `shards`."""
        for node_id in shards:
            self.add_node(f"node-{node_id}", "http://x:1", SecretKey(node_id).public_key)
        self.stand({node_id: len(held) for node_id, held in shards.items()})

    def move_node(self, node_id: int, address: str) -> None:
        """Name another address for a node."""
        account = self.nodes[node_id].owner
        self.send("Registry.updateNetworkAddress", registry.update_address, account, node_id, address)

    def stand(self, stakes: Mapping[int, int]) -> None:
        """Set the candidates, in this order: node id → all its stake."""

        def standing(now: Contracts) -> tuple[Contracts, tuple[Event, ...]]:
            nodes = {
                node_id: replace(one, stake=stakes.get(node_id, one.stake), is_candidate=node_id in stakes)
                for node_id, one in now.nodes.items()
            }
            absences = {**now.absences, **dict.fromkeys(set(nodes) - set(stakes), Absence.LEFT)}
            return replace(now, nodes=nodes, candidates=tuple(stakes), absences=absences), ()

        self.send("stand", standing)

    # epochs, by hand

    def select(self, shards: Shards | None = None) -> None:
        """Select the next committee: elected, or with these shards; node id → its shards."""
        self.time_s = max(self.time_s, selectable_at_s(self.state, self.parameters))
        self.send("Committee.select", epochs.select, shards)

    def replace(self) -> None:
        """Select the committee in office without its ejected members, to start within the period."""
        self.send("Committee.replace", epochs.replace_ejected)

    def start(self, shards: Shards | None = None) -> None:
        """Start the next epoch, with the committee that is selected, or with these shards at once."""
        if shards is not None:
            self.select(shards)
        self.time_s = max(self.time_s, startable_at_s(self.state, self.parameters))
        self.send("Committee.start", epochs.start)

    def close(self) -> None:
        """End a handover that has no quorum at its deadline."""
        self.time_s = max(self.time_s, self.state.started_at_s + self.parameters.handover_deadline_s)
        self.send("Committee.close", epochs.close)

    def eject(self, node_id: int) -> None:
        """End a member's candidacy; a committee selected with it is dropped."""
        self.send("Committee.eject", epochs.eject, node_id, EjectionReason.SILENT, self.time_s, None)

    # blobs, by hand

    def register(
        self, blob: Named, *, end_period: int = 50, deletable: bool = False, object_id: int | None = None
    ) -> int:
        """Register a blob object of `WRITER`'s, whatever its end; return its id, the next one unless named."""
        sent = WRITER, blob.blob_id, blob.length, end_period, deletable, object_id
        self.send("Blobs.register", blobs.register, *sent)
        return max(self.records) if object_id is None else object_id

    def certify(self, object_id: int) -> None:
        """Certify an object by the current committee."""
        self.send("Blobs.certify", blobs.certified, object_id, self.state.epoch)

    def extend(self, object_id: int, periods: int) -> None:
        """Extend an object by `periods` periods."""
        self.send("Blobs.extend", blobs.extend, object_id, periods)

    def delete(self, object_id: int) -> None:
        """Delete an object."""
        self.send("Blobs.remove", blobs.remove, self.records[object_id].owner, object_id)

    def invalidate(self, blob_id: bytes) -> None:
        """Mark all objects of a blob as invalid."""
        self.send("Blobs.invalidate", blobs.invalidate, blob_id, None)
