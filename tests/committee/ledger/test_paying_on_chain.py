"""What a writer has paid for is found on chain, and nothing is paid before the rest can be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable, TransactionUnknown
from committee.ledger import SentTransaction
from committee.ledger.evm import DeploymentParameters, EvmLedger, blob_search, outbox
from committee.ledger.evm.writer import CERTIFY_GAS
from tests.committee.ledger.test_evm_sender import HOLDER, spoilt_operator

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

ROOT, OTHER = bytes(range(32)), bytes(32)
LENGTH = 5000
GWEI = 10**9


async def in_epoch_1(launch: Launch, price: int | None = None) -> Network:
    """With a price, that nobody has approved any tokens for."""
    if price is None:
        network = await launch((10,))
    else:
        network = await launch(
            (10,),
            DeploymentParameters(
                *(10, 600, 300, 30), price_per_mib_period=price, write_price_per_mib=price, opening_members=1
            ),
        )
    await network.begin_epoch()
    return network


async def ids(ledger: EvmLedger, root: bytes = ROOT) -> list[int]:
    return [one.object_id for one in (await ledger.blob_objects(root, LENGTH)).objects]


async def registration_sent(ledger: EvmLedger) -> None:
    """Wait until a registration was handed over."""
    for _ in range(1000):
        # A transaction counts as sent before it is handed over, and as under way when the endpoint has it.
        is_under_way = bool(ledger._sending()._nonces.under_way)
        if is_under_way and ledger.sent[-1].action == "Blobs.reserveAndRegister":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no registration was sent")


async def test_a_blobs_live_objects_are_found_newest_first(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await in_epoch_1(launch)
    for root, length, periods, deletable in (
        *((ROOT, LENGTH, 9, False), (OTHER, LENGTH, 9, False), (ROOT, LENGTH + 1, 9, False)),
        *(
            (ROOT, LENGTH, 9, True),
            (ROOT, LENGTH, 1, False),
            (ROOT, LENGTH, 9, False),
            (OTHER, LENGTH, 9, False),
        ),
    ):
        await network.operator.register_blob(root, length, periods, deletable)
    for searched in (1, 2, 3, 7, 4000):
        monkeypatch.setattr(blob_search, "IDS_PER_SEARCH", searched)
        assert await ids(network.operator) == [6, 5, 4, 1]
        assert await ids(network.operator, OTHER) == [7, 2]
        assert await ids(network.operator, bytes(31) + b"\x01") == []
    await network.operator.delete_blob(4)
    await network.begin_epoch()
    assert await ids(network.operator) == [6, 1], "object 5 has expired, object 4 is deleted"
    found = await network.operator.blob_objects(ROOT, LENGTH)
    assert found.known_up_to == 7
    assert list(found.objects) == [await network.operator.blob_object(one.object_id) for one in found.objects]
    monkeypatch.setattr(blob_search, "MOST_OBJECTS", 1)
    assert await ids(network.operator) == [6]
    monkeypatch.setattr(blob_search, "IDS_PER_SEARCH", 1)
    monkeypatch.setattr(blob_search, "MOST_SEARCHES", 1)
    assert await ids(network.operator) == [], "the newest object is another blob's"


async def test_a_search_that_finds_what_was_not_sought_is_the_endpoints_fault(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await in_epoch_1(launch)
    operator = await spoilt_operator(network, spoilt)
    await operator.register_blob(ROOT, LENGTH, 1)
    assert await ids(operator) == [1]
    above = "0x" + 2 * (bytes(31) + b"\x02").hex()  # object 2, of ids below 2, and go on below object 2
    spoilt.changes.append(
        lambda method, result: above if method == "eth_call" and len(result) == len(above) else result
    )
    with pytest.raises(LedgerError):
        await ids(operator)


@pytest.mark.parametrize("price", [1, 10**15])
async def test_nothing_is_paid_when_gas_for_the_certificate_would_be_lacking(
    launch: Launch, price: int
) -> None:
    network = await in_epoch_1(launch, price)
    writer = await network.account()
    assert writer.account is not None
    await network.operator.mint(writer.account, 10**24)
    block = await network.chain.request("eth_getBlockByNumber", "latest", False)
    bid = 2 * int(block["baseFeePerGas"], 16) + GWEI
    await network.chain.request("anvil_setBalance", writer.account, hex(500_000 * bid))
    with pytest.raises(LedgerRefused, match="the account cannot pay for") as refused:
        await writer.register_blob(ROOT, LENGTH, 2)
    assert refused.value.reason == "InsufficientFunds"
    assert refused.value.hint
    assert int(str(refused.value.arguments["needed_wei"])) > int(str(refused.value.arguments["balance_wei"]))
    assert await network.chain.request("eth_getTransactionCount", writer.account, "latest") == "0x0"
    assert not writer.sent
    await network.chain.request("anvil_setBalance", writer.account, hex(2_000_000 * bid))
    _, registered = await writer.register_blob(ROOT, LENGTH, 2)
    resource_id, _ = await writer.reserve_space(LENGTH, 2)
    _, placed = await writer.register_blob_in(resource_id, ROOT, LENGTH)
    for paid in (registered, placed):
        sent = await network.chain.request("eth_getTransactionByHash", "0x" + paid.hash.hex())
        # What is kept for the certificate may go for looking through objects registered since the estimate.
        assert int(sent["gas"], 16) > paid.gas_used + CERTIFY_GAS


async def test_what_was_sent_is_told_whatever_became_of_it(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await in_epoch_1(launch)
    operator = await spoilt_operator(network, spoilt)
    assert not operator.sent
    mined = await operator.mint(HOLDER, 1)
    spoilt.answer("eth_sendRawTransaction", lambda: web.Response(status=503), times=9)
    with pytest.raises(TransactionUnknown) as unknown:
        await operator.mint(HOLDER, 2)
    with pytest.raises(LedgerRefused):
        await operator.start()
    assert operator.sent == (
        SentTransaction("HauloutToken.mint", mined.hash, True),
        SentTransaction("HauloutToken.mint", unknown.value.transaction, False),
    )


async def test_a_registration_whose_answer_was_lost_is_found(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await in_epoch_1(launch)
    operator = await spoilt_operator(network, spoilt)
    with monkeypatch.context() as impatient:
        impatient.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 0.1)
        none = {"jsonrpc": "2.0", "id": 1, "result": None}
        spoilt.answer("eth_getTransactionReceipt", lambda: web.json_response(none), times=1000)
        with pytest.raises(TransactionUnknown, match="may still come through"):
            await operator.register_blob(ROOT, LENGTH, 3)
    spoilt.rules.clear()
    for ledger in (operator, network.operator):
        await ledger.drain()
        assert await ids(ledger) == [1]
    assert operator.sent[-1].is_mined


async def test_transactions_that_wait_for_a_block_are_waited_for(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration that another process sent is not mined yet when the look begins."""
    network = await in_epoch_1(launch)
    monkeypatch.setattr(outbox, "SETTLE_POLL_S", 0.01)
    await network.chain.request("evm_setAutomine", False)
    await network.chain.request("evm_setIntervalMining", 0)
    registering = asyncio.create_task(network.operator.register_blob(ROOT, LENGTH, 3))
    await registration_sent(network.operator)
    async with await EvmLedger.connect(network.chain.rpc_url, network.deployment, network.key) as another:
        assert another._sender is not None
        another._sender._nonces = type(another._sender._nonces)(1, "0x")  # as in a process of its own
        with monkeypatch.context() as impatient:
            impatient.setattr(outbox, "SETTLE_LIMIT_S", 0.05)
            with pytest.raises(LedgerUnavailable, match="were sent earlier and are not mined"):
                await another.drain()
        settling = asyncio.create_task(another.drain())
        await asyncio.sleep(0.05)
        assert not settling.done()
        await network.operator.drain()  # its own task awaits the transaction
        await network.chain.mine()
        await settling
        assert await ids(another) == [1]
    await registering


async def test_a_cancelled_send_names_its_transaction(launch: Launch) -> None:
    network = await in_epoch_1(launch)
    await network.chain.request("evm_setAutomine", False)
    await network.chain.request("evm_setIntervalMining", 0)
    registering = asyncio.create_task(network.operator.register_blob(ROOT, LENGTH, 3))
    await registration_sent(network.operator)
    registering.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await registering
    sent = network.operator.sent[-1]
    assert cancelled.value.__notes__ == [
        f"transaction 0x{sent.hash.hex()} (Blobs.reserveAndRegister) may still be mined"
    ]
    settling = asyncio.create_task(network.operator.drain())
    await network.chain.mine()
    await settling
    assert await ids(network.operator) == [1]
