"""Text and JSON that strangers wrote, read within limits: answers, bodies, files. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Lists and objects within each other. What Haulout reads has at most 8."""
MAX_TEXT_CHARACTERS = 300
"""Length limit of a stranger's text in an error or a line of the log."""

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A JSON string, also one without an end; possessive, so that no text takes more than linear time."""
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


class InvalidJson(ValueError):
    """Text that is not JSON, or exceeds a limit; the message says which."""


def parse_json(content: bytes | str, max_brackets: int, max_values: int | None = None) -> Any:
    """Return the value of a JSON text in UTF-8 that opens at most `max_brackets` lists and objects.

    These have `max_values` elements at most, if it is given. Raises `InvalidJson`, also for `NaN` and `Infinity`, and
    for a nest deeper than `MAX_DEPTH`.

    The limits hold before the parser sees the text, which lets no other thread run before its end. It is no safe judge
    of depth: a library may have raised the recursion limit (a grammar under `eth_abi` does), and then a deep nest
    overruns the stack and kills the process. Each bracket costs some 60 bytes of memory, each value up to a
    microsecond. Brackets and commas within strings count too, as a simple upper bound.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError:
        raise InvalidJson("not UTF-8") from None
    brackets = text.count("[") + text.count("{")
    if brackets > max_brackets:
        raise InvalidJson(f"JSON of more than {max_brackets} lists and objects")
    if max_values is not None and text.count(",") > max_values:
        raise InvalidJson(f"JSON of more than {max_values} values")
    if brackets > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise InvalidJson(f"JSON nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidJson("not JSON") from None


def printable(text: object, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
    r"""Return a stranger's text as it may stand in a log or on a terminal: of limited length, on one line.

    A character that is not printable is escaped, such as `\x1b`: control characters, ends of lines, invisible and
    bidirectional marks, lone surrogates. A terminal would act on them, or show something else than what is there. A
    text of more than `max_characters`, before they are escaped, is cut and ends with "…". Of a value that is no text
    the type's name is returned.
    """
    text = text if isinstance(text, str) else f"({type(text).__name__})"
    kept = text if len(text) <= max_characters else text[: max_characters - 1] + "…"
    return kept if kept.isprintable() else "".join(map(_escaped, kept))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _depth(text: str) -> int:
    """Return how deep lists and objects are nested at most, outside of strings."""
    if (
        "\\" not in text
    ):  # then a quote is a quote, and most of the text can be left out first: five times as fast
        text = text.encode(errors="replace").translate(None, _NO_STRUCTURE).decode()
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not JSON")
