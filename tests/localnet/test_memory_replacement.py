"""Replacements of ejected members on the chain in memory: which are taken, and what they leave as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger import Parameters
from tests.memory_chain import MemoryChain
from tests.storage.network import DOMAIN, PARAMETERS, SHARDS

OTHERS = {1: (0, 1, 2), 2: (3, 4, 5), 4: (8, 9)}
"""What the others keep when node 3 is replaced."""


def chain_of(holdings: Mapping[int, Sequence[int]], parameters: Parameters = PARAMETERS) -> MemoryChain:
    """A chain in its first epoch."""
    chain = MemoryChain(parameters)
    chain.add_candidates(holdings)
    chain.start(holdings)
    return chain


def replace(chain: MemoryChain, node_id: int) -> None:
    """Have a member ejected and replaced, in a new epoch whose handover is done."""
    chain.eject(node_id)
    chain.replace()
    chain.start()
    if not chain.state.handover_done:
        chain.close()


def refusal(chain: MemoryChain) -> str:
    with pytest.raises(LedgerRefused) as refused:
        chain.replace()
    return refused.value.reason


def test_only_the_shards_of_the_ejected_move() -> None:
    chain = chain_of(SHARDS)
    replace(chain, 3)
    current = chain.state.current
    assert current is not None
    for node_id, held in OTHERS.items():
        assert current.shards_of(node_id)[: len(held)] == held
    assert chain.gained == {6, 7}
    assert {shard for shard, owner in current.owner_of.items() if owner.node_id == 3} == set()


def test_a_replacement_moves_no_users_clock() -> None:
    chain = chain_of(SHARDS)
    before = chain.state
    chain.time_s += 5
    replace(chain, 3)
    after = chain.state
    assert (after.epoch, after.period, after.first_epoch) == (2, 1, 1)
    assert after.regular_handover_done_s == before.regular_handover_done_s < after.started_at_s
    chain.select()
    chain.start()
    assert chain.state.period == 2
    assert chain.time_s == before.regular_handover_done_s + PARAMETERS.period_duration_s


def test_stake_that_comes_around_a_replacement_does_not_count_in_it() -> None:
    chain = chain_of(SHARDS)
    chain.eject(3)
    chain.add_node("node-5", "http://x:1", SecretKey(5).public_key)
    chain.stand({1: 3, 2: 3, 4: 1000, 5: 1000})
    chain.replace()
    following = chain.state.next
    assert following is not None
    assert {one.node_id: one.weight for one in following.members} == {1: 4, 2: 4, 4: 2}


def test_nobody_is_replaced_who_was_not_ejected_in_this_epoch() -> None:
    chain = chain_of(SHARDS)
    assert refusal(chain) == "NothingToReplace"
    replace(chain, 3)
    assert refusal(chain) == "NothingToReplace"


def test_chained_replacements_leave_two_thirds_of_the_periods_first_committee() -> None:
    """Nodes 3 and 4 had four of ten shards when the period began, whatever the others have got since."""
    chain = chain_of(SHARDS)
    replace(chain, 3)
    chain.eject(4)
    assert refusal(chain) == "TooFewLeft"
    assert chain.state.replaceable_at_s is None
    chain.time_s += 1000 * PARAMETERS.period_duration_s
    assert refusal(chain) == "TooFewLeft"


def test_a_period_has_sixteen_replacements_at_most() -> None:
    n_shards = 60
    parameters = Parameters(n_shards, 6000, 60, 600, 0, DOMAIN, notice_s=10)
    chain = chain_of({node_id: (node_id - 1,) for node_id in range(1, n_shards + 1)}, parameters)
    for node_id in range(1, 17):
        replace(chain, node_id)
    chain.eject(17)
    assert refusal(chain) == "TooManyReplacements"
    assert (chain.state.epoch, chain.state.period, chain.state.replaceable_at_s) == (17, 1, None)
    chain.select()
    chain.start()
    assert chain.state.period == 2
    replace(chain, 18)
    assert (chain.state.epoch, chain.state.period) == (19, 2)


def test_an_ejected_member_drops_a_replacement_that_it_is_in() -> None:
    n_shards = 10
    chain = chain_of({node_id: (node_id - 1,) for node_id in range(1, n_shards + 1)})
    chain.eject(1)
    chain.replace()
    chain.eject(2)
    assert chain.contracts.state.next is None
    chain.replace()
    following = chain.state.next
    assert following is not None
    assert not {1, 2} & following.by_id.keys()


def test_a_certificate_of_the_epoch_before_counts_for_the_grace_after_a_replacement() -> None:
    grace_s = 30
    parameters = Parameters(10, 600, 60, 600, 500, DOMAIN, certificate_grace_s=grace_s, notice_s=grace_s)
    chain = chain_of({node_id: (node_id - 1,) for node_id in range(1, 11)}, parameters)
    replace(chain, 1)
    began_s = chain.state.started_at_s
    replace(chain, 2)
    assert chain.time_s >= began_s + grace_s, "no replacement starts while the grace of the last one runs"
    accepted = {epoch: chain.contracts.accepts(epoch) for epoch in (1, 2, 3)}
    assert accepted == {1: False, 2: True, 3: True}
