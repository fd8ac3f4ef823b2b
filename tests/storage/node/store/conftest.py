"""An empty store in a folder of its own; most files fill it as they need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.node.store import SliverStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[SliverStore]:
    with SliverStore(folder) as opened:
        yield opened
