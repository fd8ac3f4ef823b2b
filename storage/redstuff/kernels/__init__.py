"""The compiled heart of the grid: kernels of three kinds, chosen at run time, compiled once and kept on disk.

`gfni`, `avx2` and `portable` each say how to multiply; `butterfly` makes the FFT's steps of them, `transform`
the FFT and the erasure code, `blake2b` and `hashing` the trees, and `grid` and `single` the few functions that
Python calls.

Importing this package imports neither numba nor the kernels.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.redstuff import field
from storage.redstuff.errors import KernelsUnavailable
from storage.redstuff.kernels.jit import compiling

KINDS = ("gfni", "avx2", "portable")
"""Best first."""
_ENTRIES = {
    "grid": ("encode", "expand_vectors", "complete_vectors", "sliver_roots", "symbols_roots"),
    "single": ("crossing_symbols", "complete_each"),
}
"""Module → the functions that Python calls."""
_loading = threading.Lock()


class Kernels:
    """The functions of `grid` for one kind, and the tables its multiplications need."""

    def __init__(self, kind: str) -> None:
        with compiling():
            from storage.redstuff.kernels import butterfly, combination, disk_cache, grid, single

            for module in (grid, single):
                for name in _ENTRIES[module.__name__.rpartition(".")[2]]:
                    setattr(self, name, disk_cache.cached(getattr(module, name), kind))
            self.combine_vectors = disk_cache.cached(combination.combine_vectors, kind)
        self.kind = kind
        self._module = butterfly.KIND_MODULES[KINDS.index(kind)]
        self._tables: dict[int, Any] = {}

    encode: Callable[..., None]
    expand_vectors: Callable[..., None]
    combine_vectors: Callable[..., None]
    complete_vectors: Callable[..., None]
    sliver_roots: Callable[..., None]
    symbols_roots: Callable[..., None]
    crossing_symbols: Callable[..., None]
    complete_each: Callable[..., None]

    def tables_of(self, words: NDArray[np.uint16]) -> Any:
        """Return a multiplication table for each of `words`, in the kind's own form."""
        return self._module.table(field.multiply(words[:, None], (1 << np.arange(16))[None, :]))

    def tables(self, positions: int) -> Any:
        """Return a table for each word below `positions` rounded up to a power of two: the constants of the FFT."""
        count = 1 << (positions - 1).bit_length()
        if count not in self._tables:
            self._tables[count] = self.tables_of(np.arange(count, dtype=np.uint16))
        return self._tables[count]


def best_kind() -> str:
    """Return the best kind this processor can run, or the one named by HAULOUT_KERNELS. Raises `KernelsUnavailable`."""
    forced = os.environ.get("HAULOUT_KERNELS")
    if forced:
        if forced not in KINDS:
            raise KernelsUnavailable(f"HAULOUT_KERNELS={forced!r}: known are {', '.join(KINDS)}")
        return forced
    from storage.redstuff.kernels import cpu

    features = cpu.features()
    if {"gfni", "avx2"} <= features:
        return "gfni"
    return "avx2" if "avx2" in features else "portable"


@cache
def _load(kind: str | None) -> Kernels:
    return Kernels(kind or best_kind())


def load(kind: str | None = None) -> Kernels:
    """Return the kernels of a kind, or of the best one here.

    Raises `ValueError` for an unknown kind, `KernelsUnavailable` where they cannot be compiled.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kernels of kind {kind!r}: known are {', '.join(KINDS)}")
    with _loading:
        try:
            return _load(kind)
        except PermissionError as error:  # what llvmlite tries when it is imported
            raise KernelsUnavailable(
                f"the grid's code cannot be compiled ({error.strerror}): allow the process executable memory, in a "
                "systemd unit by MemoryDenyWriteExecute=no"
            ) from None


def require() -> None:
    """Raise `KernelsUnavailable` if there can be no kernels in this process. Imports numba only in case of doubt."""
    if os.environ.get("HAULOUT_KERNELS"):
        best_kind()
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        load()
