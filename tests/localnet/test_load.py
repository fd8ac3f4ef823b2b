"""A node under attack, as a process of its own: health and slivers are answered, in bounded memory."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import aiohttp
import pytest

from benchmarks.node_load import ATTACKS
from committee.ledger.evm import DeploymentParameters
from localnet.network import LocalNetwork
from localnet.node_process import NodeProcess
from storage.redstuff import blob_id_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="the load and the memory are measured as Linux has them"
    ),
]

BLOB_BYTES = 1_750_000  # of 10 shards, almost the largest
HEALTH_P99_S = 0.25
SLIVER_P99_S = 1.0
MEMORY_MIB = 512
LOG_BYTES = 200_000
"""What the log may grow by, whatever the attack."""
LOADED_S = 15.0
PACE_S = 0.03
"""Between the begins of two questions of one user."""
PAIR = 0


class Probe:
    """One user, who asks the same again and again, each time on a new connection."""

    def __init__(self, url: str) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._url = url

    async def ask(self) -> None:
        began = time.monotonic()
        try:
            async with aiohttp.ClientSession() as session, session.get(self._url) as answer:
                await answer.read()
                if answer.status != 200:
                    self.failures.append(str(answer.status))
        except aiohttp.ClientError as error:
            self.failures.append(repr(error))
        self.seconds.append(time.monotonic() - began)
        await asyncio.sleep(max(0.0, began + PACE_S - time.monotonic()))

    async def ask_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self.ask()

    def percentile_s(self, percent: int) -> float:
        return sorted(self.seconds)[len(self.seconds) * percent // 100]

    def __str__(self) -> str:
        return f"p50 {1000 * self.percentile_s(50):.0f} ms, p99 {1000 * self.percentile_s(99):.0f} ms"


class Target:
    """The node, and what it has of a blob."""

    def __init__(self, node: NodeProcess, blob_id: str) -> None:
        assert node.process is not None
        self.node = node
        self.blob_id = blob_id
        self._proc = Path(f"/proc/{node.process.pid}")

    def memory_mib(self, name: str = "VmRSS") -> float:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    def probes(self) -> tuple[Probe, Probe]:
        sliver = f"/v1/blobs/{self.blob_id}/slivers/{PAIR}/primary"
        return Probe(self.node.address + "/v1/health"), Probe(self.node.address + sliver)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    """A node that has all of a blob, and has served it for a while."""
    async with LocalNetwork(
        tmp_path,
        DeploymentParameters(n_shards=10, price_per_mib_period=1, write_price_per_mib=1, opening_members=1),
    ) as network:
        node = await network.add_node("alfa", stake_tokens=100)
        await network.serving()
        await network.next_epoch()
        stored = await network.client.store(os.urandom(BLOB_BYTES), periods=5)
        target = Target(node, blob_id_text(stored.blob_id))
        await asyncio.gather(*(probe.ask_for(2.0) for probe in target.probes()))
        yield target
        network.require_running()


@asynccontextmanager
async def attacked(target: Target, kind: str, seconds: float) -> AsyncIterator[asyncio.StreamReader]:
    """The node under attack by another process, whose output is returned; until it has ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.node_load", kind),
        *(str(target.node.port), str(seconds), target.blob_id, str(PAIR)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("kind", ATTACKS)
async def test_health_and_slivers_are_answered_under(kind: str, target: Target) -> None:
    idle_mib, log_bytes = target.memory_mib(), target.node.log_path.stat().st_size
    target.forget_peak()
    health, sliver = target.probes()
    async with attacked(target, kind, LOADED_S) as output:
        await asyncio.gather(health.ask_for(LOADED_S), sliver.ask_for(LOADED_S))
        told = (await output.read()).decode()
    grown_mib = target.memory_mib("VmHWM") - idle_mib
    log_bytes = target.node.log_path.stat().st_size - log_bytes
    print(
        f"{kind}: health {health}; sliver {sliver}; {grown_mib:.0f} MiB above idle; {log_bytes} bytes of log; {told}"
    )
    assert told.startswith("ready\n"), "the attack was made"
    assert not health.failures and not sliver.failures
    assert health.percentile_s(99) <= HEALTH_P99_S
    assert sliver.percentile_s(99) <= SLIVER_P99_S
    assert grown_mib <= MEMORY_MIB
    assert log_bytes <= LOG_BYTES


async def test_health_is_answered_when_the_process_has_run_out_of_descriptors(target: Target) -> None:
    assert target.node.process is not None
    pid = target.node.process.pid
    limit = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 20
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    health, _ = target.probes()
    async with attacked(target, "idle", LOADED_S) as output:
        await health.ask_for(LOADED_S)
        told = (await output.read()).decode()
    print(f"of {limit} descriptors: health {health}; {told}")
    assert "could not be accepted" in target.node.log_path.read_text()
    assert not health.failures
    assert target.node.log_path.stat().st_size <= LOG_BYTES


def full_log(path: Path) -> BinaryIO:
    return Path("/dev/full").open("wb", buffering=0)


async def test_a_node_whose_log_cannot_be_written_serves(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's standard error is the device on which every write fails with ENOSPC."""
    await target.node.stop()
    monkeypatch.setattr("localnet.node_process.open_log", full_log)
    await target.node.start()
    log_bytes = target.node.log_path.stat().st_size
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(target.node.address + "/v1/health") as answer:
                    data = (await answer.json())["success"]["data"]
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    assert data["log"]["lostLines"] > 0
    assert target.node.log_path.stat().st_size == log_bytes
