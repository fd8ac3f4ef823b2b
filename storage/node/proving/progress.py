"""How far the making of a term's trees has come, and at what pace."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.node.proving.term import Term


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the making of trees has come."""

    done: int
    """Pairs in the trees, of `total`."""
    total: int
    read: int
    """Pairs that this process has read for them, in `spent_s`."""
    spent_s: float


class Meter:
    """Counts the pairs that this process reads for the trees of one term, and the time that it takes."""

    def __init__(self, term: Term | None = None) -> None:
        self.term = term
        self.in_tree: dict[int, int] = {}
        """Shard → pairs in its tree."""
        self.read = 0
        """Pairs read."""
        self._spent_s = 0.0
        self._since_s: float | None = None

    @property
    def spent_s(self) -> float:
        """Time spent on reading, by the monotonic clock."""
        since_s = self._since_s
        return self._spent_s + (0.0 if since_s is None else time.monotonic() - since_s)

    def counted(self, shard: int, pairs: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pairs of a shard's tree; of a tree that is not finished none stay in `in_tree`."""
        self._since_s, self.in_tree[shard] = time.monotonic(), 0
        is_whole = False
        try:
            for pair in pairs:
                self.in_tree[shard] += 1
                self.read += 1
                yield pair
            is_whole = True
        finally:
            self._spent_s, self._since_s = self.spent_s, None
            if not is_whole:
                self.in_tree[shard] = 0
