"""When a round begins: with the handover done, and early enough for the chain to know the epoch's first block."""

from __future__ import annotations

import pytest

from committee.ledger import BlockMark, EpochState
from committee.rota import turn_length_s
from storage.node.rounds.prover import begins_at_s

PERIOD_S = 14 * 86_400
KNOWN_BLOCKS = 8191
"""The number of blocks before the newest one whose hashes the chain tells (EIP-2935)."""


def state(*, handover_done_s: int | None) -> EpochState:
    """Epoch 5, which started at 1000 s."""
    return EpochState(
        block=BlockMark(9000, bytes(32)),
        epoch=5,
        period=5,
        first_epoch=5,
        started_at_s=1000,
        started_block=None,
        salt_seed=None,
        handover_done=handover_done_s is not None,
        last_handover_done_s=handover_done_s or 900,
        regular_handover_done_s=900,
        previous=None,
        current=None,
        next=None,
    )


@pytest.mark.parametrize(
    ("handover_done_s", "turn_s", "begins_s"),
    [
        (1000, 96, 1000),
        (2000, 96, 2000),
        (50_000, 96, 1000 + 384 * 96),
        (None, 96, 1000 + 384 * 96),
        (None, 4, 1000 + 384 * 4),
        (None, 10_000, 1000 + PERIOD_S // 18),
    ],
)
def test_a_round_waits_for_the_handover_but_not_for_ever(
    handover_done_s: int | None, turn_s: int, begins_s: int
) -> None:
    assert begins_at_s(state(handover_done_s=handover_done_s), PERIOD_S, turn_s) == begins_s


@pytest.mark.parametrize("block_s", [0.2, 0.25, 0.5, 2, 8, 12, 60])
def test_a_round_begins_while_the_chain_knows_the_block_that_started_the_epoch(block_s: float) -> None:
    turn_s = turn_length_s(100, round(100 * block_s), PERIOD_S)
    waited_s = begins_at_s(state(handover_done_s=None), PERIOD_S, turn_s) - 1000
    assert waited_s / block_s <= KNOWN_BLOCKS - 500
