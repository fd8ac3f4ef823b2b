"""The rows about one pair gained by a newcomer say where its blob's roots alone pass the goal."""

from __future__ import annotations

import pytest

from benchmarks import handover_flat
from benchmarks.handover_flat import ONE_PAIR, flat

WITH_METADATA = f"{ONE_PAIR}: all bytes on the wire, metadata too ÷ the pair"


@pytest.mark.parametrize(("pair_bytes", "is_possible"), [(360_000, True), (1100, False)])
async def test_a_pair_too_small_for_its_roots_is_told_with_the_reason(
    pair_bytes: int, is_possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover_flat, "FLAT_GRID", (10,))
    monkeypatch.setattr(handover_flat, "PAIR_BYTES", pair_bytes)
    rows = {one.figure: one for one in await flat()}
    with_metadata = rows[WITH_METADATA]
    assert (with_metadata.holds is True) == is_possible
    assert (with_metadata.goal is None) == ("out of reach" in with_metadata.remark) == (not is_possible)
    assert rows[f"{WITH_METADATA} and the blob's roots"].holds == is_possible
