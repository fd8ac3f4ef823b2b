"""Rounds of storage proofs: nodes that have what they should prove; one that has not is found, fined and replaced."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger.proofs import Round, RoundStep
from committee.opening import COMMITMENT_BYTES
from storage.client.failures import Reason
from storage.node.face import Refusal
from storage.node.proving import Proving, Term
from storage.node.rounds import prover
from storage.node.rounds.prover import fellows_asked_until_s
from storage.redstuff import Axis
from tests.memory_chain import WRITER
from tests.storage.node.checks import check
from tests.storage.node.handovers import BLOBS, CODE, MOVED, bend, encoded

if TYPE_CHECKING:
    from storage.client.node_client import NodeClient
    from storage.node.node import StorageNode
    from tests.storage.node.rounds.conftest import Rounds

ALL = (1, 2, 3, 4)
CHEAT = 4
"""It has two of ten shards, of which three may be faulty."""


def delete(node: StorageNode, share: int) -> None:
    """Quietly delete every `share`-th sliver, and have the node neither notice nor heal it."""

    async def not_healed(blob_id: bytes) -> None:
        """Leave a blob as it is, which the node would repair."""

    node.healing._heal = not_healed  # type: ignore[method-assign]
    for number, blob in enumerate(BLOBS):
        for shard in node.view.my_shards():
            for axis in Axis:
                symbols = node.store.sliver(blob.blob_id, shard, axis)
                if symbols is not None and (number + axis + shard) % share == 0:
                    node.store.discard(blob.blob_id, shard, axis, symbols)


def refuse_to_sign(node: StorageNode, *fellows: int) -> None:
    """Have a node sign no proof of these fellows."""
    sign = node.rounds.auditing.sign_proof

    async def signed(node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        if node_id in fellows:
            raise Refusal(400, Reason.INVALID_PROOF, "it lacks what it should have")
        return await sign(node_id, draw)

    node.rounds.auditing.sign_proof = signed  # type: ignore[method-assign]


async def test_a_member_that_deletes_slivers_is_found_fined_and_replaced(rounds: Rounds) -> None:
    network, chain = rounds.network, rounds.chain
    await rounds.committed(*ALL)
    staked = chain.nodes[CHEAT].stake
    delete(network.running[CHEAT], 2)
    await rounds.drawn()
    await rounds.proven(1, 2, 3)
    await rounds.judged(CHEAT)
    assert not chain.contracts.ejected_at_s
    await rounds.next_epoch(MOVED)
    await rounds.committed(1, 2, 3)
    await rounds.drawn()
    await rounds.proven(1, 2, 3)
    await rounds.judged(CHEAT)
    assert rounds.proof(CHEAT).is_punished
    assert chain.nodes[CHEAT].stake == staked - staked // 100
    assert set(chain.contracts.ejected_at_s) == {CHEAT}
    epoch = rounds.epoch
    await rounds.until(lambda: rounds.epoch > epoch)
    current = chain.state.current
    assert current is not None
    assert CHEAT not in current.by_id
    await network.stop(CHEAT)
    await rounds.until(lambda: chain.state.handover_done)
    await check(network)


async def test_a_member_that_commits_to_garbage_is_found(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat = rounds.network.running[CHEAT]
    real, root = Proving.commit, secrets.token_bytes(32)

    def garbage(self: Proving, term: Term, *, to_all: bool) -> bytes | None:
        return root if self is cheat.proving else real(self, term, to_all=to_all)

    monkeypatch.setattr(Proving, "commit", garbage)
    await rounds.committed(*ALL)
    # It may have committed to what it has before; the last commitment counts.
    await rounds.until(lambda: rounds.proof(CHEAT).commitment == root[:COMMITMENT_BYTES])
    await rounds.drawn()
    await rounds.proven(1, 2, 3)
    await rounds.judged(CHEAT)


async def test_fellows_that_do_not_sign_cannot_have_an_honest_member_fined(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    for one in (2, 3, 4):
        refuse_to_sign(rounds.network.running[one], 1)
    await rounds.drawn()
    await rounds.proven(2, 3, 4)
    assert not rounds.proof(1).answered, "the chain's answers cost more"
    assert rounds.round is not None
    rounds.tick(rounds.round.prove_by_s - rounds.chain.time_s)
    await rounds.proven(1)
    assert len(rounds.proof(1).answered) == 16


class Hanging:
    """A fellow that never says whether it signs."""

    def __init__(self, real: NodeClient) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def proof(self, *_: Any) -> Any:
        await asyncio.Event().wait()


async def test_fellows_that_keep_a_member_waiting_do_not_keep_it_from_answering_on_chain(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def soon(round_: Round, now_s: int) -> int:
        return min(now_s + 1, fellows_asked_until_s(round_, now_s))

    monkeypatch.setattr(prover, "fellows_asked_until_s", soon)
    await rounds.committed(*ALL)
    node = rounds.network.running[1]
    bend(rounds.network, 1, dict.fromkeys((2, 3, 4), Hanging))
    draw = await rounds.drawn()
    await rounds.until(lambda: node.rounds.openings_size(draw, 15), before=lambda round_: round_.prove_by_s)
    assert rounds.round is not None
    rounds.tick(max(0, rounds.round.prove_by_s - rounds.chain.time_s))
    await rounds.proven(1)
    assert len(rounds.proof(1).answered) == 16


@pytest.mark.parametrize(
    ("now_s", "until_s"),
    [(0, 100), (99, 100), (100, 150), (149, 150), (150, 200), (199, 200), (200, 200)],
)
def test_fellows_are_waited_for_no_longer_than_leaves_time_to_answer(now_s: int, until_s: int) -> None:
    round_ = Round(bytes(32), 1, 1, bytes(32), 0, 1, bytes(32), prove_by_s=100, answer_by_s=200)
    assert fellows_asked_until_s(round_, now_s) == until_s


async def test_members_with_all_slivers_prove_though_a_third_lies_about_them(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    refuse_to_sign(rounds.network.running[CHEAT], 1, 2, 3)
    await rounds.drawn()
    await rounds.proven(*ALL, before=lambda round_: round_.prove_by_s)
    assert rounds.step is RoundStep.PROVE
    assert not any(rounds.proof(one).answered for one in ALL)


async def test_a_member_that_is_killed_between_commitment_and_answer_goes_on(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    await rounds.network.stop(1)
    await rounds.drawn()
    await rounds.network.start(1, keeper=True)
    await rounds.proven(*ALL)
    assert not rounds.chain.contracts.misses


async def test_a_reorganisation_across_the_draw_draws_again(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    before = rounds.chain.settled
    await rounds.drawn()
    assert rounds.round is not None
    first = rounds.round.draw
    rounds.chain.rewind(before)
    await rounds.drawn()
    assert rounds.round.draw != first
    await rounds.proven(*ALL)


async def test_blobs_deleted_or_invalidated_after_the_inventory_fail_nobody(rounds: Rounds) -> None:
    network, chain = rounds.network, rounds.chain
    deletable = await network.upload(encoded(77), deletable=True)
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    chain.delete(deletable)
    chain.invalidate(BLOBS[1].blob_id)
    await network.seen()
    for one in (2, 3, 4):
        refuse_to_sign(network.running[one], 1)
    await rounds.drawn()
    await rounds.proven(2, 3, 4)
    assert rounds.round is not None
    rounds.tick(rounds.round.prove_by_s - chain.time_s)
    await rounds.proven(1)


async def test_a_member_that_joins_the_committee_has_nothing_held_against_it(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gained and has not attested when commitments end, it need not show."""
    network, chain = rounds.network, rounds.chain
    await network.stop(3)  # the only one that could prevent it
    chain.select({1: (0, 1, 2), 2: (3, 4, 5, 6), 4: (8, 9, 7)})
    chain.start()
    gained = network.running[2].handover
    monkeypatch.setattr(gained._attesting, "attest", _never)
    await rounds.committed(1, 2, 4)
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    assert not chain.contracts.misses


async def test_a_member_that_has_nothing_yet_is_excused_without_a_commitment(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, newcomer = rounds.chain, rounds.network.running[3]
    monkeypatch.setattr(newcomer.handover._attesting, "attest", _never)
    monkeypatch.setattr(newcomer.proving, "commit", lambda term, to_all: None)
    chain.select({1: (0, 1, 2, 6), 2: (3, 4, 5), 3: (8,), 4: (9, 7)})
    chain.start()
    await rounds.committed(1, 2, 4)
    await rounds.drawn()
    await rounds.proven(1, 2, 4)
    assert rounds.round is not None
    assert not any(rounds.proof(3).commitment)
    rounds.tick(rounds.round.prove_by_s - chain.time_s)
    await rounds.proven(3)
    assert len(rounds.proof(3).answered) == 16


async def _never(*_: Any) -> None:
    """Attest nothing."""


async def test_a_demand_is_answered_by_the_node(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    ledger = rounds.chain.ledger(WRITER)
    for position in (0, 12_345):
        await ledger.demand(1, position)
        await rounds.until(lambda: not rounds.chain.contracts.demands)


async def test_a_member_that_cannot_answer_a_demand_is_punished(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    delete(rounds.network.running[CHEAT], 1)
    ledger = rounds.chain.ledger(WRITER)
    await ledger.demand(CHEAT, 0)
    rounds.tick(2000)
    await ledger.judge_demand(CHEAT, WRITER)
    assert set(rounds.chain.contracts.ejected_at_s) == {CHEAT}


async def test_health_tells_what_is_lacking_before_the_commitment(rounds: Rounds) -> None:
    node = rounds.network.running[CHEAT]
    delete(node, 1)
    await rounds.next_epoch(MOVED)
    await rounds.until(lambda: node.rounds.health()["lackingShards"] == [8, 9])
    assert node.rounds.health()["committed"] is False
    assert CODE.n_shards == 10
