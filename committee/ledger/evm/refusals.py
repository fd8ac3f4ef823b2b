"""How a request to an endpoint ends when it is not served, beside a fault of the endpoint (`endpoints`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger.evm.endpoints import Endpoint

BEHIND_WORDS = (
    *("beyond current head", "after last accepted block", "greater than latest block", "could not be found"),
    "invalid block range params",
)
"""What endpoints say of a range of logs that ends at a block which they do not have yet (ethereum/execution-apis#875).
The last is geth's: no range that is asked for ends before it begins."""
LACKING_WORDS = (
    *BEHIND_WORDS,
    *("unknown block", "resource not found", "header not found", "block not found", "missing trie node"),
    *("state is not available", "no state available", "historical state", "pruned", "world state"),
)
"""What endpoints say of a block, or its state, that they lack; another endpoint may have it."""
NO_BLOCK_WORDS = ("null round",)
"""What endpoints of Filecoin say of a number that no block has; the next block is the child of the one before."""
BUSY_WORDS = ("too many requests", "rate limit", "request limit", "compute units", "throttl")
"""The words of endpoints that answer with HTTP status 200 where they mean 429."""
PASSING_WORDS = (*BUSY_WORDS, "timed out", "timeout", "temporar", "try again")
"""The words of endpoints that answer with HTTP status 200 where they mean 429 or 504."""
FAULT_CODES = (429, -32005, -32603)
"""Too many requests, limit exceeded (EIP-1474), internal error."""
PROVIDERS_CODES = range(-32099, -32000)
"""What JSON-RPC leaves to servers. Each provider has codes of its own here for what passes; those of EIP-1474 that
tell what does not pass are UNSUPPORTED_CODES."""
UNSUPPORTED_CODES = (-32003, -32004, -32006)
"""Transaction rejected, method not supported, version not supported (EIP-1474)."""
REVERT_CODES = (3, -32015)
"""A revert's code: that of geth and most others, and that of OpenEthereum and Nethermind."""
POOR_WORDS = ("insufficient funds", "insufficientfunds", "account balance", "sender balance")
"""The words of endpoints for an account that cannot pay for the gas, or for the value that it sends."""
MEANINGFUL_ERRORS = ("eth_getLogs", "eth_sendRawTransaction")
"""Methods whose error codes do not tell a sick endpoint from one that was asked too much, or has to refuse."""


MAX_REVERT_CHARACTERS = 1 << 14
"""Length limit of a revert's data in hex; the contracts' own errors take a few hundred characters."""


class EndpointError(LedgerUnavailable):
    """The endpoint answered a request with a JSON-RPC error.

    `data` are the bytes of a revert, if there was one. The caller, which knows what was asked, turns it into a
    clearer error; if it does not, the error means that the endpoint did not serve the request.
    """

    def __init__(self, endpoint: Endpoint, method: str, error: dict[str, Any]) -> None:
        self.method = method
        code = error.get("code")
        self.code = code if type(code) is int and abs(code) < 2**31 else None
        self.reason = endpoint.quote(error.get("message", "no message"))
        self.data = _revert_data(error.get("data"))
        self.has_fault_beside = False
        """Whether another answer to the same request was lost, from this endpoint or another one."""
        super().__init__(f"{endpoint} answered {method} with an error: {self.reason} (code {self.code})")

    @property
    def is_revert(self) -> bool:
        """Whether a contract reverted, by the endpoint's code, data or words: the endpoint itself is then in order."""
        is_coded = self.code in REVERT_CODES or self.data is not None
        return is_coded or "revert" in self.reason.lower()

    @property
    def is_lacking_funds(self) -> bool:
        """Whether the sending account cannot pay for the gas, or has not what it sends."""
        return _has_word(self.reason, POOR_WORDS)

    @property
    def is_fault(self) -> bool:
        """Whether the endpoint is asked too often, or broken; another may serve."""
        if self.is_revert or self.method in MEANINGFUL_ERRORS:
            return self.code == 429 or (not self.is_revert and _has_word(self.reason, PASSING_WORDS))
        if self.code in FAULT_CODES or _has_word(self.reason, PASSING_WORDS):
            return True
        is_providers_own = self.code in PROVIDERS_CODES and self.code not in UNSUPPORTED_CODES
        return is_providers_own and not self.is_lacking and not self.is_lacking_funds

    @property
    def is_busy(self) -> bool:
        """Whether the endpoint was asked too often: a fault that passes."""
        return self.is_fault and (self.code == 429 or _has_word(self.reason, BUSY_WORDS))

    @property
    def is_lacking(self) -> bool:
        """Whether the endpoint lacks a block, or its state."""
        return not self.is_revert and _has_word(self.reason, LACKING_WORDS)

    @property
    def is_of_no_block(self) -> bool:
        """Whether the chain has no block of the number that was asked for."""
        return _has_word(self.reason, NO_BLOCK_WORDS)

    @property
    def is_behind(self) -> bool:
        """Whether the endpoint, or the machine behind its URL that was asked, lacks a block that is new."""
        return not self.is_revert and _has_word(self.reason, BEHIND_WORDS)


class Verdict(Enum):
    """What an endpoint means by refusing a transaction that is handed over."""

    HAS_IT = auto()
    """The endpoint has this very transaction already."""
    TOO_POOR = auto()
    NONCE_TOO_HIGH = auto()
    """The endpoint lacks an earlier transaction of the account, or wants it mined first."""
    NONCE_TAKEN = auto()
    """The endpoint has another transaction of this nonce, or this one mined."""
    BID_TOO_LOW = auto()
    OTHER = auto()


_VERDICT_WORDS = {
    Verdict.HAS_IT: (
        "already known",
        "alreadyknown",
        "known transaction",
        "already imported",
        "already exist",
        "already in mempool",
        "already in mpool",
    ),
    Verdict.TOO_POOR: POOR_WORDS,
    Verdict.NONCE_TOO_HIGH: (
        *("nonce too high", "nonce is too high", "noncegap", "nonce gap", "gapped", "future nonce"),
        *("too distant", "future transaction", "in-flight transaction limit"),
    ),
    Verdict.NONCE_TAKEN: ("nonce", "replacement", "replace existing", "replace by fee"),
    Verdict.BID_TOO_LOW: (
        *("underpriced", "minimum needed", "below minimum", "below configured minimum", "too low", "toolow"),
        *("less than block base fee", "pool is full"),
    ),
}
"""The words of geth and its kin, Nethermind, Besu, Erigon, Reth and OpenEthereum; the first that fits counts."""
_LEAST_NEEDED = re.compile(r"(?:minimum needed|needed) (\d{1,20})\b")


def verdict(words: str) -> Verdict:
    """Return what an endpoint means that refuses a transaction with these words."""
    return next((one for one, known in _VERDICT_WORDS.items() if _has_word(words, known)), Verdict.OTHER)


def least_tip_wei(words: str) -> int:
    """Return the least tip that a refusal names, in wei for a unit of gas; 0 where it names none."""
    found = _LEAST_NEEDED.search(words.lower())
    return int(found.group(1)) if found else 0


class AskedTooMuch(LedgerUnavailable):
    """Every endpoint refused the request, and at least one perhaps for its size: ask for less at once."""


class Behind(LedgerUnavailable):
    """The endpoints do not know a block, or do not know it yet."""


class NoBlock(LedgerUnavailable):
    """The endpoints say that the chain leaves out a number: no block has it."""


class Lacking(Exception):
    """The endpoint is well but lacks the answer, which another may have; `told` is raised when none has it."""

    def __init__(self, told: LedgerError) -> None:
        self.told = told
        super().__init__(str(told))


def _has_word(text: str, words: Sequence[str]) -> bool:
    return any(word in text.lower() for word in words)


def _revert_data(data: Any) -> bytes | None:
    """Return the revert's bytes in an error object's `data`, which providers nest in their own ways."""
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str):
        data = data.removeprefix("Reverted ")  # Nethermind's
    if isinstance(data, str) and data.startswith("0x") and len(data) <= MAX_REVERT_CHARACTERS:
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return None
    return None
