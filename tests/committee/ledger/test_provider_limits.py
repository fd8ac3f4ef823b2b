"""Providers with limits on batches and ranges, told in every form, and providers without the newer methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm import EvmLedger
from committee.ledger.evm.history import FIRST_REMEMBERED_S, LONGEST_REMEMBERED_S, Portion
from tests.committee.ledger.following import (
    LENGTH,
    STAKES,
    assert_as_fresh,
    certify,
    content,
    fresh,
    register,
    until_followed,
)

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

LIMIT = 3
BEHIND = 16
HOLDER = "0x00000000000000000000000000000000000000AA"


def error(code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()


Refusal = Callable[[], web.Response]
REFUSALS: dict[str, Refusal] = {
    "HTTP 400": lambda: web.Response(status=400, text="batch too large"),
    "HTTP 413": lambda: web.Response(status=413),
    "HTTP 500": lambda: web.Response(status=500, text="<html>error</html>"),
    "HTTP 500 with an error": lambda: web.Response(status=500, body=error(-32000, "batch limit")),
    "-32005": lambda: web.Response(body=error(-32005, "limit exceeded")),
    "-32600": lambda: web.Response(body=error(-32600, "invalid request")),
    "an array that is too short": lambda: web.Response(body=b"[" + error(-32000, "too many") + b"]"),
    "an empty array": lambda: web.Response(body=b"[]"),
    "text": lambda: web.Response(text="batches of more than 3 are not allowed"),
    "an error that is text": lambda: web.Response(body=b'{"error": "batch limit exceeded"}'),
}


class LimitedProvider:
    """Refuses batches and ranges of more than `LIMIT`."""

    def __init__(
        self, target: str, session: aiohttp.ClientSession, refusal: Refusal, *, batches_alone: bool = False
    ) -> None:
        self.refused = self.served = 0
        self._batches_alone = batches_alone
        self.url = ""
        self._target, self._session, self._refusal = target, session, refusal
        application = web.Application()
        application.router.add_post("/", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def __aenter__(self) -> LimitedProvider:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        size = 1
        if isinstance(body, list):
            size = len(body)
        elif body["method"] == "eth_getLogs" and "fromBlock" in body["params"][0]:
            criteria = body["params"][0]
            size = int(criteria["toBlock"], 16) - int(criteria["fromBlock"], 16) + 1
        if size > LIMIT and (isinstance(body, list) or not self._batches_alone):
            self.refused += 1
            return self._refusal()
        self.served += 1
        async with self._session.post(self._target, json=body) as answer:
            return web.Response(body=await answer.read())


async def long_behind(network: Network) -> None:
    """Blocks and events that a view has yet to take in."""
    await certify(network, *await register(network, 1))
    await network.chain.mine(BEHIND // 2)
    await certify(network, *await register(network, 2))
    await network.chain.mine(BEHIND // 2)


async def test_limits_of_a_provider_in_any_form_are_found_and_remembered(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    async with aiohttp.ClientSession() as session:
        views = []
        for refusal in REFUSALS.values():
            limited = LimitedProvider(network.chain.rpc_url, session, refusal)
            await network.connections.enter_async_context(limited)
            ledger = EvmLedger.open(limited.url, network.deployment, confirmations=0)
            await network.connections.enter_async_context(ledger)
            views.append((limited, await fresh(ledger)))
        await long_behind(network)
        for name, (limited, view) in zip(REFUSALS, views, strict=True):
            limited.refused = limited.served = 0
            await view.refresh()
            assert view.chain_status == "following", name
            await assert_as_fresh(view, network.operator)
            # Found once by halving, once more just below it, and then kept.
            assert limited.refused < 20, name
            limited.refused = 0
            await network.chain.mine(20)
            await view.refresh()
            assert limited.refused == 0, name
        await network.connections.aclose()


async def test_a_provider_that_counts_each_item_of_a_batch_against_its_rate_is_asked_for_fewer(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 0.5)
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.01)
    network = await launch(STAKES)
    await network.begin_epoch()
    async with (
        aiohttp.ClientSession() as session,
        LimitedProvider(
            *(network.chain.rpc_url, session, lambda: web.Response(status=429)), batches_alone=True
        ) as limited,
        EvmLedger.open(limited.url, network.deployment, confirmations=0) as ledger,
    ):
        view = await fresh(ledger)
        await long_behind(network)
        await view.refresh()
        assert limited.refused > 0
        await assert_as_fresh(view, network.operator)


async def test_the_second_provider_serves_what_the_first_has_limits_for(launch: Launch) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    async with (
        aiohttp.ClientSession() as session,
        LimitedProvider(network.chain.rpc_url, session, REFUSALS["HTTP 500"]) as limited,
        EvmLedger.open([limited.url, network.chain.rpc_url], network.deployment, confirmations=0) as ledger,
    ):
        view = await fresh(ledger)
        await long_behind(network)
        await view.refresh()
        await assert_as_fresh(view, network.operator)


LOGS_AT_ONCE = 1000
OUTSIDERS_CONTRACT = "0x00000000000000000000000000000000000000CC"
FILLER = "0x6000355b8060006000a1600190038060035700"
"""A contract that makes as many logs as it is told, each of another topic."""
REPEATER = "0x6040360360405f375f355b5f5f604036035f5f6020355af1506001900380600a5700"
"""A contract that calls another one as often as it is told, with the same data."""


class FewLogs(LimitedProvider):
    """Refuses answers of more than `LOGS_AT_ONCE` logs."""

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with self._session.post(self._target, json=body) as answer:
            content = await answer.read()
        logs = [] if isinstance(body, list) else json.loads(content).get("result")
        if isinstance(logs, list) and len(logs) > LOGS_AT_ONCE:
            self.refused += 1
            return self._refusal()
        return web.Response(body=content)


async def fill_a_block(network: Network, code: str, data: bytes) -> None:
    """Mine a block with the logs that an outsider's contract makes of the data, and a blob's registration."""
    chain, outsider = network.chain, "0x00000000000000000000000000000000000000BB"
    await chain.request("anvil_setCode", OUTSIDERS_CONTRACT, code)
    blobs, token = network.operator._reader.blobs, network.operator._reader.token
    await network.operator.mint(outsider, 10**9)
    await send(network, outsider, token.address, token.abi.encode_call("approve", blobs.address, 10**9))
    await chain.request("evm_setAutomine", False)
    registration = blobs.abi.encode_call(
        "reserveAndRegister", bytes(32), LENGTH, 1, 5, False, 2**256 - 1, 2**64
    )
    await send(network, outsider, OUTSIDERS_CONTRACT, data)
    await send(network, outsider, blobs.address, registration)
    await chain.mine()
    await chain.request("evm_setAutomine", True)


async def send(network: Network, sender: str, to: str, data: bytes) -> None:
    """Send from an account whose key is not needed."""
    await network.chain.fund(sender)
    await network.chain.request("anvil_impersonateAccount", sender)
    call = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(14_000_000)}
    await network.chain.request("eth_sendTransaction", call)


async def changes_of_an_address(network: Network) -> bytes:
    """What the `REPEATER` is to be sent, which operates the first node from now on."""
    registry, owner = network.operator._reader.registry, network.nodes[0].ledger.account
    assert owner is not None
    await send(
        network, owner, registry.address, registry.abi.encode_call("changeOperator", 1, OUTSIDERS_CONTRACT)
    )
    change = registry.abi.encode_call("updateNetworkAddress", 1, "http://moved", bytes(32))
    return (
        (LOGS_AT_ONCE + 1).to_bytes(32, "big") + bytes.fromhex(registry.address[2:]).rjust(32, b"\0") + change
    )


@pytest.mark.parametrize("name", ["HTTP 500", "-32005"])
async def test_a_block_that_an_outsider_filled_with_logs_is_passed(
    launch: Launch, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a block's bloom filter holds every event, and to fill it costs a few million gas."""
    network = await launch(STAKES)
    await network.begin_epoch()
    async with (
        aiohttp.ClientSession() as session,
        FewLogs(network.chain.rpc_url, session, REFUSALS[name]) as limited,
        EvmLedger.open(limited.url, network.deployment, confirmations=0) as ledger,
    ):
        view = await fresh(ledger)
        await fill_a_block(network, FILLER, (3 * LOGS_AT_ONCE).to_bytes(32, "big"))
        with pytest.raises(LedgerUnavailable):
            await view.refresh()
        monkeypatch.setattr("committee.ledger.evm.history.FULL_AFTER_S", 0.0)
        await until_followed(view)
        assert limited.refused > 0
        assert len(content(view)[0]) == 1
        await assert_as_fresh(view, network.operator)


async def test_to_fill_every_second_block_costs_one_wait(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    full = (3 * LOGS_AT_ONCE).to_bytes(32, "big")
    async with (
        aiohttp.ClientSession() as session,
        FewLogs(network.chain.rpc_url, session, REFUSALS["-32005"]) as limited,
        EvmLedger.open(limited.url, network.deployment, confirmations=0) as ledger,
    ):
        view = await fresh(ledger)
        with monkeypatch.context() as waited:
            waited.setattr("committee.ledger.evm.history.FULL_AFTER_S", 0.0)
            await fill_a_block(network, FILLER, full)
            await until_followed(view)
        for number in range(3):
            blob_id, _ = await register(network, number)
            await until_followed(view)
            refused = limited.refused
            await fill_a_block(network, FILLER, full)
            await view.refresh()
            assert limited.refused > refused
            assert view.block == await network.operator.head()
            assert view.is_registered(blob_id)
        await assert_as_fresh(view, network.operator)


async def test_a_block_full_of_changes_of_an_address_is_passed(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are events that are wanted, and cost gas alone: 70 million for 10 000."""
    monkeypatch.setattr("committee.ledger.evm.history.FULL_AFTER_S", 0.0)
    network = await launch(STAKES)
    await network.begin_epoch()
    changes = await changes_of_an_address(network)
    async with (
        aiohttp.ClientSession() as session,
        FewLogs(network.chain.rpc_url, session, REFUSALS["HTTP 413"]) as limited,
        EvmLedger.open(limited.url, network.deployment, confirmations=0) as ledger,
    ):
        view = await fresh(ledger)
        await fill_a_block(network, REPEATER, changes)
        await until_followed(view)
        assert limited.refused > 0
        assert len(content(view)[0]) == 1
        assert view.state.current is not None
        assert view.state.current.by_id[1].address == "http://moved"
        await assert_as_fresh(view, network.operator)


def test_a_limit_that_stays_is_probed_ever_more_rarely_and_one_that_went_is_forgotten() -> None:
    portion, refusals = Portion(1000), []
    day_s = 24 * 3600
    for now_s in range(day_s):
        if portion.now > LIMIT:
            portion.refused(portion.now, now_s)
            refusals.append(now_s)
        else:
            portion.served(now_s)
    assert len([one for one in refusals if one < FIRST_REMEMBERED_S]) <= 14
    assert len([one for one in refusals if one > day_s // 2]) <= 4 * day_s / 2 / LONGEST_REMEMBERED_S
    for now_s in range(day_s, day_s + int(LONGEST_REMEMBERED_S) + 20):
        portion.served(now_s)
    assert portion.now == 1000


# fees


def no_such_method() -> web.Response:
    return web.json_response(
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "the method does not exist"}}
    )


def not_found() -> web.Response:
    return web.Response(status=404, text="no such method")


async def sends_with(network: Network, spoilt: SpoiltConnection) -> dict[str, Any]:
    """Send over the spoilt connection; the transaction as the chain has it."""
    async with EvmLedger.open(spoilt.url, network.deployment, network.key) as ledger:
        transaction = await ledger.mint(HOLDER, 1)
    sent: dict[str, Any] = await network.chain.request(
        "eth_getTransactionByHash", "0x" + transaction.hash.hex()
    )
    return sent


@pytest.mark.parametrize("refusal", [no_such_method, not_found])
async def test_without_a_method_for_the_tip_the_fee_history_tells_it(
    launch: Launch, spoilt: SpoiltConnection, refusal: Refusal
) -> None:
    network = await launch()
    spoilt.answer("eth_maxPriorityFeePerGas", refusal, times=100)
    sent = await sends_with(network, spoilt)
    assert sent["type"] == "0x2"
    assert int(sent["maxPriorityFeePerGas"], 16) >= 10**9
    assert "eth_feeHistory" in spoilt.asked and "eth_gasPrice" not in spoilt.asked


async def test_without_a_fee_history_either_the_legacy_price_is_paid(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    for method in ("eth_maxPriorityFeePerGas", "eth_feeHistory"):
        spoilt.answer(method, no_such_method, times=100)
    sent = await sends_with(network, spoilt)
    assert sent["type"] == "0x0"
    assert await network.operator.balance(HOLDER) == 1


async def test_without_any_price_nothing_is_sent(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    for method in ("eth_maxPriorityFeePerGas", "eth_feeHistory", "eth_gasPrice"):
        spoilt.answer(method, no_such_method, times=100)
    with pytest.raises(LedgerError, match="eth_gasPrice"):
        await sends_with(network, spoilt)
    assert "eth_sendRawTransaction" not in spoilt.asked
