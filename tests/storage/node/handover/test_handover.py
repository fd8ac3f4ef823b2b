"""The handover on real nodes over a chain in memory: ahead of the start, overtaken, returned, owed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger import Attestation, ShardsAttested
from storage.node.handover import attesting
from storage.redstuff import Axis
from tests.storage.network import SHARDS
from tests.storage.node.checks import check
from tests.storage.node.handovers import (
    BLOBS,
    CODE,
    MOVED,
    Bent,
    Held,
    Shards,
    bend,
    change,
    encoded,
    lacks,
)

if TYPE_CHECKING:
    from tests.storage.network import Network


def count_pages(network: Network, node_id: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards of the pages that a node gives from now on."""
    store = network.running[node_id].store
    give, given = store.slivers_from, list[int]()

    def counted(shard: int, *arguments: Any, **options: Any) -> Any:
        given.append(shard)
        return give(shard, *arguments, **options)

    monkeypatch.setattr(store, "slivers_from", counted)
    return given


# ahead of the start


async def test_what_is_certified_is_there_before_the_start(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = count_pages(stored, 3, monkeypatch)
    stored.chain.select(MOVED)
    await stored.until(lambda: not lacks(stored, 1, 6))
    assert len(pages) == 2
    late = encoded(100)
    await stored.upload(late)
    await stored.until(lambda: stored.running[1].store.has_sliver(late.blob_id, 6, Axis.PRIMARY))
    await stored.until(lambda: stored.running[1].store.has_sliver(late.blob_id, 6, Axis.SECONDARY))
    assert len(pages) == 4
    stored.chain.start()
    await stored.until(lambda: 6 in stored.chain.attested)
    assert len(pages) == 4, "nothing was left to be fetched"
    await check(stored)
    (report,) = stored.running[1].handover.report().shards
    assert (report.shard, report.transferred_slivers, report.rebuilt_slivers) == (6, 2 * 7, 0)


async def test_a_page_under_way_at_the_start_is_not_fetched_again(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(stored, 3, monkeypatch)
    stored.chain.select(MOVED)
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.start()
    await stored.seen()
    held.go_on()
    await stored.until(lambda: 6 in stored.chain.attested)
    assert held.asked == [6, 6]
    await check(stored)


async def test_prefetching_ends_with_the_selection_and_goes_to_the_one_selected_instead(
    stored: Network,
) -> None:
    stored.chain.select(MOVED)
    await stored.until(lambda: not lacks(stored, 1, 6))
    instead = {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)}
    stored.chain.eject(4)
    stored.chain.select(instead)
    await stored.until(lambda: not lacks(stored, 2, 6))
    await stored.until(lambda: 6 not in stored.running[1].store.shards())
    stored.chain.start()
    await stored.until(lambda: 6 in stored.chain.attested)
    await check(stored)


async def test_what_a_silent_member_cannot_give_is_rebuilt_ahead(stored: Network) -> None:
    await stored.stop(3)
    shards = {1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 4: (8, 9)}
    stored.chain.select(shards)
    await stored.until(lambda: not (lacks(stored, 1, 6) or lacks(stored, 2, 7)))
    stored.chain.start()
    await stored.until(lambda: {6, 7} <= stored.chain.attested)
    await check(stored)


async def test_more_shards_than_a_transaction_has_gas_for_are_attested_one_part_after_another(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attesting, "SHARDS_AT_ONCE", 1)
    stored.chain.select({1: (0, 1, 2, 6, 7), 2: (3, 4, 5), 4: (8, 9)})
    await stored.until(lambda: not (lacks(stored, 1, 6) or lacks(stored, 1, 7)))
    stored.chain.start()
    await stored.until(lambda: {6, 7} <= stored.chain.attested)
    events = [event for block in stored.chain.blocks for event in block.events]
    assert [one.shards for one in events if isinstance(one, ShardsAttested)] == [(6,), (7,)]


async def test_only_what_is_lacking_is_asked_for(stored: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted(blob.blob_id for blob in BLOBS)
    by_id = {blob.blob_id: blob for blob in BLOBS}
    store = stored.running[1].store
    for blob_id in (ids[1], ids[4]):
        for axis in Axis:
            store.put_sliver(
                blob_id, 6, axis, by_id[blob_id].sliver(axis, CODE.sliver_index(blob_id, 6, axis))
            )
    came = list[bytes]()

    def count(name: str, answer: Any) -> Any:
        if name == "sync_shard":
            came.extend(blob_id for blob_id, _ in answer.slivers)
        return answer

    bend(stored, 1, {3: lambda real: Bent(real, count)})
    await change(stored, MOVED)
    await check(stored)
    assert sorted(came) == sorted(2 * [one for one in ids if one not in (ids[1], ids[4])])
    (report,) = stored.running[1].handover.report().shards
    assert report.transferred_slivers == 2 * 4
    lacked = [by_id[blob_id].length for blob_id in ids if blob_id not in (ids[1], ids[4])]
    assert report.received_bytes == sum(CODE.sliver_size(length, axis) for length in lacked for axis in Axis)
    pair_of_a_blob = (CODE.p + CODE.s) / (CODE.p * CODE.s)
    assert stored.running[1].handover.report().largest_share_of_a_blob == pytest.approx(pair_of_a_blob)


@pytest.mark.parametrize(
    "shards",
    [
        {1: (0, 1, 2, 6, 8), 2: (3, 4, 5), 3: (7,), 4: (9,)},
        {1: (0, 1, 2, 6, 7), 2: (3, 4, 5), 4: (8, 9)},
    ],
    ids=["transferred", "rebuilt"],
)
async def test_metadata_is_fetched_once_a_blob_at_most_for_all_its_slivers(
    stored: Network, shards: Shards
) -> None:
    """Of two shards on two axes, for the handover and for healing, which wants the metadata back too."""
    store, fetched = stored.running[1].store, list[bytes]()
    store.on_damage = lambda blob_id: None
    for blob in BLOBS:
        store.discard_metadata(blob.blob_id, blob.metadata.to_bcs())

    def count(name: str, answer: Any) -> Any:
        if name == "metadata":
            fetched.append(answer.blob_id)
        return answer

    bend(stored, 1, {node_id: lambda real: Bent(real, count) for node_id in (2, 3, 4)})
    await change(stored, shards)
    await stored.until(lambda: stored.running[1].healing.waiting == 0)
    await check(stored)
    all_ids = {blob.blob_id for blob in BLOBS}
    assert len(fetched) == len(set(fetched)), "no metadata twice"
    # The pages of the old owners bring them too.
    assert set(fetched) <= all_ids if 8 in shards[1] else set(fetched) == all_ids


# overtaken, returned, owed


async def test_a_plan_overtaken_by_the_next_epoch_is_dropped_with_its_attestation(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(stored, 3, monkeypatch)
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.until(lambda: len(held.asked) == 2)
    stored.chain.select(SHARDS)
    stored.chain.start()
    await stored.seen()
    held.go_on()
    await stored.until(lambda: 6 in stored.chain.attested)
    attested = [
        event for block in stored.chain.blocks for event in block.events if isinstance(event, ShardsAttested)
    ]
    assert [(event.epoch, event.node_id, event.shards) for event in attested] == [(3, 3, (6,))]
    assert stored.running[3].handover.report().shards == (), "a shard that returns is still there"
    await check(stored)


async def test_a_shard_whose_new_owner_never_came_to_it_goes_on_to_the_next(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 2 asks node 1, which has nothing of it yet, and makes do with one symbol of each helper: node 3 has it."""
    held, asked = Held(stored, 3, monkeypatch), list[str]()

    def count(name: str, answer: Any) -> Any:
        asked.append(name)
        return answer

    bend(stored, 2, {1: lambda real: Bent(real, count)})
    stored.chain.start(MOVED)
    await stored.until(lambda: held.asked == [6, 6])
    stored.chain.start({1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)})
    await stored.until(lambda: 6 in stored.chain.attested)
    assert 6 not in stored.running[1].store.shards()
    assert "sync_shard" in asked
    held.go_on()
    await check(stored)
    (report,) = stored.running[2].handover.report().shards
    assert report.transferred_slivers == 0
    assert report.rebuilt_bytes == sum(CODE.sliver_size(one.length, axis) for one in BLOBS for axis in Axis)
    assert report.received_bytes + report.wasted_bytes < report.rebuilt_bytes, (
        "its own slivers give symbols too"
    )


@pytest.mark.usefixtures("no_retries")
async def test_a_shard_given_up_is_kept_until_somebody_attests_it(stored: Network) -> None:
    await stored.stop(1)
    for shards in (MOVED, MOVED, MOVED):
        stored.chain.select(shards)
        stored.chain.start()
        await stored.seen()
    assert not lacks(stored, 3, 6)
    await stored.stop(3)
    await stored.start(3)
    assert not lacks(stored, 3, 6), "also after a restart"
    await stored.chain.ledger("node-1").attest(stored.chain.state.epoch, [Attestation(6, bytes(32), 0)])
    await stored.until(lambda: 6 not in stored.running[3].store.shards())
    await check(stored)
    # Whatever it said, node 1 comes to have it.
    await stored.start(1)
    await check(stored)


async def test_what_was_attested_while_the_node_was_down_is_not_owed(stored: Network) -> None:
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.stop(3)
    await stored.until(lambda: 6 in stored.chain.attested)
    stored.chain.select(MOVED)
    stored.chain.start()
    await stored.start(3)
    await stored.until(lambda: 6 not in stored.running[3].store.shards())
    await check(stored)


async def test_what_was_attested_goes_an_epoch_later(stored: Network) -> None:
    await change(stored, MOVED)
    assert not lacks(stored, 3, 6)
    await change(stored, MOVED)
    await stored.until(lambda: 6 not in stored.running[3].store.shards())
    await check(stored)
