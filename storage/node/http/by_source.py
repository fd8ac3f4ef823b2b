"""Connections by their sources: in which order they came, and which source has most.

There may be as many sources as connections, and every new connection asks, so nothing here takes longer when there are
more of either.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from storage.node.budgets import Requester


class _HasSource(Protocol):
    source: Requester


Item = TypeVar("Item", bound=_HasSource)


class Ordered(Generic[Item]):
    """Connections in the order in which they were added, in all and by source."""

    def __init__(self) -> None:
        self._since: OrderedDict[Item, float] = OrderedDict()
        self._of: dict[Requester, OrderedDict[Item, None]] = {}

    def __iter__(self) -> Iterator[Item]:
        """Iterate over all items, the one added first at the beginning."""
        return iter(self._since)

    def __contains__(self, item: Item) -> bool:
        """Whether it was added and not removed."""
        return item in self._since

    def add(self, item: Item) -> None:
        """Add one, the last; one that is here keeps its place, and is held for added now."""
        self._since[item] = time.monotonic()
        self._of.setdefault(item.source, OrderedDict())[item] = None

    def remove(self, item: Item) -> None:
        """Remove one, if it is here."""
        if self._since.pop(item, None) is None:
            return
        of_source = self._of[item.source]
        del of_source[item]
        if not of_source:
            del self._of[item.source]

    def first(self) -> tuple[Item | None, float]:
        """Return the item added first and its time by `time.monotonic`; (None, 0.0) when there is none."""
        return next(iter(self._since.items()), (None, 0.0))

    def first_of(self, source: Requester) -> Item | None:
        """Return the item of this source that was added first; None when there is none."""
        return next(iter(self._of.get(source, ())), None)


class Counts:
    """How many connections each source has."""

    def __init__(self) -> None:
        self._of: dict[Requester, int] = {}
        self._with: dict[int, OrderedDict[Requester, None]] = {}
        """Number of connections → the sources that have as many."""
        self._most = 0

    def of(self, source: Requester) -> int:
        """Return how many items of this source are there."""
        return self._of.get(source, 0)

    def largest(self) -> tuple[Requester, int]:
        """Return a source with the most items, and their number. At least one item has to be there."""
        return next(iter(self._with[self._most])), self._most

    def add(self, source: Requester, step: int) -> None:
        """Count one connection more (`step` 1) or less (-1)."""
        before = self._of.pop(source, 0)
        if before:
            del self._with[before][source]
            if not self._with[before]:
                del self._with[before]
        after = before + step
        if after:
            self._of[source] = after
            self._with.setdefault(after, OrderedDict())[source] = None
        if after > self._most or self._most not in self._with:
            self._most = after
