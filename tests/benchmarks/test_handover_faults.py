"""The rows about dead members, on real nodes: they hold when the handover ends, and fall short when it does not."""

from __future__ import annotations

import pytest

from benchmarks import handover_faults
from benchmarks.handover_bytes import Blobs
from benchmarks.handover_faults import dead_members


async def test_a_handover_with_dead_members_ends() -> None:
    attested, done, _ = await dead_members(10, Blobs())
    assert attested.holds
    assert done.holds


async def test_shards_that_nobody_attests_in_time_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_faults, "LONGEST_WAIT_S", 0.0)
    attested, _, _ = await dead_members(10, Blobs())
    assert attested.value > 0
    assert attested.holds is False
