from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from committee.errors import LedgerRefused
from committee.untrusted import MAX_TEXT_CHARACTERS, printable

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202egnp\u200b\x9b31m\ud800"


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(1, 300))
def test_what_is_printed_is_one_line_that_a_terminal_only_shows(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    shown.encode()  # no lone surrogate is left
    if text.isprintable() and len(text) <= most:
        assert shown == text


def test_escapes_name_the_character() -> None:
    assert printable("a\x1b[31mb\n") == r"a\x1b[31mb\n"
    assert printable("\u202eabc\ud800") == r"\u202eabc\ud800"
    assert printable("Bär 🐻") == "Bär 🐻"


def test_a_long_text_is_cut() -> None:
    assert printable("x" * 10_000_000) == "x" * (MAX_TEXT_CHARACTERS - 1) + "…"


def test_a_revert_cannot_write_to_the_terminal() -> None:
    refused = LedgerRefused("Staking.stake", "Error", {"message": HOSTILE})
    assert str(refused).isprintable()
    assert refused.arguments == {"message": HOSTILE}
