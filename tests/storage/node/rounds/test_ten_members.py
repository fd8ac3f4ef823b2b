"""Ten members of a shard each, of which three sign nothing: the others prove to each other all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from committee.ledger.proofs import RoundStep
from tests.storage.node.rounds.test_rounds import refuse_to_sign

if TYPE_CHECKING:
    from tests.storage.node.handovers import Shards
    from tests.storage.node.rounds.conftest import Rounds

TEN = {node_id: (node_id - 1,) for node_id in range(1, 11)}
UNWILLING = (2, 3, 10)


@pytest.fixture
def committees() -> tuple[Shards, Shards]:
    return TEN, TEN


@pytest.mark.slow
async def test_three_of_ten_that_refuse_to_sign_have_no_member_answer_on_chain(rounds: Rounds) -> None:
    await rounds.committed(*TEN)
    for one in UNWILLING:
        refuse_to_sign(rounds.network.running[one], *(set(TEN) - {one}))
    await rounds.drawn()
    await rounds.proven(*TEN)
    assert rounds.step is RoundStep.PROVE
    assert not any(rounds.proof(one).answered for one in TEN)
