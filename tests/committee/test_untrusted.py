"""JSON and text of strangers: limits hold before anything is parsed."""

from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee.untrusted import MAX_DEPTH, MAX_TEXT_CHARACTERS, InvalidJson, parse_json, printable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40)
@given(VALUES)
def test_what_json_writes_is_read(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert parse_json(text.encode(errors="surrogatepass") if ascii_only else text, 10**6) == value


@given(st.text(alphabet='[]{}"\\a,:1', max_size=60))
def test_no_text_makes_another_error(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(InvalidJson):
            parse_json(text, 100)
    else:
        assert parse_json(text, 100) == expected


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"9" * 5000, b"NaN", b"[Infinity]", b"-Infinity", b"\xef\xbb\xbf1"]
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(content, 100)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"[[":[', '{"\\"":', '[{"}]":'])
def test_a_deep_nest_is_refused_though_the_recursion_limit_was_raised(opening: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**7)
    try:
        for deep in (MAX_DEPTH + 1, 300_000):
            with pytest.raises(InvalidJson):
                parse_json(opening * deep, 10**7)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_strings_make_no_depth() -> None:
    assert parse_json(json.dumps(["[" * 1000, '{"' * 1000]), 10_000)
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, 100)


def test_too_many_brackets_are_refused() -> None:
    with pytest.raises(InvalidJson, match="more than 10 lists"):
        parse_json("[[],[],[],[],[],[],[],[],[],[]]", 10)


def test_too_many_values_are_refused() -> None:
    assert parse_json("[1,2,3]", 10, 2) == [1, 2, 3]
    with pytest.raises(InvalidJson, match="more than 2 values"):
        parse_json("[1,2,3,4]", 10, 2)


@pytest.mark.parametrize("text", ['"' + '\\"' * 10**6, '"' * 10**6, "[" * 10**6, "\\" * 10**6])
def test_no_text_takes_long_to_measure(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidJson):
        parse_json("[" * 100 + text, 10**7)
    assert time.process_time() - began < 5


def test_a_strangers_text_is_one_short_line() -> None:
    assert printable("\x1b[2Jred\n\ud800").isprintable()
    assert len(printable("x" * 10**7)) == MAX_TEXT_CHARACTERS
    assert printable([["x"] * 10]) == "(list)"
