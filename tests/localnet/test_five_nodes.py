"""Faults after which a network is as it was before: one of five nodes serves all of these tests, in any order."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerRefused
from storage.client import settling
from storage.client.errors import BlobUnavailable, NotCertified, UnknownBlob
from storage.redstuff import Axis, TooLarge
from tests.storage.node.places import on_disk

if TYPE_CHECKING:
    from tests.localnet.conftest import Scenario


@pytest.mark.asyncio(loop_scope="module")
async def test_a_member_whose_store_was_wiped_heals_from_its_peers(five: Scenario) -> None:
    await five.store(10, 100_000)
    node = five.network.nodes["delta"]
    await node.kill()
    shutil.rmtree(node.folder / "store")
    await node.start()
    await five.network.serving("delta")
    await five.check()


@pytest.mark.asyncio(loop_scope="module")
async def test_too_few_nodes_are_named_and_nothing_is_lost(
    five: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RESTART_PATIENCE_S", 1.0)
    await five.store(50_000)
    names = ["bravo", "charlie", "delta", "echo"]
    dead = [five.network.nodes[name] for name in names]
    for node in dead:
        await node.kill()
    blob_id = next(iter(five.blobs))
    with pytest.raises(
        BlobUnavailable, match=r"needed 5 of 13 shards, reachable \d+: no answer from .*delta"
    ) as no:
        await five.network.client.read(blob_id)
    assert {failure.name for failure in no.value.failures.values()} == set(names)
    with pytest.raises(NotCertified, match=r"needed 9 of 13 shards, reachable \d+: no answer from bravo, "):
        await five.network.client.store(b"more", periods=1)
    for node in dead:
        await node.start()
    await five.network.serving(*names)
    await five.store(4)
    await five.check()


@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_requests_get_clear_errors(five: Scenario) -> None:
    client = five.network.client
    with pytest.raises(UnknownBlob, match="check the id"):
        await client.read(bytes(32))
    with pytest.raises(TooLarge, match="split it, or use a network with more shards"):
        await client.store(bytes(5 * 9 * 65534 + 1), periods=1)
    with pytest.raises(LedgerRefused):
        await client.store(b"for too long", periods=54)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_port_in_use_is_told_in_one_line(five: Scenario) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = five.network.nodes["alfa"].folder
        settings = (folder / "node.toml").read_text()
        (folder / "node.toml").write_text(re.sub(r"port = \d+", f"port = {port}", settings))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "storage.node", str(folder)), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        (folder / "node.toml").write_text(settings)
    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    assert f"cannot listen on 127.0.0.1, port {port}: " in line
    assert "stop what uses the port, or set another one" in line


@pytest.mark.asyncio(loop_scope="module")
async def test_damaged_slivers_on_disk_do_not_reach_a_reader(five: Scenario) -> None:
    await five.store(200_000)
    (blob_id,) = five.blobs
    slivers = on_disk(five.network.nodes["alfa"].folder / "store")
    damaged = [one for one in slivers if (one.blob_id, one.axis) == (blob_id, Axis.PRIMARY)]
    assert damaged
    for one in damaged:
        one.flip(0)
    await five.check_all_readable()
