"""Moving symbols between their bytes and the planes of scratch rows.

A symbol is read in blocks of 64 bytes, 32 low then 32 high bytes of 32 words; a tail of `q < 64` bytes is
`q/2` low, then `q/2` high bytes (PROTOCOL section 1). Scratch keeps all low bytes of a row together, then all
high bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.redstuff.kernels.vector import compiled, move1, move2, move4, move8, move16, move32

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@compiled
def _move_short(target: Bytes, t: int, source: Bytes, s: int, count: int) -> None:
    """Copy `count < 32` bytes exactly: two moves that overlap where they must."""
    if count >= 16:
        move16(target, t, source, s)
        move16(target, t + count - 16, source, s + count - 16)
    elif count >= 8:
        move8(target, t, source, s)
        move8(target, t + count - 8, source, s + count - 8)
    elif count >= 4:
        move4(target, t, source, s)
        move4(target, t + count - 4, source, s + count - 4)
    elif count >= 2:
        move2(target, t, source, s)
        move2(target, t + count - 2, source, s + count - 2)
    elif count == 1:
        move1(target, t, source, s)


@compiled
def copy(target: Bytes, t: int, source: Bytes, s: int, count: int) -> None:
    """Copy `count` bytes from place `s` of `source` to place `t` of `target`."""
    whole = count // 32 * 32
    for place in range(0, whole, 32):
        move32(target, t + place, source, s + place)
    _move_short(target, t + whole, source, s + whole, count - whole)


@compiled
def to_planes(work: Bytes, place: int, plane: int, source: Bytes, s: int, count: int) -> None:
    """Copy `count` bytes of a symbol at `source[s]` into its two planes, at `work[place]` and `work[place + plane]`.

    The first plane has the low bytes of the symbol's words, the second one the high bytes.
    """
    blocks = count // 64
    for block in range(blocks):
        move32(work, place + 32 * block, source, s + 64 * block)
        move32(work, place + plane + 32 * block, source, s + 64 * block + 32)
    tail = (count - 64 * blocks) // 2
    _move_short(work, place + 32 * blocks, source, s + 64 * blocks, tail)
    _move_short(work, place + plane + 32 * blocks, source, s + 64 * blocks + tail, tail)


@compiled
def from_planes(target: Bytes, t: int, work: Bytes, place: int, plane: int, count: int) -> None:
    """Join `count` bytes from two planes of `work` into the symbol at `target[t]`: the inverse of `to_planes`."""
    blocks = count // 64
    for block in range(blocks):
        move32(target, t + 64 * block, work, place + 32 * block)
        move32(target, t + 64 * block + 32, work, place + plane + 32 * block)
    tail = (count - 64 * blocks) // 2
    _move_short(target, t + 64 * blocks, work, place + 32 * blocks, tail)
    _move_short(target, t + 64 * blocks + tail, work, place + plane + 32 * blocks, tail)


@compiled
def cut(
    fragments: Ints, vector: int, done: int, vectors: int, t: int, row_bytes: int, across: int, to_across: int
) -> tuple[int, int, int]:
    """Return which fragments of the vectors' symbols fill a row, from byte `done` of vector `vector`'s on.

    Each is put down as its size, its place in the row's planes, and where it lies after the first vector's symbol
    at the source and at the target. Symbols smaller than a row lie close together and whole. Larger ones are cut
    between blocks and begin at whole blocks: their vectors are loaded and stored faster so. Returns the number of
    fragments, and the vector and byte after the last one.
    """
    count, place = 0, 0
    while vector < vectors:
        size = min(t - done, row_bytes - 2 * place)
        if size == 0 or (size < t <= row_bytes):
            break
        fragments[count, 0], fragments[count, 1] = size, place
        fragments[count, 2], fragments[count, 3] = vector * across + done, vector * to_across + done
        count, done = count + 1, done + size
        place += size // 2 if t <= row_bytes else (size + 63) // 64 * 32
        if done == t:
            vector, done = vector + 1, 0
    return count, vector, done
