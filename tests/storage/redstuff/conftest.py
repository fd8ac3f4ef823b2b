"""Blob contents by seed, as the vectors describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from storage.redstuff import engine


def fmix32(size: int, seed: int) -> bytes:
    """Murmur3's finaliser over a counter (see "about" in vectors.json)."""
    x = np.arange(-(-size // 4), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x.astype("<u4").tobytes()[:size]


@pytest.fixture(scope="session")
def content() -> Callable[[int, int], bytes]:
    """`content(size, seed)`: bytes that look random and are always the same."""
    return fmix32


@pytest.fixture(scope="session", autouse=True)
def threads_for_small_blobs_too() -> Iterator[None]:
    """Where a test asks for threads, small blobs take them as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "ALONE_BYTES", 0)
        yield
