"""What the owner of a node and its stakers change their minds about, on a real chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from committee import cli, epoch_cli, stake_cli
from committee.bls import SecretKey, proof_of_possession
from committee.errors import LedgerError, LedgerRefused
from committee.ledger.evm import AccountKey, DryRun, EvmLedger
from committee.ledger.evm.decode import NO_ACCOUNT
from committee.ledger.evm.many_calls import call_many
from committee.printing import PAID, CommandFailed
from committee.terms import Terms
from tests.committee.ledger.test_provider_limits import REFUSALS, LimitedProvider

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, SpoiltConnection

TOKEN = 10**18


async def test_a_node_goes_over_to_the_account_that_accepts_it(launch: Launch) -> None:
    network = await launch((40,))
    before, after, stranger = network.nodes[0].ledger, await network.account(), await network.account()
    assert before.account is not None and after.account is not None
    await before.offer_node(1, stranger.account)
    await before.offer_node(1, None)
    with pytest.raises(LedgerRefused, match="NotOffered"):
        await stranger.accept_node(1)
    await before.offer_node(1, after.account)
    (node,) = await network.operator.nodes()
    assert (node.owner, node.next_owner) == (before.account, after.account)
    await after.accept_node(1)
    (node,) = await network.operator.nodes()
    assert (node.owner, node.next_owner, node.operator) == (after.account, None, before.account)
    with pytest.raises(LedgerRefused, match="NotNodeOwner"):
        await before.change_commission(1, 5)
    secret = SecretKey.generate()
    proof = proof_of_possession(secret, after.account, network.deployment.domain)
    await after.change_public_key(1, secret.public_key, proof)


async def test_stake_that_is_typed_again_is_not_staked_twice(launch: Launch) -> None:
    network = await launch((40, 30))
    staker = await network.account()
    assert staker.account is not None
    await network.operator.mint(staker.account, 10 * TOKEN)
    first = await stake_cli.add(staker, 1, 2 * TOKEN)
    with pytest.raises(
        CommandFailed, match=rf"nothing was sent: .* in block {first['block']}; .*--again"
    ) as stopped:
        await stake_cli.add(staker, 1, 2 * TOKEN)
    assert stopped.value.status == PAID
    # Not the same: another node, another amount, another account, or one that is meant.
    await stake_cli.add(staker, 2, 2 * TOKEN)
    await stake_cli.add(staker, 1, 3 * TOKEN)
    assert await network.nodes[0].ledger.staked_lately(1, 2 * TOKEN) is None
    await stake_cli.add(staker, 1, 2 * TOKEN, again=True)
    assert await staker.balance(staker.account) == TOKEN


async def test_stake_whose_answer_was_lost_is_found(launch: Launch) -> None:
    network = await launch((40,))
    key = AccountKey.generate()
    await network.chain.fund(key.address)
    await network.operator.mint(key.address, 2 * TOKEN)
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment, key) as lost:
        await lost.stake(1, TOKEN)
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment, key) as anew:
        with pytest.raises(CommandFailed, match="nothing was sent"):
            await stake_cli.add(anew, 1, TOKEN)
        assert await anew.balance(key.address) == TOKEN


async def test_a_dry_run_of_unstaking_plans_the_stake_that_joins(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    key = AccountKey.generate()
    await network.chain.fund(key.address)
    await network.operator.mint(key.address, TOKEN)
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment, key) as staker:
        await staker.stake(1, TOKEN)
        with pytest.raises(LedgerError, match=r"joins it with period 1, and can be unstaked from its start"):
            await staker.unstake(1)
    await network.begin_epoch()
    async with await EvmLedger.connect(
        network.chain.rpc_url, network.deployment, key, dry_run=True
    ) as ledger:
        staking = ledger._reader.staking.abi
        for amount in (None, TOKEN):
            with pytest.raises(DryRun) as stopped:
                await ledger.unstake(1, amount)
            payment, unstaking = stopped.value.planned
            assert (payment.action, unstaking.action) == ("Blobs.payOut", "Staking.unstake")
            assert unstaking.data == staking.encode_call("unstake", 1, TOKEN)


async def test_stake_unstaked_behind_a_selection_that_was_dropped_leaves_sooner(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    node = network.nodes[0]
    await network.hand_over(await network.begin_epoch())
    await network.operator.pay_out()
    await network.chain.increase_time(300)
    await network.operator.select()
    await node.ledger.unstake(node.node_id, 12 * network.UNIT)
    assert node.ledger.account is not None
    (position,) = await node.ledger.stakes(node.ledger.account)
    assert [one.unlock_period for one in position.unbonding] == [3]
    await network.eject(network.nodes[3].node_id)
    await node.ledger.unstake_sooner(node.node_id, 3, 5 * network.UNIT)
    (position,) = await node.ledger.stakes(node.ledger.account)
    shown = [(one.unlock_period, one.amount) for one in position.unbonding]
    assert shown == [(2, 5 * network.UNIT), (3, 7 * network.UNIT)]
    await node.ledger.unstake_sooner(node.node_id, 3)
    (position,) = await node.ledger.stakes(node.ledger.account)
    assert [one.unlock_period for one in position.unbonding] == [2]


async def test_stakes_are_listed_in_few_requests_however_many_nodes_there_are(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """Anyone registers thousands, for gas alone; and providers take few calls at once."""
    network = await launch((40, 30, 20, 10))
    staker = network.nodes[2].ledger.account
    assert staker is not None
    async with EvmLedger.open(spoilt.url, network.deployment) as ledger:
        await ledger.parameters()
        spoilt.asked.clear()
        assert await ledger.stakes(NO_ACCOUNT) == []
        assert spoilt.asked.count("eth_call") == 4, "a page of nodes, and three views of all of them"
        (staked,) = await ledger.stakes(staker)
        assert (staked.node_id, staked.amount) == (3, 20 * network.UNIT)
        assert [one.amount for one in staked.joining] == [20 * network.UNIT]
        with pytest.raises(LedgerRefused, match="UnknownNode"):
            await call_many(
                ledger._rpc,
                ledger._reader,
                ledger._reader.registry,
                [("node", (node_id,)) for node_id in (1, 99)],
                await ledger.newest(),
            )
    async with (
        aiohttp.ClientSession() as session,
        LimitedProvider(network.chain.rpc_url, session, REFUSALS["-32005"]) as limited,
        EvmLedger.open(limited.url, network.deployment) as ledger,
    ):
        assert await ledger.stakes(staker) == [staked]
        assert limited.refused, "it takes three calls at once"


async def test_members_vote_on_prices_and_capacity(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10))
    await network.hand_over(await network.begin_epoch())
    for node, price in zip(network.nodes, (1, 2, 1, 2), strict=True):
        voted = await cli.vote(node.ledger, price, 0, 1 << 50)
        assert voted["price_per_mib_period"] == price
    operator = network.operator
    assert await operator.vote_of(2, 1) is None
    assert await operator.vote_of(2, 2) == Terms(2, 0, 1 << 50)
    assert await operator.decision() is None
    await network.hand_over(await network.begin_epoch())
    assert await operator.decision() == Terms(2, 0, 1 << 50), "60 of 100 shards asked 1"
    await operator.decide_terms()
    assert await operator.terms() == Terms(2, 0, 1 << 50)
    assert await operator.decision() is None
    assert (await epoch_cli.epoch_status(operator))["price_per_mib_period"] == 2
    with pytest.raises(LedgerRefused, match="AlreadyDecided"):
        await operator.decide_terms()
    with pytest.raises(LedgerRefused, match="NotAnOperator"):
        await cli.vote(await network.account(), 1, 0, 1)
