"""Transactions that are lost, doubled, late or refused on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from committee.errors import LedgerRefused, LedgerUnavailable
from committee.ledger.evm import AccountKey, DeploymentParameters, EvmLedger, deploy
from committee.ledger.evm.nonces import Nonces
from committee.messages import Intent, blob_body
from tests.committee.ledger.conftest import EPOCH_S

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

HOLDER = "0x00000000000000000000000000000000000000AA"


async def spoilt_operator(network: Network, spoilt: SpoiltConnection) -> EvmLedger:
    """The operator, over the connection that tests spoil."""
    sender = network.operator._sender
    assert sender is not None
    ledger = await EvmLedger.connect(spoilt.url, network.deployment, sender._key)
    spoilt.asked.clear()
    return await network.connections.enter_async_context(ledger)


async def test_concurrent_sends_take_consecutive_nonces(launch: Launch) -> None:
    network = await launch()
    start = (await network.operator.head()).number
    await asyncio.gather(*(network.operator.mint(HOLDER, amount) for amount in range(1, 21)))
    assert await network.operator.balance(HOLDER) == sum(range(1, 21))
    assert (await network.operator.head()).number <= start + 20


async def test_two_ledgers_of_one_key_take_consecutive_nonces(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    other = await spoilt_operator(network, spoilt)
    spoilt.fail("eth_getTransactionCount", -32000, "asked for a nonce that is known", times=100)
    await network.operator.mint(HOLDER, 1)
    await asyncio.gather(*(one.mint(HOLDER, 1) for one in (network.operator, other) * 5))
    assert await network.operator.balance(HOLDER) == 11


async def test_refused_call_takes_no_nonce(launch: Launch) -> None:
    network = await launch()
    answers = await asyncio.gather(
        network.operator.mint(HOLDER, 1),
        network.operator.start(),
        network.operator.mint(HOLDER, 2),
        return_exceptions=True,
    )
    assert isinstance(answers[1], LedgerRefused)
    assert answers[1].reason == "NotSelected"
    assert await network.operator.balance(HOLDER) == 3


async def test_a_call_that_an_earlier_one_of_its_block_spoils_is_told_by_the_contracts_error(
    launch: Launch,
) -> None:
    network = await launch((40, 30, 20, 10))
    operator, chain = network.operator, network.chain
    await chain.increase_time(EPOCH_S)
    await operator.select()
    await chain.request("evm_setAutomine", False)
    await chain.request("evm_setIntervalMining", 0)
    starts = [asyncio.create_task(operator.start()) for _ in range(2)]
    async with asyncio.timeout(10):
        while int((await chain.request("txpool_status"))["pending"], 16) < len(starts):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await chain.mine()
    answers = await asyncio.gather(*starts, return_exceptions=True)
    (refused,) = [one for one in answers if isinstance(one, BaseException)]
    assert isinstance(refused, LedgerRefused)
    assert refused.reason == "NotSelected"


async def test_transaction_whose_answer_was_lost_is_sent_once(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.lose_answer("eth_sendRawTransaction", times=3)
    await operator.mint(HOLDER, 5)
    await operator.mint(HOLDER, 7)
    assert await operator.balance(HOLDER) == 12
    assert "eth_getTransactionByHash" in spoilt.asked


async def test_transaction_that_the_endpoint_denies_is_not_doubled(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.lose_answer("eth_sendRawTransaction", times=3)
    unknown = {"jsonrpc": "2.0", "id": 1, "result": None}
    spoilt.answer("eth_getTransactionByHash", lambda: web.json_response(unknown), times=2)
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5
    assert spoilt.asked.count("eth_getTransactionByHash") == 2


async def test_transaction_that_never_arrived_is_sent_again(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.answer("eth_sendRawTransaction", lambda: web.Response(status=503), times=4)
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5


async def test_transaction_that_cannot_be_sent_is_reported_and_its_nonce_used_again(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.answer("eth_sendRawTransaction", lambda: web.Response(status=503), times=9)
    with pytest.raises(LedgerUnavailable, match=r"HauloutToken.mint could not be sent.*HTTP 503"):
        await operator.mint(HOLDER, 5)
    await operator.mint(HOLDER, 7)
    assert await operator.balance(HOLDER) == 7


async def test_nonce_taken_by_another_process_is_replaced(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    other = await spoilt_operator(network, spoilt)
    await other.mint(HOLDER, 1)
    await network.operator.mint(HOLDER, 2)
    await network.operator.mint(HOLDER, 4)
    await other.mint(HOLDER, 8)
    assert await network.operator.balance(HOLDER) == 15


async def test_transaction_dropped_by_the_endpoint_is_sent_again(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.0)
    accepted = {"jsonrpc": "2.0", "id": 1, "result": "0x" + "00" * 32}
    spoilt.answer("eth_sendRawTransaction", lambda: web.json_response(accepted))
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5
    assert spoilt.asked.count("eth_sendRawTransaction") == 2


async def test_transaction_that_is_not_mined_in_time_is_reported_as_unknown(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    monkeypatch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 0.2)
    none = {"jsonrpc": "2.0", "id": 1, "result": None}
    spoilt.answer("eth_getTransactionReceipt", lambda: web.json_response(none), times=1000)
    with pytest.raises(LedgerUnavailable, match=r"no receipt of transaction 0x.*may still come through"):
        await operator.mint(HOLDER, 5)


async def test_transaction_that_waits_too_long_is_sent_with_higher_fees_and_its_own_nonce(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    monkeypatch.setattr("committee.ledger.evm.sender.BUMP_AFTER_S", 0.0)
    await network.chain.request("evm_setAutomine", False)
    versions: list[Any] = []

    async def mine_the_second(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_sendRawTransaction":
            versions.append(TypedTransaction.from_bytes(HexBytes(parameters[0])).as_dict())
        if method == "eth_getTransactionReceipt" and len(versions) == 2:
            await network.chain.mine()
        return None

    spoilt.rules.append(mine_the_second)
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5
    first, second = versions
    assert second["nonce"] == first["nonce"]
    for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert second[fee] * 100 >= first[fee] * 125


async def have_wait(network: Network, operator: EvmLedger, count: int) -> None:
    """Hand over transfers of the operator's that are not mined."""
    chain, sender = network.chain, operator._sending()
    await chain.request("evm_setAutomine", False)
    first = int(await chain.request("eth_getTransactionCount", sender.account, "latest"), 16)
    for nonce in range(first, first + count):
        fields = {"chainId": 31337, "nonce": nonce, "to": HOLDER, "value": 1, "data": b"", "gas": 21_000}
        signed = sender._key.sign(fields | {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9})
        await chain.request("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())


def mine_at(network: Network, spoilt: SpoiltConnection, method: str) -> None:
    """Mine a block at each request of the method."""

    async def rule(asked: str, _: list[Any]) -> web.StreamResponse | None:
        if asked == method:
            await network.chain.mine()
        return None

    spoilt.rules.insert(0, rule)


@pytest.mark.parametrize("waiting", [0, 1, 3])
async def test_transactions_that_wait_for_ever_are_cancelled(
    launch: Launch, spoilt: SpoiltConnection, waiting: int
) -> None:
    """ethereum/go-ethereum#16284, status-im/status-app#13854: they hold up all later ones of the account."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await have_wait(network, operator, waiting)
    mine_at(network, spoilt, "eth_getTransactionReceipt")
    cancelled = await operator.cancel_waiting()
    assert [one.gas_used for one in cancelled] == [21_000] * waiting
    assert await operator.ether_wei(HOLDER) == 0
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5


@pytest.mark.parametrize("is_mined", [True, False])
async def test_a_replacement_that_is_not_taken(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch, *, is_mined: bool
) -> None:
    monkeypatch.setattr("committee.ledger.evm.broadcast.LOOK_PAUSE_S", 0.0)
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await have_wait(network, operator, 1)
    spoilt.fail("eth_sendRawTransaction", -32000, "replacement transaction underpriced", times=100)
    if is_mined:
        mine_at(network, spoilt, "eth_sendRawTransaction")
        assert await operator.cancel_waiting() == []
        return
    with pytest.raises(
        LedgerUnavailable, match=r"with nonce \d+ cannot be replaced: .* wants more than \d+ wei"
    ):
        await operator.cancel_waiting()


async def test_fees_are_raised_only_so_often(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    monkeypatch.setattr("committee.ledger.evm.sender.BUMP_AFTER_S", 0.0)
    monkeypatch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 1.0)
    await network.chain.request("evm_setAutomine", False)
    with pytest.raises(LedgerUnavailable, match="may still come through"):
        await operator.mint(HOLDER, 5)
    assert spoilt.asked.count("eth_sendRawTransaction") == 4
    await network.chain.mine()
    assert await operator.balance(HOLDER) == 5


async def test_transaction_whose_nonce_went_to_another_is_told_as_lost(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    assert operator._sender is not None
    # As if the operator's were another process.
    operator._sender._nonces = Nonces(network.deployment.chain_id, operator._sender.account)
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.0)
    monkeypatch.setattr("committee.ledger.evm.sender.OVERTAKEN_LIMIT_S", 0.0)
    accepted = {"jsonrpc": "2.0", "id": 1, "result": "0x" + "00" * 32}
    spoilt.answer("eth_sendRawTransaction", lambda: web.json_response(accepted))
    was_taken = False

    async def take_its_nonce(method: str, _: list[Any]) -> web.StreamResponse | None:
        nonlocal was_taken
        if method == "eth_getTransactionReceipt" and not was_taken:
            was_taken = True
            await network.operator.mint(HOLDER, 1)
        return None

    spoilt.rules.append(take_its_nonce)
    with pytest.raises(LedgerUnavailable, match=r"another transaction has its nonce.*will not come through"):
        await operator.mint(HOLDER, 5)
    assert await network.operator.balance(HOLDER) == 1


async def test_a_receipt_that_an_endpoint_tells_long_after_the_nonce_was_used_is_waited_for(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ethereum/go-ethereum#19813, NethermindEth/nethermind#2424: it is no other transaction that has the nonce."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.0)
    monkeypatch.setattr("committee.ledger.evm.broadcast.LOOK_PAUSE_S", 0.0)
    monkeypatch.setattr("committee.ledger.evm.sender.LONGEST_POLL_S", 0.01)
    unseen = {"jsonrpc": "2.0", "id": 1, "result": None}
    late = 0

    async def not_found(method: str, _: list[Any]) -> web.StreamResponse | None:
        nonlocal late
        if method == "eth_getTransactionReceipt":
            late += 1
        is_late = method in ("eth_getTransactionReceipt", "eth_getTransactionByHash") and late < 30
        return web.json_response(unseen) if is_late else None

    spoilt.rules.append(not_found)
    await operator.mint(HOLDER, 5)
    assert late == 30
    assert await network.operator.balance(HOLDER) == 5


async def test_count_of_an_endpoint_that_is_behind_takes_no_nonce_twice(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    sender = operator._sender
    assert sender is not None
    sender._nonces.next = None
    behind = {"jsonrpc": "2.0", "id": 1, "result": "0x0"}
    spoilt.answer("eth_getTransactionCount", lambda: web.json_response(behind))
    spoilt.asked.clear()
    await operator.mint(HOLDER, 2)
    assert spoilt.asked.count("eth_sendRawTransaction") == 1


async def test_nonces_that_a_reorganisation_left_unused_are_filled_and_no_call_runs_twice(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.0)
    for amount in (1, 2, 4):
        await network.operator.mint(HOLDER, amount)
    await network.chain.request("anvil_reorg", 2, [])
    assert await network.operator.balance(HOLDER) == 1
    await asyncio.gather(network.operator.mint(HOLDER, 8), network.operator.mint(HOLDER, 16))
    assert await network.operator.balance(HOLDER) == 25


async def test_failure_after_the_estimate_is_explained(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch((40, 30, 20, 10))
    operator = await spoilt_operator(network, spoilt)
    estimate = {"jsonrpc": "2.0", "id": 1, "result": hex(200_000)}
    spoilt.answer("eth_estimateGas", lambda: web.json_response(estimate))
    with pytest.raises(LedgerRefused) as refusal:
        await operator.start()
    assert (refusal.value.reason, refusal.value.arguments) == ("NotSelected", {"epoch": 1})
    await operator.select()


async def test_transaction_out_of_gas_is_told_as_such(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    estimate = {"jsonrpc": "2.0", "id": 1, "result": hex(30_000)}
    spoilt.answer("eth_estimateGas", lambda: web.json_response(estimate))
    with pytest.raises(LedgerRefused, match="OutOfGas"):
        await operator.mint(HOLDER, 1)


async def test_a_call_inside_that_runs_out_of_gas_is_told_as_such(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """polkadot-evm/frontier#251: an estimate may be too low for the calls inside; the contract blames the signature."""
    network = await launch((40, 30, 20, 10))
    state = await network.begin_epoch()
    object_id, _ = await network.operator.register_blob(b"r" * 32, 4096, 2)
    record = await network.operator.blob_object(object_id)
    certificate = network.sign(state, Intent.BLOB, blob_body(record.blob_id))
    operator = await spoilt_operator(network, spoilt)
    spoilt.changes.append(
        lambda method, told: hex(int(told, 16) * 6 // 10) if method == "eth_estimateGas" else told
    )
    with pytest.raises(LedgerRefused, match="OutOfGas"):
        await operator.certify_blob(object_id, certificate)
    spoilt.changes.clear()
    await operator.certify_blob(object_id, certificate)


async def test_transaction_over_the_gas_limit_is_not_sent(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    estimate = {"jsonrpc": "2.0", "id": 1, "result": hex((1 << 24) + 1)}
    spoilt.answer("eth_estimateGas", lambda: web.json_response(estimate))
    with pytest.raises(LedgerRefused, match="TooMuchGas"):
        await operator.mint(HOLDER, 1)
    assert "eth_sendRawTransaction" not in spoilt.asked


async def test_account_without_ether_is_named(launch: Launch) -> None:
    network = await launch()
    key = AccountKey.generate()
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment, key) as ledger:
        with pytest.raises(LedgerRefused) as refusal:
            await ledger._send(ledger._reader.token, "approve", HOLDER, 1)
    assert refusal.value.reason == "InsufficientFunds"
    assert refusal.value.arguments == {"account": key.address}


async def test_cancelled_send_leaves_the_account_usable(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    arrived = asyncio.Event()

    async def stop_here(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_sendRawTransaction" and not arrived.is_set():
            await spoilt.forward({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
            arrived.set()
            await asyncio.Event().wait()
        return None

    spoilt.rules.append(stop_here)
    sending = asyncio.create_task(operator.mint(HOLDER, 1))
    await arrived.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await operator.mint(HOLDER, 2)
    assert await operator.balance(HOLDER) == 3


async def test_usual_send_takes_no_needless_round_trip(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    spoilt.asked.clear()
    await operator.mint(HOLDER, 1)
    receipts = spoilt.asked.count("eth_getTransactionReceipt")
    assert sorted(set(spoilt.asked)) == [
        "eth_estimateGas",
        "eth_getBlockByNumber",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_sendRawTransaction",
    ]
    assert len(spoilt.asked) == 4 + receipts


async def test_deployment_by_an_account_without_ether_is_refused(launch: Launch) -> None:
    network = await launch()
    with pytest.raises(LedgerRefused, match="creation of HauloutToken: InsufficientFunds"):
        await deploy(
            network.chain.rpc_url,
            AccountKey.generate(),
            DeploymentParameters(10, 60, 60, 10, price_per_mib_period=1, write_price_per_mib=1),
        )
