"""Scenarios on real processes, real HTTP, real files and a real chain; faults end in the same checks."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger.evm import DeploymentParameters, EvmLedger
from localnet.memory_chain import MemoryChain
from localnet.network import LocalNetwork, NodeProcess
from storage.client import settling
from storage.client.errors import BlobUnavailable, NotCertified, UnknownBlob
from storage.node.handover.report import NodeReport
from storage.redstuff import Axis, TooLarge
from tests.damages import fifo, link_to_a_file, link_to_a_folder
from tests.storage.network import N_SHARDS, PARAMETERS, SHARDS
from tests.storage.node.places import on_disk

if TYPE_CHECKING:
    from tests.localnet.conftest import Scenario


async def test_a_killed_member_is_ejected_and_only_its_slivers_are_rebuilt(scenario: Scenario) -> None:
    await scenario.store(0, 1, 5_000, 300_000)
    await scenario.lose("bravo")
    await scenario.network.add_node("foxtrot", 150)
    await scenario.network.serving("foxtrot")
    gained = await scenario.network.next_epoch()
    await scenario.network.handed_over()
    await scenario.check()
    state = await scenario.network.operator.epoch_state()
    assert state.handover_done
    assert state.current is not None
    for member in state.current.members:
        report = NodeReport.from_json(await scenario.network.node_client(member.name).handover())
        assert {shard.shard for shard in report.shards} == gained & set(member.shards)
        assert report.largest_share_of_a_blob < 1
    await check_a_damaged_folder_is_repaired(scenario, scenario.network.nodes["charlie"])


async def check_a_damaged_folder_is_repaired(scenario: Scenario, node: NodeProcess) -> None:
    """A node started with other things than files in their places gets its slivers again, and the chain's record."""
    await node.stop()
    segments = sorted((node.folder / "store" / "segments").iterdir())
    assert len(segments) >= 2
    outside = scenario.network.folder / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_bytes(b"another's")
    fifo(segments[0], outside)
    link_to_a_folder(segments[-1], outside)
    link_to_a_file(node.folder / "chain.sqlite", outside)
    await node.start()
    await scenario.network.serving(node.name)
    await scenario.check()
    store = node.folder / "store"
    assert all(path.is_file() and not path.is_symlink() for path in (store / "segments").iterdir())
    assert (node.folder / "chain.sqlite").is_file() and not (node.folder / "chain.sqlite").is_symlink()
    assert (outside / "file").read_bytes() == b"another's"
    assert list((outside / "folder").iterdir()) == []


async def test_what_was_owed_when_a_handover_was_closed_is_to_be_attested_too(tmp_path: Path) -> None:
    chain = MemoryChain(PARAMETERS)
    turned = {1: SHARDS[2], 2: SHARDS[1], 3: SHARDS[3], 4: SHARDS[4]}
    for node_id in SHARDS:
        chain.add_node(f"node-{node_id}", "http://x:1", SecretKey(node_id).public_key)
    chain.start(SHARDS)
    chain.start(turned)
    network = LocalNetwork(
        tmp_path, DeploymentParameters(n_shards=N_SHARDS, price_per_mib_period=1, write_price_per_mib=1)
    )
    network.operator = cast(EvmLedger, chain.ledger(None))
    assert await network.gained() == chain.gained == {0, 1, 2, 3, 4, 5}
    chain.close()
    chain.start(turned)
    assert await network.gained() == chain.gained == {0, 1, 2, 3, 4, 5}


async def test_who_writes_and_reads_through_a_handover_sees_no_failure(scenario: Scenario) -> None:
    await scenario.store(5_000, 100_000)
    await scenario.lose("bravo")
    await scenario.network.add_node("foxtrot", 150)
    await scenario.network.serving("foxtrot")
    done = asyncio.Event()
    reads = writes = 0

    async def write() -> None:
        nonlocal writes
        while not done.is_set():
            await scenario.store(20_000 + writes)
            writes += 1

    async def read() -> None:
        nonlocal reads
        while not done.is_set():
            await scenario.check_all_readable()
            reads += 1

    async def change() -> None:
        await scenario.network.next_epoch()
        await scenario.network.handed_over()
        done.set()

    # A failure of any of them ends the test.
    async with asyncio.TaskGroup() as group:
        for one in (write, read, change):
            group.create_task(one())
    assert reads
    assert writes
    await scenario.check()


async def test_a_member_whose_store_was_wiped_heals_from_its_peers(scenario: Scenario) -> None:
    await scenario.store(10, 100_000)
    node = scenario.network.nodes["delta"]
    await node.kill()
    shutil.rmtree(node.folder / "store")
    await node.start()
    await scenario.network.serving("delta")
    await scenario.check()


async def test_too_few_nodes_are_named_and_nothing_is_lost(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RESTART_PATIENCE_S", 1.0)
    await scenario.store(50_000)
    names = ["bravo", "charlie", "delta", "echo"]
    dead = [scenario.network.nodes[name] for name in names]
    for node in dead:
        await node.kill()
    blob_id = next(iter(scenario.blobs))
    with pytest.raises(
        BlobUnavailable, match=r"needed 5 of 13 shards, reachable \d+: no answer from .*delta"
    ) as no:
        await scenario.network.client.read(blob_id)
    assert {failure.name for failure in no.value.failures.values()} == set(names)
    with pytest.raises(NotCertified, match=r"needed 9 of 13 shards, reachable \d+: no answer from bravo, "):
        await scenario.network.client.store(b"more", periods=1)
    for node in dead:
        await node.start()
    await scenario.network.serving(*names)
    await scenario.store(4)
    await scenario.check()


async def test_wrong_requests_get_clear_errors(scenario: Scenario) -> None:
    client = scenario.network.client
    with pytest.raises(UnknownBlob, match="check the id"):
        await client.read(bytes(32))
    with pytest.raises(TooLarge, match="split it, or use a network with more shards"):
        await client.store(bytes(5 * 9 * 65534 + 1), periods=1)
    with pytest.raises(LedgerRefused):
        await client.store(b"for too long", periods=54)


async def test_a_node_logs_its_coming_and_going(scenario: Scenario) -> None:
    network, node = scenario.network, scenario.network.nodes["alfa"]

    async def logged(words: str) -> None:
        async def count() -> int:
            return int(words in node.log_path.read_text())

        await network.until(f"{words!r} in {node.log_path}", count, 1)

    ledger = await network.ledger_of("alfa")
    await ledger.leave()
    await ledger.close()
    await logged("registered")
    await logged("member of the new epoch's committee")
    await network.next_epoch()
    await logged("not elected any more")
    await node.stop()
    await logged("stopping")
    settings = (node.folder / "node.toml").read_text()
    (node.folder / "node.toml").write_text(settings.replace('"alfa"', '"alpha"'))
    await node.start()
    await logged("the name is not the registered one")


async def test_a_port_in_use_is_told_in_one_line(scenario: Scenario) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = scenario.network.nodes["alfa"].folder
        settings = (folder / "node.toml").read_text()
        (folder / "node.toml").write_text(re.sub(r"port = \d+", f"port = {port}", settings))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "storage.node", str(folder)), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    assert f"cannot listen on 127.0.0.1, port {port}: " in line
    assert "stop what uses the port, or set another one" in line


async def test_a_node_is_the_same_wherever_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's own folder may have modules named as the node's, or as Python's."""
    for name in ("storage/__init__.py", "committee/__init__.py", "random.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    node = NodeProcess("alfa", tmp_path / "alfa", 1)
    node.folder.mkdir()
    await node.start()
    assert await node.ended(60) == 1
    assert "a node's folder needs its settings there" in node.last_words()


async def test_damaged_slivers_on_disk_do_not_reach_a_reader(scenario: Scenario) -> None:
    await scenario.store(200_000)
    (blob_id,) = scenario.blobs
    slivers = on_disk(scenario.network.nodes["alfa"].folder / "store")
    damaged = [one for one in slivers if (one.blob_id, one.axis) == (blob_id, Axis.PRIMARY)]
    assert damaged
    for one in damaged:
        one.flip(0)
    await scenario.check_all_readable()
