"""What is dropped, and what is not: one node's store over a chain view that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from storage.node.store import StoreError
from storage.node.upkeep.garbage import Garbage, Unconfirmed
from storage.redstuff import EncodedBlob

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode

Encode = Callable[[bytes], EncodedBlob]


@pytest.fixture
async def garbage(node: OneNode) -> Garbage:
    return Garbage(node.view, node.store)


def is_kept(node: OneNode, blob: EncodedBlob) -> bool:
    """Whether all of it is; it must be all or nothing."""
    slivers = {node.store.has_sliver(blob.blob_id, shard, axis) for shard in (0, 1) for axis in (0, 1)}  # type: ignore[arg-type]
    metadata = node.store.metadata(blob.blob_id) is not None
    assert slivers == {metadata}
    return metadata


def delete(node: OneNode, object_id: int = 7) -> None:
    node.chain.delete(object_id)


async def test_what_the_chain_never_heard_of_is_dropped_at_the_start(
    node: OneNode, garbage: Garbage, encode: Encode
) -> None:
    known, unknown = encode(b"known"), encode(b"unknown")
    for blob in (known, unknown):
        node.keep(blob, (0, 1))
    node.register(known)
    await node.view.refresh()
    await garbage.collect()
    assert (is_kept(node, known), is_kept(node, unknown)) == (True, False)
    assert garbage.dropped_blobs == 1


async def test_a_deleted_blob_goes_at_once_unless_another_object_names_it(
    node: OneNode, garbage: Garbage, encode: Encode
) -> None:
    once, twice = encode(b"once"), encode(b"twice")
    await garbage.collect()
    for object_id, blob in enumerate((once, twice, twice)):
        node.keep(blob, (0, 1))
        node.register(blob, object_id=object_id, deletable=True)
    for object_id in range(2):
        node.certify(object_id=object_id)
        delete(node, object_id)
    await node.view.refresh()
    await garbage.collect()
    assert (is_kept(node, once), is_kept(node, twice)) == (False, True)


async def test_a_blob_that_died_after_the_start_is_kept_until_the_epoch_ends(
    node: OneNode, garbage: Garbage, blob: EncodedBlob
) -> None:
    node.keep(blob, (0, 1))
    node.register(blob, deletable=True)
    node.certify()
    await node.view.refresh()
    node.start_next()
    await node.view.refresh()
    delete(node)
    await node.view.refresh()
    await garbage.collect()
    assert is_kept(node, blob), "members that gain shards in this epoch still attest to it"
    node.start_next()
    await node.view.refresh()
    await garbage.collect()
    assert not is_kept(node, blob)


async def test_an_uncertified_blob_goes_when_its_object_expires(
    node: OneNode, garbage: Garbage, encode: Encode
) -> None:
    short, long = encode(b"short"), encode(b"long")
    for object_id, (blob, end_period) in enumerate(((short, 6), (long, 7))):
        node.keep(blob, (0, 1))
        node.register(blob, object_id=object_id, end_period=end_period)
    await node.view.refresh()
    await garbage.collect()
    assert (is_kept(node, short), is_kept(node, long)) == (True, True)
    node.start_next()
    await node.view.refresh()
    await garbage.collect()
    assert (is_kept(node, short), is_kept(node, long)) == (False, True)


async def test_an_invalid_blob_is_dropped(node: OneNode, garbage: Garbage, blob: EncodedBlob) -> None:
    node.keep(blob, (0, 1))
    node.register(blob)
    node.certify()
    await node.view.refresh()
    await garbage.collect()
    assert is_kept(node, blob)
    node.invalidate(blob)
    await node.view.refresh()
    await garbage.collect()
    assert not is_kept(node, blob)


async def test_nothing_is_dropped_on_the_word_of_one_of_several_endpoints(
    node: OneNode, garbage: Garbage, blob: EncodedBlob, encode: Encode
) -> None:
    """Neither what the chain is said to have invalidated, nor what it is said not to know."""
    other = encode(b"other")
    node.keep(blob, (0, 1))
    node.register(blob)
    node.certify()
    node.keep(other, (0, 1))
    node.invalidate(blob)
    await node.view.refresh()
    node.view.is_confirmed = False
    with pytest.raises(Unconfirmed):
        await garbage.collect()
    assert is_kept(node, blob)
    assert is_kept(node, other)
    node.view.is_confirmed = True
    await garbage.collect()
    assert not is_kept(node, blob)
    assert not is_kept(node, other)


async def test_a_blob_that_comes_back_while_it_is_being_dropped_is_kept(
    node: OneNode, garbage: Garbage, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(blob, (0, 1))
    await asyncio.sleep(0)  # what was stored is looked at once more
    answers: list[set[bytes]] = [set(), {blob.blob_id}]
    monkeypatch.setattr(node.view, "those_wanted", lambda blob_ids: answers.pop(0))
    garbage._sweep_due = False
    garbage.look_at(blob.blob_id)
    await garbage.collect()
    assert is_kept(node, blob)
    assert (answers, garbage.dropped_blobs) == ([], 0)


async def test_blobs_are_dropped_some_in_a_transaction(
    node: OneNode, garbage: Garbage, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = [encode(bytes([number])) for number in range(7)]
    for blob in blobs:
        node.keep(blob, (0, 1))
    await asyncio.sleep(0)
    said: list[str] = []
    assert node.store._index._writer is not None
    node.store._index._writer.set_trace_callback(said.append)
    await garbage.collect()
    assert not any(is_kept(node, blob) for blob in blobs)
    assert garbage.dropped_blobs == 7
    assert said.count("COMMIT") <= 3


async def test_what_a_failing_store_did_not_drop_is_dropped_the_next_time(
    node: OneNode, garbage: Garbage, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(blob, (0, 1))

    def fail(*_: object) -> list[bytes]:
        raise StoreError("test")

    with monkeypatch.context() as patch:
        patch.setattr(node.store, "drop_blobs", fail)
        with pytest.raises(StoreError):
            await garbage.collect()
    assert is_kept(node, blob)
    await garbage.collect()
    assert not is_kept(node, blob)


async def test_a_sweep_sees_every_page(
    node: OneNode, garbage: Garbage, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.node.upkeep.garbage.BLOBS_IN_A_STEP", 2)
    blobs = [encode(bytes([number])) for number in range(7)]
    for blob in blobs:
        node.keep(blob, (0, 1))
    node.register(blobs[3])
    await node.view.refresh()
    await garbage.collect()
    assert [is_kept(node, blob) for blob in blobs] == [number == 3 for number in range(7)]
