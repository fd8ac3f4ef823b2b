"""Arrays for slivers and scratch: with slack around them for the hashing kernels, and of memory used before."""

from __future__ import annotations

import mmap
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
NODE = np.dtype("V32")
"""A node of a tree as one item of an array: nodes with other bytes between them are copied faster so than as bytes."""
Nodes = NDArray[np.void]
"""Nodes, of dtype NODE, perhaps with other bytes between them."""
SLACK = 128
"""As `kernels.grid.SLACK`, which is not imported here because that imports numba."""
HUGE_PAGE = 1 << 21
_HUGE_FROM = 1 << 20
KEPT_BYTES = 512 << 20
"""Memory of arrays no longer used that is kept for the next ones, at most."""
_kept: deque[mmap.mmap] = deque()


def slack_array(size: int) -> Bytes:
    """Return an array of `size` bytes between `SLACK` bytes on either side, which the kernels may read; not zeroed."""
    return uninitialised(size + 2 * SLACK)


def inner(array: Bytes) -> Bytes:
    """Return the array's bytes between the slack, not copied."""
    return array[SLACK:-SLACK]


class _Unguarded:
    """An array's memory, as numpy asks for it, with leave to write."""

    def __init__(self, array: Bytes) -> None:
        self._owner = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def unguarded(array: Bytes) -> Bytes:
    """Return an array over the same memory that says it may be written to, for kernels that only read it.

    They are compiled for such arrays alone; those over `bytes` are another type to numba.
    """
    return np.asarray(_Unguarded(array))


def uninitialised(size: int) -> Bytes:
    """Return `size` bytes with any content.

    Large arrays come in huge pages where the system has them, and return their memory to the next ones: fresh
    pages would all be zeroed by the kernel first, which costs up to a third of an encoding.
    """
    if size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    region = _take(HUGE_PAGE * (-(-size // HUGE_PAGE) + 1))
    whole = np.frombuffer(region, np.uint8)
    weakref.finalize(whole, _keep, region).atexit = False
    start = -whole.ctypes.data % HUGE_PAGE
    return whole[start : start + size]


def _take(size: int) -> mmap.mmap:
    """Return the smallest region kept that is large enough, and not twice too large; or else a new one."""
    for region in sorted(_kept, key=len):
        if size <= len(region) <= 2 * size:
            try:
                _kept.remove(region)
            except ValueError:  # Another thread has just taken it.
                continue
            return region
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    region.madvise(mmap.MADV_HUGEPAGE)
    return region


def _keep(region: mmap.mmap) -> None:
    """Called when no view of a region is left. The kernel may take its pages back as soon as it needs some."""
    if hasattr(mmap, "MADV_FREE"):
        region.madvise(mmap.MADV_FREE)
    _kept.append(region)
    while sum(map(len, tuple(_kept))) > KEPT_BYTES:
        _kept.popleft()
