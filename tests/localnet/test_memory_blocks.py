"""What only the chain in memory has: blocks that are rewound, and accounts that are none."""

from __future__ import annotations

import pytest

from committee.bls import SecretKey
from committee.errors import LedgerError, LedgerReorganised
from committee.ledger import EpochStarted, Parameters
from tests.live_objects import live_objects
from tests.memory_chain import MemoryChain


@pytest.fixture
def memory() -> MemoryChain:
    """Two nodes in epoch 1 of ten shards."""
    memory = MemoryChain(Parameters(10, 60, 60, 5, 500, bytes(32)))
    for number in (1, 2):
        memory.add_node(f"node-{number}", f"http://node-{number}:1", SecretKey(number).public_key)
    memory.stand({1: 10**18, 2: 10**18})
    memory.select()
    memory.start()
    return memory


async def test_blocks_are_read_as_they_were(memory: MemoryChain) -> None:
    reader = memory.ledger(None)
    memory.start({1: range(10)})
    started = [event for event in await reader.events(0, 100) if isinstance(event, EpochStarted)]
    assert [event.epoch for event in started] == [1, 2]
    before = await reader.epoch_state(started[0].block)
    assert (before.epoch, before.next) == (1, None)
    assert (await reader.epoch_state()).epoch == 2


async def test_what_is_mined_behind_a_block_is_gone_with_a_reorganisation(memory: MemoryChain) -> None:
    reader, before = memory.ledger(None), memory.state.block
    gone = memory.mine().block
    memory.rewind(before)
    for question in (
        live_objects(reader, gone),
        reader.epoch_state(gone),
        reader.stretch(before, gone),
        reader.stretch(gone, gone),
    ):
        with pytest.raises(LedgerReorganised):
            await question
    instead = memory.mine().block
    assert (instead.number, instead.hash == gone.hash) == (gone.number, False)
    assert (await reader.stretch(before, instead)).marks == (instead,)
    with pytest.raises(LedgerReorganised):
        memory.rewind(gone)


async def test_the_head_is_a_block_that_enough_others_follow(memory: MemoryChain) -> None:
    reader = memory.ledger(None)
    memory.confirmations = 2
    settled = memory.mine().block
    memory.mine()
    assert await reader.head() != settled
    memory.mine()
    assert await reader.head() == settled
    assert (await reader.epoch_state()).block == settled


async def test_who_has_no_account_can_only_read(memory: MemoryChain) -> None:
    with pytest.raises(LedgerError, match="can only read"):
        await memory.ledger(None).register_blob(bytes(32), 1, 1)
    with pytest.raises(LedgerError, match="operates no node"):
        await memory.ledger("nobody").leave()
