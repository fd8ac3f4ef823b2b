"""The endpoints of one chain: one request, one answer that was read or one clear error, always within a limit.

`SuiRpc` knows several endpoints in order of preference and asks the first that is well; what one of them can do wrong
becomes `LedgerUnavailable` only when none serves. A caller says with each request how its answer is read: whatever the
reading raises is a fault of the endpoint, so another one is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from copy import copy
from typing import TypeVar

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.health import EndpointFault, rested
from committee.ledger.providers import Providers, listed
from committee.ledger.sui.connections import ANSWER_LIMIT_BYTES, AnswerTooLarge, CallRefused, Endpoint
from committee.ledger.sui.digests import digest_text, read_digest
from committee.ledger.sui.methods import GET_SERVICE_INFO, Answer, Method, Request
from committee.ledger.sui.wire import v2

Result = TypeVar("Result")

REQUEST_LIMIT_S = 15.0
"""No request takes longer, retries included."""
TRIES = 3
"""Tries of a request with one endpoint; each further endpoint adds one, as does each answer of a busy one. Every
request may be repeated: a transaction is
known by its digest, and all others only read."""
ENDPOINTS_IN_LIMIT = 3
"""Number of endpoints that can hang, one after the other, within a request's time limit."""


class SuiRpc:
    """The endpoints of one chain. Safe to use from several tasks of one event loop."""

    def __init__(self, providers: Providers, chain: bytes) -> None:
        """Take the endpoints in order of preference. `chain` is the digest of the chain's first checkpoint.

        An endpoint that serves another chain is not used. Raises `LedgerError` for what is no endpoint.
        """
        self.endpoints = [Endpoint(provider) for provider in listed(providers)]
        self.chain = chain
        self._is_closed = False
        self._subscriptions = -1

    def alone(self) -> SuiRpc:
        """Return the same chain as one of its endpoints has it: the first that is well, or will be soonest.

        What several requests tell belongs together only if one endpoint has told it all.
        """
        now = asyncio.get_running_loop().time()
        return self._only(min(self.endpoints, key=lambda one: max(0.0, one.rest_s(now, is_alone=True))))

    def each(self) -> list[SuiRpc]:
        """Return the same chain as each endpoint has it."""
        return [self._only(endpoint) for endpoint in self.endpoints]

    def _only(self, endpoint: Endpoint) -> SuiRpc:
        single = copy(self)
        single.endpoints = [endpoint]
        return single

    def __str__(self) -> str:
        """Return the scheme, host and port of each endpoint, to be named in messages."""
        return ", ".join(map(str, self.endpoints))

    async def ask(
        self,
        method: Method[Request, Answer],
        request: Request,
        read: Callable[[Answer], Result],
        limit_bytes: int = ANSWER_LIMIT_BYTES,
        *,
        is_repeatable: bool = True,
    ) -> Result:
        """Return what `read` makes of the answer to a request.

        One that is not repeatable is sent to one endpoint and once.

        Whatever `read` raises makes another endpoint be asked: `CallRefused` without blame, anything else as after any
        other failure. Raises `CallRefused` or `AnswerTooLarge` when an endpoint that is well says so and no other one
        serves the request, else `LedgerUnavailable`.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + REQUEST_LIMIT_S
        passed_over: dict[Endpoint, LedgerError] = {}
        trouble: LedgerUnavailable | None = None
        failures = dict.fromkeys(self.endpoints, 0)
        tries = TRIES + len(self.endpoints) - 1 if is_repeatable else 1
        while tries > 0:
            tries -= 1
            able = [endpoint for endpoint in self.endpoints if endpoint not in passed_over]
            able.sort(key=failures.__getitem__)
            if passed_over:  # an endpoint has answered already: one that rests is not waited for
                able = [endpoint for endpoint in able if endpoint.rest_s(clock(), is_alone=False) <= 0]
            if not able:
                break
            endpoint = await rested(able, deadline)
            asked_at = clock()
            limit_s = min(REQUEST_LIMIT_S / min(len(self.endpoints), ENDPOINTS_IN_LIMIT), deadline - asked_at)
            if limit_s <= 0:
                break
            try:
                return await self._ask_one(endpoint, method, request, read, limit_s, limit_bytes)
            except (CallRefused, AnswerTooLarge) as refused:
                passed_over[endpoint] = refused
            except EndpointFault as fault:
                endpoint.failed(fault, asked_at, clock())
                failures[endpoint] += 1
                trouble = fault
                tries += is_repeatable and fault.is_busy
        if passed_over:
            raise next(iter(passed_over.values()))
        if trouble is None:
            raise LedgerUnavailable(
                f"no endpoint answered {method.name} within {REQUEST_LIMIT_S:g} s: {self}"
            )
        raise trouble

    async def subscribe(
        self,
        method: Method[Request, Answer],
        request: Request,
        read: Callable[[Answer], Result],
        limit_bytes: int,
        silence_s: float,
    ) -> AsyncGenerator[Result, None]:
        """Yield what `read` makes of each answer of a method that gives many, from one endpoint that is well.

        The next call asks the next endpoint. Raises `LedgerUnavailable` when the endpoint ends the stream, is at fault,
        or silent for `silence_s`; that sets no endpoint aside, for it may serve everything else.
        """
        now = asyncio.get_running_loop().time()
        self._subscriptions += 1
        turn = self._subscriptions % len(self.endpoints)
        in_turn = [*self.endpoints[turn:], *self.endpoints[:turn]]
        endpoint = min(in_turn, key=lambda one: one.rest_s(now, is_alone=False) > 0)
        await self._check_chain(endpoint, REQUEST_LIMIT_S)
        async with aclosing(endpoint.stream(method, request, limit_bytes, silence_s)) as answers:
            async for answer in answers:
                try:
                    result = read(answer)
                except ValueError as error:
                    raise EndpointFault(
                        f"{endpoint} told in {method.name} what cannot be read: {endpoint.quote(str(error))}"
                    ) from None
                yield result
        raise LedgerUnavailable(f"{endpoint} ended {method.name}")

    async def close(self) -> None:
        """Close the connections for good. Idempotent."""
        self._is_closed = True
        for endpoint in self.endpoints:
            endpoint.close()

    async def _ask_one(
        self,
        endpoint: Endpoint,
        method: Method[Request, Answer],
        request: Request,
        read: Callable[[Answer], Result],
        limit_s: float,
        limit_bytes: int,
    ) -> Result:
        """Raises `EndpointFault`, `CallRefused` and `AnswerTooLarge` where another endpoint may do better."""
        if self._is_closed:
            raise LedgerError(f"{method.name}: this connection to {self} was closed")
        await self._check_chain(endpoint, limit_s)
        try:
            result = read(await endpoint.call(method, request, limit_s, limit_bytes))
        except EndpointFault:
            raise
        except (CallRefused, AnswerTooLarge):
            endpoint.served()
            raise
        except Exception as error:
            why = endpoint.quote(str(error)) if isinstance(error, ValueError) else type(error).__name__
            message = f"{endpoint} answered {method.name} with something that cannot be read: {why}"
            raise EndpointFault(message) from None
        endpoint.served()
        return result

    async def _check_chain(self, endpoint: Endpoint, limit_s: float) -> None:
        clock = asyncio.get_running_loop().time
        if not endpoint.needs_chain_check(clock()):
            return
        try:
            answer = await endpoint.call(GET_SERVICE_INFO, v2.GetServiceInfoRequest(), limit_s)
            served = read_digest(answer.chain_id)
        except (CallRefused, AnswerTooLarge, ValueError) as error:
            raise EndpointFault(f"{endpoint} does not tell which chain it serves: {error}") from None
        if served != self.chain:
            fault = EndpointFault(
                f"{endpoint} serves chain {digest_text(served)}, but the deployment is on chain "
                f"{digest_text(self.chain)}: use an endpoint of that chain, or the manifest of this one"
            )
            endpoint.put_away(fault, clock())
            raise fault
        endpoint.chain_checked(clock())
