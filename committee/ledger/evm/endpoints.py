"""One JSON-RPC endpoint as it has shown itself: what it answers, how long it rests after a failure, what it lacks.

Everything that an endpoint can do wrong by itself (be down, hang, answer 429 or 5xx, half an answer, no JSON, another
chain's data) is an `EndpointFault`: another endpoint may do better, and this one rests, longer with every failure in
a row. What is wrong with the *request* is not the endpoint's fault and is left to the caller.

An endpoint's URL often carries a password or a provider's key, as its headers do. `str(endpoint)` is scheme, host and
port, and nothing else of them may stand in a message; `Endpoint.quote` takes it out of what the endpoint itself says.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp

from committee.backoff import next_pause_s
from committee.connections import close_idle, content_coding
from committee.errors import LedgerUnavailable
from committee.ledger.evm.providers import origin, parts
from committee.untrusted import InvalidJson, parse_json, printable

FIRST_REST_S = 0.1
"""An endpoint's rest after its first failure; doubles with every further one in a row."""
LONGEST_REST_S = 60.0
PROBE_AFTER_S = 5.0
"""An endpoint is asked again this long after its failure, if there is no better one."""
RETRY_AFTER_LIMIT_S = 30.0
"""An endpoint that asks for a longer pause gets this one."""
CHAIN_CHECK_INTERVAL_S = 60.0
"""Time after which an endpoint is asked anew which chain it serves; it is asked after each of its failures too."""
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
QUOTED_CHARACTERS = 4096
"""Length limit of a quotation from an endpoint, before the URL's secrets are taken out of it."""
SECRET_CHARACTERS = 4
"""A part of a URL this short is no secret: taking it out of messages would only garble them."""
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables of the environment that name proxies; their names in small letters count as well."""


class AnswerTooLong(Exception):
    """The answer exceeds its limit."""


class EndpointFault(LedgerUnavailable):
    """One endpoint did not serve the request; another may.

    `retry_after_s` is the pause it asked for. `may_be_size`: it answered, and may have meant that too much was asked
    for at once.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, *, may_be_size: bool = False) -> None:
        self.retry_after_s = retry_after_s
        self.may_be_size = may_be_size
        super().__init__(message)


class Endpoint:
    """One URL, with its health. Times are of the event loop's clock."""

    def __init__(self, url: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """`headers` go with each request."""
        self._url = url
        self._headers = dict(headers)
        self._shown, self._secrets = origin(url), _secrets(url, headers)
        self.height = -1
        """The newest block it is known to have."""
        self.trouble: LedgerUnavailable | None = None
        """Its last failure, until it serves again."""
        self._rest_s = 0.0
        self._failed_at = 0.0
        self._resting_until = 0.0
        self._paused_until = 0.0
        self._chain_checked_at: float | None = None
        self._stood_at = -1, 0.0
        """(the endpoint's newest block, the time since when that is known not to have changed)."""

    def rest_s(self, now: float, is_alone: bool) -> float:
        """Return for how long the endpoint should not be asked; `is_alone`: every endpoint rests."""
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
        self._rest_s = next_pause_s(self._rest_s, FIRST_REST_S, LONGEST_REST_S)
        rest_s = min(max(self._rest_s, now - asked_at), LONGEST_REST_S)
        self._failed_at, self._resting_until = now, now + rest_s

    def put_away(self, fault: EndpointFault, now: float) -> None:
        """Let the endpoint rest though it answers: it serves another chain, or no longer follows this one."""
        self.trouble = fault
        self._chain_checked_at = None
        self._failed_at, self._resting_until = now, now + LONGEST_REST_S

    def stands_still(self, height: int, now: float, patience_s: float) -> bool:
        """Return whether the endpoint's newest block, now `height`, has not changed for `patience_s`."""
        if height != self._stood_at[0]:
            self._stood_at = height, now
        return now - self._stood_at[1] >= patience_s

    def served(self) -> None:
        """Take note that the endpoint has answered: its rest and its trouble are over."""
        self._rest_s = 0.0
        self._resting_until = 0.0
        self.trouble = None

    def needs_chain_check(self, now: float) -> bool:
        """Return whether the endpoint has to say anew which chain it serves."""
        return self._chain_checked_at is None or now - self._chain_checked_at > CHAIN_CHECK_INTERVAL_S

    def chain_checked(self, now: float) -> None:
        """Take note that the endpoint serves the right chain."""
        self._chain_checked_at = now

    def forget_chain(self) -> None:
        """Have the endpoint asked which chain it serves before it is used again."""
        self._chain_checked_at = None

    def __str__(self) -> str:
        """Return the scheme, host and port, for messages and logs."""
        return self._shown

    def quote(self, text: object) -> str:
        """Return the endpoint's words as a message may quote them: short, printable, without its secrets."""
        text = text if isinstance(text, str) else printable(text)
        for secret in self._secrets:
            text = text[:QUOTED_CHARACTERS].replace(secret, "…")
        return printable(text)

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
            _retry_after_s(response),
            may_be_size=status not in NOT_OF_SIZE,
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


def _secrets(url: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parts of an endpoint's URL and headers that no message may tell, longest first."""
    found = parts(url)
    if found is None:
        return (url,)
    user, password = found.username or "", found.password or ""
    login = f"{unquote(user)}:{unquote(password)}"
    basic = base64.b64encode(login.encode(errors="replace")).decode() if user or password else ""
    values = [text for pair in parse_qsl(found.query) for text in pair[1:]]
    pieces = {url, found.netloc.rpartition("@")[0], user, password, basic, found.path, found.query, *values}
    pieces |= set(found.path.split("/")) | {found.fragment}
    pieces |= {unquote(piece) for piece in pieces}
    pieces |= {piece for value in headers.values() for piece in (value, *value.split())}
    secrets = {piece for piece in pieces if len(piece) >= SECRET_CHARACTERS}
    return tuple(sorted(secrets, key=len, reverse=True))


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


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    """Return the pause an endpoint asks for, in seconds; 0 where it asks for none (or names a date)."""
    try:
        asked_s = float(response.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0
    return max(asked_s, 0.0) if math.isfinite(asked_s) else 0.0
