"""Following a real chain past endpoints that fail in every way, and through many events.

Whatever happened, a view that followed must be what a view that reads everything anew is.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import BlobRegistered, Event
from committee.ledger.evm import EvmLedger, answers
from committee.ledger.evm.rpc import Rpc
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from tests.committee.ledger.following import (
    CONFIRMATIONS,
    LENGTH,
    STAKES,
    assert_as_fresh,
    certify,
    content,
    fresh,
    register,
    settled_ledger,
    until_followed,
)

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network, SpoiltConnection

EVENTS = 5000


@pytest.fixture(autouse=True)
def impatient_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions that a reorganisation dropped leave a gap, which the sender shall find at once."""
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.05)
    monkeypatch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 5.0)


# endpoints


async def test_restart_reads_events_and_no_blobs(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, confirmations=0)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        await ChainView(ledger, 1, store).load()
    blob_id, _ = await register(network, 1)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        with monkeypatch.context() as restarting:
            restarting.delattr(EvmLedger, "live_page")
            restarting.delattr(EvmLedger, "epoch_state")
            view = ChainView(ledger, 1, store)
            await view.load()
        assert view.is_registered(blob_id)
        await assert_as_fresh(view, ledger)


async def test_restart_while_the_chain_is_silent_serves_what_is_saved(
    launch: Launch, spoilt: SpoiltConnection, tmp_path: Path
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    blob_id, _ = await register(network, 1)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        await ChainView(ledger, 1, store).load()
    spoilt.answer("eth_getBlockByNumber", lambda: web.Response(status=503), times=1000)
    with contextlib.closing(ChainStore(tmp_path)) as store:
        view = ChainView(ledger, 1, store)
        await view.load()
        assert view.is_registered(blob_id)
    assert view.chain_status.startswith("degraded")


def forget_all(logs: list[Any]) -> list[Any]:
    return []


def forget_the_last(logs: list[Any]) -> list[Any]:
    return logs[:-1]


def forget_the_first(logs: list[Any]) -> list[Any]:
    return logs[1:]


def tell_of_another_block(logs: list[Any]) -> list[Any]:
    return [{**log, "blockHash": "0x" + "11" * 32} for log in logs]


def change_a_topic(logs: list[Any]) -> list[Any]:
    return [{**log, "topics": [*log["topics"][:-1], "0x" + "11" * 32]} for log in logs]


@pytest.mark.parametrize(
    "fault", [forget_all, forget_the_last, forget_the_first, tell_of_another_block, change_a_topic]
)
async def test_logs_that_are_not_the_blocks_are_an_outage_and_never_taken_in(
    launch: Launch, spoilt: SpoiltConnection, fault: Callable[[list[Any]], list[Any]]
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    view = await fresh(ledger)
    before = content(view)
    await certify(network, *await register(network, 1))
    spoilt.changes.append(lambda method, result: fault(result) if method == "eth_getLogs" else result)
    with pytest.raises(LedgerUnavailable):
        await view.refresh()
    assert content(view) == before
    assert view.chain_status == "degraded, 2 blocks behind"
    spoilt.changes.clear()
    await asyncio.gather(*(view.refresh() for _ in range(3)), return_exceptions=True)
    await network.operator.head()
    await until_followed(view)
    await assert_as_fresh(view, ledger)


async def test_logs_that_are_doubled_and_shuffled_are_the_same_logs(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    view = await fresh(ledger)
    chance = random.Random(1)

    def shuffle(method: str, result: Any) -> Any:
        return chance.sample(result * 2, 2 * len(result)) if method == "eth_getLogs" else result

    spoilt.changes.append(shuffle)
    for number in range(5):
        await certify(network, *await register(network, number))
    told: list[Event] = []
    view.subscribe(told.append)
    await view.refresh()
    spoilt.changes.clear()
    assert len(told) == 10
    await assert_as_fresh(view, ledger)


async def test_another_endpoint_serves_where_the_first_forgets(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, f"{spoilt.url}, {network.chain.rpc_url}", 0)
    view = await fresh(ledger)
    spoilt.changes.append(lambda method, result: [] if method == "eth_getLogs" else result)
    await certify(network, *await register(network, 1))
    await view.refresh()
    await assert_as_fresh(view, ledger)


async def test_wild_endpoints_never_make_the_view_wrong(
    launch: Launch, spoil: Callable[[], Awaitable[SpoiltConnection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 0.6)
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    monkeypatch.setattr("committee.ledger.health.LONGEST_REST_S", 0.01)
    chance = random.Random(7)
    network = await launch(STAKES)
    await network.begin_epoch()
    endpoints = [await spoil() for _ in range(2)]
    ledger = await settled_ledger(network, ",".join(one.url for one in endpoints))
    view = await fresh(ledger)
    for endpoint in endpoints:
        endpoint.rules.append(wild_rule(chance))
        endpoint.changes.append(wild_change(chance))
    outages = 0
    plain = await settled_ledger(network)
    for step in range(16):
        await certify(network, *await register(network, step))
        if step % 8 == 5:
            with contextlib.suppress(LedgerRefused):
                await network.hand_over(await network.begin_epoch())
        if step % 6 == 4:
            await network.chain.request("anvil_reorg", chance.randint(1, CONFIRMATIONS + 2), [])
        try:
            await view.refresh()
        except LedgerError:
            outages += 1
            assert view.chain_status.startswith("degraded")
        else:
            assert content(view)[0].keys() <= content(await fresh(plain))[0].keys()
    assert outages > 0
    for endpoint in endpoints:
        endpoint.rules.clear()
        endpoint.changes.clear()
    await until_followed(view)
    await assert_as_fresh(view, plain)


def wild_rule(chance: random.Random) -> Any:
    async def rule(method: str, _: list[Any]) -> web.StreamResponse | None:
        match chance.randrange(24):
            case 0:
                await asyncio.Event().wait()
            case 1:
                return web.Response(status=429, headers={"Retry-After": "0.01"})
            case 2:
                return web.Response(status=chance.choice((500, 502, 503)))
            case 3:
                return web.Response(body=b'{"jsonrpc": "2.0", "id": 1, "resu')
        return None

    return rule


def wild_change(chance: random.Random) -> Callable[[str, Any], Any]:
    def change(method: str, result: Any) -> Any:
        if method == "eth_chainId" and chance.randrange(4) == 0:
            return "0x1"
        if method == "eth_getLogs" and result:
            match chance.randrange(5):
                case 0:
                    return chance.sample(result, chance.randrange(len(result)))
                case 1:
                    return chance.sample(result * 2, 2 * len(result))
                case 2:
                    return tell_of_another_block(copy.deepcopy(result))
        return result

    return change


async def test_endpoint_that_goes_over_to_another_chain_is_left(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, f"{spoilt.url},{network.chain.rpc_url}", 0)
    view = await fresh(ledger)
    blob_id, _ = await register(network, 1)

    def elsewhere(method: str, result: Any) -> Any:
        if method == "eth_chainId":
            return "0x1"
        if method == "eth_getBlockByNumber" and result:
            return {**result, "hash": "0x" + "22" * 32, "parentHash": "0x" + "33" * 32}
        return "0x" if method == "eth_call" else result

    spoilt.changes.append(elsewhere)
    with contextlib.suppress(LedgerError):
        await view.refresh()
    await view.refresh()
    assert view.is_registered(blob_id)
    await assert_as_fresh(view, ledger)


async def test_endpoint_that_is_behind_is_not_asked_for_what_it_lacks(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, f"{spoilt.url},{network.chain.rpc_url}", 0)
    view = await fresh(ledger)
    stale = hex(view.block.number)
    blob_id, _ = await register(network, 1)

    async def no_newer(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method == "eth_blockNumber":
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": stale})
        assert method != "eth_getLogs"
        if method == "eth_getBlockByNumber":
            return web.Response(status=503)  # the head is asked of the other one
        return None

    spoilt.rules.append(no_newer)
    await view.refresh()
    assert view.is_registered(blob_id)


# many


async def test_five_thousand_events_are_followed_none_lost_none_doubled(
    launch: Launch, tmp_path: Path
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, confirmations=0)
    view = ChainView(ledger, 1, ChainStore(tmp_path))
    await view.load()
    told: list[Event] = []
    view.subscribe(told.append)
    await register_many(network, EVENTS)
    await view.refresh()
    assert [one.object_id for one in told if isinstance(one, BlobRegistered)] == list(range(1, EVENTS + 1))
    await assert_as_fresh(view, ledger)
    again = ChainView(ledger, 1, ChainStore(tmp_path))
    await again.load()
    assert content(again) == content(view)


async def register_many(network: Network, count: int) -> None:
    """So many blob objects in a few dozen blocks, from an account that the chain signs for."""
    chain, rpc = network.chain, Rpc(network.chain.rpc_url)
    account = "0x00000000000000000000000000000000000000AA"
    blobs = network.operator._reader.blobs
    await chain.fund(account, 10**6)
    await chain.request("anvil_impersonateAccount", account)
    await network.operator.mint(account, 10**9)
    token = network.operator._reader.token
    approval = token.abi.encode_call("approve", blobs.address, 10**9)
    sent = {"from": account, "to": token.address, "data": "0x" + approval.hex()}
    await chain.request("eth_sendTransaction", sent)
    await chain.request("evm_setBlockGasLimit", hex(10**10))
    await chain.request("evm_setAutomine", False)
    for first in range(0, count, 125):
        calls = [
            blobs.abi.encode_call(
                "reserveAndRegister", number.to_bytes(32, "big"), LENGTH, 1, 5, False, 2**256 - 1, 2**64
            )
            for number in range(first, first + 125)
        ]
        await rpc.batch(
            "eth_sendTransaction",
            [
                ({"from": account, "to": blobs.address, "data": "0x" + call.hex(), "gas": hex(400_000)},)
                for call in calls
            ],
            read=answers.anything,
        )
        await chain.mine()
    await rpc.close()
