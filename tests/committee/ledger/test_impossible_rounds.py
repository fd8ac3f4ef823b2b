"""Rounds of storage proofs that no chain can hold, as an endpoint may tell of: nothing is computed with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger.evm.proofs import ProofsWriter


async def test_a_round_whose_blobs_weigh_less_than_they_can_is_not_believed() -> None:
    async def call(contract: None, function: str, epoch: int) -> dict[str, Any]:
        return {"count": 3, "weight": 0}

    writer = object.__new__(ProofsWriter)
    writer._reader = SimpleNamespace(proofs=None, call=call)  # type: ignore[assignment]
    with pytest.raises(LedgerUnavailable, match="weigh 0"):
        await writer.proof_round(1)
