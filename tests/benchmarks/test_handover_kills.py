"""A real node is killed, twice before its epoch starts and once after, and refetches nothing that was durable."""

from __future__ import annotations

import pytest

from benchmarks import handover_kills
from benchmarks.handover_kills import Loss, kill
from benchmarks.rows import KIB


async def test_kills_are_counted_and_durable_slivers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_kills, "KILLS_AHEAD", 2)
    monkeypatch.setattr(handover_kills, "KILLS_AFTER", 1)
    rows = await kill(Loss(10, 3, 2, 2, blobs=12, blob_bytes=256 * KIB, most_answers=1))
    by_name = {one.figure.partition(": ")[2]: one for one in rows}
    assert by_name["kills made, while it fetches ahead"].value == 2
    assert by_name["kills made, all"].value == 3
    assert by_name["kills made, all"].holds is False, "so few are not enough for the row"
    for name in (
        "durable slivers refetched",
        "slivers gained and durable in the end ÷ slivers gained",
        "most bytes in flight lost with one kill ÷ what may be under way at once",
    ):
        assert by_name[name].holds, by_name[name]
    assert by_name["bytes in flight lost with a kill ÷ the slivers gained, mean of the kills"].value > 0
