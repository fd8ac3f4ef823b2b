"""Coins of SUI on the double's chain: they pay, are split, merged and given away."""

from __future__ import annotations

import pytest

from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.stored import GAS_COIN, Owner, OwnerKind
from localnet.sui_double.transactions import ResultOf
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import BUDGET, GAS, ref_of, u64
from tests.localnet.sui_double.world import COST, OTHER, World

pytestmark = needs_framework


@pytest.fixture
def world() -> World:
    return World()


def test_coins_are_split_and_merged(world: World) -> None:
    before = world.wallet.mist()
    draft = world.wallet.draft()
    parts = draft.split(GAS, 5, 7)
    draft.merge(ResultOf(parts.command, 0), ResultOf(parts.command, 1))
    draft.transfer(OTHER, ResultOf(parts.command, 0))
    effects = world.wallet.succeed(draft)
    (given,) = world.chain.objects.owned_by(OTHER)
    assert (given.type, given.contents[32:]) == (GAS_COIN, u64(12))
    assert world.wallet.mist() == before - 12 - COST
    assert [change.is_created for change in effects.changes] == [False, True]


def test_gas_coin_may_be_given_away_and_pays_all_the_same(world: World) -> None:
    before = world.wallet.mist()
    draft = world.wallet.draft()
    draft.transfer(OTHER, GAS)
    world.wallet.succeed(draft)
    assert world.get(world.wallet.gas_id).owner == Owner(OwnerKind.ADDRESS, OTHER)
    assert world.wallet.mist() == before - COST


def test_coins_that_pay_become_one(world: World) -> None:
    second = world.chain.fund(world.wallet.address, 500)
    before = world.wallet.mist()
    coins = (ref_of(world.get(world.wallet.gas_id)), ref_of(second))
    draft = world.wallet.draft()
    effects = world.wallet.succeed(draft, coins=coins)
    assert world.wallet.mist() == before + 500 - COST
    assert {change.id: change.is_deleted for change in effects.changes} == {
        coins[0].id: False,
        second.id: True,
    }


def test_no_more_than_the_budget_leaves_is_spent(world: World) -> None:
    before = world.wallet.mist()
    draft = world.wallet.draft()
    draft.transfer(OTHER, draft.split(GAS, before - BUDGET + 1))
    world.wallet.fail(draft, "INSUFFICIENT_COIN_BALANCE")
    assert world.wallet.mist() == before - COST
    draft = world.wallet.draft()
    draft.transfer(OTHER, draft.split(GAS, before - COST - BUDGET))
    world.wallet.succeed(draft)
    assert world.wallet.mist() == BUDGET - COST


def test_coins_are_the_frameworks_own(world: World) -> None:
    """Its bytecode splits and joins them, and turns them into balances."""
    coin = world.chain.fund(world.wallet.address, 100)
    types = GAS_COIN.arguments
    draft = world.wallet.draft()
    given = draft.object(coin.id)
    part = draft.call(SUI, "coin::split", given, u64(30), types=types)
    balance = draft.call(SUI, "coin::into_balance", part, types=types)
    other = draft.call(SUI, "balance::zero", types=types)
    draft.call(SUI, "balance::join", other, balance, types=types)
    draft.transfer(OTHER, draft.call(SUI, "coin::from_balance", other, types=types))
    world.wallet.succeed(draft)
    (part_of_other,) = world.chain.objects.owned_by(OTHER)
    assert (world.get(coin.id).contents[32:], part_of_other.contents[32:]) == (u64(70), u64(30))
    draft = world.wallet.draft()
    draft.transfer(OTHER, draft.call(SUI, "coin::split", draft.object(coin.id), u64(71), types=types))
    failure = world.wallet.fail(draft, "MOVE_ABORT").failure
    assert failure is not None
    assert failure.location is not None
    assert (failure.abort_code, failure.location.module) == (2, "balance")
