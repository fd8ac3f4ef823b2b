"""One endpoint of a chain as it has shown itself: how it is named, and how long it rests after a failure.

Everything that an endpoint can do wrong by itself is an `EndpointFault`: another endpoint may do better, and this one
rests, longer with every failure in a row. What is wrong with the *request* is not the endpoint's fault and is left to
the caller.

An endpoint's URL often carries a password or a provider's key, as its headers do. `str(endpoint)` is scheme, host and
port, and nothing else of them may stand in a message; `EndpointHealth.quote` takes it out of what the endpoint says.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from committee.backoff import next_pause_s
from committee.errors import LedgerUnavailable
from committee.ledger.providers import origin, parts
from committee.untrusted import printable

FIRST_REST_S = 0.1
"""An endpoint's rest after its first failure; doubles with every further one in a row."""
LONGEST_REST_S = 60.0
PROBE_AFTER_S = 5.0
"""An endpoint is asked again this long after its failure, if there is no better one."""
RETRY_AFTER_LIMIT_S = 30.0
"""An endpoint that asks for a longer pause gets this one."""
REST_WAITED_S = 1.0
"""When every endpoint rests longer, a request fails at once instead of waiting; and a revert stands. An endpoint that
is busy (`EndpointFault.is_busy`) is waited for within the request's time limit."""
CHAIN_CHECK_INTERVAL_S = 60.0
"""Time after which an endpoint is asked anew which chain it serves; it is asked after each of its failures too,
but for those that say that it was asked too often."""
QUOTED_CHARACTERS = 4096
"""Length limit of a quotation from an endpoint, before the URL's secrets are taken out of it."""
SECRET_CHARACTERS = 4
"""A part of a URL this short is no secret: taking it out of messages would only garble them."""


class EndpointFault(LedgerUnavailable):
    """One endpoint did not serve the request; another may.

    `retry_after_s` is the pause it asked for. `may_be_size`: it answered, and may have meant that too much was asked
    for at once. `is_busy`: it answered that it was asked too often, and will serve a little later.
    """

    def __init__(
        self, message: str, retry_after_s: float = 0.0, *, may_be_size: bool = False, is_busy: bool = False
    ) -> None:
        self.retry_after_s = retry_after_s
        self.may_be_size = may_be_size
        self.is_busy = is_busy
        super().__init__(message)


class EndpointHealth:
    """An endpoint's name and health. Times are of the event loop's clock."""

    def __init__(self, url: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Neither the URL nor the headers are shown."""
        self._shown, self._secrets = origin(url), _secrets(url, headers)
        self.trouble: EndpointFault | None = None
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
        if not fault.is_busy:
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


Known = TypeVar("Known", bound=EndpointHealth)


async def rested(able: Sequence[Known], deadline: float) -> Known:
    """Return the endpoint to ask: the first that does not rest, else the first whose rest is over soon.

    `deadline` is when the request's time is over. Raises `LedgerUnavailable` when all rest for too long.
    """
    now = asyncio.get_running_loop().time()
    for endpoint in able:
        if endpoint.rest_s(now, is_alone=False) <= 0:
            return endpoint
    endpoint = min(able, key=lambda one: one.rest_s(now, is_alone=True))
    rest_s = endpoint.rest_s(now, is_alone=True)
    is_busy = endpoint.trouble is not None and endpoint.trouble.is_busy
    if rest_s > (max(deadline - now, REST_WAITED_S) if is_busy else REST_WAITED_S):
        raise LedgerUnavailable(
            f"every endpoint of the chain rests, {endpoint} for {rest_s:.1f} s: {endpoint.trouble}"
        )
    await asyncio.sleep(max(rest_s, 0))
    return endpoint


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
