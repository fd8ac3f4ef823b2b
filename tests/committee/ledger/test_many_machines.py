"""One URL, many machines behind it: some are a block behind, some have not heard of a transaction or lose answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from committee.errors import LedgerRefused
from committee.ledger.evm import AccountKey, EvmLedger, broadcast
from committee.ledger.evm.endpoints import Endpoint
from committee.ledger.evm.nonces import Nonces
from committee.ledger.evm.permits import Permit
from tests.committee.ledger.test_evm_sender import HOLDER, spoilt_operator
from tests.committee.ledger.test_paying_on_chain import LENGTH, ROOT, ids, in_epoch_1

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

PRICE = 10**15
UNKNOWN = {"jsonrpc": "2.0", "id": 1, "result": None}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machines catch up by the number of requests here, and not by time."""
    for name in ("estimates", "reader", "broadcast", "sender"):
        monkeypatch.setattr(f"committee.ledger.evm.{name}.BEHIND_PAUSES_S", (0.0,) * 5)
    monkeypatch.setattr(broadcast, "LOOK_PAUSE_S", 0.0)


def error(code: int, message: str, data: str | None = None) -> web.Response:
    told: dict[str, Any] = {"code": code, "message": message} | ({"data": data} if data is not None else {})
    return web.json_response({"jsonrpc": "2.0", "id": 1, "error": told})


async def writer(network: Network, spoilt: SpoiltConnection) -> EvmLedger:
    """An account with tokens, over the connection that tests spoil, as in a process of its own."""
    key = (await network.account())._sending()._key
    await network.operator.mint(key.address, 10**24)
    ledger = await EvmLedger.connect(spoilt.url, network.deployment, key)
    ledger._sending()._nonces = Nonces(network.deployment.chain_id, key.address)
    return await network.connections.enter_async_context(ledger)


def answer_a_block_behind(network: Network, spoilt: SpoiltConnection, times: int) -> Callable[[], None]:
    """Estimates and calls at the newest block come from the block before, so often after each beginning."""
    left = 0

    def begin() -> None:
        nonlocal left
        left = times

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        nonlocal left
        is_newest = parameters[1:] in ([], ["latest"])
        if method not in ("eth_estimateGas", "eth_call") or not left or not is_newest:
            return None
        left -= 1
        before = hex(int(await network.chain.request("eth_blockNumber"), 16) - 1)
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [parameters[0], before]}
        return web.Response(body=await spoilt.forward(body), content_type="application/json")

    spoilt.rules.append(rule)
    return begin


async def test_an_allowance_that_a_machine_does_not_know_yet_is_waited_for(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """babylonlabs-io/babylon-toolkit#2119, bob-collective/bob#1146."""
    network = await in_epoch_1(launch, PRICE)
    ledger = await writer(network, spoilt)
    begin = answer_a_block_behind(network, spoilt, 2)

    async def after_each_send(method: str, _: list[Any]) -> web.StreamResponse | None:
        if method == "eth_sendRawTransaction":
            begin()
        return None

    spoilt.rules.append(after_each_send)
    assert (await ledger.register_blob(ROOT, LENGTH, 2))[0] == 1
    assert (await ledger.register_blob(ROOT, LENGTH, 2))[0] == 2
    assert spoilt.asked.count("eth_sendRawTransaction") == 2
    assert await ledger._reader.call(ledger._reader.token, "nonces", ledger.account) == 1, "no second permit"


async def test_what_another_process_did_and_a_machine_does_not_know_yet_is_waited_for(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """ithacaxyz/relay#1124, ethereum/go-ethereum#27353: as after `haulout epoch select && haulout epoch start`."""
    network = await launch([3])
    operator = await spoilt_operator(network, spoilt)
    await network.nodes[0].ledger.select()
    answer_a_block_behind(network, spoilt, 2)()
    await operator.start()
    assert spoilt.asked.count("eth_estimateGas") == 3
    assert spoilt.asked.count("eth_sendRawTransaction") == 1


async def test_ether_that_a_machine_does_not_know_yet_is_found(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await in_epoch_1(launch)
    ledger = await writer(network, spoilt)

    async def poor(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_getBalance" or parameters[1] != "latest":
            return None
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": "0x0"})

    spoilt.rules.append(poor)
    assert (await ledger.register_blob(ROOT, LENGTH, 2))[0] == 1


@pytest.mark.parametrize("method", ["eth_estimateGas", "eth_sendRawTransaction"])
async def test_too_little_ether_on_a_machine_that_is_behind_is_not_believed(
    launch: Launch, spoilt: SpoiltConnection, method: str
) -> None:
    """boundless-xyz/blobstream0#30, NethermindEth/nethermind#4829."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.fail(method, -32000, "insufficient funds for gas * price + value: balance 0, tx cost 1", times=3)
    await operator.fund(HOLDER, 5)
    assert await operator.ether_wei(HOLDER) == 5
    assert spoilt.asked.count(method) == 4


@pytest.mark.parametrize("method", ["eth_estimateGas", "eth_sendRawTransaction"])
async def test_too_little_ether_on_the_newest_state_is_believed(
    launch: Launch, spoilt: SpoiltConnection, method: str
) -> None:
    network = await launch()
    key = AccountKey.generate()
    await network.operator.fund(key.address, 10**15)
    async with EvmLedger.open(spoilt.url, network.deployment, key) as ledger:
        if method == "eth_sendRawTransaction":
            spoilt.answer(
                "eth_estimateGas", lambda: web.json_response({"jsonrpc": "2.0", "id": 1, "result": "0x5208"})
            )
        with pytest.raises(LedgerRefused, match="InsufficientFunds"):
            await ledger.fund(HOLDER, 10**16)
    assert spoilt.asked.count(method) == 1


async def test_a_revert_behind_ones_own_transaction_is_believed(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    spoilt.asked.clear()
    with pytest.raises(LedgerRefused, match="NotSelected"):
        await operator.start()
    assert spoilt.asked.count("eth_estimateGas") == 1


async def test_a_revert_behind_anothers_transaction_is_believed(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """On the state after the account's own transaction the call succeeds still."""
    network = await launch([3])
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    await network.nodes[0].ledger.select()
    spoilt.asked.clear()
    with pytest.raises(LedgerRefused, match="AlreadySelected"):
        await operator.select()
    assert spoilt.asked.count("eth_estimateGas") == 1


async def test_an_object_that_a_machine_does_not_know_yet_is_not_paid_for_again(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """A store that fails behind its registration and is tried again at once: 0gfoundation/0g-storage-client#145."""
    network = await in_epoch_1(launch)
    ledger = await writer(network, spoilt)
    await ledger.register_blob(ROOT, LENGTH, 2)
    answer_a_block_behind(network, spoilt, 2)()
    spoilt.fail("eth_call", -32000, "header not found", times=2)
    assert await ids(ledger) == [1]


@pytest.mark.parametrize(
    "words", ["already known", "AlreadyKnown", "nonce too low: next nonce 6, tx nonce 5"]
)
@pytest.mark.parametrize("is_lost", [True, False], ids=["answer lost", "a proxy's second try"])
async def test_a_transaction_that_arrived_is_not_sent_with_another_nonce(
    launch: Launch, spoilt: SpoiltConnection, words: str, is_lost: bool
) -> None:
    """And a machine that has not heard of it says so: ethereum/execution-apis#245, gnosis/gp-v2-services#896."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    sent: list[str] = []

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_sendRawTransaction":
            return None
        sent.append(parameters[0])
        if len(sent) == 1:
            await spoilt.forward({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        return web.Response(status=502) if len(sent) == 1 and is_lost else error(-32000, words)

    spoilt.rules.append(rule)
    spoilt.answer("eth_getTransactionByHash", lambda: web.json_response(UNKNOWN), times=2)
    mined = await operator.mint(HOLDER, 5)
    assert await network.operator.balance(HOLDER) == 5
    assert len(set(sent)) == 1
    assert [one.hash for one in operator.sent] == [mined.hash]


async def test_a_nonce_too_high_for_a_machine_is_tried_again_and_no_higher_one(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """A gap that a higher nonce leaves would never be filled; an endpoint that keeps one for later hides it here."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    raw: list[str] = []

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_sendRawTransaction":
            raw.append(parameters[0])
            if len(raw) < 3:
                return error(-32000, "NonceGap, Future nonce. Expected nonce 5")
        return None

    spoilt.rules.append(rule)
    await operator.mint(HOLDER, 2)
    assert len(raw) == 3
    assert len(set(raw)) == 1


async def test_an_endpoint_that_cannot_look_transactions_up_yet_is_no_reason_to_forget_one(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """ethereum/go-ethereum#29956."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    for method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
        spoilt.fail(method, -32000, "transaction indexing is in progress", times=3)
    spoilt.lose_answer("eth_sendRawTransaction", times=2)
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5


@pytest.mark.parametrize("told", ["0x", "", None])
async def test_a_receipt_names_no_contract_in_words_of_its_endpoint(
    launch: Launch, spoilt: SpoiltConnection, told: str | None
) -> None:
    """godwokenrises/godwoken-web3#360 and #363: what was mined, and paid, would be reported as unknown."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_getTransactionReceipt":
            return None
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = json.loads(await spoilt.forward(body))
        if answer["result"] is not None:
            answer["result"]["contractAddress"] = told
        return web.json_response(answer)

    spoilt.rules.append(rule)
    async with asyncio.timeout(10):
        await operator.mint(HOLDER, 1)
    assert await operator.balance(HOLDER) == 1


@pytest.mark.parametrize("tells_status", [True, False])
async def test_a_receipt_without_a_block_is_of_a_transaction_that_waits(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch, tells_status: bool
) -> None:
    """openethereum/parity-ethereum#3482, singnet/snet-cli#54. The endpoint is not blamed for it."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    blamed: list[object] = []
    monkeypatch.setattr(Endpoint, "failed", lambda endpoint, fault, *_: blamed.append(fault))
    left = 3

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        nonlocal left
        if method != "eth_getTransactionReceipt" or left == 0:
            return None
        left -= 1
        waits = {"transactionHash": parameters[0], "blockHash": None, "blockNumber": None, "logs": []}
        waits |= {"gasUsed": "0x5208"} | ({"status": "0x1"} if tells_status else {})
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": waits})

    spoilt.rules.append(rule)
    await operator.mint(HOLDER, 1)
    assert (left, blamed) == (0, [])
    assert await operator.balance(HOLDER) == 1


async def test_a_permit_that_another_process_makes_void_is_signed_again(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """ethersphere/bee#1699."""
    network = await in_epoch_1(launch, PRICE)
    ledger = await writer(network, spoilt)
    other = await EvmLedger.connect(network.chain.rpc_url, network.deployment, ledger._sending()._key)
    await network.connections.enter_async_context(other)

    async def rule(method: str, _: list[Any]) -> web.StreamResponse | None:
        if method == "eth_estimateGas" and spoilt.asked.count(method) == 2:
            reader, sender = other._reader, other._sending()
            values = sender.account, reader.blobs.address, 0
            permit = Permit(reader.chain_id, reader.token.address, reader.blobs.address, 0, 0, 1 << 40)
            await other._send(reader.token, "permit", *values, 1 << 40, *sender.sign_permit(permit))
        return None

    spoilt.asked.clear()
    spoilt.rules.append(rule)
    assert (await ledger.register_blob(ROOT, LENGTH, 2))[0] == 1
    assert await ledger._reader.call(ledger._reader.token, "nonces", ledger.account) == 2


async def test_a_receipt_that_a_stuck_endpoint_lacks_comes_from_another(
    launch: Launch, spoil: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the transaction, which a stuck endpoint may hand on to nobody: GLEECBTC/komodo-defi-framework#2593."""
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.0)
    stuck, well = await spoil(), await spoil()
    stuck.answer("eth_getTransactionReceipt", lambda: web.json_response(UNKNOWN), times=10**6)

    async def keep(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        answers = {
            "eth_sendRawTransaction": "0x" + "00" * 32,
            "eth_getTransactionByHash": {"hash": parameters[0]},
        }
        result = answers.get(method)
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": result}) if result else None

    stuck.rules.append(keep)
    ledger = await EvmLedger.connect(f"{stuck.url},{well.url}", network.deployment, network.key)
    await network.connections.enter_async_context(ledger)
    await ledger.mint(HOLDER, 5)
    assert await network.operator.balance(HOLDER) == 5


async def test_an_endpoint_that_stands_still_is_passed_over(
    launch: Launch, spoil: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consensus client has died, say; it answers on: hyperlane-xyz/hyperlane-monorepo#2570 and #2189."""
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.settled.STUCK_LOOK_S", 0.0)
    stuck, well = await spoil(), await spoil()
    ledger = EvmLedger.open(f"{stuck.url},{well.url}", network.deployment)
    await network.connections.enter_async_context(ledger)
    stands_at = await ledger.head()

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_blockNumber":
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": hex(stands_at.number)})
        if method == "eth_getBlockByNumber" and parameters[0] == "latest":
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [hex(stands_at.number), False]}
            return web.Response(body=await stuck.forward(body), content_type="application/json")
        return None

    stuck.rules.append(rule)
    await network.operator.mint(HOLDER, 1)
    assert await ledger.head() == stands_at, "not given up before its time"
    monkeypatch.setattr("committee.ledger.evm.settled.STUCK_AFTER_S", 0.0)
    newest = await ledger.head()
    assert newest.number == stands_at.number + 1
    stuck.asked.clear()
    assert await ledger.head() == newest
    assert "eth_getBlockByNumber" not in stuck.asked


async def test_an_endpoint_that_moves_is_not_passed_over_for_one_that_is_ahead(
    launch: Launch, spoil: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second one could name a block that there is not, and be believed for it."""
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.settled.STUCK_LOOK_S", 0.0)
    monkeypatch.setattr("committee.ledger.evm.settled.STUCK_AFTER_S", 60.0)
    first, ahead = await spoil(), await spoil()
    ledger = EvmLedger.open(f"{first.url},{ahead.url}", network.deployment)
    await network.connections.enter_async_context(ledger)
    ahead.changes.append(lambda method, result: "0xffffff" if method == "eth_blockNumber" else result)
    for _ in range(3):
        await network.operator.mint(HOLDER, 1)
        first.asked.clear()
        await ledger.head()
        await ledger.head()
        assert "eth_getBlockByNumber" in first.asked


@pytest.mark.parametrize("at", [1, -1], ids=["being synchronised", "fallen back"])
async def test_an_endpoint_without_a_block_that_was_settled_is_passed_over(
    launch: Launch, spoil: Callable[[], Any], at: int
) -> None:
    """ethereum/go-ethereum#23579, emeraldpay/dshackle#60."""
    network = await launch()
    first, well = await spoil(), await spoil()
    async with EvmLedger.open(f"{first.url},{well.url}", network.deployment) as ledger:
        for _ in range(3):
            await network.operator.mint(HOLDER, 1)
        newest = await network.operator.head()
        if at < 0:
            assert await ledger.head() == newest
        stands_at = at if at > 0 else newest.number + at

        async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
            if method != "eth_getBlockByNumber" or parameters[0] != "latest":
                return None
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [hex(stands_at), False]}
            return web.Response(body=await first.forward(body), content_type="application/json")

        first.rules.append(rule)
        assert await ledger.head() == newest
        well.rules.append(rule)
        first.asked.clear()
        if at < 0:
            # Both are behind, as a chain that was reorganised is: neither is blamed for it.
            assert (await ledger.head()).number == stands_at
