"""Four nodes that keep their slivers on S3, and an S3 that falls silent: what is read, refused and kept."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from storage.node.face import NO_OBJECT_STORE
from storage.node.upkeep import mover
from storage.redstuff import Axis, EncodedBlob, blob_id_text
from tests.moto.server import BUCKET, SECRETS, Server, s3
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.network import Network


@pytest.fixture
async def on_s3(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Network, Server]]:
    """The nodes, which send each segment as soon as there is anything in it."""
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 1)
    monkeypatch.setattr("storage.node.store.objects.SILENCE_LIMIT_S", 0.3)
    monkeypatch.setattr(mover, "LOOK_S", 0.05)
    monkeypatch.setattr(mover, "LONGEST_PAUSE_S", 0.2)
    credentials = tmp_path / "credentials.toml"
    credentials.write_text("".join(f'{name} = "{secret}"\n' for name, secret in SECRETS.items()))
    credentials.chmod(0o600)
    with s3() as server:
        settings: dict[str, Any] = {
            "object_store": f"s3://{BUCKET}/nodes",
            "object_store_credentials": credentials,
            "object_store_options": {"endpoint": server.url, "region": "us-east-1", "allow_http": "true"},
        }
        await network.stop(*SHARDS)
        await network.start(*SHARDS, **settings)
        yield network, server
        server.process.send_signal(signal.SIGCONT)
        await network.stop(*network.running)


async def status(network: Network, node_id: int) -> dict[str, Any]:
    told = (await network.client(node_id).health())["objectStore"]
    assert isinstance(told, dict)
    return told


def are_sent(network: Network) -> bool:
    return all(not node.store._segments.file_bytes for node in network.running.values())


async def test_blobs_are_read_from_s3_and_an_s3_that_falls_silent_loses_nothing(
    on_s3: tuple[Network, Server], encode: Callable[[bytes], EncodedBlob]
) -> None:
    network, server = on_s3
    first, second = b"of the first blob " * 1000, b"of the second " * 1000
    blob = encode(first)
    await network.upload(blob)
    await network.until(are_sent, network)
    assert all([(await status(network, node_id))["segments"] for node_id in SHARDS])
    assert await network.read(blob.blob_id) == first

    server.process.send_signal(signal.SIGSTOP)
    pair = network.code.pair_of_shard(blob.blob_id, SHARDS[1][0])
    path = f"/v1/blobs/{blob_id_text(blob.blob_id)}/slivers/{pair}/primary"
    async with network.session.get(network.running[1].config.address + path) as answer:
        assert (answer.status, NO_OBJECT_STORE in await answer.text()) == (503, True)
    assert (await status(network, 1))["failingSeconds"] > 0
    other = encode(second)
    await network.upload(other)
    assert await network.read(other.blob_id) == second
    assert not are_sent(network)
    assert all(shard in network.running[1].store.shards() for shard in SHARDS[1])

    server.process.send_signal(signal.SIGCONT)
    await network.until(are_sent, network)
    assert await network.read(blob.blob_id) == first
    assert await network.read(other.blob_id) == second
    for node_id, node in network.running.items():
        assert (node.store.damaged_count, (await status(network, node_id))["failingSeconds"]) == (0, 0)
        assert all(network.is_complete(node_id, one) for one in (blob, other))
        assert all(
            node.store.has_sliver(blob.blob_id, shard, axis) for shard in SHARDS[node_id] for axis in Axis
        )
