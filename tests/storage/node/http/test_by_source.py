"""Connections by source, compared with what counting them all says, and how much a new connection looks at."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import pytest

from storage.node.budgets import Requester
from storage.node.http import connections
from storage.node.http.by_source import Counts
from storage.node.http.connections import Connections, Limits


def test_counts_are_those_of_counting_all() -> None:
    choose, counts, plain = random.Random(1), Counts(), Counter[Requester]()
    sources = [Requester(str(number)) for number in range(6)]
    for _ in range(3000):
        source = choose.choice(sources)
        step = choose.choice((1, -1)) if plain[source] else 1
        counts.add(source, step)
        plain[source] += step
        assert [counts.of(one) for one in sources] == [plain[one] for one in sources]
        if plain.total():
            largest, most = counts.largest()
            assert most == plain[largest] == max(plain.values())


class Looks(Requester):
    """A source that counts how often it is looked at."""

    count = 0

    def __hash__(self) -> int:
        type(self).count += 1
        return hash(self.name)


class Opened:
    """A connection, as far as it is counted."""

    def __init__(self, _: Connections, source: Requester) -> None:
        self.source, self.transport = source, None


@pytest.mark.parametrize("state", ["works", "waits"])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_new_connection_looks_at_few_of_those_that_are_open(
    state: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources are cheap: one IPv6 subscriber has 65 536 of them. Looking at each took 4 to 6 ms a connection."""
    monkeypatch.setattr(Looks, "count", 0)
    monkeypatch.setattr(connections, "stranger", Looks)

    monkeypatch.setattr(connections, "Connection", Opened)
    some = Connections(SimpleNamespace(), Limits(connections=2000))  # type: ignore[arg-type]
    for number in range(2000):
        one = some.begin(str(number))
        assert one is not None
        getattr(some, state)(one)
    before = Looks.count
    for number in range(100):
        one = some.begin(str(number % 2000 if is_known else 5000 + number))
        if one is not None:
            getattr(some, state)(one)
    assert Looks.count - before < 100 * 100
    assert some.refused == (100 if state == "works" else 0)
    assert len(some) == 2000
