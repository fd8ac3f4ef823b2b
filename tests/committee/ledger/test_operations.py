"""What operators, stakers and owners of blobs send, through the Python API, on a real chain."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from committee import messages
from committee.bls import SecretKey, proof_of_possession
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerRefused
from committee.ledger import EpochState, StakePosition
from committee.ledger.evm import AccountKey, DeploymentParameters, DryRun, EvmLedger
from committee.messages import Intent
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from committee.ledger.evm.reader import Contract
    from tests.committee.ledger.conftest import Launch, Network, Node

TOKEN = 10**18
LENGTH = 5000
EVIDENCE_S = 300
PRICED = DeploymentParameters(10, 600, 300, 30, price_per_mib_period=TOKEN, write_price_per_mib=TOKEN // 2)


def root(number: int) -> bytes:
    return number.to_bytes(32, "big")


def certificate(network: Network, state: EpochState, number: int) -> Certificate:
    blob_id = hashlib.blake2b(b"\x01" + LENGTH.to_bytes(8, "little") + root(number), digest_size=32).digest()
    return network.sign(state, Intent.BLOB, messages.blob_body(blob_id))


async def position(node: Node) -> StakePosition:
    assert node.ledger.account is not None
    return next(one for one in await node.ledger.stakes(node.ledger.account) if one.node_id == node.node_id)


async def test_a_node_registered_for_an_operator_is_run_by_it(launch: Launch) -> None:
    network = await launch()
    owner, operator, receiver = await network.account(), await network.account(), await network.account()
    secret = SecretKey.generate()
    assert owner.account is not None
    proof = proof_of_possession(secret, owner.account, network.deployment.domain)
    node_id, _ = await owner.register_node(
        "anna",
        "http://anna:1",
        secret.public_key,
        proof,
        commission=250,
        operator=operator.account,
        receiver=receiver.account,
        tls_key=root(7),
    )
    (node,) = await network.operator.nodes()
    assert (node.owner, node.operator, node.receiver) == (owner.account, operator.account, receiver.account)
    assert (node.commission, node.tls_key, node.is_candidate) == (250, root(7), True)

    await operator.leave()
    await owner.become_candidate(node_id)
    await operator.update_address(node_id, "http://anna:2", root(8))
    (node,) = await network.operator.nodes()
    assert (node.address, node.tls_key) == ("http://anna:2", root(8))
    with pytest.raises(LedgerRefused, match="NotNodeOwner"):
        await operator.change_receiver(node_id, operator.account or "")
    with pytest.raises(LedgerError, match="operates no node"):
        await owner.leave()


async def test_key_and_commission_change_with_the_next_election(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    node, secret = network.nodes[0], SecretKey.generate()
    assert node.ledger.account is not None
    proof = proof_of_possession(secret, node.ledger.account, network.deployment.domain)
    await node.ledger.change_public_key(node.node_id, secret.public_key, proof)
    await node.ledger.change_commission(node.node_id, 300)
    shown = (await network.operator.nodes())[0]
    assert shown.public_key == node.secret.public_key
    assert (shown.pending_public_key, shown.public_key_from) == (secret.public_key, 2)
    assert (shown.commission, shown.pending_commission, shown.commission_from) == (0, 300, 2)
    state = await network.begin_epoch()
    assert state.current is not None and state.previous is not None
    assert state.previous.by_id[node.node_id].public_key == node.secret.public_key
    assert state.current.by_id[node.node_id].public_key == secret.public_key
    assert (await network.operator.nodes())[0].commission == 300


async def test_stake_is_taken_off_and_withdrawn_behind_the_evidence_window(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    node, unit = network.nodes[0], network.UNIT
    await network.begin_epoch()
    assert [(one.period, one.amount) for one in (await position(node)).joining] == [(1, 40 * unit)]
    await node.ledger.unstake(node.node_id, 15 * unit)  # has the node settled first
    held = await position(node)
    assert held.amount == 25 * unit and held.joining == ()
    assert [(one.unlock_period, one.amount) for one in held.unbonding] == [(2, 15 * unit)]
    assert held.unbonding[0].unlocks_at_s == 0
    with pytest.raises(LedgerRefused, match="StillBonded"):
        await node.ledger.withdraw(node.node_id, 2)

    await node.ledger.cancel_unstaking(node.node_id, 2, 5 * unit)
    assert (await position(node)).amount == 30 * unit
    state = await network.begin_epoch()
    await network.hand_over(state)
    with pytest.raises(LedgerRefused, match="ElectedWithout"):
        await node.ledger.cancel_unstaking(node.node_id, 2)
    with pytest.raises(LedgerRefused, match="StillBonded"):
        await node.ledger.withdraw(node.node_id, 2)
    assert (await position(node)).unbonding[0].unlocks_at_s == state.started_at_s + EVIDENCE_S
    await network.chain.increase_time(EVIDENCE_S)
    await node.ledger.withdraw(node.node_id, 2)  # has the node settled first
    assert node.ledger.account is not None
    assert await node.ledger.balance(node.ledger.account) == 10 * unit
    with pytest.raises(LedgerRefused, match="NothingUnbonding"):
        await node.ledger.withdraw(node.node_id, 2)
    await node.ledger.unstake(node.node_id)
    assert (await position(node)).shares == 0


async def test_what_was_paid_for_an_epoch_is_paid_out_by_shards(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    state = await network.begin_epoch()
    operator = network.operator
    assert operator.account is not None and state.current is not None
    quote = await operator.quote(LENGTH, 2)
    assert quote.cost == (2 * TOKEN + TOKEN // 2) * -(-quote.encoded_bytes // 2**20)
    await operator.mint(operator.account, quote.cost)
    await operator.register_blob(root(1), LENGTH, 2)
    assert await operator.balance(operator.account) == 0
    node = network.nodes[0]
    members = tuple(state.current.by_id)
    assert await operator.unpaid(1, members) == ()
    assert len(await operator.pay_out()) == 1, "the stake joins"
    assert await operator.pay_out() == []
    await node.ledger.change_commission(node.node_id, 1000)
    await network.begin_epoch()
    before = (await position(node)).amount
    assert await operator.unpaid(1, members) == members
    earned = (TOKEN + TOKEN // 2) * state.current.by_id[node.node_id].weight // 10
    assert await operator.owed(1, node.node_id) == earned
    assert len(await operator.pay_out([node.node_id])) == 1
    assert await operator.unpaid(1, members) == tuple(one for one in members if one != node.node_id)
    # The commission of epoch 1 was 0: the change counts from epoch 2 on.
    assert (await position(node)).amount == before + earned
    assert await operator.pay_out([node.node_id]) == []

    for _ in range(6):
        await network.hand_over(await network.begin_epoch())
    assert len(await operator.pay_out(until=8)) == 4, "two periods of all nodes at once"
    assert await operator.unpaid(7, members) == ()
    assert node.ledger.account is not None
    commission = TOKEN * state.current.by_id[node.node_id].weight // 10 // 10
    assert await operator.earnings(node.ledger.account) == commission
    await node.ledger.withdraw_earnings()
    assert await node.ledger.balance(node.ledger.account) == commission


async def test_several_blobs_are_certified_in_one_transaction(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    state = await network.begin_epoch()
    objects = {
        number: (await network.operator.register_blob(root(number), LENGTH, 2))[0] for number in range(4)
    }
    certificates = {object_id: certificate(network, state, number) for number, object_id in objects.items()}
    with pytest.raises(LedgerRefused, match="BadSignature"):
        await network.operator.certify_blobs({**certificates, objects[3]: certificates[objects[0]]})
    sent = await network.operator.certify_blobs(certificates)
    assert len(sent) == 1
    assert [one.certified_epoch for one in await live_objects(network.operator)] == [1, 1, 1, 1]


async def test_blobs_are_extended_deleted_and_invalidated(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    state = await network.begin_epoch()
    operator = network.operator
    object_id, _ = await operator.register_blob(root(1), LENGTH, 2)
    await operator.certify_blob(object_id, certificate(network, state, 1))
    await operator.extend_blob(object_id, 5)
    record = await operator.blob_object(object_id)
    assert record.end_period == 8
    with pytest.raises(LedgerRefused, match="NotDeletable"):
        await operator.delete_blob(object_id)
    deletable, _ = await operator.register_blob(root(2), LENGTH, 2, deletable=True)
    await operator.delete_blob(deletable)
    assert (await operator.blob_object(deletable)).deleted
    proof = network.sign(state, Intent.INVALID_BLOB, record.blob_id)
    await operator.invalidate_blob(record.blob_id, proof)
    assert (await operator.blob_object(object_id)).invalid


async def test_pages_of_live_blobs_are_of_one_block(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    network = await launch((40,))
    await network.begin_epoch()
    operator = network.operator
    for number in range(5):
        await operator.register_blob(root(number), LENGTH, 2, deletable=True)
    monkeypatch.setattr("committee.ledger.evm.reader.PAGE_ITEMS", 2)
    before, asked, real = await live_objects(operator), list[int](), operator._reader.call

    async def call(contract: Contract, function: str, *arguments: Any, **options: Any) -> Any:
        answer = await real(contract, function, *arguments, **options)
        if function == "liveBlobs":
            asked.append(arguments[0])
            if len(asked) < 3:
                await operator.delete_blob(2 * len(asked))
        return answer

    monkeypatch.setattr(operator._reader, "call", call)
    assert await live_objects(operator) == before and len(before) == 5
    assert len(asked) == 3 and asked == sorted(asked)
    assert [one.object_id for one in await live_objects(operator)] == [1, 3, 5]


async def test_a_dry_run_tells_what_it_would_send_and_sends_nothing(launch: Launch) -> None:
    network = await launch((40,))
    key = AccountKey.generate()
    await network.chain.fund(key.address)
    await network.operator.mint(key.address, TOKEN)
    async with await EvmLedger.connect(
        network.chain.rpc_url, network.deployment, key, dry_run=True
    ) as ledger:
        with pytest.raises(DryRun) as stopped:
            await ledger.stake(1, TOKEN)
        assert [one.action for one in stopped.value.planned] == ["Staking.stake"]
        (stake,) = stopped.value.planned
        assert stake.gas is not None and stake.fee_wei is not None and stake.fee_wei > 0
        with pytest.raises(DryRun):
            await ledger.stake(1, TOKEN)
        with pytest.raises(LedgerRefused, match="NothingEarned"):
            await ledger.withdraw_earnings()
        assert await ledger.balance(key.address) == TOKEN
        assert await ledger.stakes(key.address) == []


async def test_a_stake_is_permitted_in_its_transaction_or_approved_where_the_token_has_no_permits(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch((40,))
    staker = await network.account()
    assert staker.account is not None
    await network.operator.mint(staker.account, 2 * TOKEN)
    await staker.stake(1, TOKEN)
    assert [one.action for one in staker.sent] == ["Staking.stake"]
    reader = staker._reader
    allowance = await reader.call(reader.token, "allowance", staker.account, reader.staking.address)
    assert allowance == 0, "no more is permitted than is staked"
    real = reader.call

    async def call(contract: Contract, function: str, *arguments: Any, **options: Any) -> Any:
        if function == "nonces":
            raise LedgerRefused("HauloutToken.nonces", "Reverted")
        return await real(contract, function, *arguments, **options)

    monkeypatch.setattr(reader, "call", call)
    await staker.stake(1, TOKEN)
    assert [one.action for one in staker.sent][1:] == ["HauloutToken.approve", "Staking.stake"]


async def test_shards_not_attested_stay_to_be_attested(launch: Launch) -> None:
    network = await launch((40, 30, 20))
    await network.begin_epoch()
    newcomer = await network.join(40)
    state = await network.begin_epoch()
    gained = frozenset(network.gained(state, newcomer))
    assert gained and await network.operator.missing_shards(2) == gained
    if not state.handover_done:
        await network.chain.increase_time(600)
        await network.operator.close_handover()
    state = await network.begin_epoch()
    assert await network.operator.missing_shards(2) == gained
    assert set(state.unattested) == gained
    assert state.current is not None
    still = gained & frozenset(state.current.shards_of(newcomer.node_id))
    assert still <= await network.operator.missing_shards(3)
