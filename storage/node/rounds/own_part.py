"""What a member knows of its own part in a round, by which it acts; its health and metrics tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from committee.ledger.proofs import MemberProof, RoundStep


@dataclass
class OwnPart:
    """A node's own part in the round of one epoch."""

    epoch: int = 0
    step: RoundStep | None = None
    """What the round waits for; None before the first look."""
    until_s: int | None = None
    """The last second of that step, in the chain's time; None where it has no end."""
    begins_at_s: int | None = None
    """Since when the round is to begin, in the chain's time; None before the first look."""
    lacking: tuple[int, ...] | None = None
    """The node's shards that are not whole, and so not in its commitment; None until it has looked."""
    commitment: bytes = b""
    """The first COMMITMENT_BYTES of its root, as the chain has them; empty or zeros for none."""
    answered: frozenset[int] = frozenset()
    """Places that are answered on chain."""
    is_proven: bool = False
    is_missed: bool = False
    is_over: bool = False
    """Whether this node has found all members to have proven or missed the round."""
    warnings: tuple[str, ...] = ()
    """What may have the node miss it, in sentences for its operator."""

    @property
    def is_committed(self) -> bool:
        """Whether the chain has a commitment of the node."""
        return any(self.commitment)

    def note(self, proof: MemberProof) -> None:
        """Take in what the chain says of the node."""
        self.commitment, self.answered = proof.commitment, proof.answered
        self.is_proven, self.is_missed = proof.is_proven, proof.is_missed

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` says of it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "until": self.until_s,
            "lackingShards": None if self.lacking is None else list(self.lacking),
            "committed": self.is_committed,
            "answered": len(self.answered),
            "proven": self.is_proven,
            "missed": self.is_missed,
            "warnings": list(self.warnings),
        }
