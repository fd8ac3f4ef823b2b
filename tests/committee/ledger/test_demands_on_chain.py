"""Demands of single symbols: who asks, what is open, and what becomes of the bond."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from committee.errors import LedgerRefused, LedgerUnavailable, ProvidersDisagree
from committee.ledger.evm import EvmLedger
from committee.ledger.evm.estimates import TRANSACTION_GAS_LIMIT
from committee.ledger.evm.open_demands import REREAD_BLOCKS
from committee.ledger.evm.proofs import batches, opening_gas
from committee.ledger.proofs import Demand
from committee.opening import Opening
from storage.redstuff import Parameters
from tests.committee.ledger.proving import Round, begin

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, SpoiltConnection


@pytest.fixture
async def begun(launch: Launch) -> Round:
    """A round that has begun."""
    return await begin(await launch([5, 3, 2]))


async def asker(begun: Round) -> EvmLedger:
    """A stranger with the tokens for one bond."""
    ledger = await begun.network.account()
    assert ledger.account is not None
    await begun.network.operator.mint(ledger.account, (await ledger.proof_terms()).bond)
    return ledger


async def balance(ledger: EvmLedger) -> int:
    """The tokens of a ledger's account."""
    assert ledger.account is not None
    return await ledger.balance(ledger.account)


async def test_a_demand_is_found_and_answered(begun: Round) -> None:
    stranger, node = await asker(begun), begun.node
    account, node_id = str(stranger.account), node.node_id
    assert await node.ledger.demands(node_id) == ()
    place = begun.position_count - 1
    sent = await stranger.demand(node_id, place)
    assert await balance(stranger) == 0
    terms = await stranger.proof_terms()
    answer_by_s = await node.ledger.block_time_s(sent.block.number) + terms.demand_window_s
    expected = Demand(node_id, account, place, answer_by_s)
    for reader in (node.ledger, stranger):
        assert await reader.demands(node_id) == (expected,)
    assert (await stranger.member_proof(begun.state.epoch, node_id)).open_demands == 1
    assert await stranger.demands(begun.network.nodes[1].node_id) == ()
    opening = begun.honest.opening(begun.position_at(place))
    await node.ledger.answer_demand(node_id, account, replace(opening, commitment_path=()))
    assert await balance(node.ledger) == terms.bond
    assert await node.ledger.demands(node_id) == ()
    with pytest.raises(LedgerRefused, match="NotDemanded"):
        await begun.network.operator.answer_demand(node_id, account, opening)


async def test_a_demand_that_is_not_answered_is_judged(begun: Round) -> None:
    stranger, node_id = await asker(begun), begun.network.nodes[1].node_id
    account = str(stranger.account)
    await stranger.demand(node_id, 0)
    (demand,) = await stranger.demands(node_id)
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await stranger.judge_demand(node_id, account)
    await begun.network.chain.increase_time(demand.answer_by_s + 1 - await stranger.chain_time_s())
    await stranger.judge_demand(node_id, account)
    assert (await stranger.member_proof(begun.state.epoch, node_id)).is_punished
    assert await balance(stranger) >= (await stranger.proof_terms()).bond
    assert await stranger.demands(node_id) == ()


async def test_a_demand_of_an_epoch_that_is_over_is_reclaimed(begun: Round) -> None:
    stranger, node_id = await asker(begun), begun.node.node_id
    account = str(stranger.account)
    await stranger.demand(node_id, 0)
    with pytest.raises(LedgerRefused, match="EpochNotOver"):
        await stranger.reclaim(begun.state.epoch, node_id, account)
    assert len(await stranger.demands(node_id)) == 1
    await begun.network.begin_epoch()
    assert await stranger.demands(node_id) == ()
    await stranger.reclaim(begun.state.epoch, node_id, account)
    assert await balance(stranger) == (await stranger.proof_terms()).bond


async def test_an_account_without_the_bond_approves_nothing(begun: Round) -> None:
    stranger = await begun.network.account()
    with pytest.raises(LedgerRefused, match="ERC20InsufficientBalance"):
        await stranger.demand(begun.node.node_id, 0)
    assert stranger.sent == ()


async def test_only_new_blocks_are_searched_and_missing_events_noticed(
    begun: Round, spoilt: SpoiltConnection
) -> None:
    """An endpoint that leaves out events would have the node punished for a demand that it never heard of."""
    node_id, searched, hidden = begun.node.node_id, [], [False]

    async def note(method: str, parameters: list[dict[str, Any]]) -> None:
        if method == "eth_getLogs":
            assert len(parameters[0]["topics"]) == 3, "of this epoch and node alone"
            searched.append(int(parameters[0]["fromBlock"], 16))

    def hide(method: str, result: object) -> object:
        return [] if method == "eth_getLogs" and hidden[0] else result

    spoilt.rules.append(note)
    spoilt.changes.append(hide)
    stranger = await asker(begun)
    async with await EvmLedger.connect(spoilt.url, begun.network.deployment) as reader:
        assert await reader.demands(node_id) == ()
        assert begun.state.started_block is not None
        assert searched == [begun.state.started_block.number]
        newest = (await reader.newest()).number
        await stranger.demand(node_id, 0)
        await begun.network.chain.mine(REREAD_BLOCKS + 10)
        hidden[0] = True
        with pytest.raises(LedgerUnavailable, match="contradict"):
            await reader.demands(node_id)
        hidden[0] = False
        assert len(await reader.demands(node_id)) == 1
        del searched[:]
        assert len(await reader.demands(node_id)) == 1
        assert len(searched) == 1
        assert searched[0] > newest


async def test_an_endpoint_that_tells_of_no_demand_is_contradicted(
    begun: Round, spoilt: SpoiltConnection
) -> None:
    node_id = begun.node.node_id
    await (await asker(begun)).demand(node_id, 0)
    proofs, chain = begun.network.operator._reader.proofs, begun.network.chain
    asked, another = (
        "0x" + proofs.abi.encode_call("proofOf", begun.state.epoch, one).hex() for one in (node_id, 99)
    )
    nothing = await chain.request("eth_call", {"to": proofs.address, "data": another}, "latest")

    async def hide(method: str, parameters: list[Any]) -> web.Response | None:
        if method == "eth_getLogs":
            result: object = []
        elif method == "eth_call" and parameters[0]["data"] == asked:
            result = nothing
        else:
            return None
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": result})

    spoilt.rules.append(hide)
    urls = [spoilt.url, chain.rpc_url]
    async with await EvmLedger.connect(urls, begun.network.deployment) as reader:
        with pytest.raises(ProvidersDisagree):
            await reader.demands(node_id)
        spoilt.rules.clear()
        assert len(await reader.demands(node_id)) == 1


def opening(symbol: int, path: int) -> Opening:
    """An opening with a symbol of so many bytes, and paths with so many nodes in all."""
    return Opening(0, 0, bytes(32), 1, (), bytes(symbol), (bytes(32),) * path, bytes(32), (), ())


@pytest.mark.parametrize(
    ("symbol", "path", "sizes"),
    [(302, 34, [16]), (7366, 40, [16]), (20_000, 60, [15, 1]), (65_534, 60, [5, 5, 5, 1]), (0, 0, [16])],
)
def test_openings_are_sent_in_batches_that_fit_into_transactions(
    symbol: int, path: int, sizes: list[int]
) -> None:
    openings = {place: opening(symbol, path) for place in range(15, -1, -1)}
    found = batches(openings)
    assert [len(batch) for batch in found] == sizes
    assert [item for batch in found for item in batch.items()] == list(openings.items())
    assert all(sum(map(opening_gas, batch.values())) < TRANSACTION_GAS_LIMIT for batch in found)


@pytest.mark.parametrize(
    ("symbol", "transactions", "least", "most"), [(302, 1, 50_000, 60_000), (65_534, 4, 2_600_000, 2_700_000)]
)
async def test_openings_take_the_gas_that_they_are_said_to(
    launch: Launch, symbol: int, transactions: int, least: int, most: int
) -> None:
    grid = Parameters(10)
    begun = await begin(await launch([5, 3, 2]), lengths=[grid.s * grid.p * symbol])
    draw = await begun.draw()
    openings = {place: begun.honest.opening(begun.position(draw, place)) for place in range(16)}
    sent = await begun.node.ledger.answer(begun.node.node_id, openings)
    assert (await begun.node.ledger.member_proof(begun.state.epoch, begun.node.node_id)).is_proven
    assert len(sent) == transactions
    for one, batch in zip(sent, batches(openings), strict=True):
        assert len(batch) * least <= one.gas_used <= len(batch) * most
        assert one.gas_used <= 21_000 + sum(map(opening_gas, batch.values()))
