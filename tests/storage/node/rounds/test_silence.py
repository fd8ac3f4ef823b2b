"""Rounds of storage proofs while the chain does not answer a member, or any member, when it matters."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import LedgerUnavailable
from storage.client.proof_answers import demanded_opening, drawn_openings
from tests.memory_chain import WRITER
from tests.memory_chain.proofs import DRAW_AHEAD
from tests.storage.node.handovers import CODE, MOVED
from tests.storage.node.rounds.test_rounds import ALL, refuse_to_sign

if TYPE_CHECKING:
    from tests.storage.node.rounds.conftest import Rounds

MAY_BE_FAULTY = 3
"""Shards, of ten."""
LEAST_S = 200
"""What is left of a window when the chain answers again: less than half, also of that for answers."""


@contextlib.contextmanager
def silent_chain(rounds: Rounds, *node_ids: int) -> Iterator[None]:
    """While inside, whatever these nodes ask of the chain, no endpoint answers."""
    ledgers = [rounds.network.ledgers[one] for one in node_ids]

    async def silent(*_: Any, **__: Any) -> Any:
        raise LedgerUnavailable("no endpoint answers")

    asked = [
        name
        for name, method in inspect.getmembers(type(ledgers[0]), inspect.iscoroutinefunction)
        if not name.startswith("_") and name != "close"
    ]
    for ledger in ledgers:
        for name in asked:
            setattr(ledger, name, silent)
    yield
    for ledger in ledgers:
        for name in asked:
            delattr(ledger, name)


def pass_until(rounds: Rounds, deadline_s: int) -> None:
    rounds.tick(max(0, deadline_s - rounds.chain.time_s))


async def test_a_member_acts_as_soon_as_the_chain_answers_again(rounds: Rounds) -> None:
    """Just before commitments end, just before answers end, and just before the answer to a demand is late."""
    await rounds.until(lambda: rounds.round)
    round_ = rounds.round
    assert round_ is not None
    with silent_chain(rounds, 1):
        await rounds.committed(2, 3, 4)
        pass_until(rounds, round_.commit_by_s - LEAST_S)
    await rounds.committed(1)
    with silent_chain(rounds, 1):
        await rounds.drawn()
        await rounds.proven(2, 3, 4)
        assert rounds.round is not None
        pass_until(rounds, rounds.round.answer_by_s - LEAST_S)
    await rounds.proven(1)
    with silent_chain(rounds, 1):
        await rounds.chain.ledger(WRITER).demand(1, 12_345)
        pass_until(rounds, rounds.chain.time_s + rounds.chain.contracts.proof_terms.demand_window_s - LEAST_S)
    await rounds.until(lambda: not rounds.chain.contracts.demands)
    assert not rounds.chain.contracts.misses


async def missed_by_all(rounds: Rounds) -> None:
    """The chain answers no member from a round's beginning until answers have ended; an account has positions drawn."""
    await rounds.until(lambda: rounds.round)
    anyone = rounds.chain.ledger(WRITER)
    with silent_chain(rounds, *ALL):
        assert rounds.round is not None
        pass_until(rounds, rounds.round.commit_by_s)
        await anyone.draw()
        for _ in range(DRAW_AHEAD):
            rounds.tick(1)
        await anyone.draw()
        pass_until(rounds, rounds.round.answer_by_s + 1)
    epoch = rounds.epoch
    await rounds.until(lambda: all(rounds.proof(one, epoch).is_missed for one in ALL))


@pytest.mark.slow
async def test_a_round_in_which_no_chain_answers_costs_a_miss_that_the_next_proof_forgives(
    rounds: Rounds,
) -> None:
    chain = rounds.chain
    await missed_by_all(rounds)
    assert chain.contracts.misses == dict.fromkeys(ALL, 1)
    assert not chain.contracts.ejected_at_s
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    await rounds.drawn()
    await rounds.proven(*ALL)
    assert not chain.contracts.misses
    assert not chain.contracts.ejected_at_s


@pytest.mark.slow
async def test_others_answer_for_a_member_whose_chain_is_silent_with_what_it_shows(rounds: Rounds) -> None:
    ledger = rounds.chain.ledger(WRITER)
    await rounds.committed(*ALL)
    for one in (2, 3, 4):
        refuse_to_sign(rounds.network.running[one], 1)
    draw = await rounds.drawn()
    await rounds.until(lambda: rounds.network.running[1].rounds.openings_size(draw, 15))
    current = rounds.chain.state.current
    assert current is not None
    asked = ledger, rounds.network.client(1), CODE, current.by_id[1], rounds.epoch
    with silent_chain(rounds, 1):
        assert rounds.round is not None
        pass_until(rounds, rounds.round.prove_by_s)
        await ledger.answer(1, await drawn_openings(*asked, rounds.round))
        assert rounds.proof(1).is_proven
        await ledger.demand(1, 12_345)
        _, opening = await demanded_opening(*asked, rounds.round, WRITER)
        await ledger.answer_demand(1, WRITER, opening)
    assert not rounds.chain.contracts.demands


@pytest.mark.slow
async def test_two_deadlines_in_which_no_chain_answers_take_no_quorum_away(rounds: Rounds) -> None:
    """What befalls all members alike costs members with a third of the shards their stake, and the others their pay."""
    await missed_by_all(rounds)
    await rounds.next_epoch(MOVED)
    epoch = rounds.epoch
    await missed_by_all(rounds)
    punished = {one for one in ALL if rounds.proof(one, epoch).is_punished}
    assert 0 < sum(len(MOVED[one]) for one in punished) <= MAY_BE_FAULTY
    assert set(rounds.chain.contracts.ejected_at_s) == punished
