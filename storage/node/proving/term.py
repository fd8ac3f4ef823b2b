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
    shards: tuple[int, ...]
    """The member's, in the committee's order."""

    @classmethod
    def now(cls, view: ChainView) -> Term | None:
        """Return this node's part of the current epoch; None of a node that is no member, and before the first one."""
        start, shards = view.state.started_block, view.my_shards()
        return None if start is None or not shards else cls(view.state.epoch, start, shards)
