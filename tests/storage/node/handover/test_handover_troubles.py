"""The handover while disks fill or fail, committees are replaced and blocks vanish; over a chain in memory."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger import ShardsAttested
from storage.client.errors import NodeUnreachable
from storage.node.handover import jobs
from storage.node.store import RESERVE_BYTES
from storage.redstuff import Axis
from tests.logged import captured
from tests.storage.node.checks import check
from tests.storage.node.handovers import (
    BLOBS,
    CODE,
    LESS,
    MOVED,
    Bent,
    Held,
    bend,
    change,
    encoded,
)
from tests.storage.node.places import OnDisk, place_of

if TYPE_CHECKING:
    from tests.storage.network import Network

BLOB = encoded(100)


# disks


def lose_segment(place: OnDisk) -> None:
    place.path.unlink()


@pytest.mark.parametrize(
    ("damage", "lost"),
    [(OnDisk.flip, 1), (OnDisk.clear, 1), (lose_segment, 2 * len(BLOBS))],
    ids=["bit rot", "a lost write", "a lost segment"],
)
async def test_slivers_damaged_at_the_old_owner_are_rebuilt_at_both(
    stored: Network, damage: Callable[[OnDisk], None], lost: int
) -> None:
    blob, axis = BLOBS[-1], Axis.SECONDARY
    damage(place_of(stored.store_folder(3), blob.blob_id, 6, axis))
    await change(stored, MOVED)
    (report,) = stored.running[1].handover.report().shards
    assert (report.transferred_slivers, report.rebuilt_slivers) == (2 * len(BLOBS) - lost, lost)
    assert not stored.running[1].repair.reputation.lies
    await check(stored)
    sliver = blob.sliver(axis, CODE.sliver_index(blob.blob_id, 6, axis))
    assert stored.running[3].store.sliver(blob.blob_id, 6, axis) == bytes(sliver)


async def test_a_write_that_finds_no_space_is_made_again_when_there_is_some(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota, say: the disk says that there is room."""
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    is_full, writev, refused = True, os.writev, list[int]()

    def write_if_there_is_room(descriptor: int, buffers: list[memoryview]) -> int:
        if not is_full:
            return writev(descriptor, buffers)
        refused.append(len(buffers))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", write_if_there_is_room)
    with captured() as logs:
        stored.chain.start(MOVED)
        await stored.until(lambda: sum(one["event"] == "handover waits" for one in logs) >= 2)
    assert any("no space is left" in one.get("error", "") for one in logs)
    assert refused
    assert 6 not in stored.chain.attested
    is_full = False
    await stored.until(lambda: 6 in stored.chain.attested)
    await check(stored, in_vain=len(refused))


async def test_a_full_disk_fetches_nothing_and_goes_on_when_there_is_room(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    disk, pages = SimpleNamespace(f_bavail=RESERVE_BYTES, f_frsize=1), list[str]()
    room = stored.running[1].store._files.free_bytes
    monkeypatch.setattr(
        stored.running[1].store._files, "free_bytes", lambda: disk.f_bavail if disk.f_bavail else room()
    )

    def count(name: str, answer: Any) -> Any:
        pages.append(name)
        return answer

    bend(stored, 1, {node_id: lambda real: Bent(real, count) for node_id in (2, 3, 4)})
    with captured() as logs:
        stored.chain.select(MOVED)
        stored.chain.start()
        await stored.until(lambda: sum(one["event"] == "handover waits" for one in logs) >= 3)
    assert any("make room on the disk" in one.get("error", "") for one in logs)
    assert not {"sync_shard", "decoding_symbols"} & set(pages)
    assert 6 not in stored.chain.attested
    disk.f_bavail = 0
    await stored.until(lambda: 6 in stored.chain.attested)
    await check(stored)


async def test_a_shard_that_comes_back_while_old_ones_are_dropped_stays(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 3 loses both its shards; when it comes to drop the second one, that one is its own again."""
    lost = {1: (0, 1, 2, 6, 7), 2: (3, 4, 5), 4: (8, 9)}
    await change(stored, lost)
    held = Held(stored, 3, monkeypatch, "drop_shard")
    stored.chain.start(lost)
    await stored.until(lambda: held.asked == [6])
    stored.chain.start(MOVED)
    await stored.seen()
    await stored.upload(BLOB)
    await stored.client(3).confirmation(BLOB.blob_id, None)
    held.go_on()
    await stored.until(lambda: 7 in stored.chain.attested)
    await check(stored)
    assert held.asked == [6, 7], "it did come to the second one"
    await stored.client(3).confirmation(BLOB.blob_id, None)


# committees and blocks


async def test_a_committee_that_is_replaced_as_a_whole_hands_over(stored: Network) -> None:
    """Nothing was fetched ahead, and all that have anything have left: they help until they need not any more."""
    await change(stored, {1: (0, 1, 2, 3, 4), 2: (5, 6, 7, 8, 9)})
    await change(stored, {1: (0, 1, 2, 3, 4), 2: (5, 6, 7, 8, 9)})
    await stored.until(lambda: not stored.running[3].store.shards() | stored.running[4].store.shards())
    stored.chain.start({3: (0, 1, 2, 3, 4), 4: (5, 6, 7, 8, 9)})
    await stored.until(lambda: len(stored.chain.attested) == 10)
    await check(stored)


async def test_an_attestation_that_a_reorganisation_took_is_made_again(
    stored: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that started the epoch stays; only the attestation's is gone."""
    monkeypatch.setattr(jobs, "LONGEST_RETRY_S", 0.1)
    stored.chain.confirmations = 1
    stored.chain.select(MOVED)
    stored.chain.start()
    stored.chain.mine()
    kept = stored.chain.state.block
    await stored.until(lambda: 6 in stored.chain.attested)
    stored.chain.rewind(kept)
    stored.chain.mine()
    stored.chain.mine()
    await stored.until(lambda: 6 in stored.chain.attested)
    stored.chain.mine()
    await check(stored)


async def test_each_shard_is_attested_once(stored: Network) -> None:
    """Two shards of one node, of which one cannot be completed at first, so that all is gone through again."""
    with captured() as logs:
        await change(stored, MOVED)
        # Node 1 attests for this epoch again while it looks whether its attestation stays, if the next one starts then.
        await stored.until(lambda: any(one["event"] == "handover complete" for one in logs))
    await stored.stop(3)
    fails = True

    class Failing(Bent):
        def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if fails and name in ("decoding_symbols", "symbols_of_blobs"):
                raise NodeUnreachable(self._real.name, "", "not now")
            return arguments

    bend(stored, 2, {other: lambda real: Failing(real, lambda name, a: a) for other in (1, 4)})
    with captured() as logs:
        stored.chain.start({1: (0, 1, 2), 2: (3, 4, 5, 6, 7), 4: (8, 9)})
        await stored.until(lambda: 6 in stored.chain.attested)
        await stored.until(lambda: sum(one["event"] == "handover is incomplete" for one in logs) >= 2)
        fails = False
        await stored.until(lambda: 7 in stored.chain.attested)
        await check(stored)
    assert not [one for one in logs if one["event"].startswith(("handover waits", "handover failed"))]
    attested = Counter(
        shard
        for block in stored.chain.blocks
        for event in block.events
        if isinstance(event, ShardsAttested) and event.epoch == 3
        for shard in event.shards
    )
    assert attested == {6: 1, 7: 1}


# what is asked


async def test_slivers_of_one_blob_are_asked_for_together(stored: Network) -> None:
    """Three lacking shards on one axis cost a helper one question, not three."""
    targets = Counter[int]()

    class Counting(Bent):
        def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if name == "decoding_symbols":
                targets[len(arguments[2])] += 1
            elif name == "symbols_of_blobs":
                targets[len(arguments[0].targets)] += 1
            return arguments

    lost = {1: (0, 1, 2), 2: (6, 7), 3: (3, 4, 5), 4: (8, 9)}
    await change(stored, lost)
    await change(stored, lost)
    await stored.until(lambda: not stored.running[2].store.shards() & {3, 4, 5})
    await stored.stop(3)
    bend(stored, 2, {other: lambda real: Counting(real, lambda name, a: a) for other in (1, 4)})
    await change(stored, {1: (0, 1, 2), 2: (3, 4, 5, 6, 7), 4: (8, 9)})
    await check(stored)
    assert set(targets) == {3}


async def test_what_was_rebuilt_before_is_not_asked_for_again(stored: Network) -> None:
    by_id, asked = {blob.blob_id: blob for blob in BLOBS}, set[bytes]()
    here = sorted(by_id)[:3]

    class Listening(Bent):
        def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if name == "decoding_symbols":
                asked.add(arguments[0])
            elif name == "symbols_of_blobs":
                asked.update(arguments[0].blob_ids)
            return arguments

    await change(stored, MOVED)
    await stored.stop(3)
    for blob_id in here:
        for axis in Axis:
            sliver = by_id[blob_id].sliver(axis, CODE.sliver_index(blob_id, 7, axis))
            stored.running[2].store.put_sliver(blob_id, 7, axis, sliver)
    bend(stored, 2, {other: lambda real: Listening(real, lambda name, a: a) for other in (1, 4)})
    await change(stored, LESS)
    await check(stored)
    assert asked == by_id.keys() - set(here)
