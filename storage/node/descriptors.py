"""Open files and sockets of this process: how many there may be, and one kept aside."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

MOST = 2**16
"""Descriptors asked for at most: where the hard limit is far higher, nothing here needs more."""
OPEN = Path("/dev/fd")
"""A folder with the numbers of the open descriptors; some containers have none."""


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, or to MOST; return the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(soft, MOST) if soft != resource.RLIM_INFINITY else MOST
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_free() -> int:
    """Return how many descriptors this process may still open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST if soft == resource.RLIM_INFINITY else soft
    return limit - _count_open(limit)


def _count_open(limit: int) -> int:
    """Return how many descriptors below `limit` are open; where no folder tells, as without /proc, try each."""
    try:
        return sum(1 for _ in OPEN.iterdir())
    except OSError:
        return sum(map(_is_open, range(min(limit, MOST))))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Spare:
    """A descriptor kept open, to be given up where one is needed and there is no other."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self.take()

    def take(self) -> None:
        """Open the descriptor if it is not, and one is free."""
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def give_up(self) -> None:
        """Close the descriptor. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
