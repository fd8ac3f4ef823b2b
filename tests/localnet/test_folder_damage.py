"""Real nodes whose folders hold something else than their files: they repair it or stop with one line, never hang."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from committee.ledger.evm import DeploymentParameters
from localnet.network import POLL_S, LocalNetwork
from localnet.node_process import NodeProcess
from storage.client.errors import NodeRefused
from storage.redstuff import Axis, RedStuff
from tests.damages import (
    DAMAGES,
    Damage,
    fifo,
    full_folder,
    link_to_a_file,
    link_to_a_folder,
    read_only,
    unreadable,
)
from tests.localnet.conftest import Scenario
from tests.storage.node.places import on_disk

N_SHARDS = 7
ENDS_WITHIN_S = 60.0


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Scenario]:
    """Three members with a blob, and a folder `outside` that is nobody's."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    for path in (outside / "file", outside / "folder" / "file"):
        path.write_bytes(b"another's")
    async with LocalNetwork(
        tmp_path / "network",
        DeploymentParameters(
            n_shards=N_SHARDS,
            patience_s=120,
            price_per_mib_period=1,
            write_price_per_mib=1,
            opening_members=1,
        ),
    ) as network:
        scenario = Scenario(network)
        for name in ("alfa", "bravo", "charlie"):
            await network.add_node(name, 100)
        await network.serving()
        await network.next_epoch()
        await scenario.store(100_000)
        yield scenario
        for path in (outside / "file", outside / "folder" / "file"):
            assert path.read_bytes() == b"another's"
        assert sorted(path.name for path in outside.rglob("*")) == ["file", "file", "folder"]


def segments_of(node: NodeProcess) -> list[Path]:
    """The files of its slivers."""
    return sorted((node.folder / "store" / "segments").iterdir())


def slivers_of(node: NodeProcess) -> Callable[[], Awaitable[int]]:
    """Counts its slivers."""

    async def count() -> int:
        return len(list(on_disk(node.folder / "store")))

    return count


async def check_serves_all(scenario: Scenario, node: NodeProcess) -> None:
    """Before long the node gives every sliver of its shards, each right."""
    network, (blob_id,) = scenario.network, scenario.blobs
    client, code = network.node_client(node.name), RedStuff(N_SHARDS)
    metadata = await network.node_client("bravo").metadata(blob_id)
    state = await network.operator.epoch_state()
    assert state.current is not None
    (member,) = [one for one in state.current.members if one.name == node.name]
    assert member.shards
    slivers = [(code.pair_of_shard(blob_id, shard), axis) for shard in member.shards for axis in Axis]

    async def given() -> int:
        count = 0
        for pair, axis in slivers:
            try:
                symbols = await client.sliver(blob_id, pair, axis)
            except NodeRefused as error:
                assert error.reason == "SLIVER_NOT_FOUND"
                continue
            code.verify_sliver(metadata, axis, code.sliver_of_pair(pair, axis), symbols)
            count += 1
        return count

    await network.until("slivers given", given, len(slivers))


async def check_ends(node: NodeProcess, path: Path) -> None:
    """Started, the process ends by itself with one line that names the path."""
    said = len(node.log_path.read_bytes())
    await node.start()
    assert await node.ended(ENDS_WITHIN_S) == 1
    line = node.log_path.read_bytes()[said:].decode().strip().splitlines()[-1]
    assert str(path) in line
    assert "Traceback" not in node.log_path.read_bytes()[said:].decode()


@pytest.mark.slow
async def test_a_node_repairs_its_slivers_and_its_record_of_the_chain_and_tells_of_a_broken_index(
    small: Scenario, tmp_path: Path
) -> None:
    network, outside = small.network, tmp_path / "outside"
    node = network.nodes["alfa"]
    await network.until("slivers", slivers_of(node), 4)

    # While it runs: nothing hangs, and SIGTERM is heeded.
    for damage, path in zip((fifo, link_to_a_file, full_folder), segments_of(node), strict=False):
        damage(path, outside)
    await check_serves_all(small, node)

    await node.stop()
    fifo(segments_of(node)[-1], outside)
    link_to_a_folder(segments_of(node)[0], outside)
    link_to_a_file(node.folder / "chain.sqlite", outside)
    await node.start()
    await network.serving("alfa")
    await check_serves_all(small, node)
    await node.stop()

    index = node.folder / "store" / "index.sqlite"
    kept = shutil.copy(index, tmp_path / "index.sqlite")
    link_to_a_file(index, outside)
    await check_ends(node, index)
    index.unlink()
    shutil.copy(kept, index)
    await node.start()
    await network.serving("alfa")
    await small.check_all_readable()


PLACES = (
    "node.toml", "keys/bls.key", "keys/account.key", "store", "store/lock", "store/index.sqlite", "store/segments",
    "store/segments/FILE", "chain.sqlite", "chain.sqlite-wal", "chain.sqlite-shm",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_a_node_repairs_or_stops_whatever_lies_in_a_place(
    small: Scenario, tmp_path: Path, place: str
) -> None:
    network, node = small.network, small.network.nodes["alfa"]
    await network.until("slivers", slivers_of(node), 4)
    await node.stop()
    kept = tmp_path / "kept"
    shutil.copytree(node.folder, kept)
    path = node.folder / place.replace("FILE", segments_of(node)[0].name)
    for damage in DAMAGES:
        await one_damage(small, node, damage, path, tmp_path / "outside")
        await node.stop()
        shutil.rmtree(node.folder)
        shutil.rmtree(tmp_path / "outside" / "moved", ignore_errors=True)
        (tmp_path / "outside" / "moved").unlink(missing_ok=True)
        shutil.copytree(kept, node.folder)


async def one_damage(
    scenario: Scenario, node: NodeProcess, damage: Damage, path: Path, outside: Path
) -> None:
    damage(path, outside)
    said = len(node.log_path.read_bytes())
    await node.start()

    async with asyncio.timeout(ENDS_WITHIN_S):
        while not node.has_ended and not await scenario.network.ready([node.name]):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)  # no event tells of either
    if node.has_ended:
        assert node.process is not None and node.process.returncode == 1, damage
        node.process = None
        text = node.log_path.read_bytes()[said:].decode()
        assert "Traceback" not in text and str(path) in text.strip().splitlines()[-1], damage
        is_repaired = "segments/" in str(path) or "chain.sqlite" in path.name
        assert not is_repaired or (os.geteuid() != 0 and damage in (unreadable, read_only)), damage
    else:
        await check_serves_all(scenario, node)
