"""JSON-RPC to Ethereum nodes: one request, one answer that was read or one clear error, always within a limit.

`Rpc` is a provider of web3.py, and everything that the adapter asks of a chain passes through it. It knows several
endpoints in order of preference and asks the first that is well; what one of them can do wrong is found here and in
`endpoints`, and becomes `LedgerUnavailable` only when none serves.

A caller says with each request how its result is read (`answers`). Whatever the reading raises is a fault of the
endpoint, so another one is asked, and no answer that a provider can make up comes out as any other error. What web3.py
asks by `Rpc.eth` is read in the same way before web3.py sees it (`answers.OF_METHOD`).

It stands in for web3.py's own HTTP provider, whose answers have no limit, and which guards its sessions by a thread
lock that a cancelled request can take and never give back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import aiohttp
from web3 import AsyncWeb3
from web3.eth.async_eth import AsyncEth
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from committee.connections import open_session
from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm import answers, jsonrpc
from committee.ledger.evm.endpoints import Endpoint
from committee.ledger.evm.refusals import AskedTooMuch, EndpointError, Lacking
from committee.ledger.health import REST_WAITED_S, EndpointFault, rested
from committee.ledger.providers import Providers, listed

First = TypeVar("First")
Second = TypeVar("Second")
Result = TypeVar("Result")

REQUEST_LIMIT_S = 15.0
"""No request takes longer, retries included."""
TRIES = 3
"""Tries of a request with one endpoint; each further endpoint adds one, as does each answer of a busy one. Every
request may be repeated: a transaction is known by its hash, and all others only read."""
ENDPOINTS_IN_LIMIT = 3
"""Number of endpoints that can hang, one after the other, within a request's time limit."""
OPINION_LIMIT_S = 3.0
"""Time limit for an endpoint whose answer is only compared with another's."""


class Rpc(AsyncJSONBaseProvider):
    """The endpoints of one chain. Safe to use from several tasks of one event loop."""

    def __init__(self, providers: Providers, chain_id: int | None = None) -> None:
        """`providers` are the endpoints in order of preference, a list or URLs separated by commas.

        With `chain_id`, an endpoint that serves another chain is not used.
        """
        super().__init__()
        self.endpoints = [Endpoint(one.url, one.headers) for one in listed(providers)]
        self._chain_id = chain_id
        self._web3: AsyncWeb3[Rpc] = AsyncWeb3(self, middleware=[])
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the session belongs to."""
        self._is_closed = False
        self._served_last: Endpoint | None = None

    def __str__(self) -> str:
        """Return the scheme, host and port of each endpoint, to be named in messages."""
        return ", ".join(map(str, self.endpoints))

    @property
    def eth(self) -> AsyncEth:
        """web3.py's view of the chain; its methods raise what `request` raises."""
        return self._web3.eth

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer web3.py, which calls this for every request; raises as `request` does."""
        number = await self.request(method, *params, read=answers.OF_METHOD[method])
        return RPCResponse(jsonrpc="2.0", id=1, result=hex(number))

    async def request(
        self,
        method: str,
        *parameters: Any,
        read: Callable[[Any], Result],
        has_block: int = -1,
        is_divisible: bool = False,
    ) -> Result:
        """Return what `read` makes of the `result` of a JSON-RPC request.

        Only endpoints that have the block `has_block` are asked. Whatever `read` raises makes another endpoint be
        asked: `Lacking` without blame, anything else as after any other failure. So does an error object, a revert
        too, which any provider can make up: it counts when no other endpoint that answers serves the request.

        Raises `EndpointError` for an error object, `LedgerUnavailable` for anything else but an answer; for a request
        that `is_divisible`, which could be asked in smaller parts, `AskedTooMuch` where smaller ones may be served.
        """
        body, read_answer = jsonrpc.single(method, parameters, read)
        return await self._ask(method, body, read_answer, has_block, is_divisible)

    async def batch(
        self,
        method: str,
        parameters: Sequence[Sequence[Any]],
        read: Callable[[list[Any]], Result],
    ) -> Result:
        """Return what `read` makes of the results of one method for several parameters, in their order, by one request.

        Errors as with `request`; several parameters are divisible, also where endpoints say until the end that they are
        asked too often: some count each of them, and allow fewer at a time.
        """
        body, read_answer = jsonrpc.batch(method, parameters, read)
        try:
            return await self._ask(method, body, read_answer, -1, len(parameters) > 1)
        except LedgerUnavailable as error:
            troubles = [endpoint.trouble for endpoint in self.endpoints]
            are_busy = all(trouble is not None and trouble.is_busy for trouble in troubles)
            if len(parameters) == 1 or not are_busy:
                raise
            for endpoint in self.endpoints:
                endpoint.served()  # the rest that each refusal lengthened is not for a smaller batch
            raise AskedTooMuch(str(error)) from None

    async def second_opinion(
        self, method: str, *parameters: Any, read: Callable[[Any], Result]
    ) -> tuple[str, Result] | None:
        """Return (name of an endpoint, its answer) from one that did not answer last; None when none of them can tell.

        Endpoints that rest are not asked, and none is waited for longer than `OPINION_LIMIT_S`.
        """
        clock = asyncio.get_running_loop().time
        body, read_answer = jsonrpc.single(method, parameters, read)
        for endpoint in self.endpoints:
            asked_at = clock()
            if endpoint is self._served_last or endpoint.rest_s(asked_at, is_alone=False) > 0:
                continue
            try:
                answer = await self._ask_one(endpoint, method, body, read_answer, -1, OPINION_LIMIT_S)
            except EndpointFault as fault:
                endpoint.failed(fault, asked_at, clock())
            except (Lacking, LedgerUnavailable):
                pass
            else:
                return str(endpoint), answer
        return None

    async def opinions(
        self, method: str, *parameters: Any, read: Callable[[Any], Result], has_block: int = -1
    ) -> list[tuple[str, Result]]:
        """Return (name of an endpoint, its answer) from every one that can tell; as `second_opinion`, all at once."""
        clock = asyncio.get_running_loop().time
        body, read_answer = jsonrpc.single(method, parameters, read)

        async def ask(endpoint: Endpoint) -> tuple[str, Result] | None:
            asked_at = clock()
            if endpoint.rest_s(asked_at, is_alone=False) > 0:
                return None
            try:
                answer = await self._ask_one(endpoint, method, body, read_answer, has_block, OPINION_LIMIT_S)
            except EndpointFault as fault:
                if not fault.may_be_size:
                    endpoint.failed(fault, asked_at, clock())
            except (Lacking, LedgerUnavailable):
                pass
            else:
                return str(endpoint), answer
            return None

        told = await asyncio.gather(*map(ask, self.endpoints))
        return [one for one in told if one is not None]

    async def agreeing(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of several requests that are read together.

        What the work raises beside `LedgerError` means that the answers contradict each other. Then the endpoint that
        answered last rests, and the work is done again. Raises `LedgerUnavailable` when that does not help.
        """
        trouble = ""
        for _ in range(TRIES + len(self.endpoints) - 1):
            try:
                return await work()
            except LedgerError:
                raise
            except Exception as error:
                trouble = str(error) if isinstance(error, answers.Unreadable) else type(error).__name__
                if self._served_last is not None:
                    now = asyncio.get_running_loop().time()
                    fault = EndpointFault(f"the answers of {self._served_last} contradict each other")
                    self._served_last.failed(fault, now, now)
        raise LedgerUnavailable(f"the answers of {self} contradict each other ({trouble})")

    async def leave_stuck(self, patience_s: float) -> bool:
        """Pass over the endpoint that answered last if it has been at one block for `patience_s` and another is ahead.

        To be called again and again while nothing new comes. (An execution client whose consensus client is gone goes
        on answering, with the blocks that it has.) Returns whether another endpoint is to be asked now.
        """
        endpoint, clock = self._served_last, asyncio.get_running_loop().time
        if endpoint is None or len(self.endpoints) == 1:
            return False
        try:
            height = await self._number(
                endpoint, self._open("eth_blockNumber"), "eth_blockNumber", OPINION_LIMIT_S
            )
        except EndpointFault as fault:
            endpoint.failed(fault, clock(), clock())
            return True
        opinion = await self.second_opinion("eth_blockNumber", read=answers.quantity)
        if not endpoint.stands_still(height, clock(), patience_s) or opinion is None or opinion[1] <= height:
            return False
        name, newest = opinion
        why = f"{endpoint} stands still at block {height}, and {name} is at block {newest}"
        endpoint.put_away(EndpointFault(why), clock())
        return True

    async def leave_behind(self, tag: str, number: int) -> bool:
        """Let the endpoint that answered last rest if another one's block `tag` has the number `number` or a later one.

        The caller has seen that the endpoint's own is earlier, as while it is being synchronised. Return whether it
        rests, so that another endpoint is to be asked now.
        """
        endpoint = self._served_last
        opinion = await self.second_opinion(
            "eth_getBlockByNumber", tag, False, read=lambda result: answers.block(result).mark.number
        )
        if endpoint is None or opinion is None or opinion[1] < number:
            return False
        why = f"{endpoint} is behind block {number}, and {opinion[0]} is at block {opinion[1]}"
        endpoint.put_away(EndpointFault(why), asyncio.get_running_loop().time())
        return True

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
        self,
        method: str,
        body: bytes,
        read: Callable[[Endpoint, Any], Result],
        has_block: int,
        is_divisible: bool,
    ) -> Result:
        """Ask one endpoint after another until one serves."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + REQUEST_LIMIT_S
        passed_over: dict[Endpoint, LedgerError] = {}
        refused: LedgerError | None = None
        trouble: LedgerUnavailable | None = None
        failures = dict.fromkeys(self.endpoints, 0)
        tries = TRIES + len(self.endpoints) - 1
        while tries > 0:
            tries -= 1
            able = [endpoint for endpoint in self.endpoints if endpoint not in passed_over]
            able.sort(key=failures.__getitem__)
            if passed_over:
                # One endpoint has answered already: what rests for long is not waited for.
                waited_s = REST_WAITED_S if any(map(_is_revert, passed_over.values())) else 0.0
                able = [endpoint for endpoint in able if endpoint.rest_s(clock(), is_alone=False) <= waited_s]
            if not able:
                break
            endpoint = await rested(able, deadline)
            asked_at = clock()
            limit_s = min(REQUEST_LIMIT_S / min(len(self.endpoints), ENDPOINTS_IN_LIMIT), deadline - asked_at)
            if limit_s <= 0:
                break
            try:
                result = await self._ask_one(endpoint, method, body, read, has_block, limit_s)
            except Lacking as lack:
                passed_over[endpoint] = lack.told
                if is_divisible and isinstance(lack.told, EndpointError) and not lack.told.is_lacking:
                    refused = lack.told
            except EndpointFault as fault:
                if is_divisible and fault.may_be_size:
                    passed_over[endpoint] = refused = fault
                else:
                    endpoint.failed(fault, asked_at, clock())
                    failures[endpoint] += 1
                    trouble = fault
                    tries += fault.is_busy
            else:
                self._served_last = endpoint
                return result
        if refused is not None:
            raise AskedTooMuch(str(refused))
        if passed_over:
            told = next(iter(passed_over.values()))
            if isinstance(told, EndpointError):
                told.has_fault_beside = trouble is not None
            raise told
        if trouble is None:
            raise LedgerUnavailable(f"no endpoint answered {method} within {REQUEST_LIMIT_S:g} s: {self}")
        raise trouble

    async def _ask_one(
        self,
        endpoint: Endpoint,
        method: str,
        body: bytes,
        read: Callable[[Endpoint, Any], Result],
        has_block: int,
        limit_s: float,
    ) -> Result:
        """Raises `EndpointFault` and `Lacking` where another endpoint may do better."""
        session = self._open(method)
        if self._chain_id is not None:
            await self._check_chain(endpoint, session, limit_s)
        if endpoint.height < has_block:
            await self._check_height(endpoint, session, has_block, limit_s)
        answer = await endpoint.post(session, method, body, limit_s)
        try:
            result = await jsonrpc.read_aside(read, endpoint, answer)
        except EndpointError as error:
            if error.is_fault:
                raise EndpointFault(
                    str(error), may_be_size=error.code != 429, is_busy=error.is_busy
                ) from None
            endpoint.served()
            raise Lacking(error) from None
        except Lacking:
            endpoint.served()
            raise
        except EndpointFault:
            raise
        except Exception as error:
            why = str(error) if isinstance(error, answers.Unreadable) else type(error).__name__
            message = f"{endpoint} answered {method} with something that cannot be read: {why}"
            raise EndpointFault(message, may_be_size=True) from None
        endpoint.served()
        return result

    async def _check_chain(self, endpoint: Endpoint, session: aiohttp.ClientSession, limit_s: float) -> None:
        clock = asyncio.get_running_loop().time
        if not endpoint.needs_chain_check(clock()):
            return
        served = await self._number(endpoint, session, "eth_chainId", limit_s)
        if served != self._chain_id:
            fault = EndpointFault(
                f"{endpoint} serves chain {served}, but the deployment is on chain {self._chain_id}: "
                "use an endpoint of that chain, or the manifest of this one"
            )
            endpoint.put_away(fault, clock())
            raise fault
        endpoint.chain_checked(clock())

    async def _check_height(
        self, endpoint: Endpoint, session: aiohttp.ClientSession, has_block: int, limit_s: float
    ) -> None:
        endpoint.height = await self._number(endpoint, session, "eth_blockNumber", limit_s)
        if endpoint.height < has_block:
            raise Lacking(
                LedgerUnavailable(f"{endpoint} is at block {endpoint.height}, behind block {has_block}")
            )

    async def _number(
        self, endpoint: Endpoint, session: aiohttp.ClientSession, method: str, limit_s: float
    ) -> int:
        body, read = jsonrpc.single(method, [], answers.quantity)
        answer = await endpoint.post(session, method, body, limit_s)
        try:
            return read(endpoint, answer)
        except (EndpointError, answers.Unreadable) as error:
            is_busy = isinstance(error, EndpointError) and error.is_busy
            message = f"{endpoint} answered {method} with no number: {error}"
            raise EndpointFault(message, is_busy=is_busy) from None

    def _open(self, method: str) -> aiohttp.ClientSession:
        if self._is_closed:
            raise LedgerError(f"{method}: this connection to {self} was closed")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop = loop
            self._session = open_session(allow_private=True, headers={"Content-Type": "application/json"})
        if self._loop is not loop:
            raise RuntimeError(
                f"{method}: this connection to {self} belongs to another event loop: connect anew in each asyncio.run()"
            )
        return self._session


def _is_revert(error: LedgerError) -> bool:
    return isinstance(error, EndpointError) and error.is_revert
