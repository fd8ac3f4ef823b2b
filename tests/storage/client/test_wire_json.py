"""JSON that travels comes back the same, and nothing else is taken for it."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.client import wire
from storage.client.failures import MAX_MESSAGE_CHARACTERS, Reason, failure, read_failure
from storage.redstuff import Axis, InvalidEncoding


def test_an_error_is_exactly_the_protocols() -> None:
    assert failure(400, Reason.NOT_REGISTERED, "no such blob") == {
        "error": {
            "status": "FAILED_PRECONDITION",
            "code": 400,
            "message": "no such blob",
            "details": [
                {
                    "@type": "ErrorInfo",
                    "reason": "NOT_REGISTERED",
                    "domain": "storage.walrus.space",
                    "metadata": {},
                }
            ],
        }
    }


WALRUS_STATUS = {
    ("INVALID_ARGUMENT", 400),
    ("FAILED_PRECONDITION", 400),
    ("PERMISSION_DENIED", 403),
    ("NOT_FOUND", 404),
    ("UNAVAILABLE_FOR_LEGAL_REASONS", 451),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
}
"""What Walrus' client in Rust takes: it refuses to read an error whose status is not its code's."""


@pytest.mark.parametrize("code", [400, 403, 404, 451, 500, 503])
@pytest.mark.parametrize("reason", list(Reason))
def test_status_and_code_of_an_error_belong_together(reason: Reason, code: int) -> None:
    error = failure(code, reason, "why", {"epoch": 5})["error"]
    assert (error["status"], error["code"]) in WALRUS_STATUS
    assert error["details"][0]["metadata"] == {"epoch": 5}


@pytest.mark.parametrize(
    ("reason", "domain", "status"),
    [
        (Reason.INVALID_SLIVER, "storage.walrus.space", "INVALID_ARGUMENT"),
        (Reason.INVALID_METADATA, "storage.walrus.space", "INVALID_ARGUMENT"),
        (Reason.METADATA_NOT_FOUND, "storage.walrus.space", "FAILED_PRECONDITION"),
        (Reason.UNAVAILABLE, "global", "FAILED_PRECONDITION"),
        (Reason.MEMBER_ANSWERS, "haulout.storage", "FAILED_PRECONDITION"),
        (Reason.INVALID_REQUEST, "haulout.storage", "INVALID_ARGUMENT"),
    ],
)
def test_a_reason_has_the_domain_that_defines_it(reason: Reason, domain: str, status: str) -> None:
    error = failure(400, reason, "why")["error"]
    assert (error["details"][0]["domain"], error["status"]) == (domain, status)


def test_a_success_is_exactly_the_protocols() -> None:
    assert wire.success("stored") == {"success": {"code": 200, "data": "stored"}}


@pytest.mark.parametrize("reason", list(Reason))
def test_an_error_comes_back(reason: Reason) -> None:
    assert read_failure(failure(400, reason, "why")) == (reason, "why")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "success", "data", "details", "reason", "message", "signed", "signature"]
                ),
                inside,
                max_size=4,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(answer: Any) -> None:
    reason, message = read_failure(answer)
    assert reason is None or isinstance(reason, Reason)
    assert isinstance(message, str)
    for read in (wire.read_success, wire.read_signed):
        with contextlib.suppress(InvalidEncoding):
            read(answer)


def test_a_reason_nobody_knows_is_none() -> None:
    answer = {"error": {"details": [{"reason": "WEATHER"}], "message": "rain"}}
    assert read_failure(answer) == (None, "rain")


def test_a_strangers_message_is_short_and_printable() -> None:
    _, message = read_failure({"error": {"details": [], "message": "\x1b[2Jred\n\ud800" + "x" * 10_000}})
    assert message.startswith(r"\x1b[2Jred\n\ud800x")
    assert message.isprintable()
    assert len(message) < MAX_MESSAGE_CHARACTERS + 20


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 200_000, b"9" * 5000])
def test_read_json_refuses_what_is_none(content: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        wire.read_json(content)


def test_a_deep_nest_is_refused_though_the_recursion_limit_was_raised() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**7)
    try:
        for nest in (b"[" * 10**6, b'{"a":' * 10**6, b"[" * wire.MAX_JSON_BRACKETS):
            with pytest.raises(InvalidEncoding):
                wire.read_json(nest)
    finally:
        sys.setrecursionlimit(limit)


def test_a_signed_message_comes_back() -> None:
    data = json.loads(json.dumps(wire.signed(b"\x00\xff", b"\x01" * 96)))
    assert wire.read_signed(data) == (b"\x00\xff", b"\x01" * 96)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"signed": {"serializedMessage": "AA=="}},
        {"signed": {"serializedMessage": "AA==", "signature": 5}},
        {"signed": {"serializedMessage": "A*==", "signature": "AA=="}},
        {"signed": {"serializedMessage": "AA", "signature": "AA=="}},
    ],
)
def test_read_signed_refuses_what_is_none(data: Any) -> None:
    with pytest.raises(InvalidEncoding, match="not a signed message"):
        wire.read_signed(data)


@pytest.mark.parametrize("axis", list(Axis))
def test_an_axis_comes_back(axis: Axis) -> None:
    assert wire.read_axis(axis.label) is axis


@pytest.mark.parametrize("text", ["", "PRIMARY", "Primary", "0", "tertiary", "primary "])
def test_read_axis_refuses_what_is_none(text: str) -> None:
    with pytest.raises(InvalidEncoding, match="neither primary nor secondary"):
        wire.read_axis(text)
