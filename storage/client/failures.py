"""The JSON by which a node refuses a request (PROTOCOL section 6): status, reason, the reason's domain, message."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from committee.untrusted import printable

MAX_MESSAGE_CHARACTERS = 500


class Reason(StrEnum):
    """A node's reasons to refuse a request: Walrus', and those of OUR_REASONS."""

    NOT_REGISTERED = "NOT_REGISTERED"
    NOT_YET_REGISTERED = "NOT_YET_REGISTERED"
    """The node is at a block before the one that the request names; once it is there it may grant the same request."""
    MISSING_SLIVERS = "MISSING_SLIVERS"
    METADATA_NOT_FOUND = "METADATA_NOT_FOUND"
    SLIVER_NOT_FOUND = "SLIVER_NOT_FOUND"
    SHARD_NOT_ASSIGNED = "SHARD_NOT_ASSIGNED"
    INVALID_SLIVER = "INVALID_SLIVER"
    INVALID_METADATA = "INVALID_METADATA"
    INVALID_BLOB = "INVALID_BLOB"
    INVALID_PROOF = "INVALID_PROOF"
    INVALID_CONTENT_TYPE = "INVALID_CONTENT_TYPE"
    """A body that is not BCS."""
    INDEX_OUT_OF_RANGE = "INDEX_OUT_OF_RANGE"
    INVALID_EPOCH = "INVALID_EPOCH"
    REQUEST_UNAUTHORIZED = "REQUEST_UNAUTHORIZED"
    FORBIDDEN_BLOB = "FORBIDDEN_BLOB"
    """The node's operator has the blob on the node's block list."""
    CACHE_SATURATED = "CACHE_SATURATED"
    """No room for uploads before their registration."""
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    SLIVER_COUNT_EXCEEDS_LIMIT = "SLIVER_COUNT_EXCEEDS_LIMIT"
    INVALID_REQUEST = "INVALID_REQUEST"
    """A path, query or body that cannot be read."""
    MEMBER_ANSWERS = "MEMBER_ANSWERS"
    """The member to be ejected has answered within the patience."""


OUR_REASONS = frozenset(
    {
        Reason.SLIVER_COUNT_EXCEEDS_LIMIT,
        Reason.INVALID_REQUEST,
        Reason.MEMBER_ANSWERS,
        Reason.NOT_YET_REGISTERED,
    }
)
INVALID_ARGUMENTS = frozenset(
    {
        Reason.INVALID_SLIVER,
        Reason.INVALID_METADATA,
        Reason.INVALID_PROOF,
        Reason.INVALID_CONTENT_TYPE,
        Reason.INDEX_OUT_OF_RANGE,
        Reason.INVALID_EPOCH,
        Reason.INVALID_REQUEST,
    }
)
"""What no change of the node's state makes right; with other reasons a 400 is a FAILED_PRECONDITION."""
_STATUS_NAMES = {
    400: "FAILED_PRECONDITION",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    411: "INVALID_ARGUMENT",
    413: "OUT_OF_RANGE",
    415: "INVALID_ARGUMENT",
    425: "UNAVAILABLE",
    431: "OUT_OF_RANGE",
    451: "UNAVAILABLE_FOR_LEGAL_REASONS",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def failure(
    code: int, reason: Reason | None, message: str, metadata: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the JSON of an error; `metadata` are numbers that the message tells, by name."""
    name = _STATUS_NAMES.get(code, "UNKNOWN")
    details = []
    if reason is not None:
        details = [
            {
                "@type": "ErrorInfo",
                "reason": reason.value,
                "domain": domain_of(reason),
                "metadata": dict(metadata or {}),
            }
        ]
        if code == 400 and reason in INVALID_ARGUMENTS:
            name = "INVALID_ARGUMENT"
    return {"error": {"status": name, "code": code, "message": message, "details": details}}


def domain_of(reason: Reason) -> str:
    """Return the domain that gives a reason its meaning: Walrus' nodes, any of Walrus' services, or ours."""
    if reason in (Reason.UNAVAILABLE, Reason.INTERNAL_ERROR):
        return "global"
    return "haulout.storage" if reason in OUR_REASONS else "storage.walrus.space"


def of_no_node(status: int) -> str:
    """Return what an error says whose answer is not in a node's form: a proxy or firewall before the node made it."""
    if 300 <= status < 400:
        return (
            "a redirect, which is not followed: the node must be registered by the address that it leads to"
        )
    if 200 <= status < 300:
        return "a page that is not the node's: a proxy, firewall or captive portal before it answers in its place"
    if status == 413:
        return "an error that is not the node's: a proxy before it takes no body of this size"
    return "an error that is not the node's: a proxy or firewall before it refuses or fails"


def read_failure(answer: Any) -> tuple[Reason | None, str]:
    """Return (reason, message) of an error answer, as far as it can be read.

    The message is a node's own text, on its way to a log or terminal: it is made printable, and cut.
    """
    try:
        error = answer["error"]
        reasons = [one["reason"] for one in error["details"] if one["reason"] in Reason.__members__]
        message = printable(error["message"], MAX_MESSAGE_CHARACTERS)
        return (Reason(reasons[0]) if reasons else None), message
    except (KeyError, TypeError, AttributeError):
        return None, "an error without a message"
