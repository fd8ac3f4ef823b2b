"""JSON-RPC to an Ethereum node: one request, one answer or one clear error, always within a limit.

Everything the adapter asks of a chain passes through `Rpc.request`, so that what an endpoint can do wrong (be
down, hang, answer 429, 5xx or half an answer) is turned into `LedgerUnavailable` in one place.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from web3 import AsyncHTTPProvider
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import RPCEndpoint

from committee.errors import LedgerUnavailable

REQUEST_LIMIT_S = 15.0
"""No request takes longer, retries included."""
RETRIES = 3
"""Tries per request when the connection breaks or the endpoint answers with an HTTP error."""
RETRY_BACKOFF_S = 0.1
"""Before the second try; doubles with every further one."""


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


class Rpc:
    """One endpoint. Safe to use from several tasks of one event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._provider = AsyncHTTPProvider(
            url,
            request_kwargs={"timeout": aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)},
            exception_retry_configuration=ExceptionRetryConfiguration(
                errors=(aiohttp.ClientError,), retries=RETRIES, backoff_factor=RETRY_BACKOFF_S
            ),
        )
        self._session: aiohttp.ClientSession | None = None

    async def request(self, method: str, *parameters: Any) -> Any:
        """The `result` of a JSON-RPC request.

        Raises `EndpointError` for an error object, `LedgerUnavailable` for anything else but an answer.
        """
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                if self._session is None or self._session.closed:
                    await self._open()
                answer: Any = await self._provider.make_request(RPCEndpoint(method), list(parameters))
        except TimeoutError:
            raise LedgerUnavailable(
                f"{self.url} did not answer {method} within {REQUEST_LIMIT_S:.0f} s"
            ) from None
        except aiohttp.ClientResponseError as error:
            raise LedgerUnavailable(f"{self.url} answered {method} with HTTP {error.status}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LedgerUnavailable(f"no connection to the chain at {self.url}: {error}") from error
        except ValueError as error:
            raise LedgerUnavailable(
                f"{self.url} answered {method} with something that is not JSON"
            ) from error
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise EndpointError(self.url, method, answer["error"])
        if not isinstance(answer, dict) or "result" not in answer:
            raise LedgerUnavailable(f"{self.url} answered {method} with neither a result nor an error")
        return answer["result"]

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        session, self._session = self._session, None
        await self._provider.disconnect()
        if session is not None:
            await session.close()

    async def _open(self) -> None:
        # web3's own session opens a connection for every request; ours keeps them, which halves the latency.
        self._session = aiohttp.ClientSession(raise_for_status=True)
        await self._provider.cache_async_session(self._session)


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
