"""Members' votes, told to the contracts and to the chain in memory."""

from __future__ import annotations

import random

from committee.terms import Terms
from tests.localnet.twins import Telling, Twins
from tests.memory_chain.contracts import DEPLOYED_TERMS


async def compare(twins: Twins) -> None:
    """Require that both chains tell the same of terms and votes."""
    real, memory = twins.network.operator, twins.chain.ledger(None)
    assert await real.terms() == await memory.terms()
    assert await real.decision() == await memory.decision()
    for node_id in range(1, 5):
        for period in (twins.state.period, twins.state.period + 1):
            assert await real.vote_of(node_id, period) == await memory.vote_of(node_id, period)


def voting(terms: Terms) -> Telling:
    return lambda told: told.vote(terms)


async def test_votes_set_the_terms_once_a_period(twins: Twins) -> None:
    draw = random.Random(3)
    ledgers = [node.ledger for node in twins.network.nodes]
    assert await twins.tell(ledgers[0], voting(Terms(0, 1, 1))) == "ZeroPrice"
    assert await twins.anyone(voting(Terms(1, 1, 1))) == "NotAnOperator"
    assert await twins.anyone(lambda told: told.decide_terms()) == "AlreadyDecided"
    await twins.next_epoch()
    assert await twins.anyone(lambda told: told.decide_terms()) == "NoQuorum"
    assert await twins.network.operator.terms() == DEPLOYED_TERMS
    changes = 0
    for _ in range(5):
        for ledger in ledgers:
            if draw.random() < 0.8:
                drawn = Terms(draw.randint(1, 4), draw.randint(0, 4), draw.randint(0, 1 << 51))
                assert await twins.tell(ledger, voting(drawn)) is None
        await compare(twins)
        await twins.next_epoch()
        await compare(twins)
        before = await twins.network.operator.terms()
        refusal = await twins.anyone(lambda told: told.decide_terms())
        assert refusal in (None, "NoQuorum")
        changes += refusal is None and await twins.network.operator.terms() != before
        await compare(twins)
        if refusal is None:
            assert await twins.anyone(lambda told: told.decide_terms()) == "AlreadyDecided"
    assert changes >= 3
    for ledger in ledgers:
        assert await twins.tell(ledger, voting(Terms(draw.randint(1, 4), 1, 1 << 50))) is None
    await twins.next_epoch()
    voted = await twins.network.operator.decision()
    assert voted is not None
    assert await twins.eject(4) is None
    assert await twins.anyone(lambda told: told.replace()) is None
    parameters = twins.chain.parameters
    await twins.network.chain.increase_time(max(parameters.notice_s, parameters.certificate_grace_s))
    assert await twins.anyone(lambda told: told.start()) is None
    await compare(twins)
    assert await twins.network.operator.decision() == voted, "members weigh as when the period began"
