"""One JSON-RPC endpoint as it has shown itself: what it answers, how long it rests after a failure, what it lacks.

Everything that an endpoint can do wrong by itself (be down, hang, answer 429 or 5xx, half an answer, no JSON, another
chain's data) is an `EndpointFault`: another endpoint may do better, and this one rests, longer with every failure in
a row. What is wrong with the *request* is not the endpoint's fault and is left to who asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any

import aiohttp

from committee.errors import LedgerError, LedgerUnavailable
from committee.membership import ADDRESS

FIRST_REST_S = 0.1
"""After the first failure; doubles with every further one in a row."""
LONGEST_REST_S = 60.0
PROBE_AFTER_S = 5.0
"""So long after its failure an endpoint is asked all the same, if there is no better one."""
RETRY_AFTER_LIMIT_S = 30.0
"""An endpoint that asks for a longer pause gets this one."""
WRONG_CHAIN_REST_S = 60.0
CHAIN_CHECK_INTERVAL_S = 60.0
"""How often an endpoint is asked anew which chain it serves; after each of its failures too."""
ANSWER_LIMIT_BYTES = 64 << 20
URL = re.compile(ADDRESS + r"\S*")


class EndpointFault(LedgerUnavailable):
    """One endpoint did not serve the request; another may. `retry_after_s` is the pause it asked for."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class AnswerTooLong(Exception):
    """The answer exceeds `ANSWER_LIMIT_BYTES`: the request asked for too much."""


class Endpoint:
    """One URL, with its health. Times are of the event loop's clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.height = -1
        """The newest block it is known to have."""
        self.trouble: LedgerUnavailable | None = None
        """Its last failure, until it serves again."""
        self._failures = 0
        self._failed_at = 0.0
        self._resting_until = 0.0
        self._paused_until = 0.0
        self._chain_checked_at: float | None = None

    def rest_s(self, now: float, is_alone: bool) -> float:
        """For how long it should not be asked; `is_alone`: there is no endpoint that does not rest."""
        until = self._resting_until
        if is_alone:
            until = min(until, self._failed_at + PROBE_AFTER_S)
        return max(until, self._paused_until) - now

    def failed(self, fault: EndpointFault, asked_at: float, now: float) -> None:
        """Take note of a failure. It rests at least as long as the failure cost."""
        self.trouble = fault
        self._chain_checked_at = None
        self._paused_until = max(self._paused_until, now + min(fault.retry_after_s, RETRY_AFTER_LIMIT_S))
        if asked_at < self._failed_at:
            return  # it was asked together with another request whose failure counts already
        self._failures += 1
        rest_s = max(FIRST_REST_S * 2.0 ** min(self._failures - 1, 16), now - asked_at)
        self._failed_at, self._resting_until = now, now + min(rest_s, LONGEST_REST_S)

    def serves_another_chain(self, fault: EndpointFault, now: float) -> None:
        """Put it away for a while."""
        self.trouble = fault
        self._chain_checked_at = None
        self._failed_at, self._resting_until = now, now + WRONG_CHAIN_REST_S

    def served(self) -> None:
        """Take note of an answer."""
        self._failures = 0
        self._resting_until = 0.0
        self.trouble = None

    def needs_chain_check(self, now: float) -> bool:
        """Whether it has to say anew which chain it serves."""
        return self._chain_checked_at is None or now - self._chain_checked_at > CHAIN_CHECK_INTERVAL_S

    def chain_checked(self, now: float) -> None:
        """It serves the right chain."""
        self._chain_checked_at = now

    def forget_chain(self) -> None:
        """Have it asked which chain it serves before it is used again."""
        self._chain_checked_at = None

    async def post(self, session: aiohttp.ClientSession, what: str, body: bytes, limit_s: float) -> Any:
        """What it answers, parsed. Raises `EndpointFault`, `AnswerTooLong`."""
        try:
            async with asyncio.timeout(limit_s), session.post(self.url, data=body) as response:
                if response.status >= 400:
                    raise EndpointFault(
                        f"{self.url} answered {what} with HTTP {response.status}", _retry_after_s(response)
                    )
                return json.loads(await self._read(response))
        except TimeoutError:
            raise EndpointFault(f"{self.url} did not answer {what} within {limit_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EndpointFault(f"{what}: no connection to the chain at {self.url}: {_why(error)}") from error
        except ValueError as error:
            raise EndpointFault(f"{self.url} answered {what} with something that is not JSON") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > ANSWER_LIMIT_BYTES:
                raise AnswerTooLong
        return bytes(body)


def endpoint_urls(urls: str | Sequence[str]) -> list[str]:
    """The URLs of a list, or of a text that separates them by commas; in order of preference.

    Raises `LedgerError` when there is none, and for one that is not of HTTP.
    """
    listed = urls.split(",") if isinstance(urls, str) else urls
    found = list(dict.fromkeys(url.strip() for url in listed if url.strip()))
    if not found:
        raise LedgerError("no endpoint of the chain is set")
    for url in found:
        if not URL.fullmatch(url):
            raise LedgerError(
                f"{url!r} is no endpoint of a chain: it has the form http://host:port or https://…"
            )
    return found


def _why(error: Exception) -> str:
    """Why there is no connection, in the system's words and not in the library's."""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"TLS failed: {error.strerror}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    """The pause an endpoint asks for, in seconds; 0 where it asks for none (or names a date)."""
    with contextlib.suppress(ValueError):
        return max(float(response.headers.get("Retry-After", 0)), 0.0)
    return 0.0
