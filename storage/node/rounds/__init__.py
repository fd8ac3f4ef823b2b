"""A member's part in the rounds of storage proofs: it signs inventories, proves, audits fellows, answers and judges."""

from storage.node.rounds.rounds import Rounds

__all__ = ["Rounds"]
