"""What travels comes back the same, and nothing else is taken for it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.client import wire
from storage.client.errors import (
    BlobUnavailable,
    NodeFailure,
    NodeUnreachable,
    NotEnoughConfirmations,
    name_failures,
)
from storage.client.failures import MAX_MESSAGE_CHARACTERS, Reason, failure, read_failure
from storage.client.wire import Question, ShardPage
from storage.redstuff import Axis, InvalidEncoding, MerkleProof, SliverData
from storage.redstuff.bcs import uleb128

SMALL = st.integers(0, 2**16 - 1)
SYMBOL = st.binary(min_size=2, max_size=8)
BLOB_IDS = st.binary(min_size=32, max_size=32)
PROOFS = st.lists(BLOB_IDS, max_size=4).map(lambda nodes: MerkleProof(tuple(nodes)))
SLIVERS = st.builds(SliverData, SYMBOL, SMALL, SMALL)
MOST = 100
"""Symbols that may have been asked for."""
ROWS = [(3, b"abcd"), (700, b"efgh")]
QUESTIONS = [
    Question(bytes(32), Axis.SECONDARY, [5, 9], [3]),
    Question(b"\x07" * 32, Axis.PRIMARY, [0], [1, 2]),
]
PAGE = ShardPage([(bytes(32), SliverData(b"abcd", 2, 5))], b"\x07" * 32)
PROVEN = [(3, 1, b"ab", MerkleProof((bytes(32), b"\x05" * 32)))]
FORMS: list[tuple[bytes, Callable[[bytes], Any]]] = [
    (bytes(wire.symbols_to_bcs([1, 2], 2, ROWS)), lambda encoded: wire.symbols_from_bcs(encoded, MOST)),
    (wire.questions_to_bcs(QUESTIONS), lambda encoded: wire.questions_from_bcs(encoded, 10)),
    (
        bytes(wire.answers_to_bcs([wire.symbols_to_bcs([1, 2], 2, ROWS), (404, b"{}")])),
        lambda encoded: wire.answers_from_bcs(encoded, [MOST] * 2),
    ),
    (wire.proven_to_bcs(PROVEN), lambda encoded: wire.proven_from_bcs(encoded, MOST)),
    (bytes(PAGE.to_bcs()), ShardPage.from_bcs),
]


@given(st.data(), st.lists(SMALL, min_size=1, max_size=3, unique=True), st.integers(1, 8))
def test_symbols_come_back(data: st.DataObject, targets: list[int], symbol_bytes: int) -> None:
    symbol = st.binary(min_size=symbol_bytes, max_size=symbol_bytes)
    by_target = st.fixed_dictionaries(dict.fromkeys(targets, symbol))
    symbols = data.draw(st.dictionaries(SMALL, by_target, max_size=3))
    rows = [(helper, b"".join(by_target[one] for one in targets)) for helper, by_target in symbols.items()]
    encoded = wire.symbols_to_bcs(targets, symbol_bytes, rows)
    assert wire.symbols_from_bcs(encoded, MOST) == symbols


@given(st.sets(st.integers(0, 99)).filter(bool))
def test_ranges_come_back(numbers: set[int]) -> None:
    assert wire.read_ranges(wire.ranges(numbers), 100) == sorted(numbers)


def test_numbers_in_a_row_are_one_range() -> None:
    assert wire.ranges([7, 2, 4, 3, 9, 10]) == "2-4,7,9-10"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "3-",
        "-3",
        "3-2",
        "1,1",
        "2,1",
        "1-3,3",
        "1-3-5",
        "10",
        "9-10",
        "0-999999",
        "+1",
        "1 ",
        "\u0661",
    ],
)
def test_what_is_no_ascending_range_below_n_is_refused(text: str) -> None:
    with pytest.raises(InvalidEncoding, match="range"):
        wire.read_ranges(text, 10)


@given(st.lists(st.tuples(SMALL, SMALL, SYMBOL, PROOFS), max_size=3))
def test_proven_symbols_come_back(proven: list[tuple[int, int, bytes, MerkleProof]]) -> None:
    assert wire.proven_from_bcs(wire.proven_to_bcs(proven), len(proven)) == proven


@given(st.lists(st.tuples(BLOB_IDS, SLIVERS), max_size=3), st.none() | BLOB_IDS)
def test_pages_come_back(slivers: list[tuple[bytes, SliverData]], following: bytes | None) -> None:
    page = ShardPage.from_bcs(ShardPage(slivers, following).to_bcs())
    assert page.next_blob_id == following
    assert [(blob_id, bytes(one.symbols), one.symbol_size, one.index) for blob_id, one in page.slivers] == [
        (blob_id, one.symbols, one.symbol_size, one.index) for blob_id, one in slivers
    ]


QUESTION = st.builds(
    Question,
    BLOB_IDS,
    st.sampled_from(list(Axis)),
    st.lists(st.integers(0, 99), min_size=1, max_size=wire.MAX_TARGETS, unique=True),
    st.lists(st.integers(0, 99), min_size=1, max_size=60, unique=True),
)


@given(st.lists(QUESTION, min_size=1, max_size=wire.MAX_QUESTIONS))
def test_questions_come_back(questions: list[Question]) -> None:
    encoded = wire.questions_to_bcs(questions)
    assert wire.questions_from_bcs(encoded, 100) == questions
    assert len(encoded) <= wire.MAX_QUESTIONS_BYTES


def test_the_largest_questions_fit_their_limit() -> None:
    shards = wire.MAX_HELPING_SLIVERS // wire.MAX_QUESTIONS
    one = Question(bytes(32), Axis.PRIMARY, range(wire.MAX_TARGETS), range(shards))
    encoded = wire.questions_to_bcs([one] * wire.MAX_QUESTIONS)
    assert len(wire.questions_from_bcs(encoded, 1000)) == wire.MAX_QUESTIONS
    assert len(encoded) <= wire.MAX_QUESTIONS_BYTES


@pytest.mark.parametrize(
    ("questions", "why"),
    [
        ([], "1 question at least"),
        ([Question(bytes(32), Axis.PRIMARY, [], [0])], "one target"),
        ([Question(bytes(32), Axis.PRIMARY, [0], [])], "one shard"),
        ([Question(bytes(32), Axis.PRIMARY, [1, 1], [0])], "each once"),
        ([Question(bytes(32), Axis.PRIMARY, [0], [10])], "below 10"),
        ([Question(bytes(32), cast(Axis, 2), [0], [0])], "axis 2"),
        ([Question(bytes(32), Axis.PRIMARY, range(wire.MAX_TARGETS + 1), [0])], "limit"),
        (QUESTIONS * wire.MAX_QUESTIONS, "limit"),
    ],
    ids=["none", "no target", "no shard", "twice", "too high", "axis", "targets", "questions"],
)
def test_questions_refuse_what_none_should_ask(questions: list[Question], why: str) -> None:
    with pytest.raises(InvalidEncoding, match=why):
        wire.questions_from_bcs(wire.questions_to_bcs(questions), 10)


def test_questions_refuse_too_many_helping_slivers_together() -> None:
    one = Question(bytes(32), Axis.PRIMARY, [0], range(wire.MAX_HELPING_SLIVERS // 4))
    assert len(wire.questions_from_bcs(wire.questions_to_bcs([one] * 4), 4096)) == 4
    with pytest.raises(InvalidEncoding, match="together"):
        wire.questions_from_bcs(wire.questions_to_bcs([one] * 5), 4096)


def test_answers_refuse_a_kind_that_there_is_not() -> None:
    with pytest.raises(InvalidEncoding, match="not 2"):
        wire.answers_from_bcs(b"\x02", [1])


def test_the_bytes_of_questions_and_answers_are_those_of_the_docstring() -> None:
    asked = wire.questions_to_bcs([Question(b"\x07" * 32, Axis.SECONDARY, [5, 0x0102], [3])])
    assert asked == b"\x01" + b"\x07" * 32 + b"\x01" + b"\x02\x05\x00\x02\x01" + b"\x01\x03\x00"
    symbols = bytes(wire.symbols_to_bcs([5], 2, [(1, b"xy")]))
    assert wire.answers_to_bcs([symbols, (404, b"{}")]) == b"\x00" + symbols + b"\x01\x94\x01\x02{}"


def test_the_bytes_of_symbols_are_those_of_the_docstring() -> None:
    encoded = wire.symbols_to_bcs([5, 9], 2, [(0x0201, b"xyzz"), (0x0403, b"abcd")])
    assert encoded == b"\x02\x00" + b"\x02\x05\x00\x09\x00" + b"\x02" + b"\x01\x02xyzz" + b"\x03\x04abcd"


@given(SLIVERS)
def test_a_sliver_travels_as_its_own_form_says(sliver: SliverData) -> None:
    assert wire.sliver_to_bcs(sliver) == sliver.to_bcs()


def test_an_empty_last_page_ends_explicitly() -> None:
    assert ShardPage([], None).to_bcs() == b"\x00\x00"
    assert ShardPage([], bytes(32)).to_bcs() == b"\x00\x01" + bytes(32)


@pytest.mark.parametrize(
    ("encoded", "read"), FORMS, ids=["symbols", "questions", "answers", "proven", "page"]
)
def test_a_form_refuses_every_truncation(encoded: bytes, read: Callable[[bytes], Any]) -> None:
    for length in range(len(encoded)):
        with pytest.raises(InvalidEncoding):
            read(encoded[:length])


@pytest.mark.parametrize(
    ("encoded", "read"), FORMS, ids=["symbols", "questions", "answers", "proven", "page"]
)
def test_a_form_refuses_a_byte_too_many(encoded: bytes, read: Callable[[bytes], Any]) -> None:
    with pytest.raises(InvalidEncoding, match="too many"):
        read(encoded + b"\x00")


def test_answers_refuse_more_symbols_than_were_asked_for() -> None:
    answer = wire.answers_to_bcs([wire.symbols_to_bcs([1, 2], 2, ROWS)])
    asked = 2 * len(ROWS)
    assert len(wire.answers_from_bcs(answer, [asked])) == 1
    with pytest.raises(InvalidEncoding, match="limit"):
        wire.answers_from_bcs(answer, [asked - 1])


@pytest.mark.parametrize("targets", [0, 1, wire.MAX_TARGETS])
def test_symbols_refuse_a_count_over_their_limit(targets: int) -> None:
    head = b"\x00\x00" + uleb128(targets) + bytes(2 * targets)
    most = MOST // max(1, targets)
    with pytest.raises(InvalidEncoding, match="limit"):
        wire.symbols_from_bcs(head + uleb128(most + 1) + bytes(2 * most + 2), MOST)
    with pytest.raises(InvalidEncoding, match="limit"):
        wire.symbols_from_bcs(b"\x00\x00" + uleb128(wire.MAX_TARGETS + 1), MOST)


def test_proven_symbols_are_no_more_than_were_asked_for_and_have_no_longer_proofs_than_a_tree() -> None:
    proof = MerkleProof((bytes(32),) * 10)
    encoded = wire.proven_to_bcs([(1, 2, b"ab", proof), (2, 2, b"cd", proof)])
    assert len(wire.proven_from_bcs(encoded, 2)) == 2
    with pytest.raises(InvalidEncoding, match="limit"):
        wire.proven_from_bcs(encoded, 1)
    with pytest.raises(InvalidEncoding, match="limit"):
        wire.proven_from_bcs(wire.proven_to_bcs([(1, 2, b"ab", MerkleProof((bytes(32),) * 11))]), 1)


def test_a_page_refuses_a_count_over_its_limit() -> None:
    with pytest.raises(InvalidEncoding, match="limit"):
        ShardPage.from_bcs(uleb128(wire.MAX_PAGE_SLIVERS + 1))


def test_a_page_refuses_another_end_mark() -> None:
    with pytest.raises(InvalidEncoding, match="marked by 0 or 1"):
        ShardPage.from_bcs(b"\x00\x02" + bytes(32))


# JSON


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


# errors


def test_who_did_not_answer_is_named_together() -> None:
    silent = NodeUnreachable("b", "http://b", "refused").why
    assert (
        name_failures(
            {
                1: NodeFailure("c", "sent a wrong sliver"),
                2: NodeFailure("b", silent),
                3: NodeFailure("a", silent),
            }
        )
        == "no answer from a, b; c: sent a wrong sliver"
    )
    assert name_failures({}) == "nobody was left to ask"


def test_nodes_that_share_a_name_are_told_with_their_ids() -> None:
    failures = {
        7: NodeFailure("a", "no answer (refused)"),
        9: NodeFailure("a", "lied"),
        8: NodeFailure("b", "lied"),
    }
    assert name_failures(failures) == "no answer from a (node 7); a (node 9): lied; b: lied"


def test_too_few_shards_say_what_was_needed_and_who_failed() -> None:
    failures = {1: NodeFailure("a", "no answer (refused)")}
    assert str(BlobUnavailable("blob X", 34, 100, 31, failures)) == (
        "blob X: needed 34 of 100 shards, reachable 31: no answer from a"
    )
    assert "needed 67 of 100 shards, reachable 61: no answer from a" in str(
        NotEnoughConfirmations(67, 100, 61, failures)
    )
