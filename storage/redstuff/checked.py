"""What `RedStuff` checks of bytes and numbers that it is given; its parameters and its engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from storage.redstuff.engine import Engine
from storage.redstuff.errors import RootMismatch, TooFewShards, WrongSize
from storage.redstuff.memory import Bytes
from storage.redstuff.metadata import SliverRoots
from storage.redstuff.parameters import Axis, Parameters

Data = bytes | bytearray | memoryview | Bytes


@dataclass(frozen=True)
class Checked(Parameters):
    """The code for `n_shards`, working with `threads` threads, and checks that raise `RedStuffError`.

    `kernels` names a kernel kind ("gfni", "avx2", "portable"); by default the best one the processor has.
    """

    threads: int = 1
    kernels: str | None = None

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.n_shards, self.p, self.s, self.threads, self.kernels)

    def _symbols(self, length: int, axis: Axis, index: int, sliver: Data) -> Bytes:
        """One sliver's bytes, its index and size checked."""
        self._check_index(axis, index)
        symbols, size = array_of(sliver), self.sliver_size(length, axis)
        if len(symbols) != size:
            raise WrongSize(f"{axis.label} sliver {index} of {len(symbols)} bytes: it must have {size}")
        return symbols

    def _chosen(self, length: int, axis: Axis, symbols: Mapping[int, Data]) -> tuple[list[int], list[Any]]:
        """The indices of the symbols to make a sliver of, ascending, and these symbols, their sizes checked."""
        needed, t = self.source_symbols(axis), self.symbol_size(length)
        if len(symbols) < needed:
            raise TooFewShards(f"needed {needed} symbols to rebuild the sliver, given {len(symbols)}")
        indices = sorted(symbols)[:needed]
        self._check_index(axis.other, indices[0])
        self._check_index(axis.other, indices[-1])
        chosen: list[Any] = list(map(symbols.__getitem__, indices))
        sizes = set(map(len, chosen))
        if sizes != {t}:
            raise WrongSize(f"symbols of {sorted(sizes)} bytes: those of a blob of {length} bytes have {t}")
        return indices, chosen

    def _require_sliver(self, axis: Axis, sliver: Data, symbol_size: int) -> None:
        """Raise `WrongSize` unless a sliver has as many symbols of that size as it should."""
        if len(sliver) != self.source_symbols(axis) * symbol_size:
            raise WrongSize(
                f"a {axis.label} sliver of {len(sliver)} bytes: {self.source_symbols(axis)} symbols of "
                f"{symbol_size} bytes are expected"
            )

    def _with_symbols(self, axis: Axis, sliver: Data, targets: Sequence[int], symbol_size: int) -> Bytes:
        """Return a sliver's symbols in order: those it consists of, or all `n` if `targets` has one beyond these."""
        if max(targets, default=0) >= self.source_symbols(axis):
            return self._expanded(axis, sliver, targets, symbol_size)
        self._require_sliver(axis, sliver, symbol_size)
        for target in targets:
            self._check_index(axis.other, target)
        return array_of(sliver).reshape(-1, symbol_size)

    def _expanded(self, axis: Axis, sliver: Data, targets: Sequence[int], symbol_size: int) -> Bytes:
        symbols = array_of(sliver)
        self._require_sliver(axis, symbols, symbol_size)
        for target in targets:
            self._check_index(axis.other, target)
        return self._engine.expanded(axis, symbols, symbol_size)

    def _check_index(self, axis: Axis, index: int) -> None:
        if not 0 <= index < self.n_shards:
            raise WrongSize(f"{axis.label} sliver {index}: there are {self.n_shards}")

    def _same_shards(self, metadata: SliverRoots) -> None:
        if metadata.n_shards != self.n_shards:
            raise WrongSize(f"metadata of {metadata.n_shards} sliver pairs, for {self.n_shards} shards")


def root_mismatch(axis: Axis, index: int) -> RootMismatch:
    """Return the error for a sliver that does not hash to its root in the metadata."""
    return RootMismatch(f"{axis.label} sliver {index} does not hash to its root", (index,))


def rebuilt_wrong(axis: Axis, target: int) -> RootMismatch:
    """Return the error for a sliver that was made of symbols and does not hash to its root."""
    return RootMismatch(f"{axis.label} sliver {target}, rebuilt, does not hash to its root", (target,))


def array_of(data: Data | BinaryIO) -> Bytes:
    """The bytes, not copied unless they come from a file or lie scattered."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    if isinstance(data, memoryview) and not data.c_contiguous:
        data = data.tobytes()
    if isinstance(data, bytes | bytearray | memoryview):
        return np.frombuffer(data, np.uint8)
    content = data.read() if hasattr(data, "read") else data
    if not isinstance(content, bytes):
        raise TypeError(f"the content of a blob is bytes, not {type(content).__name__}: encode a text first")
    return np.frombuffer(content, np.uint8)
