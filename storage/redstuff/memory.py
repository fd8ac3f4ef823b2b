"""Arrays for slivers and scratch: with slack around them for the hashing kernels, and cheap to touch first."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
SLACK = 128
"""As `kernels.grid.SLACK`, which is not imported here because that imports numba."""
HUGE_PAGE = 1 << 21
_HUGE_FROM = 1 << 20


def slack_array(size: int) -> Bytes:
    """`size` bytes between `SLACK` bytes on either side, which the kernels may read; not zeroed."""
    return uninitialised(size + 2 * SLACK)


def inner(array: Bytes) -> Bytes:
    """The bytes between the slack, not copied."""
    return array[SLACK:-SLACK]


def uninitialised(size: int) -> Bytes:
    """So many bytes with any content.

    Large ones come in huge pages where the system has them: slivers are written once, and the first touch of
    each page of 4 KiB would cost a tenth of an encoding.
    """
    if size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    pages = -(-size // HUGE_PAGE)
    region = mmap.mmap(-1, (pages + 1) * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    region.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(region, np.uint8)
    start = -whole.ctypes.data % HUGE_PAGE
    return whole[start : start + size]
