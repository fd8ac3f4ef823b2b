"""Endpoints that are down, hang, refuse or answer nonsense; providers with limits."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm import EvmLedger, answers
from committee.ledger.evm.abi import load_contract
from committee.ledger.evm.endpoints import Endpoint
from committee.ledger.evm.jsonrpc import CHARACTERS_READ_AT_ONCE, ITEMS_READ_AT_ONCE
from committee.ledger.evm.refusals import EndpointError
from committee.ledger.evm.rpc import TRIES, Rpc
from committee.ledger.health import RETRY_AFTER_LIMIT_S, EndpointFault
from committee.ledger.providers import Provider, listed

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, SpoiltConnection


async def test_chain_that_is_down_is_unavailable(launch: Launch) -> None:
    network = await launch()
    await network.chain.stop()
    with pytest.raises(
        LedgerUnavailable, match=r"no connection to the chain at http://[\d.:]+: Connection refused$"
    ):
        await network.operator.head()
    with pytest.raises(LedgerUnavailable):
        await network.operator.mint("0x00000000000000000000000000000000000000AA", 1)
    with pytest.raises(LedgerUnavailable):
        await EvmLedger.connect(network.chain.rpc_url, network.deployment)


async def test_endpoint_that_hangs_is_unavailable_after_the_limit(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 0.1)
    spoilt.hang("eth_getBlockByNumber")
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        with pytest.raises(LedgerUnavailable, match="did not answer eth_getBlockByNumber within"):
            await ledger.head()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_http_error_that_passes_is_not_noticed(
    launch: Launch, spoilt: SpoiltConnection, status: int
) -> None:
    network = await launch()
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        spoilt.answer("eth_getBlockByNumber", lambda: web.Response(status=status), times=2)
        assert await ledger.head() == await network.operator.head()


@pytest.mark.parametrize("status", [429, 503])
async def test_http_error_that_stays_is_unavailable(
    launch: Launch, spoilt: SpoiltConnection, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 1.0)
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        spoilt.answer("eth_getBlockByNumber", lambda: web.Response(status=status), times=1000)
        with pytest.raises(LedgerUnavailable, match=f"HTTP {status}"):
            await ledger.head()


def too_often(code: int) -> web.Response:
    words = "Your app has exceeded its compute units per second capacity"
    return web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": words}})


@pytest.mark.parametrize(
    "busy", [lambda: web.Response(status=429), lambda: too_often(429), lambda: too_often(-32029)]
)
async def test_a_lone_endpoint_that_was_asked_too_often_is_waited_for(
    launch: Launch,
    spoilt: SpoiltConnection,
    busy: Callable[[], web.Response],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked more often than one that is broken, and not which chain it serves, each time anew."""
    network = await launch()
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.002)
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        spoilt.asked.clear()
        spoilt.answer("eth_getBlockByNumber", busy, times=2 * TRIES)
        assert await ledger.head() == await network.operator.head()
    assert spoilt.asked.count("eth_getBlockByNumber") > 2 * TRIES
    assert "eth_chainId" not in spoilt.asked


@pytest.mark.parametrize(
    "body",
    [b'{"jsonrpc": "2.0", "id": 1, "res', b"[]", b'"hello"', b'{"jsonrpc": "2.0", "id": 1}', b"\xff\xfe"],
)
async def test_answer_that_is_none_is_unavailable(
    launch: Launch, spoilt: SpoiltConnection, body: bytes
) -> None:
    network = await launch()
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        spoilt.answer("eth_getBlockByNumber", lambda: web.Response(body=body), times=3)
        with pytest.raises(LedgerUnavailable, match="eth_getBlockByNumber"):
            await ledger.head()


async def test_error_of_the_endpoint_is_unavailable(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        spoilt.fail("eth_getBlockByNumber", -32005, "daily limit reached", times=3)
        with pytest.raises(LedgerUnavailable, match="daily limit reached"):
            await ledger.head()


async def test_connect_refuses_another_chain(launch: Launch) -> None:
    network = await launch()
    elsewhere = dataclasses.replace(network.deployment, chain_id=1)
    with pytest.raises(LedgerError, match="serves chain 31337, but the deployment is on chain 1"):
        await EvmLedger.connect(network.chain.rpc_url, elsewhere)


async def test_connect_refuses_a_chain_without_the_contracts(launch: Launch) -> None:
    network = await launch()
    nowhere = dataclasses.replace(network.deployment, committee="0x00000000000000000000000000000000000000AA")
    with pytest.raises(LedgerError, match=r"no such contract at 0x0+AA"):
        await EvmLedger.connect(network.chain.rpc_url, nowhere)


async def test_connect_refuses_another_deployment_than_the_manifest_says(launch: Launch) -> None:
    network, other = await launch(), await launch()
    mixed = dataclasses.replace(network.deployment, committee=other.deployment.committee)
    with pytest.raises(LedgerError, match="another domain"):
        await EvmLedger.connect(network.chain.rpc_url, mixed)


async def test_block_range_is_halved_at_the_providers_limit(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    ranges: list[int] = []

    async def at_most_three_blocks(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_getLogs":
            return None
        size = int(parameters[0]["toBlock"], 16) - int(parameters[0]["fromBlock"], 16) + 1
        ranges.append(size)
        if size <= 3:
            return None
        error = {"code": -32005, "message": "query returned more than 10000 results"}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "error": error})

    spoilt.rules.append(at_most_three_blocks)
    head = (await network.operator.head()).number
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        assert await ledger.events(0, head) == await network.operator.events(0, head)
    assert max(ranges) == head + 1
    assert len(ranges) < head


@pytest.mark.parametrize(
    ("result", "is_aside"),
    [
        ([0] * ITEMS_READ_AT_ONCE, False),
        ([0] * (ITEMS_READ_AT_ONCE + 1), True),
        ("x" * CHARACTERS_READ_AT_ONCE, False),
        ("x" * (CHARACTERS_READ_AT_ONCE + 1), True),
    ],
    ids=["some logs", "many logs", "a text", "a long text"],
)
async def test_what_is_large_is_read_while_something_else_runs(
    spoilt: SpoiltConnection, result: Any, is_aside: bool
) -> None:
    """Ten thousand logs, which an outsider can make in a block, take half a second."""
    spoilt.answer("eth_getLogs", lambda: web.json_response({"jsonrpc": "2.0", "id": 1, "result": result}))
    rpc = Rpc(spoilt.url)
    thread = await rpc.request("eth_getLogs", {}, read=lambda _: threading.current_thread())
    assert (thread is not threading.current_thread()) == is_aside
    await rpc.close()


async def test_logs_that_no_provider_gives_are_unavailable(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    spoilt.fail("eth_getLogs", -32000, "logs are disabled", times=100)
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        with pytest.raises(LedgerUnavailable, match=r"no logs of block 0.*logs are disabled"):
            await ledger.events(0, 4)


async def test_finality_decides_what_the_head_is(launch: Launch) -> None:
    network = await launch()
    await network.chain.mine(5)
    settled = dataclasses.replace(network.deployment, finality="finalized")
    async with await EvmLedger.connect(network.chain.rpc_url, settled) as careful:
        assert (await careful.head()).number < (await network.operator.head()).number


Spoil = Callable[[], Awaitable["SpoiltConnection"]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=429, headers={"Retry-After": "20"}),
        lambda: web.Response(status=503),
        lambda: web.Response(body=b'{"jsonrpc": "2.0", "id": 1, "res'),
        lambda: web.json_response(
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "internal"}}
        ),
        lambda: web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "rate limit"}}),
    ],
    ids=["429", "503", "truncated", "internal error", "rate limit"],
)
async def test_next_endpoint_serves_when_the_first_does_not(
    launch: Launch, spoil: Spoil, answer: Callable[[], web.StreamResponse]
) -> None:
    network, first, second = await launch(), await spoil(), await spoil()
    async with await EvmLedger.connect([first.url, second.url], network.deployment) as ledger:
        assert second.asked == []
        first.answer("eth_getBlockByNumber", answer)
        assert await ledger.head() == await network.operator.head()
    assert second.asked == ["eth_chainId", "eth_getBlockByNumber"]


async def test_next_endpoint_serves_when_the_first_hangs(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.rpc.REQUEST_LIMIT_S", 2.0)
    spoilt.hang("eth_getBlockByNumber")
    urls = f"{spoilt.url},{network.chain.rpc_url}"
    async with await EvmLedger.connect(urls, network.deployment) as ledger:
        expected = await network.operator.head()
        assert [await ledger.head() for _ in range(3)] == [expected] * 3
    # It rests for as long as it cost, and is not waited for by every request.
    assert spoilt.asked.count("eth_getBlockByNumber") == 1


async def test_first_endpoint_serves_again_after_its_rest(launch: Launch, spoil: Spoil) -> None:
    network, first, second = await launch(), await spoil(), await spoil()
    async with await EvmLedger.connect([first.url, second.url], network.deployment) as ledger:
        first.answer("eth_getBlockByNumber", lambda: web.Response(status=503))
        head = await ledger.head()
        async with asyncio.timeout(5):
            while first.asked.count("eth_getBlockByNumber") < 2:
                head = await ledger.head()
    assert head == await network.operator.head()
    assert first.asked.count("eth_getBlockByNumber") == 2


async def test_lone_endpoint_is_not_asked_during_the_pause_it_asked_for(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        busy = web.Response(status=429, headers={"Retry-After": "20"})
        spoilt.answer("eth_getBlockByNumber", lambda: busy)
        for _ in range(3):
            with pytest.raises(LedgerUnavailable, match=r"rests.*HTTP 429"):
                await ledger.head()
    assert spoilt.asked.count("eth_getBlockByNumber") == 1


@pytest.mark.parametrize("told", ["0x0", "0x", "0x00", 0])
def test_zero_is_read_in_each_form_that_endpoints_write(told: object) -> None:
    assert answers.quantity(told) == 0


@pytest.mark.parametrize("told", [-1, True, 1.0, "-0x1", "1", "", "0x-1", None, 2**63])
def test_what_is_no_number_is_not_read_as_one(told: object) -> None:
    with pytest.raises(answers.Unreadable):
        answers.quantity(told)


async def test_pause_that_an_endpoint_asks_for_has_a_limit() -> None:
    endpoint = Endpoint("http://x")
    endpoint.failed(EndpointFault("busy", retry_after_s=1e9), asked_at=1.0, now=1.0)
    assert endpoint.rest_s(1.0, is_alone=True) == RETRY_AFTER_LIMIT_S


async def test_endpoint_of_another_chain_is_passed_over(launch: Launch, spoil: Spoil) -> None:
    network, first = await launch(), await spoil()
    first.changes.append(lambda method, result: "0x1" if method == "eth_chainId" else result)
    async with await EvmLedger.connect([first.url, network.chain.rpc_url], network.deployment) as ledger:
        assert await ledger.head() == await network.operator.head()
    assert set(first.asked) == {"eth_chainId"}


async def test_range_grows_again_after_a_limit_that_passed(
    launch: Launch, spoilt: SpoiltConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch()
    monkeypatch.setattr("committee.ledger.evm.history.FIRST_REMEMBERED_S", 0.0)
    await network.chain.mine(16)
    spoilt.fail("eth_getLogs", -32005, "query returned more than 10000 results", times=3)
    head = (await network.operator.head()).number
    async with await EvmLedger.connect(spoilt.url, network.deployment) as ledger:
        for _ in range(3):
            spoilt.asked.clear()
            await ledger.events(0, head)
    assert spoilt.asked.count("eth_getLogs") == 1


OWN_ERROR = "0x" + next(iter(load_contract("Blobs").errors)).hex()
REVERTS = {
    "code 3": {"code": 3, "message": "execution reverted"},
    "empty data": {"code": -32000, "message": "no", "data": "0x"},
    "unknown data": {"code": -32000, "message": "no", "data": "0xdeadbeef"},
    "a contract's own error": {"code": 3, "message": "execution reverted", "data": OWN_ERROR},
    "words alone": {"code": -32000, "message": "execution reverted"},
}


class Answering:
    """An endpoint that gives one result, or one error object, for every request; at first it may be down."""

    def __init__(self, down: int = 0, **answer: Any) -> None:
        self.asked = 0
        self._down = down
        self._answer = answer

    async def handle(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.asked <= self._down:
            return web.Response(status=503)
        return web.json_response({"jsonrpc": "2.0", "id": 1, **self._answer})


@asynccontextmanager
async def rpc_of(*endpoints: Answering) -> AsyncIterator[Rpc]:
    """The endpoints, preferred in their order."""
    async with AsyncExitStack() as opened:
        urls = []
        for endpoint in endpoints:
            app = web.Application()
            app.router.add_post("/", endpoint.handle)
            server = await opened.enter_async_context(TestServer(app))
            urls.append(str(server.make_url("/")))
        rpc = Rpc(urls)
        opened.push_async_callback(rpc.close)
        yield rpc


@pytest.mark.parametrize(
    "padding", [[0] * (1 << 17), [[]] * (1 << 15), " " * (8 << 20)], ids=["values", "lists", "bytes"]
)
async def test_an_answer_that_takes_long_to_parse_is_a_fault_of_the_endpoint(padding: object) -> None:
    """Nothing else runs meanwhile, and it could be so with every request."""
    liar, honest = Answering(result="0x1", padding=padding), Answering(result="0x5208")
    async with rpc_of(liar, honest) as rpc:
        assert await rpc.request("eth_call", {}, read=answers.quantity) == 0x5208


@pytest.mark.parametrize("revert", REVERTS.values(), ids=REVERTS)
async def test_a_revert_that_another_endpoint_contradicts_does_not_count(revert: dict[str, Any]) -> None:
    liar, honest = Answering(error=revert), Answering(result="0x5208")
    async with rpc_of(liar, honest) as rpc:
        for method in ("eth_call", "eth_estimateGas"):
            assert await rpc.request(method, {}, read=answers.quantity) == 0x5208


async def test_an_endpoint_that_rests_for_a_moment_may_contradict_a_revert() -> None:
    honest, liar = Answering(down=1, result="0x5208"), Answering(error=REVERTS["a contract's own error"])
    async with rpc_of(honest, liar) as rpc:
        assert await rpc.request("eth_estimateGas", {}, read=answers.quantity) == 0x5208
    assert liar.asked == 1


@pytest.mark.parametrize("revert", REVERTS.values(), ids=REVERTS)
@pytest.mark.parametrize("other", ["none", "agrees", "is down"])
async def test_a_revert_that_no_endpoint_contradicts_stands(revert: dict[str, Any], other: str) -> None:
    first = Answering(error=revert)
    others = {"none": [], "agrees": [Answering(error=revert)], "is down": [Answering(down=100)]}[other]
    async with rpc_of(first, *others) as rpc:
        with pytest.raises(EndpointError) as reverted:
            await rpc.request("eth_call", {}, read=answers.quantity)
    assert reverted.value.is_revert
    assert first.asked == 1
    assert all(one.asked for one in others)


async def test_one_lying_endpoint_of_two_does_not_refuse_a_transaction(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    network = await launch()
    error = {"jsonrpc": "2.0", "id": 1, "error": REVERTS["a contract's own error"]}
    urls = [spoilt.url, network.chain.rpc_url]
    async with await EvmLedger.connect(urls, network.deployment, network.key) as ledger:
        for method in ("eth_estimateGas", "eth_call"):
            spoilt.answer(method, lambda: web.json_response(error), times=100)
        await ledger.mint("0x00000000000000000000000000000000000000AA", 1)
        assert await ledger.nodes() == await network.operator.nodes()


@pytest.mark.parametrize("url", ["foo", "ws://a:1", "http://", "http:///path", "127.0.0.1:8545"])
def test_text_that_is_no_endpoint_is_told_before_anything_is_asked(url: str) -> None:
    with pytest.raises(LedgerError, match=r"endpoint . of the chain is not a URL such as http"):
        listed(f"http://a:1, {url}")


@pytest.mark.parametrize("character", ["#", "/", "?"])
def test_a_password_that_ends_the_host_is_told_and_not_quoted(character: str) -> None:
    """ "4711" would be the port, and stand in each message."""
    with pytest.raises(LedgerError, match="%40 for @, %2F for / and %23 for # in a password") as refused:
        listed(f"http://admin:4711{character}secret@chain.example:8545")
    assert "4711" not in str(refused.value)
    url = "http://admin:4711%23%2Fsecret@chain.example:8545/key?at=1"
    assert listed(url) == [Provider(url)]


async def test_a_connection_used_in_another_event_loop_is_told(launch: Launch) -> None:
    """Not as the endpoint's failure: programs call asyncio.run more than once."""
    network = await launch()
    rpc = Rpc(network.chain.rpc_url)

    async def chain_id() -> int:
        return await rpc.eth.chain_id

    try:
        await chain_id()
        with pytest.raises(
            RuntimeError, match=r"belongs to another event loop: connect anew in each asyncio\.run"
        ):
            await asyncio.to_thread(lambda: asyncio.run(chain_id()))
    finally:
        await rpc.close()
