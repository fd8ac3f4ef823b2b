"""Endpoints that have not come to what they are asked for: still being synchronised, behind, or without finality."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from committee.errors import LedgerError, LedgerNotSettled, LedgerRefused
from committee.ledger.evm import EvmLedger

if TYPE_CHECKING:
    from localnet.chain import LocalChain
    from tests.committee.ledger.conftest import Launch, SpoiltConnection


def answer_from(spoilt: SpoiltConnection, block: str, *tags: str) -> None:
    """Have the endpoint answer as if `block` were its newest one; of blocks, for these tags alone if any is named."""

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        asked = list(parameters)
        if method == "eth_getBlockByNumber" and (asked[0] in tags or not tags):
            asked[0] = block
        elif method == "eth_call" and not tags:
            asked[1] = block
        else:
            return None
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": asked}
        return web.Response(body=await spoilt.forward(body), content_type="application/json")

    spoilt.rules.append(rule)


async def test_a_newest_block_that_an_endpoint_does_not_know_for_a_while_is_waited_for(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """erigontech/erigon#5893: null comes between the answers of one that is being synchronised."""
    monkeypatch.setattr("committee.ledger.evm.reader.BEHIND_PAUSES_S", (0.0,) * 4)
    network = await launch()
    unknown = {"jsonrpc": "2.0", "id": 1, "result": None}
    spoilt.answer("eth_getBlockByNumber", lambda: web.json_response(unknown), times=4)
    async with EvmLedger.open(spoilt.url, network.deployment) as ledger:
        assert await ledger.newest() == await network.operator.newest()
        spoilt.answer("eth_getBlockByNumber", lambda: web.json_response(unknown), times=9)
        with pytest.raises(LedgerError, match="does not know the block"):
            await ledger.newest()


async def test_an_endpoint_that_is_being_synchronised_is_told_as_such(
    chain: LocalChain, launch: Launch, spoilt: SpoiltConnection
) -> None:
    """OffchainLabs/prysm#11500, livepeer/go-livepeer#1564: there seem to be no contracts."""
    await chain.mine()  # so that they are deployed on this chain, which has the states before them
    network = await launch()
    answer_from(spoilt, "0x0")
    words = rf"deployed in block {network.deployment.block}, and .* is at block 0: .*begun anew"
    with pytest.raises(LedgerNotSettled, match=words):
        await EvmLedger.connect(spoilt.url, network.deployment)
    async with EvmLedger.open(spoilt.url, network.deployment) as ledger:
        with pytest.raises(LedgerNotSettled, match=words):
            await ledger.nodes()
        spoilt.fail("eth_call", -32000, "header not found", times=9)
        spoilt.rules.reverse()
        with pytest.raises(LedgerNotSettled, match=words):
            await ledger.nodes()
    spoilt.rules.clear()
    nowhere = dataclasses.replace(network.deployment, committee="0x" + 38 * "0" + "AA")
    with pytest.raises(LedgerError, match="no such contract") as told:
        await EvmLedger.connect(spoilt.url, nowhere)
    assert not isinstance(told.value, LedgerNotSettled)


async def test_a_finality_that_stays_at_block_0_is_told_as_such(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """status-im/nimbus-eth2#481: so say chains without finality, and endpoints whose consensus client is missing."""
    network = await launch()
    deployment = dataclasses.replace(network.deployment, finality="finalized")
    answer_from(spoilt, "0x0", "finalized")
    async with EvmLedger.open(spoilt.url, deployment) as ledger:
        words = r"keeps naming block 0 as finalized .* `confirmations`"
        with pytest.raises(LedgerNotSettled, match=words) as told:
            await ledger.head()
        assert told.value.lacks_finality
    answer_from(spoilt, "0x1", "finalized")
    spoilt.rules.reverse()
    async with EvmLedger.open(spoilt.url, deployment) as ledger:
        with pytest.raises(
            LedgerNotSettled, match=r"settled block 1: wait until it has settled theirs$"
        ) as told:
            await ledger.head()
        assert not told.value.lacks_finality


async def test_an_object_that_an_endpoint_does_not_know_is_told_with_its_newest_block(
    launch: Launch,
) -> None:
    """ethersphere/bee#3300: what was just bought elsewhere seems never to have been."""
    network = await launch()
    newest = await network.operator.newest()
    with pytest.raises(
        LedgerRefused, match=rf"\(objectId=7\), as of block {newest.number}, .* \d+ s old"
    ) as told:
        await network.operator.blob_object(7)
    assert "in a later block" in told.value.hint
