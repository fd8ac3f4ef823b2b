"""What a node attests while a round of storage proofs takes commitments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from storage.node.handover.attesting import Attesting

if TYPE_CHECKING:
    from tests.storage.node.rounds.conftest import Rounds

NEWCOMER = 2
GAINED = 6


async def test_nothing_is_attested_that_would_be_committed_to_too_late(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard attested in time, of which the commitment comes too late, would have its owner miss the round."""
    network, chain = rounds.network, rounds.chain
    node = network.running[NEWCOMER]
    attesting = Attesting(node.view, node.proving)
    monkeypatch.setattr(node.handover._attesting, "attest", _never)
    await network.stop(3)  # its old owner is done
    chain.select({1: (0, 1, 2), NEWCOMER: (3, 4, 5, GAINED), 4: (8, 9, 7)})
    chain.start()
    await rounds.committed(1, NEWCOMER, 4)  # it has the shard, and has shown nobody
    assert rounds.round is not None
    commit_by_s, window_s = rounds.round.commit_by_s, chain.contracts.proof_terms.commit_window_s

    async def attested() -> bool:
        plan, start = node.handover.plan(), node.view.state.started_block
        assert plan is not None
        assert start is not None
        await attesting.attest(plan, start, plan.attest)
        return GAINED in chain.attested

    for left_s in (window_s // 10, 1):
        rounds.tick(commit_by_s - left_s - chain.time_s)
        assert not await attested()
    rounds.tick(1)
    assert await attested()
    assert not (await node.view.ledger.held_since([GAINED]))[GAINED].was_in_time(commit_by_s)


async def _never(*_: Any) -> None:
    """Attest nothing."""
