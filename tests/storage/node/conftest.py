"""The network in memory with blobs on it."""

from __future__ import annotations

import pytest

from tests.storage.network import Network
from tests.storage.node.handovers import BLOBS


@pytest.fixture
async def stored(network: Network) -> Network:
    for blob in BLOBS:
        await network.upload(blob)
    return network
