"""JSON-RPC to Ethereum nodes: one request, one answer or one clear error, always within a limit.

`Rpc` is a provider of web3.py, and everything the adapter asks of a chain passes through it. It knows several endpoints
in order of preference and asks the first that is well; what one of them can do wrong is found here and in `endpoints`,
and becomes `LedgerUnavailable` only when none serves.

It stands in for web3.py's own HTTP provider, whose answers have no limit, and which guards its sessions by a thread
lock that a cancelled request can take and never give back: whatever has limits is cancelled often.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import aiohttp
from web3 import AsyncWeb3
from web3.eth.async_eth import AsyncEth
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm import endpoints
from committee.ledger.evm.endpoints import AnswerTooLong, Endpoint, EndpointFault, endpoint_urls

First = TypeVar("First")
Second = TypeVar("Second")
Result = TypeVar("Result")

REQUEST_LIMIT_S = 15.0
"""No request takes longer, retries included."""
TRIES = 3
"""Of a request, and one more for each further endpoint. Each may be repeated: a transaction is known by its hash,
everything else reads."""
ENDPOINTS_IN_LIMIT = 3
"""Of several endpoints, so many can hang before the request's time is over."""
REST_WAITED_S = 1.0
"""When every endpoint rests longer, a request fails at once instead of waiting."""

LACKING_WORDS = (
    "unknown block",
    "resource not found",
    "header not found",
    "block not found",
    "missing trie node",
)
"""What endpoints say of a block, or its state, that they lack; another endpoint may have it."""
BUSY_WORDS = ("too many requests", "rate limit", "request limit", "compute units", "throttl")
"""What endpoints say, with HTTP status 200, when they mean 429."""
FAULT_CODES = (429, -32005, -32603)
"""Too many requests, limit exceeded (EIP-1474), internal error."""
MEANINGFUL_ERRORS = ("eth_getLogs", "eth_sendRawTransaction")
"""Of these, codes do not tell a sick endpoint from one that was asked for too much, or given what it must refuse."""


class EndpointError(LedgerUnavailable):
    """The endpoint answered a request with a JSON-RPC error.

    `data` are the bytes of a revert, if there was one. Who knows what was asked turns it into something
    better; left alone it means that the endpoint did not serve us.
    """

    def __init__(self, endpoint: str, method: str, error: dict[str, Any]) -> None:
        self.method = method
        self.code = error.get("code")
        self.reason = str(error.get("message", "no message"))
        self.data = _revert_data(error.get("data"))
        super().__init__(f"{endpoint} answered {method} with an error: {self.reason} (code {self.code})")

    @property
    def is_revert(self) -> bool:
        """Whether a contract reverted (and the endpoint is well)."""
        return self.code == 3 or self.data is not None or "revert" in self.reason.lower()

    @property
    def is_lacking_funds(self) -> bool:
        """Whether the sending account cannot pay for the gas, or has not what it sends."""
        return "insufficient funds" in self.reason.lower()

    @property
    def is_fault(self) -> bool:
        """Whether the endpoint is asked too often, or broken; another may serve."""
        if self.is_revert or self.method in MEANINGFUL_ERRORS:
            return self.code == 429 or (not self.is_revert and _has_word(self.reason, BUSY_WORDS))
        return self.code in FAULT_CODES or _has_word(self.reason, BUSY_WORDS)

    @property
    def is_lacking(self) -> bool:
        """Whether the endpoint lacks a block, or its state."""
        return not self.is_revert and _has_word(self.reason, LACKING_WORDS)


class _LacksBlockError(Exception):
    """The endpoint is well but has not the block that is asked for; `told` is its own error, if it told one."""

    def __init__(self, told: LedgerUnavailable) -> None:
        self.told = told


class Rpc(AsyncJSONBaseProvider):
    """The endpoints of one chain. Safe to use from several tasks of one event loop."""

    def __init__(self, urls: str | Sequence[str], chain_id: int | None = None) -> None:
        """`urls` are in order of preference, a list or separated by commas.

        With `chain_id`, an endpoint that serves another chain is not used.
        """
        super().__init__()
        self.endpoints = [Endpoint(url) for url in endpoint_urls(urls)]
        self._chain_id = chain_id
        self._web3: AsyncWeb3[Rpc] = AsyncWeb3(self, middleware=[])
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    @property
    def url(self) -> str:
        """Where the chain is asked, for messages."""
        return ", ".join(endpoint.url for endpoint in self.endpoints)

    @property
    def eth(self) -> AsyncEth:
        """web3.py's view of the chain; raises what `request` raises."""
        return self._web3.eth

    async def request(
        self, method: str, *parameters: Any, has_block: int = -1, check: Callable[[Any], None] | None = None
    ) -> Any:
        """The `result` of a JSON-RPC request, as it came.

        Only endpoints that have the block `has_block` are asked. `check` raises `EndpointFault` for a result that
        cannot be right: then another endpoint is asked, as after any other failure.

        Raises `EndpointError` for an error object, `LedgerUnavailable` for anything else but an answer.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()

        def read(endpoint: Endpoint, answer: Any) -> Any:
            result = _result(endpoint, method, answer)
            if check is not None:
                check(result)
            return result

        return await self._ask(method, body, read, has_block)

    async def batch(
        self,
        method: str,
        parameters: Sequence[Sequence[Any]],
        check: Callable[[list[Any]], None] | None = None,
    ) -> list[Any]:
        """The results of one method for several parameters, in their order, by one request.

        `check` and errors as with `request`.
        """
        requests = [
            {"jsonrpc": "2.0", "id": place, "method": method, "params": one}
            for place, one in enumerate(parameters)
        ]

        def read(endpoint: Endpoint, answer: Any) -> list[Any]:
            if not isinstance(answer, list):
                _result(endpoint, method, answer)
                raise EndpointFault(f"{endpoint.url} answered several {method} with one result")
            by_id = {one.get("id"): one for one in answer if isinstance(one, dict)}
            results = [_result(endpoint, method, by_id.get(place)) for place in range(len(requests))]
            if check is not None:
                check(results)
            return results

        return await self._ask(method, json.dumps(requests).encode(), read)

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """What web3.py calls for every request; raises as `request` does."""
        body = self.encode_rpc_request(method, params)

        def read(endpoint: Endpoint, answer: Any) -> RPCResponse:
            _result(endpoint, method, answer)
            return RPCResponse(**answer)  # type: ignore[typeddict-item]

        return await self._ask(method, body, read)

    def doubt(self) -> None:
        """Have every endpoint say anew which chain it serves, before its next answer is believed."""
        for endpoint in self.endpoints:
            endpoint.forget_chain()

    async def close(self) -> None:
        """Close the connections for good. Idempotent."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self, method: str, body: bytes, read: Callable[[Endpoint, Any], Result], has_block: int = -1
    ) -> Result:
        """Ask one endpoint after another until one serves."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + REQUEST_LIMIT_S
        lacking: dict[Endpoint, LedgerUnavailable] = {}
        trouble: LedgerUnavailable | None = None
        for _ in range(TRIES + len(self.endpoints) - 1):
            able = [endpoint for endpoint in self.endpoints if endpoint not in lacking]
            if not able:
                break
            endpoint = await self._rested(able, clock)
            asked_at = clock()
            limit_s = min(REQUEST_LIMIT_S / min(len(self.endpoints), ENDPOINTS_IN_LIMIT), deadline - asked_at)
            if limit_s <= 0:
                break
            try:
                return await self._ask_one(endpoint, method, body, read, has_block, limit_s)
            except _LacksBlockError as lack:
                lacking[endpoint] = trouble = lack.told
            except EndpointFault as fault:
                endpoint.failed(fault, asked_at, clock())
                trouble = fault
        if trouble is None:
            raise LedgerUnavailable(f"no endpoint answered {method} within {REQUEST_LIMIT_S:g} s: {self.url}")
        raise trouble

    async def _rested(self, able: Sequence[Endpoint], clock: Callable[[], float]) -> Endpoint:
        """The endpoint to ask: the first that does not rest, else the first whose rest is over soon."""
        now = clock()
        for endpoint in able:
            if endpoint.rest_s(now, is_alone=False) <= 0:
                return endpoint
        endpoint = min(able, key=lambda one: one.rest_s(now, is_alone=True))
        rest_s = endpoint.rest_s(now, is_alone=True)
        if rest_s > REST_WAITED_S:
            raise LedgerUnavailable(
                f"every endpoint of the chain rests, {endpoint.url} for {rest_s:.1f} s: {endpoint.trouble}"
            ) from endpoint.trouble
        await asyncio.sleep(max(rest_s, 0))
        return endpoint

    async def _ask_one(
        self,
        endpoint: Endpoint,
        method: str,
        body: bytes,
        read: Callable[[Endpoint, Any], Result],
        has_block: int,
        limit_s: float,
    ) -> Result:
        """Raises `EndpointFault` and `_LacksBlockError` where another endpoint may do better."""
        session = self._open(method)
        if self._chain_id is not None:
            await self._check_chain(endpoint, session, limit_s)
        if endpoint.height < has_block:
            await self._check_height(endpoint, session, has_block, limit_s)
        try:
            answer = await endpoint.post(session, method, body, limit_s)
            result = read(endpoint, answer)
        except AnswerTooLong:
            # Like a provider's own limit, so that who asked for too much at once may ask for less.
            message = f"the answer is longer than {endpoints.ANSWER_LIMIT_BYTES} bytes"
            raise EndpointError(endpoint.url, method, {"message": message}) from None
        except EndpointError as error:
            if error.is_fault:
                raise EndpointFault(str(error)) from error
            endpoint.served()
            if error.is_lacking:
                raise _LacksBlockError(error) from error
            raise
        endpoint.served()
        return result

    async def _check_chain(self, endpoint: Endpoint, session: aiohttp.ClientSession, limit_s: float) -> None:
        clock = asyncio.get_running_loop().time
        if not endpoint.needs_chain_check(clock()):
            return
        served = await self._number(endpoint, session, "eth_chainId", limit_s)
        if served != self._chain_id:
            fault = EndpointFault(
                f"{endpoint.url} serves chain {served}, but the deployment is on chain {self._chain_id}: "
                "use an endpoint of that chain, or the manifest of this one"
            )
            endpoint.serves_another_chain(fault, clock())
            raise fault
        endpoint.chain_checked(clock())

    async def _check_height(
        self, endpoint: Endpoint, session: aiohttp.ClientSession, has_block: int, limit_s: float
    ) -> None:
        endpoint.height = await self._number(endpoint, session, "eth_blockNumber", limit_s)
        if endpoint.height < has_block:
            raise _LacksBlockError(
                LedgerUnavailable(f"{endpoint.url} is at block {endpoint.height}, behind block {has_block}")
            )

    async def _number(
        self, endpoint: Endpoint, session: aiohttp.ClientSession, method: str, limit_s: float
    ) -> int:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": []}).encode()
        try:
            return int(_result(endpoint, method, await endpoint.post(session, method, body, limit_s)), 16)
        except (AnswerTooLong, EndpointError, TypeError, ValueError) as error:
            raise EndpointFault(f"{endpoint.url} answered {method} with no number: {error}") from error

    def _open(self, method: str) -> aiohttp.ClientSession:
        if self._is_closed:
            raise LedgerError(f"{method}: this connection to {self.url} was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
        return self._session


async def both(first: Awaitable[First], second: Awaitable[Second]) -> tuple[First, Second]:
    """Wait for two requests at once. When one fails the other is given up, so that none outlives the call."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _result(endpoint: Endpoint, method: str, answer: Any) -> Any:
    """The result in an answer. Raises `EndpointError` for an error object, `EndpointFault` when it is neither."""
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        raise EndpointError(endpoint.url, method, answer["error"])
    if not isinstance(answer, dict) or "result" not in answer:
        raise EndpointFault(f"{endpoint.url} answered {method} with neither a result nor an error")
    result = answer["result"]
    if method == "eth_getBlockByNumber":
        if result is None:
            raise _LacksBlockError(LedgerUnavailable(f"{endpoint.url} does not know the block asked for"))
        _note_height(endpoint, result, "number")
    if method == "eth_getTransactionReceipt" and result is not None:
        _note_height(endpoint, result, "blockNumber")
    return result


def _note_height(endpoint: Endpoint, result: Any, name: str) -> None:
    try:
        endpoint.height = max(endpoint.height, int(result[name], 16))
    except (KeyError, TypeError, ValueError) as error:
        raise EndpointFault(f"{endpoint.url} answered with a block or receipt that has no {name}") from error


def _has_word(text: str, words: Sequence[str]) -> bool:
    return any(word in text.lower() for word in words)


def _revert_data(data: Any) -> bytes | None:
    """Revert bytes out of an error object's `data`, which providers nest in their own ways."""
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return None
    return None
