"""The package's unit tests in Move pass, and its rules give what the rules in Python give.

For that, cases are drawn here and written into Move unit tests with what Python makes of them. All run in the virtual
machine that the compiler brings.
"""

from __future__ import annotations

import random
import re

import pytest

from tests.contracts.sui import cases
from tests.contracts.sui.build import SUI, copy_package, run_unit_tests

HISTORIES = 50
LARGEST = (1000, 100)
"""Shards and members of the main network."""
TEXTS = 200


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result of each Move test, by its name."""
    draw = random.Random(17)
    tests = {
        "elections": [
            *(
                cases.elections(draw, draw.choice((4, 5, 10, 31, 100)), draw.randint(1, 12), 3)
                for _ in range(HISTORIES)
            ),
            *cases.elections_at_the_edge(),
            cases.elections(draw, *LARGEST, 1),
            *cases.elections_with_most_steps(*LARGEST),
        ],
        "contact": list(cases.texts(draw, TEXTS)),
        "messages": list(cases.message_bodies(draw)),
        "encoding": [cases.encodings(draw, 60)],
        "terms": [cases.decisions(draw, 40)],
        "votes": [cases.votes([*range(4, 50), 100, 1000])],
    }
    package = copy_package(tmp_path_factory.mktemp("rules") / "package")
    for rules, bodies in tests.items():
        functions = (f"#[test]\nfun t{place}() {{\n{body}}}\n" for place, body in enumerate(bodies))
        modules = "".join(
            f"use haulout::{one};\n"
            for one in ("assignment", "contact", "encoding", "messages", "terms", "votes")
        )
        text = f"#[test_only, allow(unused_use)]\nmodule haulout::same_{rules};\n\n{modules}\n" + "\n".join(
            functions
        )
        (package / "tests" / f"same_{rules}.move").write_text(text)
    return run_unit_tests(package)


def test_unit_tests_of_the_package_pass(results: dict[str, str]) -> None:
    written = {
        f"{path.stem}::{name}"
        for path in (SUI / "tests").glob("*.move")
        for name in re.findall(r"^#\[test.*\]\nfun (\w+)", path.read_text(), re.MULTILINE)
    }
    assert written
    assert {name: results.get(name) for name in written} == dict.fromkeys(written, "PASS")


@pytest.mark.parametrize(
    ("rules", "n_tests"),
    [
        ("elections", HISTORIES + 6),
        ("contact", 2),
        ("messages", 8),
        ("encoding", 1),
        ("terms", 1),
        ("votes", 1),
    ],
)
def test_move_gives_what_python_gives(results: dict[str, str], rules: str, n_tests: int) -> None:
    of_rules = {name: result for name, result in results.items() if name.startswith(f"same_{rules}::")}
    assert of_rules == {f"same_{rules}::t{place}": "PASS" for place in range(n_tests)}
