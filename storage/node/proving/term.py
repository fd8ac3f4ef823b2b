"""What a member makes trees for: its shards in one epoch."""

from __future__ import annotations

from dataclasses import dataclass

from committee.ledger import BlockMark
from storage.node.chain import ChainView


@dataclass(frozen=True, slots=True)
class Term:
    """An epoch, and a member's shards in it."""

    epoch: int
    start: BlockMark
    """The block that started the epoch."""
    salt_seed: bytes
    """The epoch's (`EpochState.salt_seed`)."""
    shards: tuple[int, ...]
    """The member's, in the committee's order."""

    @classmethod
    def now(cls, view: ChainView) -> Term | None:
        """Return this node's part of the current epoch; None of a node that is no member, and before the first one."""
        state, shards = view.state, view.my_shards()
        start, seed = state.started_block, state.salt_seed
        return None if start is None or seed is None or not shards else cls(state.epoch, start, seed, shards)
