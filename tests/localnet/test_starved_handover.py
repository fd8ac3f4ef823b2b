"""A node that has no descriptors left while it takes shards over: it lives, and goes on once it has some again."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from localnet.node_process import NodeProcess
from tests.localnet.conftest import Scenario

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="another process' limit is set as Linux has it"),
]

SPARE = 2
"""Descriptors that the node may still open."""


def starve(node: NodeProcess) -> tuple[int, tuple[int, int]]:
    """Leave the node SPARE descriptors; return its process id and its limits before."""
    assert node.process is not None
    pid = node.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + SPARE, before[1]))
    return pid, before


async def test_a_handover_without_descriptors_goes_on_once_there_are_some(scenario: Scenario) -> None:
    network = scenario.network
    await scenario.store(50_000, 150_000, 400_000)
    node = await network.add_node("foxtrot", 400)
    await network.serving("foxtrot")
    pid, before = starve(node)
    await network.next_epoch()

    async def starved() -> int:
        return node.log_path.read_text().count("Too many open files")

    await network.until("failures told", starved, 3)
    assert not node.has_ended
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    await network.handed_over()
    state = await network.operator.epoch_state()
    assert state.current is not None
    (member,) = [one for one in state.current.members if one.name == "foxtrot"]
    assert member.shards
    await scenario.check()
    assert '"level": "error"' not in node.log_path.read_text()
