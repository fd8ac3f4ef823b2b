"""The line of blobs to heal, over a repair that the test steers; the healing itself is in test_healing.py."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from committee.ledger import Attestation
from storage.node.repair import Repair, RepairError
from storage.node.store import NewSliver
from storage.node.upkeep import healing as healing_module
from storage.node.upkeep.garbage import Garbage
from storage.node.upkeep.healing import Healing
from storage.redstuff import Axis, BlobMetadata, EncodedBlob

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode

Encode = Callable[[bytes], EncodedBlob]
MINE = (0, 1, 2, 3)


class SteeredRepair:
    """Stores right slivers, but for blobs that are poison; `before_storing` happens while they are being rebuilt."""

    def __init__(self, node: OneNode) -> None:
        self.node = node
        self.blobs: dict[bytes, EncodedBlob] = {}
        self.poison: set[bytes] = set()
        self.filled: list[tuple[bytes, list[int]]] = []
        self.asked: list[bytes] = []
        self.before_storing: Callable[[], Any] = lambda: None

    async def metadata(self, blob_id: bytes) -> BlobMetadata:
        self.asked.append(blob_id)
        if blob_id in self.poison:
            raise RepairError("poison")
        metadata = self.blobs[blob_id].metadata
        self.node.store.put_metadata(blob_id, metadata.to_bcs())
        return metadata

    async def fill(
        self, metadata: BlobMetadata, shards: list[int], *, is_wanted: Callable[[], bool], **_: object
    ) -> None:
        blob = self.blobs[metadata.blob_id]
        for axis in Axis:
            answer = self.before_storing()
            if answer is not None:
                await answer
            if not is_wanted():
                return
            self.node.store.put_slivers(
                NewSliver(blob.blob_id, shard, axis, self.node.sliver(blob, shard, axis)) for shard in shards
            )
        self.filled.append((metadata.blob_id, shards))


class Line:
    """A healing that runs, and its repair."""

    def __init__(self, node: OneNode) -> None:
        self.node = node
        self.repair = SteeredRepair(node)
        self._objects = 0
        self.garbage = Garbage(node.view, node.store)
        self.healing = Healing(node.view, node.store, cast(Repair, self.repair), self.garbage)

    async def certify(self, *blobs: EncodedBlob, **options: Any) -> None:
        for blob in blobs:
            self.repair.blobs[blob.blob_id] = blob
            self._objects += 1
            number = self._objects
            self.node.register(blob, object_id=number, **options)
            self.node.certify(object_id=number)
        await self.node.view.refresh()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await self.node.view.refresh()
                await asyncio.sleep(0.001)

    async def healed(self) -> None:
        await self.until(lambda: self.healing.waiting == 0)


@pytest.fixture
async def line(node: OneNode) -> AsyncIterator[Line]:
    line = Line(node)
    running = asyncio.create_task(line.healing.run())
    yield line
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_certified_blob_is_filled_in_all_the_nodes_shards(line: Line, blob: EncodedBlob) -> None:
    await line.certify(blob)
    await line.healed()
    assert line.repair.filled == [(blob.blob_id, list(MINE))]
    assert line.healing.repaired_slivers == 2 * len(MINE)


async def test_only_the_lacking_shards_are_filled(line: Line, blob: EncodedBlob) -> None:
    line.node.keep(blob, (0, 2, 3))
    line.node.store.put_sliver(blob.blob_id, 1, Axis.PRIMARY, line.node.sliver(blob, 1, Axis.PRIMARY))
    await line.certify(blob)
    await line.healed()
    assert line.repair.filled == [(blob.blob_id, [1])]
    assert line.healing.repaired_slivers == 1


async def test_a_blob_that_is_whole_costs_nothing(line: Line, blob: EncodedBlob) -> None:
    line.node.keep(blob)
    await line.certify(blob)
    await line.healed()
    assert line.repair.asked == []


async def test_more_poison_than_workers_holds_up_no_other(
    line: Line, encode: Encode, blob: EncodedBlob
) -> None:
    poison = [encode(bytes([number])) for number in range(3 * healing_module.BLOBS_AT_ONCE)]
    line.repair.poison = {one.blob_id for one in poison}
    await line.certify(*poison, blob)
    await line.until(lambda: line.repair.filled == [(blob.blob_id, list(MINE))])
    assert line.healing.waiting == len(poison)


async def test_a_poison_blob_is_tried_ever_more_rarely_and_healed_in_the_end(
    line: Line, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def note(delay: float, callback: Any, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        if callback == line.healing._retry:
            waits.append(delay)
            if len(waits) == 9:
                line.repair.poison.clear()
            delay = 0
        return call_later(delay, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_later", note)
    line.repair.poison.add(blob.blob_id)
    await line.certify(blob)
    await line.healed()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert line.repair.filled == [(blob.blob_id, list(MINE))]


async def test_an_unexpected_failure_puts_off_its_blob_alone(
    line: Line, encode: Encode, blob: EncodedBlob
) -> None:
    strange = encode(b"strange")
    await line.certify(strange)
    line.repair.blobs.pop(strange.blob_id)  # a KeyError in the repair
    await line.certify(blob)
    await line.until(lambda: line.repair.filled == [(blob.blob_id, list(MINE))])
    await line.until(lambda: line.healing.waiting == 1)


async def test_nothing_more_is_stored_of_a_blob_deleted_during_its_repair(
    line: Line, blob: EncodedBlob
) -> None:
    steps = []

    async def delete() -> None:
        steps.append(len(line.node.store.shards_with(blob.blob_id, Axis.PRIMARY)))
        if len(steps) == 2:
            node = line.node
            node.chain.delete(1)
            await node.view.refresh()
            await line.garbage.collect()

    line.repair.before_storing = delete
    await line.certify(blob, deletable=True)
    await line.healed()
    assert steps == [0, 4]
    assert line.node.store.sliver_count() == 0
    assert line.healing.repaired_slivers == 0
    await line.garbage.collect()
    assert line.node.store.metadata(blob.blob_id) is None


async def test_what_was_stored_just_as_the_blob_died_is_left_to_the_garbage(
    line: Line, blob: EncodedBlob
) -> None:
    fill = line.repair.fill

    async def die_after(*arguments: Any, **options: Any) -> None:
        await fill(*arguments, **options)
        line.node.chain.delete(1)
        await line.node.view.refresh()
        for bucket in line.garbage._doubtful:
            bucket.clear()  # as if the garbage had looked before the last sliver was written

    line.repair.fill = die_after  # type: ignore[method-assign]
    await line.certify(blob, deletable=True)
    await line.healed()
    assert line.node.store.sliver_count() == 2 * len(MINE)
    line.garbage._sweep_due = False
    await line.garbage.collect()
    assert line.node.store.sliver_count() == 0


async def test_a_blob_extended_during_its_repair_is_healed(line: Line, blob: EncodedBlob) -> None:
    async def extend() -> None:
        line.node.chain.extend(1, 1)
        await line.node.view.refresh()

    line.repair.before_storing = extend
    await line.certify(blob)
    await line.healed()
    assert line.repair.filled == [(blob.blob_id, list(MINE))]


async def test_an_expired_blob_is_not_healed(line: Line, blob: EncodedBlob) -> None:
    line.repair.poison.add(blob.blob_id)
    await line.certify(blob)
    await line.until(lambda: line.healing._retries)
    state = line.node.view.state
    line.node.view.state = dataclasses.replace(state, period=50)
    line.healing._retry(blob.blob_id)
    await line.healed()
    assert line.repair.asked == [blob.blob_id]


@pytest.mark.parametrize("end", ["deleted", "invalid", "period"])
async def test_a_blob_that_waits_for_its_next_try_leaves_the_line_when_it_dies(
    line: Line, blob: EncodedBlob, end: str
) -> None:
    line.repair.poison.add(blob.blob_id)
    await line.certify(blob, deletable=True, end_period=6)
    await line.until(lambda: line.healing._retries)
    node = line.node
    if end == "deleted":
        node.chain.delete(1)
    elif end == "invalid":
        node.invalidate(blob)
    else:
        node.start_next()
    await line.healed()
    assert line.repair.asked == [blob.blob_id]


async def test_damage_found_by_any_thread_is_healed(line: Line, blob: EncodedBlob) -> None:
    await line.certify(blob)
    await line.healed()
    symbols = line.node.sliver(blob, 2, Axis.SECONDARY)
    assert await asyncio.to_thread(line.node.store.discard, blob.blob_id, 2, Axis.SECONDARY, symbols)
    await line.until(lambda: len(line.repair.filled) == 2)
    assert line.repair.filled[1] == (blob.blob_id, [2])


async def test_a_new_epoch_has_every_live_blob_looked_after(line: Line, blob: EncodedBlob) -> None:
    """A shard gained in a handover that was overtaken is a kept one in the next: no handover fills it."""
    await line.certify(blob)
    await line.healed()
    line.node.store.drop_shard(1)
    line.node.start_next()
    await line.node.view.refresh()
    await line.until(lambda: len(line.repair.filled) == 2)
    assert line.repair.filled[1] == (blob.blob_id, [1])


async def test_a_gained_shard_is_the_handovers_until_it_is_attested(line: Line, blob: EncodedBlob) -> None:
    node = line.node
    await line.certify(blob)
    await line.healed()
    gained = 4
    node.chain.start({1: (*MINE, gained), 2: (5, 6), 3: (7, 8, 9)})
    await node.view.refresh()
    await line.healed()
    line.healing.look_after(blob.blob_id)
    await line.healed()
    assert len(line.repair.filled) == 1, "the handover fills it"
    await node.ledger.attest(6, [Attestation(gained, bytes(32), 1)])
    await node.view.refresh()
    line.healing.look_after(blob.blob_id)
    await line.until(lambda: len(line.repair.filled) == 2)
    assert line.repair.filled[1] == (blob.blob_id, [gained])
