"""The role of a ledger by which members prove that they store what they should (PROTOCOL section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from committee.certificate import Certificate
from committee.ledger.records import Transaction
from committee.opening import Opening


@dataclass(frozen=True, slots=True)
class Round:
    """The round of proofs of one epoch, from its beginning on."""

    inventory_root: bytes
    count: int
    """Blobs in the inventory."""
    weight: int
    """Bytes of one symbol of each of them."""
    start_hash: bytes
    """Of the block that started the epoch."""
    commit_by_s: int
    """From this time on no commitment is taken, and positions can be drawn."""
    draw_block: int
    """The block whose hash draws the positions; 0 while none is fixed."""
    draw: bytes | None
    """That hash, once the positions are drawn."""
    answer_by_s: int
    """The last second at which a certificate or an answer counts; 0 before the draw."""


@dataclass(frozen=True, slots=True)
class MemberProof:
    """A member's part in a round."""

    commitment: bytes
    """The first 24 bytes of what the member has committed to; zeros for nothing."""
    answered: frozenset[int]
    """Places that are answered on chain."""
    is_proven: bool
    is_missed: bool
    is_punished: bool


class ProofsLedger(Protocol):
    """The rounds of storage proofs. All but commitments anyone may send."""

    async def proof_round(self, epoch: int) -> Round | None:
        """Return the round of an epoch, in the newest block; None when it has not begun."""

    async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
        """Return a node's part in the round of an epoch, in the newest block."""

    async def begin_round(
        self, root: bytes, count: int, weight: int, certificate: Certificate
    ) -> Transaction:
        """Begin the current epoch's round with the inventory that a quorum certified, once."""

    async def commit(self, epoch: int, root: bytes) -> Transaction:
        """Commit the node that the account operates to what it stores; until `commit_by_s` the last one counts."""

    async def draw(self) -> Transaction:
        """Fix the block that draws the positions; behind it, draw them."""

    async def prove(self, node_id: int, certificate: Certificate) -> Transaction:
        """Post that a quorum of its fellows saw a member open what was drawn."""

    async def answer(self, node_id: int, openings: Mapping[int, Opening]) -> Transaction:
        """Open places, by their numbers, of a member on chain."""

    async def judge(self, node_id: int) -> Transaction:
        """Have a member that has not proven in time miss the round."""
