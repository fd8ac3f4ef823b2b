"""How often and after which pauses a client of a node tries again, in tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storage.client import retrying

REAL = retrying.MOST_TRIES, retrying.pause


async def no_pause(_: float) -> None:
    """Go on at once."""


@contextmanager
def tries(most: int) -> Iterator[None]:
    """Every request is tried at most so often, and again at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "MOST_TRIES", most)
        patch.setattr(retrying, "pause", no_pause)
        yield


@contextmanager
def real_pauses() -> Iterator[None]:
    """Requests are tried again as in a program, also within `tries`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "MOST_TRIES", REAL[0])
        patch.setattr(retrying, "pause", REAL[1])
        yield
