"""Rounds of storage proofs with nodes that send nothing, epochs without blobs, and members that come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import INSUFFICIENT_FUNDS, LedgerRefused
from committee.ledger.proofs import RoundStep
from storage.node.rounds import prover
from storage.proofs import symbols_in_pair
from tests.memory_chain import WRITER
from tests.storage.network import HeldLedger
from tests.storage.node.handovers import BLOBS, CODE, LESS, MOVED, encoded
from tests.storage.node.rounds.conftest import PERIOD_S
from tests.storage.node.rounds.test_rounds import ALL, refuse_to_sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from committee.ledger import RegisteredNode, Transaction
    from storage.node.handover.attesting import Attesting
    from tests.memory_chain import MemoryChain
    from tests.storage.node.rounds.conftest import Rounds

LOOKS = 20
"""Of each node, at a round that has not begun, while all members' turns to begin it pass."""
WINDOW_S = PERIOD_S // 18
SENT = ("begin_round", "commit", "draw", "prove", "answer", "judge", "answer_demand")
"""What a node sends in a round."""


def refuse(ledger: object, name: str, reason: str) -> None:
    """Have the chain refuse what a ledger sends by this method."""

    async def refused(*_: Any) -> Any:
        raise LedgerRefused(name, reason)

    setattr(ledger, name, refused)


# nodes that send nothing


def without_account(chain: MemoryChain, account: str) -> HeldLedger:
    """It has one as long as the node needs it to find itself on the chain."""

    class Forgetful(HeldLedger):
        async def node_of(self, account: str) -> RegisteredNode | None:
            found = await super().node_of(account)
            self.account = None
            return found

    return Forgetful(chain, account)


def without_ether(chain: MemoryChain, account: str) -> HeldLedger:
    ledger = HeldLedger(chain, account)
    for name in SENT:
        refuse(ledger, name, INSUFFICIENT_FUNDS)
    return ledger


@pytest.mark.parametrize("ledger", [without_ether, pytest.param(without_account, marks=pytest.mark.slow)])
async def test_a_member_that_cannot_send_misses_the_round_and_holds_up_no_other(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, ledger: Callable[..., HeldLedger]
) -> None:
    await rounds.network.stop(2)
    chain = rounds.chain
    monkeypatch.setattr(rounds.network, "ledger_of", lambda node_id: ledger(chain, f"node-{node_id}"))
    await rounds.network.start(2, keeper=True)
    await rounds.next_epoch(MOVED)
    await rounds.committed(1, 3, 4)
    draw = await rounds.drawn()
    await rounds.proven(1, 3, 4)
    assert not rounds.network.running[2].rounds.openings_size(draw, 0), "there is no commitment to open"
    await rounds.judged(2)
    assert rounds.chain.contracts.misses == {2: 1}
    assert not rounds.chain.contracts.ejected_at_s


@pytest.mark.slow
async def test_a_node_that_is_no_keeper_proves_and_leaves_the_rest_to_others(rounds: Rounds) -> None:
    await rounds.network.stop(1, 2, 3)
    await rounds.network.start(1, 2, 3, keeper=False)
    asked: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        async def called(*_: Any) -> Any:
            asked.append(name)
            raise LedgerRefused(name, "Test")

        return called

    for one in (1, 2, 3):
        for name in ("begin_round", "draw", "judge"):
            setattr(rounds.network.ledgers[one], name, noted(name))
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    for one in (2, 3, 4):
        refuse_to_sign(rounds.network.running[one], 1)
    await rounds.drawn()
    await rounds.proven(2, 3, 4)
    assert rounds.round is not None
    rounds.tick(rounds.round.prove_by_s - rounds.chain.time_s)
    await rounds.proven(1)
    assert len(rounds.proof(1).answered) == 16
    assert not asked


# nothing to prove


async def test_an_epoch_without_blobs_has_no_round_and_the_next_one_has_one(rounds: Rounds) -> None:
    for blob in BLOBS:
        rounds.chain.invalidate(blob.blob_id)
    await rounds.network.seen()
    await rounds.next_epoch(MOVED)
    begun: list[str] = []
    looks = enough = 0

    def look(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*arguments: Any) -> Any:
            nonlocal looks
            looks += 1
            if name == "begin_round":
                begun.append(name)
            return await real(*arguments)

        return called

    def looked() -> bool:
        return looks >= enough

    for ledger in rounds.network.ledgers.values():
        for name in ("proof_round", "begin_round"):
            setattr(ledger, name, look(name, getattr(ledger, name)))
    for _ in range(LOOKS):
        rounds.tick(PERIOD_S // 9 // LOOKS)
        enough = looks + 2 * len(ALL)
        await rounds.until(looked)
    parts = [node.rounds.prover.part for node in rounds.network.running.values()]
    assert [(part.epoch, part.step, part.warnings) for part in parts] == [
        (rounds.epoch, RoundStep.BEGIN, ())
    ] * 4
    assert not begun
    assert rounds.round is None
    await rounds.network.upload(encoded(55))
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    await rounds.drawn()
    await rounds.proven(*ALL)


async def test_no_round_begins_that_honest_members_may_have_no_time_for(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prover, "LEAST_ROUND_S", 3 * WINDOW_S + 1)
    await rounds.next_epoch(MOVED)
    await rounds.until(lambda: caplog.text.count("too short to begin any") == len(ALL))
    assert rounds.round is None
    monkeypatch.setattr(prover, "LEAST_ROUND_S", 3 * WINDOW_S)
    await rounds.committed(*ALL)


# members that come and go


@pytest.mark.slow
async def test_a_member_that_leaves_in_mid_round_proves_to_the_end_of_its_term(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    rounds.chain.stand({1: 4, 2: 3, 4: 3})
    await rounds.drawn()
    await rounds.proven(*ALL)
    await rounds.next_epoch(LESS)
    await rounds.committed(1, 2, 4)
    assert not any(rounds.proof(3).commitment)
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    assert not rounds.chain.contracts.misses


async def test_a_round_that_a_replacement_cuts_short_ends_without_a_miss(rounds: Rounds) -> None:
    chain = rounds.chain
    await rounds.committed(*ALL)
    await chain.ledger(WRITER).demand(3, 0)
    epoch = rounds.epoch
    chain.eject(3)
    await rounds.until(lambda: rounds.epoch > epoch)
    await rounds.committed(1, 2, 4)
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    assert not chain.contracts.misses
    if chain.contracts.demands:  # not answered before
        await chain.ledger(WRITER).reclaim(epoch, 3, WRITER)
    assert not any(rounds.proof(one, epoch).is_missed for one in ALL)


@pytest.mark.slow
async def test_a_member_that_is_ejected_and_not_replaced_answers_on_chain(rounds: Rounds) -> None:
    """Its fellows sign nothing for it any more, and cannot have it fined by that."""
    for ledger in rounds.network.ledgers.values():
        refuse(ledger, "replace", "Test")
    await rounds.committed(*ALL)
    rounds.chain.eject(3)
    await rounds.network.seen()
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    assert not rounds.proof(3).is_proven
    assert rounds.round is not None
    rounds.tick(rounds.round.prove_by_s - rounds.chain.time_s)
    await rounds.proven(3)
    assert len(rounds.proof(3).answered) == 16


@pytest.mark.slow
async def test_a_shard_that_is_attested_too_late_for_the_round_is_shown_when_demanded(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, network = rounds.chain, rounds.network
    may_attest = asyncio.Event()
    attesting: Attesting = network.running[2].handover._attesting
    attest = attesting.attest

    async def late(*arguments: Any) -> None:
        await may_attest.wait()
        await attest(*arguments)

    monkeypatch.setattr(attesting, "attest", late)
    chain.select({1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 4: (8, 9)})
    chain.start()
    await rounds.committed(1, 2, 4)
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    may_attest.set()
    await rounds.until(lambda: 7 in chain.attested)
    shown: list[Any] = []
    own: Any = network.ledgers[2]
    answer = own.answer_demand

    async def noted(node_id: int, asker: str, opening: Any) -> Transaction:
        shown.append(opening)
        sent: Transaction = await answer(node_id, asker, opening)
        return sent

    own.answer_demand = noted
    assert rounds.round is not None
    await chain.ledger(WRITER).demand(2, 3 * symbols_in_pair(CODE) * rounds.round.weight)
    await rounds.until(lambda: not chain.contracts.demands)
    assert shown[-1].commitment_path, "the way to the root that was attested"
    assert not chain.contracts.misses
