"""Scenarios on real processes, real HTTP, real files and a real chain; faults end in the same checks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from committee.ledger.evm import DeploymentParameters, EvmLedger
from localnet.network import LocalNetwork
from localnet.node_process import NodeProcess
from tests.damages import fifo, link_to_a_file, link_to_a_folder
from tests.memory_chain import MemoryChain
from tests.storage.network import N_SHARDS, PARAMETERS, SHARDS

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
    for report in await scenario.network.handover_reports(state.current):
        owned = state.current.shards_of(report.node_id)
        assert {shard.shard for shard in report.shards} == gained & set(owned)
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
    chain.add_candidates(SHARDS)
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
    await logged("what this node exposes")
    await logged("member of the new epoch's committee")
    await network.next_epoch()
    await logged("not elected any more")
    await node.stop()
    await logged("stopping")
    settings = (node.folder / "node.toml").read_text()
    (node.folder / "node.toml").write_text(settings.replace('"alfa"', '"alpha"'))
    await node.start()
    await logged("the name is not the registered one")


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
