"""A node whose disk is full, or has lost something, over HTTP: what it refuses, and what it goes on serving."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from storage.client import wire
from storage.node.face import NO_OBJECT_STORE
from storage.node.store import RESERVE_BYTES, StoreUnavailable
from storage.node.store.moving import Moving
from storage.node.store.segments import Segments
from storage.redstuff import Axis, EncodedBlob, blob_id_text
from tests.damages import (
    Damage,
    fifo,
    full_folder,
    link_to_a_file,
    link_to_itself,
    noise,
    playground,
    unix_socket,
)
from tests.storage.node.places import place_of

if TYPE_CHECKING:
    from tests.storage.conftest import Ask, OneNode, Put

P, S = Axis.PRIMARY, Axis.SECONDARY


def path(blob: EncodedBlob, *parts: object) -> str:
    return "/".join(("/v1/blobs", blob_id_text(blob.blob_id), *map(str, parts)))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The disk as the store sees it."""
    disk = SimpleNamespace(f_blocks=1, f_bavail=2 * RESERVE_BYTES, f_frsize=1)
    monkeypatch.setattr("os.statvfs", lambda path: disk)
    return disk


async def test_a_full_disk_refuses_writes_and_goes_on_serving_reads(
    prepared: OneNode,
    ask: Ask,
    put: Put,
    blob: EncodedBlob,
    encode: Callable[[bytes], EncodedBlob],
    disk: SimpleNamespace,
) -> None:
    prepared.keep(blob, (0, 1, 3))
    for axis in Axis:
        (await put(2, axis)).granted(201)
    prepared.store.discard(blob.blob_id, 1, P, prepared.sliver(blob, 1, P))
    disk.f_bavail = RESERVE_BYTES
    assert "full" in (await put(1, P)).refused(503, "UNAVAILABLE")
    other = encode(b"other")
    prepared.register(other, object_id=8)
    (await ask("PUT", path(other, "metadata"), other.metadata.to_bcs())).refused(503, "UNAVAILABLE")
    (await put(2, P)).granted(200)
    assert (await ask("GET", path(blob, "metadata"))).status == 200
    assert (await ask("GET", path(blob, "slivers", prepared.pair(blob, 2), "primary"))).status == 200
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "MISSING_SLIVERS")
    assert (await ask("GET", "/v1/health")).status == 200
    disk.f_bavail = 2 * RESERVE_BYTES
    (await put(1, P)).granted(201)
    (await ask("GET", path(blob, "confirmation/permanent"))).granted()


async def test_metadata_lost_on_the_disk_are_confirmed_by_no_copy_in_memory(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob
) -> None:
    for shard in (0, 1, 2, 3):
        for axis in Axis:
            (await put(shard, axis)).granted(201)
    (await ask("GET", path(blob, "confirmation/permanent"))).granted()
    assert prepared.store.discard_metadata(blob.blob_id, blob.metadata.to_bcs())
    (await ask("GET", path(blob, "confirmation/permanent"))).refused(400, "MISSING_SLIVERS")


async def test_no_read_gives_a_sliver_whose_bits_changed_on_the_disk(
    prepared: OneNode, ask: Ask, blob: EncodedBlob
) -> None:
    prepared.keep(blob, (0, 1))
    place_of(prepared.store.folder, blob.blob_id, 0, P).clear()
    _, symbols = await ask("GET", path(blob, "decodingSymbols?targetSlivers=5&targetType=secondary"))
    assert wire.symbols_from_bcs(symbols, 100).keys() == {prepared.code.sliver_index(blob.blob_id, 1, P)}
    where = path(blob, "slivers", prepared.pair(blob, 0), "primary")
    assert (await ask("GET", where + "/status")).granted() == "nonexistent"
    (await ask("GET", where)).refused(404, "SLIVER_NOT_FOUND")


@pytest.mark.parametrize("damage", [fifo, full_folder, link_to_a_file, link_to_itself, unix_socket, noise])
async def test_what_lies_in_a_segments_place_is_served_to_nobody_and_sent_anew(
    prepared: OneNode,
    ask: Ask,
    put: Put,
    blob: EncodedBlob,
    damage: Damage,
) -> None:
    where = path(blob, "slivers", prepared.pair(blob, 2), "primary")
    for first in ("GET", "PUT"):
        (await put(2, P)).granted(201)
        sliver = (await ask("GET", where)).body
        file = place_of(prepared.store.folder, blob.blob_id, 2, P).path
        with playground() as ground:
            ground.damage(damage, file)
            if first == "GET":
                (await ask("GET", where)).refused(404, "SLIVER_NOT_FOUND")
            (await put(2, P)).granted(201)
            assert (await ask("GET", where)).body == sliver
            (await put(2, P)).granted(200)
            ground.check_outside()
        prepared.store.drop_shard(2)


async def test_an_object_store_that_fails_is_told_as_what_passes(
    prepared: OneNode, ask: Ask, put: Put, blob: EncodedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.keep(blob, (0, 1))
    where = path(blob, "slivers", prepared.pair(blob, 0), "primary")
    question = wire.Question(S, [5], [0], [blob.blob_id]).to_bcs()

    def fails(*_: object) -> None:
        raise StoreUnavailable("cannot read 0-1-0badcafe from the object store s3://the-operators-own/bucket")

    with monkeypatch.context() as away:
        away.setattr(Segments, "read_spans", fails)
        for told in (
            (await ask("GET", where)).refused(503, "UNAVAILABLE"),
            (await ask("GET", path(blob, "decodingSymbols?targetSlivers=5&targetType=secondary"))).refused(
                503, "UNAVAILABLE"
            ),
            (await ask("POST", "/v1/decodingSymbols", question)).refused(503, "UNAVAILABLE"),
        ):
            assert told == NO_OBJECT_STORE
        assert (await ask("GET", path(blob, "metadata"))).status == 200
    with monkeypatch.context() as behind:
        behind.setattr(Moving, "require_room", fails)
        assert (await put(2, P)).refused(503, "UNAVAILABLE") == NO_OBJECT_STORE
        assert (await ask("GET", where)).status == 200
    (await put(2, P)).granted(201)
