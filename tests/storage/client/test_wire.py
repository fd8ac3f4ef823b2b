"""What travels comes back the same, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.bcs import uleb128
from storage.client import wire
from storage.client.wire import Question, ShardPage
from storage.redstuff import Axis, InvalidEncoding, MerkleProof, SliverData

SMALL = st.integers(0, 2**16 - 1)
SYMBOL = st.binary(min_size=2, max_size=8)
BLOB_IDS = st.binary(min_size=32, max_size=32)
PROOFS = st.lists(BLOB_IDS, max_size=4).map(lambda nodes: MerkleProof(tuple(nodes)))
SLIVERS = st.builds(SliverData, SYMBOL, SMALL, SMALL)
MOST = 100
"""Symbols that may have been asked for."""
ROWS = [(3, b"abcd"), (700, b"efgh")]
ASKED = Question(Axis.SECONDARY, [5, 9], [3], [bytes(32), b"\x07" * 32])
PAGE = ShardPage([(bytes(32), SliverData(b"abcd", 2, 5))], b"\x07" * 32)
WITH_METADATA = ShardPage(PAGE.slivers, None, {bytes(32): b"metadata"})
PROVEN = [(3, 1, b"ab", MerkleProof((bytes(32), b"\x05" * 32)))]


def _page_with_metadata(encoded: bytes) -> ShardPage:
    """One that was cut off before its metadata begins is a page without any, and no error."""
    page = ShardPage.from_bcs(encoded, with_metadata=True)
    if page.metadata is None:
        raise InvalidEncoding("no metadata")
    return page


FORMS: list[tuple[bytes, Callable[[bytes], Any]]] = [
    (bytes(wire.symbols_to_bcs([1, 2], 2, ROWS)), lambda encoded: wire.symbols_from_bcs(encoded, MOST)),
    (ASKED.to_bcs(), lambda encoded: Question.from_bcs(encoded, 10)),
    (
        bytes(wire.answers_to_bcs([wire.symbols_to_bcs([1, 2], 2, ROWS), (404, b"{}")])),
        lambda encoded: wire.answers_from_bcs(encoded, [MOST] * 2),
    ),
    (wire.proven_to_bcs(PROVEN), lambda encoded: wire.proven_from_bcs(encoded, MOST)),
    (bytes(PAGE.to_bcs()), ShardPage.from_bcs),
    (bytes(WITH_METADATA.to_bcs()), _page_with_metadata),
]


@given(st.data(), st.lists(SMALL, min_size=1, max_size=3, unique=True), st.integers(1, 8))
def test_symbols_come_back(data: st.DataObject, targets: list[int], symbol_bytes: int) -> None:
    symbol = st.binary(min_size=symbol_bytes, max_size=symbol_bytes)
    by_target = st.fixed_dictionaries(dict.fromkeys(targets, symbol))
    symbols = data.draw(st.dictionaries(SMALL, by_target, max_size=3))
    rows = [(helper, b"".join(by_target[one] for one in targets)) for helper, by_target in symbols.items()]
    encoded = wire.symbols_to_bcs(targets, symbol_bytes, rows)
    assert wire.symbols_from_bcs(encoded, MOST) == symbols


@pytest.mark.parametrize("parts", [1, 3])
def test_symbols_put_together_travel_as_one_by_one(parts: int) -> None:
    helpers = [0, 3, 700, 65535]
    symbols = np.random.default_rng(1).integers(0, 256, (len(helpers), 2 * 4), np.uint8)
    one_by_one = [(helper, row.tobytes()) for helper, row in zip(helpers, symbols, strict=True)]
    bounds = sorted({0, *range(1, parts), len(helpers)})
    rows = [wire.symbol_rows(helpers[a:b], symbols[a:b]) for a, b in pairwise(bounds)]
    assert wire.rows_to_bcs([5, 9], 4, 4, rows) == wire.symbols_to_bcs([5, 9], 4, one_by_one)


@pytest.mark.parametrize("symbol_bytes", [wire.SMALL_SYMBOL_BYTES, wire.SMALL_SYMBOL_BYTES + 2])
def test_symbols_for_one_target_come_back_small_or_large(symbol_bytes: int) -> None:
    symbols = {helper: {9: bytes([helper]) * symbol_bytes} for helper in (3, 200)}
    rows = [(helper, by_target[9]) for helper, by_target in symbols.items()]
    encoded = wire.symbols_to_bcs([9], symbol_bytes, rows)
    assert wire.symbols_from_bcs(encoded, MOST) == symbols
    assert wire.symbols_from_bcs(memoryview(encoded), MOST) == symbols
    with pytest.raises(InvalidEncoding):
        wire.symbols_from_bcs(encoded[:-1], MOST)


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


@given(
    st.dictionaries(BLOB_IDS, SLIVERS, max_size=3).map(lambda some: sorted(some.items(), key=itemgetter(0))),
    st.none() | BLOB_IDS,
    st.none() | st.dictionaries(BLOB_IDS, st.binary(max_size=200), max_size=3),
)
def test_pages_come_back(
    slivers: list[tuple[bytes, SliverData]], following: bytes | None, metadata: dict[bytes, bytes] | None
) -> None:
    page = ShardPage.from_bcs(
        ShardPage(slivers, following, metadata).to_bcs(), with_metadata=metadata is not None
    )
    assert (page.next_blob_id, page.metadata) == (following, metadata)
    assert [(blob_id, bytes(one.symbols), one.symbol_size, one.index) for blob_id, one in page.slivers] == [
        (blob_id, one.symbols, one.symbol_size, one.index) for blob_id, one in slivers
    ]


@pytest.mark.parametrize("ids", [(2, 2), (3, 2), (1, 2, 2)])
def test_a_page_that_tells_a_blob_twice_or_turns_back_is_none(ids: Sequence[int]) -> None:
    slivers = [(number.to_bytes(32, "big"), SliverData(b"abcd", 2, 5)) for number in ids]
    with pytest.raises(InvalidEncoding, match="do not ascend"):
        ShardPage.from_bcs(bytes(ShardPage(slivers, None).to_bcs()))


NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=wire.MAX_TARGETS, unique=True)


@given(
    st.builds(
        Question,
        st.sampled_from(list(Axis)),
        NUMBERS,
        st.lists(st.integers(0, 99), min_size=1, max_size=60, unique=True),
        st.lists(BLOB_IDS, min_size=1, max_size=60),
    )
)
def test_questions_come_back(question: Question) -> None:
    encoded = question.to_bcs()
    assert Question.from_bcs(encoded, 100) == question
    assert len(encoded) <= wire.MAX_QUESTION_BYTES


@pytest.mark.parametrize("n_blobs", [1, 4, wire.MAX_BLOBS])
def test_the_largest_questions_fit_their_limit(n_blobs: int) -> None:
    shards = range(min(1000, wire.MAX_HELPING_SLIVERS // n_blobs))
    question = Question(Axis.PRIMARY, range(wire.MAX_TARGETS), shards, [bytes(32)] * n_blobs)
    encoded = question.to_bcs()
    assert len(Question.from_bcs(encoded, 1000).blob_ids) == n_blobs
    assert len(encoded) <= wire.MAX_QUESTION_BYTES


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (Question(Axis.PRIMARY, [0], [0], []), "one blob"),
        (Question(Axis.PRIMARY, [], [0], [bytes(32)]), "one shard"),
        (Question(Axis.PRIMARY, [0], [], [bytes(32)]), "one shard"),
        (Question(Axis.PRIMARY, [1, 1], [0], [bytes(32)]), "each once"),
        (Question(Axis.PRIMARY, [0], [10], [bytes(32)]), "below 10"),
        (Question(cast(Axis, 2), [0], [0], [bytes(32)]), "axis 2"),
        (Question(Axis.PRIMARY, range(wire.MAX_TARGETS + 1), [0], [bytes(32)]), "limit"),
        (Question(Axis.PRIMARY, [0], [0], [bytes(32)] * (wire.MAX_BLOBS + 1)), "limit"),
    ],
    ids=["no blob", "no target", "no shard", "twice", "too high", "axis", "targets", "blobs"],
)
def test_questions_refuse_what_none_should_ask(question: Question, why: str) -> None:
    with pytest.raises(InvalidEncoding, match=why):
        Question.from_bcs(question.to_bcs(), 10)


def test_questions_refuse_too_many_helping_slivers_together() -> None:
    shards = range(wire.MAX_HELPING_SLIVERS // 4)
    assert Question.from_bcs(Question(Axis.PRIMARY, [0], shards, [bytes(32)] * 4).to_bcs(), 4096)
    with pytest.raises(InvalidEncoding, match="together"):
        Question.from_bcs(Question(Axis.PRIMARY, [0], shards, [bytes(32)] * 5).to_bcs(), 4096)


def test_answers_refuse_a_kind_that_there_is_not() -> None:
    with pytest.raises(InvalidEncoding, match="not 2"):
        wire.answers_from_bcs(b"\x02", [1])


def test_the_bytes_of_questions_and_answers_are_those_of_the_docstring() -> None:
    asked = Question(Axis.SECONDARY, [5, 0x0102], [3], [b"\x07" * 32]).to_bcs()
    assert asked == b"\x01" + b"\x02\x05\x00\x02\x01" + b"\x01\x03\x00" + b"\x01" + b"\x07" * 32
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
    ("encoded", "read"),
    FORMS,
    ids=["symbols", "questions", "answers", "proven", "page", "page with metadata"],
)
def test_a_form_refuses_every_truncation(encoded: bytes, read: Callable[[bytes], Any]) -> None:
    for length in range(len(encoded)):
        with pytest.raises(InvalidEncoding):
            read(encoded[:length])


@pytest.mark.parametrize(
    ("encoded", "read"),
    FORMS,
    ids=["symbols", "questions", "answers", "proven", "page", "page with metadata"],
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
