"""Many small blobs over a real chain and nodes as processes: few reads of the chain, and no transaction fails."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger.evm.rpc import Rpc
from storage.client.purchase import StoredBlob

if TYPE_CHECKING:
    from tests.localnet.conftest import Scenario

COUNT = 64
MOST_READS = 2
"""Of the chain, for a blob."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What this process asks the chain's endpoint: method → requests, each of a message counted."""
    counts: Counter[str] = Counter()
    request, batch = Rpc.request, Rpc.batch

    async def counted(rpc: Rpc, method: str, *arguments: Any, **options: Any) -> Any:
        counts[method] += 1
        return await request(rpc, method, *arguments, **options)

    async def all_counted(rpc: Rpc, method: str, parameters: Any, *arguments: Any) -> Any:
        counts[method] += len(parameters)
        return await batch(rpc, method, parameters, *arguments)

    monkeypatch.setattr(Rpc, "request", counted)
    monkeypatch.setattr(Rpc, "batch", all_counted)
    return counts


async def test_many_blobs_cost_few_reads_of_the_chain_and_two_transactions(
    scenario: Scenario, asked: Counter[str]
) -> None:
    network = scenario.network
    blobs = [random.Random(number).randbytes(500 + number) for number in range(COUNT)]
    before = (await network.operator.newest()).number
    asked.clear()
    stored = [one async for one in network.client.store_many(blobs, periods=3)]
    assert all(isinstance(one, StoredBlob) for one in stored), stored
    assert asked.total() <= MOST_READS * COUNT, asked
    assert asked["eth_sendRawTransaction"] == 2, "a registration and a certificate"
    statuses = [
        int(receipt["status"], 16)
        for number in range(before + 1, (await network.operator.newest()).number + 1)
        for receipt in await network.chain.request("eth_getBlockReceipts", hex(number))
    ]
    assert statuses == [1, 1]
    for one, data in zip(stored[::9], blobs[::9], strict=True):
        assert isinstance(one, StoredBlob)
        assert await network.client.read(one.blob_id) == data
    asked.clear()
    again = [one async for one in network.client.store_many(blobs, periods=3)]
    assert [one.object_id for one in again if isinstance(one, StoredBlob)] == [
        one.object_id for one in stored if isinstance(one, StoredBlob)
    ]
    assert asked["eth_sendRawTransaction"] == 0, "it is paid once"
