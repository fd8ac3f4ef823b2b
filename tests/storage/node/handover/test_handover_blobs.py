"""Blobs that end, live on or turn out to be invalid while their slivers are rebuilt or copied, on a chain in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from storage.redstuff import Axis
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, LESS, MOVED, Bent, Held, badly_encoded, bend, change, encoded

if TYPE_CHECKING:
    from tests.storage.network import Network

BLOB = encoded(100)


class HeldSymbols:
    """What helpers send to a node, on its way until `go_on`."""

    def __init__(self, network: Network, node_id: int) -> None:
        self.asked: list[str] = []
        self._may_go_on = asyncio.Event()
        others = [other for other in network.running if other != node_id]
        bend(network, node_id, {other: lambda real: Bent(real, self._hold) for other in others})

    def _hold(self, name: str, answer: Any) -> Any:
        if name != "decoding_symbols":
            return answer
        self.asked.append(name)
        return self._late(answer)

    async def _late(self, answer: Any) -> Any:
        await self._may_go_on.wait()
        return answer

    def go_on(self) -> None:
        self._may_go_on.set()


async def attested(network: Network, held: Held | HeldSymbols, shard: int) -> int:
    """Let go what is held, when all nodes have seen the change; with how many blobs the shard is attested then."""
    await network.seen()
    held.go_on()
    await network.until(lambda: shard in network.chain.attested)
    return network.chain.attestations[shard].count


@pytest.fixture
async def rebuilding(stored: Network) -> Network:
    """Node 3 has one shard, and is gone; its blobs are BLOBS and BLOB, object 7, deletable."""
    assert await stored.upload(BLOB, deletable=True) == 7
    await change(stored, MOVED)
    await stored.stop(3)
    return stored


# blobs that change during their repair


async def test_a_blob_extended_while_it_is_rebuilt_outlives_its_old_end(stored: Network) -> None:
    number = await stored.upload(BLOB, end_period=4)
    await change(stored, MOVED)
    await stored.stop(3)
    held = HeldSymbols(stored, 2)
    stored.chain.start(LESS)
    await stored.until(lambda: held.asked)
    stored.chain.extend(number, 1)
    await attested(stored, held, 7)
    await change(stored, {1: (0, 1, 2, 6, 7), 2: (3, 4, 5), 4: (8, 9)})
    assert stored.chain.records[number].is_live(4)
    assert stored.chain.attestations[7].count == len(BLOBS) + 1
    await check(stored)


async def test_a_blob_deleted_while_it_is_rebuilt_is_attested_all_the_same(rebuilding: Network) -> None:
    """All gaining members attest to what was live at the start; it goes with the epoch."""
    held = HeldSymbols(rebuilding, 2)
    rebuilding.chain.start(LESS)
    await rebuilding.until(lambda: held.asked)
    rebuilding.chain.delete(7)
    assert await attested(rebuilding, held, 7) == len(BLOBS) + 1
    await change(rebuilding, LESS)
    await rebuilding.until(rebuilding.has_nothing, 2, BLOB.blob_id)
    await check(rebuilding)


async def test_a_blob_invalidated_while_it_is_rebuilt_holds_no_attestation_up(rebuilding: Network) -> None:
    held = HeldSymbols(rebuilding, 2)
    rebuilding.chain.start(LESS)
    await rebuilding.until(lambda: held.asked)
    rebuilding.chain.invalidate(BLOB.blob_id)
    assert await attested(rebuilding, held, 7) == len(BLOBS) + 1
    await rebuilding.until(rebuilding.has_nothing, 2, BLOB.blob_id)
    await check(rebuilding)


async def test_a_blob_that_expires_while_it_is_rebuilt(stored: Network) -> None:
    await stored.upload(BLOB, end_period=4)
    await change(stored, MOVED)
    await stored.stop(3)
    held = HeldSymbols(stored, 2)
    stored.chain.start(LESS)
    await stored.until(lambda: held.asked)
    stored.chain.start(LESS)
    assert await attested(stored, held, 7) == len(BLOBS)
    await stored.until(stored.has_nothing, 2, BLOB.blob_id)
    await check(stored)


# and during their transfer


@pytest.fixture
async def transferring(stored: Network, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, Held]:
    """Shard 6 on its way to node 1, of BLOBS and BLOB, object 7, deletable, which ends with epoch 2; the pages wait."""
    assert await stored.upload(BLOB, deletable=True, end_period=3) == 7
    held = Held(stored, 3, monkeypatch)
    stored.chain.start(MOVED)
    await stored.until(lambda: held.asked == [6, 6])
    return stored, held


Transferring = tuple["Network", Held]


async def test_a_blob_extended_while_it_is_transferred_outlives_its_old_end(
    transferring: Transferring,
) -> None:
    network, held = transferring
    network.chain.extend(7, 1)
    await attested(network, held, 6)
    await change(network, {1: (0, 1, 2), 2: (3, 4, 5, 6), 3: (7,), 4: (8, 9)})
    assert network.chain.records[7].is_live(3)
    assert network.chain.attestations[6].count == len(BLOBS) + 1
    await check(network)


async def test_a_blob_deleted_while_it_is_transferred_is_attested_all_the_same(
    transferring: Transferring,
) -> None:
    network, held = transferring
    network.chain.delete(7)
    assert await attested(network, held, 6) == len(BLOBS) + 1
    await check(network)
    await change(network, MOVED)
    await network.until(network.has_nothing, 1, BLOB.blob_id)
    await check(network)


async def test_a_blob_invalidated_while_it_is_transferred_holds_no_attestation_up(
    transferring: Transferring,
) -> None:
    network, held = transferring
    network.chain.invalidate(BLOB.blob_id)
    assert await attested(network, held, 6) == len(BLOBS) + 1
    await network.until(network.has_nothing, 1, BLOB.blob_id)
    await check(network)


async def test_a_blob_that_expires_while_it_is_transferred(transferring: Transferring) -> None:
    network, held = transferring
    network.chain.start(MOVED)
    assert await attested(network, held, 6) == len(BLOBS)
    await network.until(network.has_nothing, 1, BLOB.blob_id)
    await check(network)


async def test_a_blob_deleted_since_the_start_is_handed_over_to_one_that_comes_later(stored: Network) -> None:
    """The chain itself tells it no more than that there was an object."""
    number = await stored.upload(BLOB, deletable=True)
    await stored.stop(1)
    for file in stored.folder_of(1).glob("chain.sqlite*"):
        file.unlink()
    stored.chain.start(MOVED)
    stored.chain.delete(number)
    await stored.start(1)
    await stored.until(lambda: 6 in stored.chain.attested)
    assert stored.running[1].store.shards_with(BLOB.blob_id, Axis.PRIMARY) >= {6}
    await check(stored)


# a blob that its writer encoded wrongly


async def test_an_inconsistent_blob_that_the_handover_meets_is_proven_and_holds_no_attestation_up(
    stored: Network,
) -> None:
    blob = badly_encoded((7,))
    await stored.upload(blob)
    await change(stored, MOVED)
    await stored.stop(3)
    assert not any(one.view.is_invalid(blob.blob_id) for one in stored.running.values())
    await change(stored, LESS)
    assert stored.chain.attestations[7].count == len(BLOBS) + 1
    assert all(one.view.is_invalid(blob.blob_id) for one in stored.running.values())
    for node_id in stored.running:
        await stored.until(stored.has_nothing, node_id, blob.blob_id)
    await check(stored)
