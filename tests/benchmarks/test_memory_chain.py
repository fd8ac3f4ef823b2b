"""The chain in memory keeps the contracts' rules."""

from __future__ import annotations

import pytest

from benchmarks.memory_chain import MemoryChain
from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger import Attestation, EpochStarted, HandoverDone, Parameters

ONE = 10**18


@pytest.fixture
def chain() -> MemoryChain:
    """Four nodes in epoch 2 of ten shards; the last one, new, has gained two of them."""
    chain = MemoryChain(Parameters(10, 60, 60, 5, 500, bytes(32)))
    for number in range(1, 5):
        chain.add_node(f"node-{number}", f"http://127.0.0.1:{number}", SecretKey(number).public_key)
    chain.select({1: 4 * ONE, 2: 3 * ONE, 3: 3 * ONE})
    chain.start()
    chain.select({1: 3 * ONE, 2: 3 * ONE, 3: 2 * ONE, 4: 2 * ONE})
    chain.start()
    return chain


async def test_blocks_are_read_as_they_were(chain: MemoryChain) -> None:
    reader = chain.ledger(None)
    started = [event for event in await reader.events(0, 100) if isinstance(event, EpochStarted)]
    assert [event.epoch for event in started] == [1, 2]
    before = await reader.epoch_state(started[0].block)
    assert (before.epoch, before.next) == (1, None)
    assert (await reader.epoch_state()).epoch == 2


async def test_a_handover_ends_at_the_last_shard_of_a_quorum() -> None:
    chain = MemoryChain(Parameters(10, 60, 60, 5, 500, bytes(32)))
    for number in range(1, 7):
        chain.add_node(f"node-{number}", "", SecretKey(number).public_key)
    chain.select({1: 4 * ONE, 2: 3 * ONE, 3: 3 * ONE})
    chain.start()
    chain.select({1: 4 * ONE, 4: 3 * ONE, 5: 3 * ONE})
    chain.start()
    current = chain.state.current
    assert current is not None
    *first, last = [Attestation(shard, b"", 0) for shard in current.shards_of(4)]
    await chain.ledger("node-4").attest(2, first)
    assert not any(isinstance(one, HandoverDone) for block in chain.blocks for one in block.events)
    await chain.ledger("node-4").attest(2, [last])  # four kept and three attested of ten
    assert isinstance(chain.blocks[-1].events[0], HandoverDone)
    assert chain.state.handover_done
    assert not chain.complete


async def test_attest_refuses_a_shard_that_is_anothers(chain: MemoryChain) -> None:
    shard = min(chain.gained)
    with pytest.raises(LedgerRefused, match="NotToBeAttested"):
        await chain.ledger("node-1").attest(2, [Attestation(shard, b"", 0)])


async def test_attest_refuses_a_shard_twice_and_another_epoch(chain: MemoryChain) -> None:
    newcomer, attestation = chain.ledger("node-4"), Attestation(min(chain.gained), b"", 0)
    with pytest.raises(LedgerRefused, match="WrongEpoch"):
        await newcomer.attest(1, [attestation])
    await newcomer.attest(2, [attestation])
    with pytest.raises(LedgerRefused, match="NotToBeAttested"):
        await newcomer.attest(2, [attestation])
