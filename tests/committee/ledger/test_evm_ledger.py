"""The adapter against the real contracts on a real chain: nodes, committees and epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from committee import messages, shards
from committee.bls import SecretKey, proof_of_possession
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import Attestation, BlockMark, Candidate
from committee.ledger.evm import EvmLedger
from committee.messages import EjectionReason, Intent
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch

STAKES = (40, 30, 20, 10)


async def test_nodes_and_candidates_are_read_as_they_registered(launch: Launch) -> None:
    network = await launch(STAKES)
    nodes = await network.operator.nodes()
    assert [one.node_id for one in nodes] == [1, 2, 3, 4]
    assert [one.operator for one in nodes] == [node.ledger.account for node in network.nodes]
    assert [one.public_key for one in nodes] == [node.secret.public_key for node in network.nodes]
    assert [one.address for one in nodes] == [f"http://node-{place}:1" for place in (1, 2, 3, 4)]
    assert [one.stake for one in nodes] == [stake * network.UNIT for stake in STAKES]
    assert all(one.is_candidate for one in nodes)

    await network.nodes[1].ledger.leave()
    assert await network.operator.candidates() == [
        Candidate(node_id, stake * network.UNIT) for node_id, stake in ((1, 40), (3, 20), (4, 10))
    ]
    assert [one.is_candidate for one in await network.operator.nodes()] == [True, False, True, True]
    await network.nodes[1].ledger.become_candidate()
    assert [one.node_id for one in await network.operator.candidates()] == [1, 3, 4, 2]


async def test_more_nodes_than_a_page_holds_are_all_read(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.evm.reader.PAGE_ITEMS", 2)
    network = await launch((1, 2, 3, 4, 5))
    assert [one.stake // network.UNIT for one in await network.operator.nodes()] == [1, 2, 3, 4, 5]


async def test_register_refuses_a_proof_for_another_account(launch: Launch) -> None:
    network = await launch()
    ledger, secret = await network.account(), SecretKey.generate()
    assert network.operator.account is not None
    proof = proof_of_possession(secret, network.operator.account, network.deployment.domain)
    with pytest.raises(LedgerRefused, match="InvalidProofOfPossession") as refusal:
        await ledger.register_node("node", "http://node:1", secret.public_key, proof)
    assert refusal.value.reason == "InvalidProofOfPossession"


async def test_stake_is_refused_without_tokens(launch: Launch) -> None:
    network = await launch((5,))
    with pytest.raises(LedgerRefused) as refusal:
        await network.nodes[0].ledger.stake(1, 7)
    assert refusal.value.reason == "ERC20InsufficientBalance"
    assert refusal.value.arguments == {
        "sender": network.nodes[0].ledger.account,
        "balance": 0,
        "needed": 7,
    }


async def test_tokens_are_minted_by_the_deployer_alone(launch: Launch) -> None:
    network = await launch((5,))
    ledger = network.nodes[0].ledger
    assert ledger.account is not None
    await network.operator.mint(ledger.account, 11)
    assert await network.operator.balance(ledger.account) == 11
    with pytest.raises(LedgerRefused, match="OwnableUnauthorizedAccount"):
        await ledger.mint(ledger.account, 1)


async def test_before_the_first_epoch_there_is_no_committee(launch: Launch) -> None:
    network = await launch()
    state = await network.operator.epoch_state()
    assert (state.epoch, state.started_block, state.salt_seed) == (0, None, None)
    assert (state.previous, state.current, state.next) == (None, None, None)


async def test_committees_are_those_of_the_stakes(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.operator.select()
    selected = await network.operator.epoch_state()
    assert selected.current is None
    assert selected.next is not None
    expected = shards.assign(None, list(enumerate(STAKES, start=1)), 10)
    assert selected.next.holdings == expected

    started = await network.operator.start()
    state = await network.operator.epoch_state()
    assert state.current == selected.next
    assert (state.epoch, state.handover_done, state.next) == (1, True, None)
    assert (state.started_block, state.salt_seed) == (started.block, started.block.hash)
    assert state.block == await network.operator.head()
    assert state.started_at_s == state.last_handover_done_s == await network.operator.chain_time_s()
    member = state.current.members[0]
    assert (member.name, member.address) == ("node-1", "http://node-1:1")
    assert member.public_key == network.nodes[0].secret.public_key


async def test_state_is_read_at_the_block_that_is_asked_for(launch: Launch) -> None:
    network = await launch(STAKES)
    before = await network.operator.head()
    await network.begin_epoch()
    await network.operator.register_blob(bytes(32), 5000, 1)
    assert (await network.operator.epoch_state(before)).epoch == 0
    assert await live_objects(network.operator, before) == []
    assert len(await live_objects(network.operator)) == 1


async def test_state_of_a_block_that_was_reorganised_is_not_given(launch: Launch) -> None:
    network = await launch()
    gone = BlockMark((await network.operator.head()).number, bytes(32))
    with pytest.raises(LedgerUnavailable, match="reorganised"):
        await network.operator.epoch_state(gone)


async def test_start_before_its_time_is_refused_with_the_time(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    with pytest.raises(LedgerRefused) as refusal:
        await network.operator.select()
    assert refusal.value.reason == "TooEarly"
    done_at = (await network.operator.epoch_state()).last_handover_done_s
    assert refusal.value.arguments == {"availableAt": done_at + 300}


async def test_handover_is_done_when_a_quorum_attested(launch: Launch) -> None:
    network = await launch((10, 10))
    await network.begin_epoch()
    newcomers = [await network.join(100), await network.join(100)]
    state = await network.begin_epoch()
    assert not state.handover_done
    assert state.previous is not None
    assert await network.operator.attested_shards() == frozenset()

    attested: set[int] = set()
    for node in newcomers:
        gained = network.gained(state, node)
        await node.ledger.attest(
            state.epoch, [Attestation(shard, bytes([shard]) * 32, shard) for shard in gained]
        )
        attested.update(gained)
        assert await network.operator.attested_shards() == attested
    assert (await network.operator.epoch_state()).handover_done


async def test_attestation_of_a_kept_shard_is_refused(launch: Launch) -> None:
    network = await launch(STAKES)
    state = await network.begin_epoch()
    assert state.current is not None
    kept = state.current.shards_of(1)[0]
    with pytest.raises(LedgerRefused) as refusal:
        await network.nodes[0].ledger.attest(1, [Attestation(kept, bytes(32), 0)])
    assert (refusal.value.reason, refusal.value.arguments) == ("ShardIsKept", {"shard": kept})


async def test_handover_without_a_quorum_is_closed_after_the_deadline(launch: Launch) -> None:
    network = await launch((10, 10))
    await network.begin_epoch()
    await network.join(100)
    await network.join(100)
    await network.begin_epoch()
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await network.operator.close_handover()
    await network.chain.increase_time(300)
    await network.operator.close_handover()
    assert (await network.operator.epoch_state()).handover_done


async def test_silent_member_is_ejected_by_a_quorum(launch: Launch) -> None:
    network = await launch((30, 30, 30, 10))
    state = await network.begin_epoch()
    deadline_s = await network.operator.chain_time_s() + 60
    body = messages.eject_body(4, deadline_s)
    told = 4, EjectionReason.SILENT, deadline_s
    with pytest.raises(LedgerRefused, match="NotEnoughWeight"):
        await network.operator.eject(*told, network.sign(state, Intent.EJECT, body, [1, 2]))
    await network.operator.eject(*told, network.sign(state, Intent.EJECT, body, [1, 2, 3]))
    assert [one.node_id for one in await network.operator.candidates()] == [1, 2, 3]
    following = await network.begin_epoch()
    assert following.current is not None
    assert set(following.current.by_id) == {1, 2, 3}


async def test_reader_without_a_key_cannot_send(launch: Launch) -> None:
    network = await launch(STAKES)
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment) as reader:
        assert reader.account is None
        assert len(await reader.nodes()) == 4
        with pytest.raises(LedgerError, match="no account key"):
            await reader.select()
