"""How a request to an endpoint ends when it is not served, beside a fault of the endpoint (`endpoints`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm.endpoints import Endpoint

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


MAX_REVERT_CHARACTERS = 1 << 14
"""Of the data of a revert, in hex; the contracts' own errors take a few hundred."""


class EndpointError(LedgerUnavailable):
    """The endpoint answered a request with a JSON-RPC error.

    `data` are the bytes of a revert, if there was one. The caller, which knows what was asked, turns it into something
    better; left alone it means that the endpoint did not serve us.
    """

    def __init__(self, endpoint: Endpoint, method: str, error: dict[str, Any]) -> None:
        self.method = method
        code = error.get("code")
        self.code = code if type(code) is int and abs(code) < 2**31 else None
        self.reason = endpoint.quote(error.get("message", "no message"))
        self.data = _revert_data(error.get("data"))
        super().__init__(f"{endpoint} answered {method} with an error: {self.reason} (code {self.code})")

    @property
    def is_revert(self) -> bool:
        """Whether the endpoint says that a contract reverted (and so is well itself)."""
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


class AskedTooMuch(LedgerUnavailable):
    """Every endpoint refused the request, and at least one perhaps for its size: ask for less at once."""


class Lacking(Exception):
    """The endpoint is well but has not what is asked for, another may; `told` is raised when none has."""

    def __init__(self, told: LedgerError) -> None:
        self.told = told
        super().__init__(str(told))


def _has_word(text: str, words: Sequence[str]) -> bool:
    return any(word in text.lower() for word in words)


def _revert_data(data: Any) -> bytes | None:
    """Revert bytes out of an error object's `data`, which providers nest in their own ways."""
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x") and len(data) <= MAX_REVERT_CHARACTERS:
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return None
    return None
