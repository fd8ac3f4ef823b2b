"""How often a chain settles blocks, and whether it goes on. One that stops looks to a node like one without news."""

from __future__ import annotations

STOPPED_S = 1000.0
"""A chain has stopped settling if its newest settled block has stayed the same for so long while blocks came: Ethereum
finalises every 384 s."""
LOOK_S = 60.0
"""Time between two looks at the newest block, to tell a chain that settles nothing from one that has no blocks."""

LOOKS_A_BLOCK = 4
"""How often the chain is asked for news while it settles one block,"""
LONGEST_PAUSE_S = 12.0
"""and at least once in this time."""
WEIGHT = 0.5
"""Weight of the newest time between two settled blocks in their mean."""


class Finality:
    """The rule; its user tells the time and the blocks, and this class does no I/O."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.has_stopped = False
        """Whether blocks come and none is settled."""
        self._settled, self._since_s = -1, now_s
        """Number of the newest settled block, and the time since when it is that one; at first when the rule began."""
        self._apart_s = 0.0
        """Mean time between two changes of the newest settled block."""
        self._newest: int | None = None
        """Number of the newest block when it was looked at since then."""
        self._looked_s = 0.0

    def unsettled_s(self, now_s: float) -> float:
        """Return for how long no new block has been settled."""
        return now_s - self._since_s

    def pause_s(self, shortest_s: float, now_s: float) -> float:
        """Return the time to wait before the chain is asked for news again: providers count requests.

        It follows the time between two settled blocks, from `shortest_s` on.
        """
        apart_s = max(self._apart_s, self.unsettled_s(now_s))
        return max(shortest_s, min(apart_s / LOOKS_A_BLOCK, LONGEST_PAUSE_S))

    def settled(self, number: int, now_s: float) -> bool:
        """Take note of the newest settled block; return whether the chain has begun to settle again."""
        if number == self._settled:
            return False
        if self._settled >= 0:
            self._apart_s += (self.unsettled_s(now_s) - self._apart_s) * WEIGHT
        has_stopped, self.has_stopped = self.has_stopped, False
        self._settled, self._since_s, self._newest = number, now_s, None
        return has_stopped

    def is_doubtful(self, now_s: float) -> bool:
        """Return whether the newest block is to be looked at."""
        return self.unsettled_s(now_s) >= STOPPED_S and now_s - self._looked_s >= LOOK_S

    def looked(self, newest: int, now_s: float) -> bool:
        """Take note of the newest block, settled or not; return whether settling has stopped, if that is news."""
        before, self._newest, self._looked_s = self._newest, newest, now_s
        if self.has_stopped or before is None or newest <= before:
            return False
        self.has_stopped = True
        return True
