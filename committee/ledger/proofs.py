"""The role of a ledger by which members prove that they store what they should (PROTOCOL section 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from committee.certificate import Certificate
from committee.ledger.records import Transaction
from committee.opening import Opening

DONE_BEFORE = frozenset(
    {"AlreadyBegun", "AlreadyDrawn", "DrawPending", "AlreadyProven", "AlreadyJudged", "NotDemanded"}
)
"""Reasons of a refusal by which the contract tells that there is nothing left to do: another account has sent the same
before. (`DrawPending`: the draw's block is fixed, and not behind the newest one yet.)"""


@dataclass(frozen=True, slots=True)
class ProofTerms:
    """What a deployment has fixed for all rounds."""

    bond: int
    """What a demand costs its asker if it is answered."""
    commit_window_s: int
    """From the round's beginning until commitments are refused."""
    prove_window_s: int
    """From the draw until members without a certificate should answer on chain."""
    answer_window_s: int
    """From then until certificates and answers are refused."""
    demand_window_s: int
    """From a demand until it must be answered."""

    @property
    def round_s(self) -> int:
        """The three windows of a round together."""
        return self.commit_window_s + self.prove_window_s + self.answer_window_s


@dataclass(frozen=True, slots=True)
class Round:
    """The round of proofs of one epoch, from its beginning on."""

    inventory_root: bytes
    count: int
    """Blobs in the inventory."""
    weight: int
    """Bytes of one symbol of each of them."""
    salt_seed: bytes
    """The epoch's (`EpochState.salt_seed`)."""
    commit_by_s: int
    """From this time on no commitment is taken, and positions can be drawn."""
    draw_block: int
    """The block whose hash draws the positions; 0 while none is fixed."""
    draw: bytes | None
    """That hash, once the positions are drawn."""
    prove_by_s: int
    """From this time on a member without a certificate should answer on chain; 0 before the draw."""
    answer_by_s: int
    """The last second at which a certificate or an answer counts; 0 before the draw."""


@dataclass(frozen=True, slots=True)
class MemberProof:
    """A member's part in a round."""

    commitment: bytes
    """The first COMMITMENT_BYTES of the root that the member has committed to; zeros for none."""
    answered: frozenset[int]
    """Places that are answered on chain."""
    is_proven: bool
    is_missed: bool
    is_punished: bool
    open_demands: int = 0
    """Demands that are neither answered nor judged, but for those that fellows have in places of their own."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A demand that is neither answered nor judged."""

    node_id: int
    asker: str
    """The account that demands, and gets its bond back if the demand is not answered."""
    position: int
    """The number of the position that is demanded (`storage.proofs.draw`)."""
    answer_by_s: int
    """The last second at which an answer counts."""


@dataclass(frozen=True, slots=True)
class Means:
    """What an account has for transactions, and what some take, in wei."""

    has_wei: int
    needed_wei: int
    """At most, at the present price of gas."""


class RoundStep(StrEnum):
    """What a round waits for."""

    BEGIN = "begin"
    COMMIT = "commit"
    DRAW = "draw"
    PROVE = "prove"
    ANSWER = "answer"
    JUDGE = "judge"


def round_step(found: Round | None, now_s: int) -> tuple[RoundStep, int | None]:
    """Return what the round of the current epoch waits for at a time, and the last second of that step.

    The second is None where the step has no end. A round that is None has not begun.
    """
    if found is None:
        return RoundStep.BEGIN, None
    if now_s < found.commit_by_s:
        return RoundStep.COMMIT, found.commit_by_s - 1
    if found.draw is None:
        return RoundStep.DRAW, None
    if now_s < found.prove_by_s:
        return RoundStep.PROVE, found.prove_by_s - 1
    if now_s <= found.answer_by_s:
        return RoundStep.ANSWER, found.answer_by_s
    return RoundStep.JUDGE, None


@dataclass(frozen=True, slots=True)
class Held:
    """Since when the owner of a shard has had it, in the current epoch."""

    since_s: int
    """The epoch's start if it kept the shard, else when it attested it; 0 if it has done neither."""
    attested: bytes | None
    """The root with which it attested it; None if it has not."""

    def was_in_time(self, deadline_s: int) -> bool:
        """Whether the owner has to show the shard in a round that refuses commitments from then on."""
        return 0 < self.since_s < deadline_s


class ProofsLedger(Protocol):
    """The rounds of storage proofs. All but commitments anyone may send.

    What is sent is refused, with a reason in `DONE_BEFORE`, when another account has done the same before.
    """

    async def proof_terms(self) -> ProofTerms:
        """Return what the deployment has fixed for all rounds."""

    async def proof_round(self, epoch: int) -> Round | None:
        """Return the round of an epoch, in the newest block; None when it has not begun."""

    async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
        """Return a node's part in the round of an epoch, in the newest block."""

    async def misses(self, node_id: int) -> int:
        """Return how many rounds a node has missed since it last proved; from the second one on it is punished."""

    async def held_since(self, shards: Sequence[int]) -> dict[int, Held]:
        """Return since when their owners have had shards of the current epoch, in the newest block."""

    async def demands(self, node_id: int) -> tuple[Demand, ...]:
        """Return the open demands of a member in the current epoch, in the newest block, by their deadlines.

        Cheap to ask again and again. Raises `LedgerUnavailable` also when others are told of than the contract counts,
        and `ProvidersDisagree` when endpoints tell different counts.
        """

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

    async def answer(self, node_id: int, openings: Mapping[int, Opening]) -> list[Transaction]:
        """Open places, by their numbers, of a member on chain; in as many transactions as it takes.

        Places that are answered already are passed over. A refusal leaves the earlier transactions' places answered.
        """

    async def means_to_answer(self, openings: Mapping[int, Opening]) -> Means:
        """Return what `answer` would take for these openings, by their sizes alone, and what the account has for it."""

    async def judge(self, node_id: int) -> Transaction:
        """Have a member that has not proven in time miss the round; its second miss in a row is punished.

        The node is paid out first where its stake can only be slashed then.
        """

    async def demand(self, node_id: int, position: int) -> Transaction:
        """Demand that a member opens a position on chain, which is given by its number; the account pays the bond.

        It is the node's if the demand is answered, and comes back with `judge_demand` and `reclaim`.
        """

    async def answer_demand(self, node_id: int, asker: str, opening: Opening) -> Transaction:
        """Answer an account's demand of a member until its deadline.

        The opening has no commitment path, but for a shard that was attested too late for the round.
        """

    async def judge_demand(self, node_id: int, asker: str) -> Transaction:
        """Have a member punished that has not answered an account's demand in time, while the epoch lasts.

        The node is paid out first where its stake can only be slashed then.
        """

    async def reclaim(self, epoch: int, node_id: int, asker: str) -> Transaction:
        """Give an account the bond of its demand back when the demand's epoch is over."""
