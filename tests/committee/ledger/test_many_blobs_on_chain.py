"""Many blobs of one account: found in few reads, registered together or at once, and no transaction fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from committee.errors import LedgerRefused
from committee.ledger.evm import EvmLedger, blob_search, outbox
from committee.ledger.evm.rpc import Rpc
from tests.committee.ledger.test_paying_on_chain import LENGTH, in_epoch_1
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from localnet.chain import LocalChain
    from tests.committee.ledger.conftest import Launch, Network

PRICE = 1000


def root(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def writer_of(network: Network, tokens: int = 10**24) -> EvmLedger:
    """An account with tokens, of which nothing may be taken yet."""
    writer = await network.account()
    assert writer.account is not None
    await network.operator.mint(writer.account, tokens)
    return writer


async def transactions_of(chain: LocalChain, account: str, first_block: int) -> list[bool]:
    """Whether each of an account's transactions behind a block was mined well."""
    last = int(await chain.request("eth_blockNumber"), 16)
    statuses: list[bool] = []
    for number in range(first_block + 1, last + 1):
        receipts = await chain.request("eth_getBlockReceipts", hex(number))
        own = (one for one in receipts if one["from"].lower() == account.lower())
        statuses += [int(one["status"], 16) == 1 for one in own]
    return statuses


async def test_many_blobs_are_registered_in_one_transaction_in_their_order(launch: Launch) -> None:
    network = await in_epoch_1(launch, PRICE)
    writer = await writer_of(network)
    block = (await writer.newest()).number
    new = [(root(number), LENGTH + 500_000 * (number % 3)) for number in range(64)]
    records, transaction = await writer.register_blobs(new, 3, known_up_to=0)
    assert [one.object_id for one in records] == list(range(1, 65))
    found = await writer.objects_of_blobs(new)
    assert [one.objects for one in found] == [(record,) for record in records]
    assert writer.account is not None
    assert await transactions_of(network.chain, writer.account, block) == [True]
    assert transaction.gas_used < 64 * 200_000


async def test_of_blobs_of_which_one_is_registered_already_none_is_registered_again(launch: Launch) -> None:
    network = await in_epoch_1(launch, PRICE)
    writer = await writer_of(network)
    object_id, _ = await writer.register_blob(root(1), LENGTH, 3)
    with pytest.raises(LedgerRefused) as refused:
        await writer.register_blobs([(root(number), LENGTH) for number in range(3)], 3, known_up_to=0)
    assert refused.value.reason == "RegisteredMeanwhile"
    assert int(str(refused.value.arguments["objectId"])) == object_id
    assert len(await live_objects(writer, await writer.newest())) == 1


async def test_blobs_that_cost_more_than_the_account_has_are_refused_whole(launch: Launch) -> None:
    network = await in_epoch_1(launch, PRICE)
    quote = await network.operator.quote(LENGTH, 3)
    writer = await writer_of(network, 3 * quote.cost - 1)
    blobs = [(root(number), LENGTH) for number in range(3)]
    with pytest.raises(LedgerRefused) as refused:
        await writer.register_blobs(blobs, 3, known_up_to=0)
    assert refused.value.reason == "ERC20InsufficientBalance"
    assert not writer.sent
    records, _ = await writer.register_blobs(blobs[:2], 3, known_up_to=0)
    assert len(records) == 2


@pytest.mark.parametrize(("at_once", "allowed"), [(12, 4), pytest.param(64, 60, marks=pytest.mark.slow)])
async def test_registrations_at_once_share_an_allowance_and_none_is_mined_in_vain(
    launch: Launch, at_once: int, allowed: int
) -> None:
    network = await in_epoch_1(launch, PRICE)
    writer = await writer_of(network)
    await writer.approve(allowed * (await writer.quote(LENGTH, 2)).cost)
    block = (await writer.newest()).number
    await network.chain.request("evm_setAutomine", False)
    await network.chain.request("evm_setIntervalMining", 1)
    registered = await asyncio.gather(
        *(writer.register_blob(root(number), LENGTH, 2, known_up_to=0) for number in range(at_once))
    )
    assert len({object_id for object_id, _ in registered}) == at_once
    assert writer.account is not None
    assert await transactions_of(network.chain, writer.account, block) == [True] * at_once


async def test_batches_at_once_share_an_allowance_and_none_is_mined_in_vain(launch: Launch) -> None:
    network = await in_epoch_1(launch, PRICE)
    writer = await writer_of(network)
    block = (await writer.newest()).number
    await network.chain.request("evm_setAutomine", False)
    await network.chain.request("evm_setIntervalMining", 1)
    batches = [[(root(64 * batch + one), LENGTH) for one in range(16)] for batch in range(3)]
    registered = await asyncio.gather(*(writer.register_blobs(one, 2, known_up_to=0) for one in batches))
    ids = [record.object_id for records, _ in registered for record in records]
    assert sorted(ids) == list(range(1, 49))
    assert writer.account is not None
    assert await transactions_of(network.chain, writer.account, block) == [True] * 3


async def test_more_blobs_than_a_transaction_takes_are_refused_before_anything_is_sent(
    launch: Launch,
) -> None:
    network = await in_epoch_1(launch, PRICE)
    writer = await writer_of(network)
    with pytest.raises(LedgerRefused):
        await writer.register_blobs([(root(number), LENGTH) for number in range(200)], 3, known_up_to=0)
    assert not writer.sent


async def test_the_objects_of_many_blobs_are_found_as_those_of_each_in_fewer_reads(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await in_epoch_1(launch)
    operator = network.operator
    for number, length, deletable in (
        *((1, LENGTH, False), (2, LENGTH, True), (1, LENGTH, True), (1, LENGTH + 1, False)),
        *((3, LENGTH, False), (2, LENGTH, False), (2, LENGTH, False)),
    ):
        await operator.register_blob(root(number), length, 2, deletable)
    await operator.delete_blob(2)
    blobs = [(root(number), LENGTH) for number in range(5)]
    one_by_one = [await operator.blob_objects(*blob) for blob in blobs]
    assert [[one.object_id for one in found.objects] for found in one_by_one] == [[], [3, 1], [7, 6], [5], []]
    asked: Counter[str] = Counter()
    request = Rpc.request

    async def counted(rpc: Rpc, method: str, *arguments: Any, **options: Any) -> Any:
        asked[method] += 1
        return await request(rpc, method, *arguments, **options)

    monkeypatch.setattr(Rpc, "request", counted)
    for searched in (1, 2, 3, 7, 4000):
        monkeypatch.setattr(blob_search, "IDS_PER_SEARCH", searched)
        asked.clear()
        assert await operator.objects_of_blobs(blobs) == one_by_one
    assert sum(asked.values()) <= 2 + 3 + 1, "block, count, windows with what is found below, objects"
    monkeypatch.setattr(blob_search, "MOST_OBJECTS", 1)
    assert [len(found.objects) for found in await operator.objects_of_blobs(blobs)] == [0, 1, 1, 1, 0]
    monkeypatch.setattr(blob_search, "BLOBS_TOGETHER", 2)
    assert [len(found.objects) for found in await operator.objects_of_blobs(blobs)] == [0, 1, 1, 1, 0]
    assert await operator.objects_of_blobs([]) == []


async def test_settling_goes_on_while_other_transactions_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def flight(nonce: int) -> outbox.Flight:
        version: Any = SimpleNamespace(hash=bytes([nonce]) * 32)
        return outbox.Flight("test", {"nonce": nonce}, [version], {})

    async def mined(rpc: object, account: str, block: str) -> int:
        return 2

    class Busy:
        async def request(self, method: str, *arguments: Any, **options: Any) -> None:
            """No receipt; meanwhile another transaction is sent."""
            box.add(flight(2))

    monkeypatch.setattr(outbox, "transactions_of", mined)
    box = outbox.Outbox(cast(Rpc, Busy()), "account")
    box.add(flight(0))
    box.add(flight(1))
    assert await box.drain({2}) == -1
