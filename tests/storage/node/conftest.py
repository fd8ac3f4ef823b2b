"""The network in memory with blobs on it."""

from __future__ import annotations

import pytest

from storage.node.handover import jobs
from storage.node.upkeep import healing
from tests.storage.network import Network
from tests.storage.node.handovers import BLOBS


@pytest.fixture
def soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what ends in `check`, which waits until nobody is about to try anything again."""
    for module in (jobs, healing):
        monkeypatch.setattr(module, "FIRST_RETRY_S", 0.05)


@pytest.fixture
async def stored(network: Network, soon_tried_again: None) -> Network:
    for blob in BLOBS:
        await network.upload(blob)
    return network
