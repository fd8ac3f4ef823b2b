"""The contracts' state behind one block, and what their rules have in common.

A rule is a function of `Contracts`, as the transaction's own block finds them, and of the transaction's arguments. It
returns the contracts after the transaction and the events in their order, or raises `Revert` with the contract's error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec

from committee import bls, messages
from committee import certificate as certificates
from committee.certificate import Certificate, Need
from committee.errors import InvalidCertificate
from committee.ledger import (
    Absence,
    Attestation,
    BlobRecord,
    BlockMark,
    EpochState,
    Event,
    Parameters,
    RegisteredNode,
    Reservation,
)
from committee.ledger.proofs import Demand, ProofTerms, Round
from committee.messages import Intent
from committee.terms import Terms

DEPLOYED_TERMS = Terms(price_per_mib_period=1, write_price_per_mib=1, capacity_bytes=1 << 50)
"""What space costs until members have voted."""


class Revert(Exception):
    """A contract refuses: `reason` is its own error's name, `arguments` are that error's."""

    def __init__(self, reason: str, **arguments: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.arguments = arguments


@dataclass(frozen=True, slots=True)
class Part:
    """A node's part in a round of storage proofs."""

    commitment: bytes = bytes(32)
    answered: frozenset[int] = frozenset()
    has_shown: bool = False
    """Whether one of the places that are answered was with a symbol."""
    is_proven: bool = False
    is_missed: bool = False
    is_punished: bool = False
    open_demands: int = 0
    """But for those in places of fellows."""


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """A demand that is neither answered nor judged."""

    demand: Demand
    fellow: int
    """The member whose own place it has; 0 for one that is for anybody."""


def usual_proof_terms(period_s: int) -> ProofTerms:
    """Return the terms of storage proofs in a deployment whose periods take so long, unless it names others."""
    window_s = max(1, period_s // 18)
    return ProofTerms(100, window_s, window_s, window_s, window_s)


@dataclass(frozen=True, slots=True)
class Contracts:
    """All that they hold; replaced by every transaction, never changed."""

    parameters: Parameters
    state: EpochState
    time_s: int
    """The block's time."""
    proof_terms: ProofTerms
    nodes: Mapping[int, RegisteredNode] = field(default_factory=dict)
    candidates: tuple[int, ...] = ()
    """Node ids in candidate order."""
    absences: Mapping[int, Absence] = field(default_factory=dict)
    """Node that is no candidate → what ended its newest candidacy."""
    records: Mapping[int, BlobRecord] = field(default_factory=dict)
    """Blob objects by id."""
    sizes: Mapping[int, int] = field(default_factory=dict)
    """Blob object → bytes of the space that it takes."""
    reservations: Mapping[int, Reservation] = field(default_factory=dict)
    """Reservations that no blob uses, by id."""
    reservation_count: int = 0
    invalid: frozenset[bytes] = frozenset()
    """Ids of blobs that are proven to be encoded inconsistently."""
    held: frozenset[int] = frozenset()
    """Shards kept or attested in the current epoch."""
    attestations: Mapping[int, Attestation] = field(default_factory=dict)
    """In the current epoch, by shard."""
    attested_at_s: Mapping[int, int] = field(default_factory=dict)
    """In the current epoch, by shard: when."""
    missing: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Epoch that is over → shards neither kept nor attested in it."""
    late_stakes: Mapping[int, int] = field(default_factory=dict)
    """Node → what was staked on it since a committee was selected for the next epoch: it counts behind that epoch."""
    ejected_at_s: Mapping[int, int] = field(default_factory=dict)
    """Node ejected in the current epoch → when."""
    weights_of: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """Period that has begun → node → its shards in the committee with which the period began."""
    terms: Terms = DEPLOYED_TERMS
    votes: Mapping[int, Mapping[int, Terms]] = field(default_factory=dict)
    """Node → its votes on the terms, by the period from which on each counts."""
    decided_period: int = 0
    """The period whose votes were counted last."""
    elected_stake: int = 0
    """The stake that elected the current committee."""
    selected_stake: int = 0
    """The stake that elected the selected committee."""

    rounds: Mapping[int, Round] = field(default_factory=dict)
    """Epoch → its round of storage proofs, from its beginning on."""
    parts: Mapping[tuple[int, int], Part] = field(default_factory=dict)
    """Epoch and node → its part in the round."""
    demands: Mapping[tuple[int, int, str], OpenDemand] = field(default_factory=dict)
    """Epoch, node and asker → the demand."""
    misses: Mapping[int, int] = field(default_factory=dict)
    """Node → rounds that it has missed since it last proved."""
    punished_shards: Mapping[int, int] = field(default_factory=dict)
    """Period → with how many shards the members that were punished in it began it."""

    @classmethod
    def deployed(
        cls, parameters: Parameters, block: BlockMark, time_s: int, proof_terms: ProofTerms
    ) -> Contracts:
        """Return the contracts before the first epoch."""
        state = EpochState(block, 0, 0, 0, 0, None, True, time_s, time_s, None, None, None, salt_seed=None)
        return cls(parameters, state, time_s, proof_terms)

    def changed(self, **changes: Any) -> Contracts:
        """Return the contracts with fields of the epoch's state changed."""
        return replace(self, state=replace(self.state, **changes))

    def part(self, epoch: int, node_id: int) -> Part:
        """Return a node's part in the round of an epoch."""
        return self.parts.get((epoch, node_id), Part())

    @property
    def all_shards(self) -> frozenset[int]:
        """The numbers of them all."""
        return frozenset(range(self.parameters.n_shards))

    def missing_shards(self, epoch: int) -> frozenset[int]:
        """Neither kept nor attested at the end of an epoch, or in the current one up to now."""
        if epoch > self.state.epoch:
            raise Revert("WrongEpoch", given=epoch, current=self.state.epoch)
        if epoch == self.state.epoch != 0:
            return self.all_shards - self.held
        return self.missing.get(epoch, frozenset())

    @property
    def regular_weights(self) -> Mapping[int, int]:
        """Node → its shards in the committee with which the current period began; empty before the first."""
        return self.weights_of.get(self.state.period, {})

    @property
    def is_stalled(self) -> bool:
        """Whether no period has begun for four times the longest that one may take: then none may come any more."""
        return self._has_waited(4)

    @property
    def is_late(self) -> bool:
        """Whether the next period is late by half of what it takes to stall: nothing is sold any more."""
        return self._has_waited(2)

    def _has_waited(self, times: int) -> bool:
        """Return whether no period has begun for `times` times the longest that one may take."""
        state, parameters = self.state, self.parameters
        is_open = state.epoch == state.first_epoch and not state.handover_done
        last_s = state.started_at_s if is_open else state.regular_handover_done_s
        return self.time_s > last_s + times * (parameters.period_duration_s + parameters.handover_deadline_s)

    def accepts(self, epoch: int) -> bool:
        """Return whether certificates of an epoch's committee count."""
        state = self.state
        if epoch == 0 or epoch not in (state.epoch, state.epoch - 1):
            return False
        in_grace = self.time_s < state.started_at_s + self.parameters.certificate_grace_s
        return epoch == state.epoch or not state.handover_done or in_grace

    def node_of(self, account: str) -> int:
        """Return the id of the node that an account operates, 0 if none."""
        return next((one.node_id for one in self.nodes.values() if one.operator == account), 0)

    def verify(
        self, epoch: int, intent: Intent, body: bytes, certificate: Certificate, need: Need = "quorum"
    ) -> None:
        """Require that enough members of a committee whose certificates count signed a message. Raises `Revert`.

        As on chain, the message that comes with a certificate counts for nothing: the contract makes its own.
        """
        state = self.state
        committee = state.current if epoch == state.epoch else state.previous
        if committee is None or not self.accepts(epoch):
            raise Revert("WrongEpoch", given=epoch, current=state.epoch)
        try:
            voters = certificates.signers(certificate.bitmap, committee)
        except InvalidCertificate:
            raise Revert("BadBitmap", members=len(committee.members)) from None
        weight = sum(one.weight for one in voters)
        needed = committee.quorum if need == "quorum" else committee.one_correct
        if weight < needed:
            raise Revert("NotEnoughWeight", weight=weight, needed=needed)
        message = messages.encode(intent, epoch, body, self.parameters.domain)
        if not bls.verify_aggregate([one.public_key for one in voters], message, certificate.signature):
            raise Revert("BadSignature")


Outcome = tuple[Contracts, tuple[Event, ...]]
Sent = ParamSpec("Sent")
Rule = Callable[Concatenate[Contracts, Sent], Outcome]
