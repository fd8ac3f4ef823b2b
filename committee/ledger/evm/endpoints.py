"""One JSON-RPC endpoint: what it answers, and all that can be wrong with an answer.

An endpoint that is down, hangs, answers 429 or 5xx, half an answer or no JSON has an `EndpointFault`, after which it
rests (`committee.ledger.health`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from committee.connections import close_idle, content_coding, retry_after_s
from committee.ledger.health import EndpointFault, EndpointHealth
from committee.untrusted import InvalidJson, parse_json

ANSWER_LIMIT_BYTES = 8 << 20
"""Size limit of one answer. Parsing one holds the event loop: for 60 ms if it has as many logs as there is room for,
11 000, and for a quarter of a second at worst. More logs than that are asked for in parts."""
ANSWER_LIMIT_BRACKETS = 1 << 15
ANSWER_LIMIT_VALUES = 1 << 17
"""Lists and objects, and their elements, in one answer: 13 000 and 10 000 logs."""
ERROR_LIMIT_BYTES = 1 << 16
"""Size limit of the body of an HTTP error, which may hold a JSON-RPC error."""
NOT_OF_SIZE = (401, 402, 403, 404, 405, 429, 502, 503, 504)
"""HTTP statuses that never mean that too much was asked for at once; providers say that with 400, 413 and 500."""
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables of the environment that name proxies; their names in small letters count as well."""


class AnswerTooLong(Exception):
    """The answer exceeds its limit."""


class Endpoint(EndpointHealth):
    """One URL, with its health. Times are of the event loop's clock."""

    def __init__(self, url: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """`headers` go with each request."""
        super().__init__(url, headers)
        self._url = url
        self._headers = dict(headers)
        self.height = -1
        """The newest block it is known to have."""

    async def post(self, session: aiohttp.ClientSession, what: str, body: bytes, limit_s: float) -> Any:
        """Return the endpoint's parsed answer to a JSON-RPC request. Raises `EndpointFault` for any failure."""
        try:
            async with (
                asyncio.timeout(limit_s),
                session.post(self._url, data=body, headers=self._headers, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    return await self._read_error(response, what)
                if coding := content_coding(response):
                    message = (
                        f"{self} answered {what} compressed ({self.quote(coding)}), which was not asked for"
                    )
                    raise EndpointFault(message)
                return self._parse(await _read(response, ANSWER_LIMIT_BYTES), what)
        except EndpointFault:
            raise
        except TimeoutError:
            close_idle(session, self._url)
            message = f"{self} did not answer {what} within {limit_s:g} s{self._unused_proxy()}"
            raise EndpointFault(message) from None
        except AnswerTooLong:
            message = f"{self} answered {what} with more than {ANSWER_LIMIT_BYTES} bytes"
            raise EndpointFault(message, may_be_size=True) from None
        except (aiohttp.ClientConnectionError, OSError) as error:
            why = self.quote(_why(error)) + self._unused_proxy()
            raise EndpointFault(f"{what}: no connection to the chain at {self}: {why}") from None
        except Exception as error:
            # HTTP that aiohttp cannot read; its words may quote the URL or the answer.
            message = f"{self} answered {what} with HTTP that cannot be read ({type(error).__name__})"
            raise EndpointFault(message, may_be_size=True) from None

    def _unused_proxy(self) -> str:
        """Return words for a message: that a proxy is set which might lead to the endpoint, and is not used."""
        host = urlsplit(self._shown).hostname or ""
        names = [name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
        if not names or host == "localhost" or host.startswith("127.") or host == "::1":
            return ""
        return f" ({names[0]} is set, and proxies are not used: connections are direct)"

    async def _read_error(self, response: aiohttp.ClientResponse, what: str) -> Any:
        """Return the JSON-RPC error in an answer that HTTP calls failed. Raises `EndpointFault` when it has none."""
        status = response.status
        if status < 400:
            raise EndpointFault(
                f"{self} answered {what} with a redirect (HTTP {status}), which is not followed: name the endpoint "
                "that it leads to"
            )
        fault = EndpointFault(
            f"{self} answered {what} with HTTP {status}",
            retry_after_s(response.headers.get("Retry-After", "")) or 0.0,
            may_be_size=status not in NOT_OF_SIZE,
            is_busy=status == 429,
        )
        if not fault.may_be_size:
            raise fault
        try:
            answer = self._parse(await _read(response, ERROR_LIMIT_BYTES), what)
        except (AnswerTooLong, EndpointFault):
            raise fault from None
        if not (isinstance(answer, dict) and isinstance(answer.get("error"), dict)):
            raise fault
        return answer

    def _parse(self, content: bytes, what: str) -> Any:
        try:
            return parse_json(content, ANSWER_LIMIT_BRACKETS, ANSWER_LIMIT_VALUES)
        except InvalidJson as error:
            message = f"{self} answered {what} with something that cannot be read: {error}"
            raise EndpointFault(message, may_be_size=True) from None


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the body. Raises `AnswerTooLong`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            raise AnswerTooLong
    return bytes(body)


def _why(error: Exception) -> str:
    """Return why there is no connection, in the system's words and not in the library's."""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"TLS failed: {error.strerror}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__
