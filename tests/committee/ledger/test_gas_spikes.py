"""Gas that grows dear before an answer is mined: it lands within its window, whatever was sent before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import TransactionUnknown
from committee.ledger.evm import EvmLedger
from committee.opening import PLACES_ON_CHAIN
from tests.committee.ledger.conftest import PARAMETERS
from tests.committee.ledger.proving import begin

if TYPE_CHECKING:
    from aiohttp import web

    from tests.committee.ledger.conftest import Launch, SpoiltConnection
    from tests.committee.ledger.proving import Round

GWEI = 10**9
SPIKE_WEI = 5 * GWEI
"""Of a base fee of 1 gwei or less, by which a transaction bids 3 at most."""
LARGE_SPIKE_WEI = 50 * GWEI
"""More than a transaction's bid is ever raised to."""
WINDOWS = replace(PARAMETERS, commit_window_s=20, prove_window_s=20, answer_window_s=60)


async def answering(launch: Launch, spoilt: SpoiltConnection) -> tuple[Round, EvmLedger]:
    """A round whose positions are drawn, and its node's ledger over the connection that the test sees."""
    begun = await begin(await launch([5, 3, 2], WINDOWS))
    ledger = await EvmLedger.connect(spoilt.url, begun.network.deployment, begun.node.key)
    return begun, await begun.network.connections.enter_async_context(ledger)


async def spike(
    begun: Round, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch, base_fee_wei: int
) -> None:
    """From the node's next transaction on gas is dear, and a block is mined each time that it looks for a receipt."""
    chain = begun.network.chain
    await chain.request("evm_setAutomine", False)
    monkeypatch.setattr("committee.ledger.evm.sender.BUMP_AFTER_S", 0.0)

    async def mine(method: str, _: list[Any]) -> web.StreamResponse | None:
        if method == "eth_getTransactionReceipt":
            await chain.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
            await chain.mine()
        return None

    spoilt.rules.append(mine)


async def answer(begun: Round, ledger: EvmLedger, draw: bytes) -> None:
    """Answer all places on chain, and find the member to have proven."""
    places = {place: begun.honest.opening(begun.position(draw, place)) for place in range(PLACES_ON_CHAIN)}
    await ledger.answer(begun.node.node_id, places)
    assert (await ledger.member_proof(begun.state.epoch, begun.node.node_id)).is_proven


async def test_an_answer_is_mined_though_gas_grows_dear_behind_its_estimate(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ledger = await answering(launch, spoilt)
    draw = await begun.draw()
    await spike(begun, spoilt, monkeypatch, SPIKE_WEI)
    await answer(begun, ledger, draw)
    assert spoilt.asked.count("eth_sendRawTransaction") > 1


async def test_an_answer_that_was_given_up_when_gas_grew_dear_does_not_hold_up_the_next(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ledger = await answering(launch, spoilt)
    draw = await begun.draw()
    await spike(begun, spoilt, monkeypatch, LARGE_SPIKE_WEI)
    with monkeypatch.context() as patch:
        patch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 0.5)
        with pytest.raises(TransactionUnknown):
            await answer(begun, ledger, draw)
    await answer(begun, ledger, draw)
