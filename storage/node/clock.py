"""A node's clock beside those of the other members, which each tell the time with their health.

By more than an hour (`credentials.HOURS_APART`), other members take a node's requests for a stranger's. Nothing else
would tell its operator.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from committee.logs import Log
from committee.membership import Committee

log = Log()

WRONG_S = 600.0
"""A clock that differs by this from most members' is worth a line in the log: that cannot be a slow answer."""
RIGHT_S = WRONG_S / 2
"""It is right again when it differs by less."""
LATEST_S = 2**40
"""No clock that is to be believed tells a later time."""


def most_ahead_s(committee: Committee, ahead_s: Mapping[int, float]) -> float:
    """Return by how many seconds a clock is ahead of most members' clocks; negative when it is behind them.

    It is the median by shards, the one nearer to 0 where there are two, and 0 unless members with more than half the
    shards agree that the clock is ahead, or that it is behind: fewer members can make up nothing.

    `ahead_s` is node id → by how many seconds the clock is ahead of that member's. A member that is not in it, as the
    clock's own node, counts as having the same time.
    """
    told = sorted((ahead_s.get(one.node_id, 0.0), one.weight) for one in committee.members)

    def passed(ascending: list[tuple[float, int]]) -> float:
        weight = 0
        for value, of in ascending:
            weight += of
            if 2 * weight >= committee.n_shards:
                return value
        raise AssertionError("the members' weights are the shards")

    lower, upper = passed(told), passed(told[::-1])
    return lower if lower > 0 else min(upper, 0.0)


class Clock:
    """What one node knows of its clock."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        """Seconds by which it is ahead of most members'; negative when it is behind."""
        self._ahead_s: dict[int, float] = {}
        """Member → seconds by which it is ahead of that member's."""
        self._is_wrong = False

    def now_s(self) -> float:
        """Return this machine's Unix time."""
        return time.time()

    def note(self, committee: Committee, node_id: int, asked_s: float, told_s: object) -> None:
        """Take note of the time that a member told, in whole seconds, when it was asked at `asked_s` of this clock.

        How long the answer took cannot make the clock look wrong: the member's time is of some moment in between.
        """
        if not isinstance(told_s, int) or isinstance(told_s, bool) or not 0 <= told_s <= LATEST_S:
            return
        least_s, most_s = asked_s - (told_s + 1), self.now_s() - told_s
        self._ahead_s[node_id] = least_s if least_s > 0 else min(most_s, 0.0)
        self._ahead_s = {one: self._ahead_s[one] for one in committee.by_id if one in self._ahead_s}
        self.ahead_s = most_ahead_s(committee, self._ahead_s)
        self._tell()

    def forget(self) -> None:
        """Forget what members told, as this node is no member any more."""
        self._ahead_s, self.ahead_s = {}, 0.0
        self._tell()

    def _tell(self) -> None:
        """Log it when the clock has become wrong, and when that is over."""
        was_wrong = self._is_wrong
        self._is_wrong = abs(self.ahead_s) >= (RIGHT_S if was_wrong else WRONG_S)
        if self._is_wrong and not was_wrong:
            log.warning(
                f"this machine's clock is {'ahead of' if self.ahead_s > 0 else 'behind'} most members': set it right, "
                "as by more than an hour they take this node for a stranger",
                minutes=round(abs(self.ahead_s) / 60),
            )
        elif was_wrong and not self._is_wrong and self._ahead_s:
            log.info("this machine's clock agrees with most members' again")
