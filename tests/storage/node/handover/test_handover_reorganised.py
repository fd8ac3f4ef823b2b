"""Reorganisations across the start of an epoch, as nodes meet them that have begun or ended its handover.

Whatever the nodes did for the blocks that are gone: all that is gained on the chain that stays is attested, with the
digest for the block that started the epoch on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from committee.ledger import BlockMark
from storage.proofs import salt_of
from storage.redstuff import Axis, EncodedBlob, merkle_root
from storage.redstuff.merkle import root_of_hashes
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, CODE, MOVED, Held, encoded

if TYPE_CHECKING:
    from tests.storage.network import Network

OTHERWISE = {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)}
"""Shard 6 goes from node 3 to node 2."""


async def assert_attested(network: Network) -> None:
    """Shard 6 ends attested by its owner, with the digest of the chain as it is now."""
    await network.until(lambda: 6 in network.chain.attested)
    for _ in range(network.chain.confirmations):
        network.chain.mine()
    await network.seen()
    blobs: dict[bytes, EncodedBlob] = {one.blob_id: one for one in (*BLOBS, encoded(100))}
    state = network.chain.state
    assert state.started_block is not None
    assert state.salt_seed is not None
    assert network.chain.has(state.started_block)
    assert state.current is not None
    key = state.current.owner_of[6].public_key
    salt = salt_of(state.epoch, state.current.owner_of[6].node_id, key, state.salt_seed)
    records = network.chain.block(state.started_block).contracts.records.values()
    pairs = []
    for blob_id in sorted(one.blob_id for one in records if one.is_live(state.period)):
        primary, secondary = (
            blobs[blob_id].sliver(axis, CODE.sliver_index(blob_id, 6, axis)) for axis in Axis
        )
        size = CODE.symbol_size(blobs[blob_id].length)
        symbols = [
            salt + sliver[at : at + size]
            for sliver in (primary, secondary)
            for at in range(0, len(sliver), size)
        ]
        pairs.append(merkle_root(symbols))
    given = network.chain.attestations[6]
    assert (given.digest, given.count) == (root_of_hashes(pairs), len(pairs))
    await check(network)


@pytest.fixture
def before(stored: Network) -> BlockMark:
    """The block behind which the chain is replaced."""
    return stored.chain.state.block


@pytest.mark.parametrize("blocks_before", range(3))
async def test_an_epoch_that_starts_at_another_block_is_attested_anew(
    stored: Network, blocks_before: int
) -> None:
    stored.chain.select(MOVED)
    selected = stored.chain.state.block
    stored.chain.start()
    await assert_attested(stored)
    stored.chain.rewind(selected)
    for _ in range(blocks_before):
        stored.chain.mine()
    stored.chain.start()
    await stored.seen()
    await assert_attested(stored)


async def test_an_epoch_that_has_not_started_after_all_is_attested_when_it_does(stored: Network) -> None:
    stored.chain.select(MOVED)
    selected = stored.chain.state.block
    stored.chain.start()
    await assert_attested(stored)
    stored.chain.rewind(selected)
    stored.chain.mine()
    await stored.seen()
    assert {node.view.state.epoch for node in stored.running.values()} == {1}
    await stored.upload(encoded(100))
    stored.chain.start()
    await stored.seen()
    await assert_attested(stored)


async def test_another_committee_in_its_place_takes_over(stored: Network, before: BlockMark) -> None:
    stored.chain.select(MOVED)
    stored.chain.start()
    await assert_attested(stored)
    stored.chain.rewind(before)
    stored.chain.start(OTHERWISE)
    await stored.seen()
    await assert_attested(stored)
    await stored.until(lambda: 6 not in stored.running[1].store.shards())
    assert await stored.read(BLOBS[0].blob_id)


async def test_a_page_under_way_for_a_start_that_is_gone_serves_the_one_that_stays(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(stored, 3, monkeypatch)
    stored.chain.select(MOVED)
    selected = stored.chain.state.block
    stored.chain.start()
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.rewind(selected)
    await stored.upload(encoded(100))
    stored.chain.start()
    await stored.seen()
    held.go_on()
    await assert_attested(stored)


async def test_what_is_not_settled_is_never_acted_on(stored: Network, before: BlockMark) -> None:
    stored.chain.confirmations = 2
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.seen()
    stored.chain.mine()
    await stored.seen()
    assert all(node.view.state.next is not None for node in stored.running.values())
    assert all(node.view.state.epoch == 1 for node in stored.running.values())
    await stored.until(lambda: 6 in stored.running[1].store.shards())
    stored.chain.rewind(before)
    stored.chain.start(OTHERWISE)
    stored.chain.mine()
    stored.chain.mine()
    await stored.seen()
    await assert_attested(stored)


async def test_a_deep_reorganisation_of_one_that_returns_keeps_the_old_owner_serving(
    stored: Network, before: BlockMark
) -> None:
    """A start that is gone for good leaves every shard where it was."""
    stored.chain.start(MOVED)
    await assert_attested(stored)
    stored.chain.rewind(before)
    stored.chain.mine()
    await stored.seen()
    await check(stored)
    for blob in BLOBS:
        pair = CODE.pair_of_shard(blob.blob_id, 6)
        for axis in Axis:
            index = CODE.sliver_of_pair(pair, axis)
            assert await stored.client(3).sliver(blob.blob_id, pair, axis) == blob.sliver(axis, index)
    await stored.until(lambda: 6 not in stored.running[1].store.shards())
