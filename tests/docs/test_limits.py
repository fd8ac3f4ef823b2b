"""The times and tries that `docs/limits.md` names are those of the code."""

from __future__ import annotations

import re

import pytest

from tests.docs.code_names import NAME, ROOT, Names

SECONDS = {"s": 1, "h": 3600}
TIME = re.compile(r"(\d+(?:\.\d+)?) (s|h)\b")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def wrong_rows(page: str, names: Names) -> list[str]:
    """Return the constants whose values their rows of a page's tables do not tell.

    The value of a constant that ends in `_S` must stand there as a time, any other as a number.
    """
    wrong = []
    for row in re.findall(r"^\| (.*) \|$", page, re.MULTILINE):
        cells = row.split(" | ")
        for name in NAME.findall(cells[-1]):
            (full,) = names.defined(name)
            value = names.constants[full]
            told: set[float] = {float(number) * SECONDS[unit] for number, unit in TIME.findall(row)}
            if not name.endswith("_S"):
                told = set(map(float, NUMBER.findall(row)))
            if value not in told:
                wrong.append(f"{full} is {value}: {row}")
    return wrong


def test_every_limit_has_the_value_of_its_constant(names: Names) -> None:
    page = (ROOT / "docs/limits.md").read_text()
    assert wrong_rows(page, names) == []
    assert len(re.findall(r"^\|.*_S`", page, re.MULTILINE)) > 40


@pytest.mark.parametrize(
    "row",
    [
        "| opening a connection | 6 s | the try fails | `progress.CONNECT_S` |",
        "| a try without an answer | 4 tries | unreachable | `retrying.TRIES` |",
        "| a retry | 0.5 s, doubling to 5 s | again | `jobs.FIRST_RETRY_S`, `jobs.LONGEST_RETRY_S` |",
    ],
)
def test_another_value_than_the_code_has_is_told(row: str, names: Names) -> None:
    assert len(wrong_rows(row, names)) == 1
