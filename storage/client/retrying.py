"""Whether and when a request to a node is made again (PROTOCOL section 6)."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from storage.client.errors import NodeRefused, NodeStalled, NodeUnreachable

TRIES = 3
"""Requests made before a node without an answer is given up."""
MAY_PASS = frozenset({429, 502, 503, 504})
"""Statuses by which a node or a proxy says that the same request may be granted later."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two tries; a longer pause only where the answer asks for one (Retry-After)."""


class Patience:
    """Decides after each failed try of one request whether another follows, for stamina's `on`."""

    def __init__(self, tries: int, patience_s: float) -> None:
        self._tries, self._patience_s = tries, patience_s
        self._unreachable = self._refused = 0
        self._until = time.monotonic() + patience_s

    def __call__(self, error: Exception) -> bool | float:
        """Return whether to try again, or after how many seconds when the answer says so.

        A refusal that may pass is tried again until the patience is over. A large body may take longer than that to
        be refused once: it has TRIES all the same.
        """
        if isinstance(error, NodeStalled):
            return False
        if isinstance(error, NodeUnreachable):
            self._unreachable += 1
            return self._unreachable < self._tries
        if not isinstance(error, NodeRefused) or error.status not in MAY_PASS:
            return False
        self._refused += 1
        pause_s = max(error.retry_after_s or 0.0, SHORTEST_PAUSE_S)
        is_late = time.monotonic() + pause_s >= self._until
        if pause_s >= self._patience_s or (is_late and self._refused >= self._tries):
            return False
        return True if error.retry_after_s is None else pause_s


def retry_after_s(text: str) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date; None when it holds neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
