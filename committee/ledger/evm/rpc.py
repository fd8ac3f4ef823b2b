"""JSON-RPC to an Ethereum node: one request, one answer or one clear error, always within a limit.

`Rpc` is a provider of web3.py, and everything the adapter asks of a chain passes through it, so that what an endpoint
can do wrong (be down, hang, answer 429, 5xx, half an answer or far too much) is turned into `LedgerUnavailable` in one
place.

It stands in for web3.py's own HTTP provider, whose answers have no limit, and which guards its sessions by a thread
lock that a cancelled request can take and never give back: whatever has limits is cancelled often.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiohttp
from web3 import AsyncWeb3
from web3.eth.async_eth import AsyncEth
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from committee.errors import LedgerError, LedgerUnavailable

First = TypeVar("First")
Second = TypeVar("Second")

REQUEST_LIMIT_S = 15.0
"""No request takes longer, retries included."""
TRIES = 3
"""Of a request, when the connection breaks or the endpoint is busy. Each may be repeated: a transaction is known by
its hash, everything else reads."""
RETRY_BACKOFF_S = 0.1
"""Before the second try; doubles with every further one."""
RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
ANSWER_LIMIT_BYTES = 64 << 20


class EndpointError(LedgerUnavailable):
    """The endpoint answered a request with a JSON-RPC error.

    `data` are the bytes of a revert, if there was one. Who knows what was asked turns it into something
    better; left alone it means that the endpoint did not serve us.
    """

    def __init__(self, endpoint: str, method: str, error: dict[str, Any]) -> None:
        self.code = error.get("code")
        self.reason = str(error.get("message", "no message"))
        self.data = _revert_data(error.get("data"))
        super().__init__(f"{endpoint} answered {method} with an error: {self.reason} (code {self.code})")

    @property
    def is_revert(self) -> bool:
        """Whether a contract reverted (and the endpoint is well)."""
        return self.code == 3 or self.data is not None or "revert" in self.reason.lower()


class Rpc(AsyncJSONBaseProvider):
    """One endpoint. Safe to use from several tasks of one event loop."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self._web3: AsyncWeb3[Rpc] = AsyncWeb3(self, middleware=[])
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    @property
    def eth(self) -> AsyncEth:
        """web3.py's view of the chain through this endpoint; raises what `request` raises."""
        return self._web3.eth

    async def request(self, method: str, *parameters: Any) -> Any:
        """The `result` of a JSON-RPC request, as it came.

        Raises `EndpointError` for an error object, `LedgerUnavailable` for anything else but an answer.
        """
        return await self._web3.manager.coro_request(RPCEndpoint(method), parameters)

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """What web3.py calls for every request; raises as `request` does."""
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                answer = json.loads(await self._post(method, self.encode_rpc_request(method, params)))
        except TimeoutError:
            raise LedgerUnavailable(
                f"{self.url} did not answer {method} within {REQUEST_LIMIT_S:g} s"
            ) from None
        except aiohttp.ClientResponseError as error:
            raise LedgerUnavailable(f"{self.url} answered {method} with HTTP {error.status}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LedgerUnavailable(f"{method}: no connection to the chain at {self.url}: {error}") from error
        except ValueError as error:
            raise LedgerUnavailable(
                f"{self.url} answered {method} with something that is not JSON"
            ) from error
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise EndpointError(self.url, method, answer["error"])
        if not isinstance(answer, dict) or "result" not in answer:
            raise LedgerUnavailable(f"{self.url} answered {method} with neither a result nor an error")
        return RPCResponse(**answer)  # type: ignore[typeddict-item]

    async def close(self) -> None:
        """Close the connections for good. Idempotent."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _post(self, method: str, body: bytes) -> bytes:
        """Post a request, again while the endpoint is busy or gone."""
        attempt = 1
        while True:
            try:
                async with self._open(method).post(self.url, data=body) as response:
                    return await self._read(method, response)
            except aiohttp.ClientError as error:
                is_final = (
                    isinstance(error, aiohttp.ClientResponseError) and error.status not in RETRIED_STATUS
                )
                if is_final or attempt == TRIES:
                    raise
            await asyncio.sleep(RETRY_BACKOFF_S * 2 ** (attempt - 1))
            attempt += 1

    def _open(self, method: str) -> aiohttp.ClientSession:
        if self._is_closed:
            raise LedgerError(f"{method}: this connection to {self.url} was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                raise_for_status=True, headers={"Content-Type": "application/json"}
            )
        return self._session

    async def _read(self, method: str, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > ANSWER_LIMIT_BYTES:
                # Like a provider's own limit, so that who asked for too much at once may ask for less.
                raise EndpointError(
                    self.url, method, {"message": f"the answer is longer than {ANSWER_LIMIT_BYTES} bytes"}
                )
        return bytes(body)


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
