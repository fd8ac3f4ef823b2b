"""Reservations in the Move package: split and joined as on the chain in memory, with the same space in each period.

Splitting asks for no clock here: it takes periods that are over, which the chain in memory refuses. None is drawn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from committee.ledger import MEBIBYTE, BlockMark, EpochState, Parameters
from localnet.sui_double.move.values import Ref, Value
from tests.contracts.sui.double import Refused, Transaction
from tests.localnet.sui_double.packages import needs_framework
from tests.memory_chain import space
from tests.memory_chain.contracts import Contracts, Outcome, Revert, usual_proof_terms

pytestmark = needs_framework

OWNER = "0x" + 40 * "1"


class Owner:
    """An account that does the same in the double and on the chain in memory."""

    def __init__(self) -> None:
        self.transaction = Transaction()
        self.objects: dict[int, Ref] = {}
        """Reservations by their ids on the chain in memory."""
        block = BlockMark(1, bytes(32))
        state = EpochState(block, 1, 1, 1, 0, block, True, 0, 0, None, None, None, salt_seed=None)
        parameters = Parameters(10, 60, 10, 10, 500, bytes(32))
        self.contracts = Contracts(parameters, state, 0, usual_proof_terms(60))

    @property
    def period(self) -> int:
        return self.contracts.state.period

    def next_period(self) -> None:
        self.contracts = replace(self.contracts, state=replace(self.contracts.state, period=self.period + 1))

    def call(self, name: str, *arguments: Value) -> Any:
        return self.transaction.call("reservation", name, *arguments)

    def reserve(self, mebibytes: int, periods: int) -> int:
        self.contracts, _ = space.reserve(self.contracts, OWNER, mebibytes * MEBIBYTE, periods)
        made = self.call("new", mebibytes, self.period, self.period + periods)
        return self._keep(made)

    def split_by_size(self, key: int, mebibytes: int) -> str:
        return self._split(space.split_by_size, "split_by_size", key, mebibytes * MEBIBYTE, mebibytes)

    def split_by_period(self, key: int, period: int) -> str:
        return self._split(space.split_by_period, "split_by_period", key, period, period)

    def merge(self, key: int, other: int) -> str:
        """Merge two reservations; return the name of the error, nothing for none."""
        expected, then = outcome(space.merge, self.contracts, key, other)
        arguments = (self.objects[key], self.objects[other].get(), self.period)
        if expected:
            # A transaction that is refused changes nothing; here there is none around the call.
            kept = [list(self.objects[one].get()) for one in (key, other)]
            with pytest.raises(Refused, match=f"^E{expected}$"):
                self.call("merge", *arguments)
            for one, fields in zip((key, other), kept, strict=True):
                self.objects[one].get()[:] = fields
        else:
            self.call("merge", *arguments)
            del self.objects[other]
        self.contracts = then
        return expected

    def first_split_of(self, key: int) -> int:
        """Return the first period at which a split is judged alike: the start, or one behind the period of now."""
        _, _, start, _ = self.objects[key].get()
        return max(int(start), self.period + 1)

    def check(self) -> None:
        """Compare all reservations, but for periods that are past."""
        assert self.objects.keys() == self.contracts.reservations.keys()
        for key, kept in self.contracts.reservations.items():
            _, mebibytes, start, end = self.objects[key].get()
            expected = (kept.size_bytes // MEBIBYTE, max(self.period, kept.start_period), kept.end_period)
            assert (mebibytes, max(self.period, start), end) == expected

    def space(self) -> Counter[int]:
        """Return the mebibytes in each period that is not past."""
        found: Counter[int] = Counter()
        for one in self.objects.values():
            _, mebibytes, start, end = one.get()
            found.update(dict.fromkeys(range(max(start, self.period), end), mebibytes))
        return found

    def _split(self, rule: Callable[..., Outcome], name: str, key: int, wanted: int, given: int) -> str:
        expected, self.contracts = outcome(rule, self.contracts, key, wanted)
        if expected:
            with pytest.raises(Refused, match=f"^E{expected}$"):
                self.call(name, self.objects[key], given)
        else:
            self._keep(self.call(name, self.objects[key], given))
        return expected

    def _keep(self, made: Value) -> int:
        key = self.contracts.reservation_count
        self.objects[key] = Ref([made], 0)
        return key


def outcome(rule: Callable[..., Outcome], now: Contracts, *arguments: int) -> tuple[str, Contracts]:
    """Return the name of the rule's error, if any, and the contracts after it."""
    try:
        return "", rule(now, OWNER, *arguments)[0]
    except Revert as revert:
        return revert.reason, now


@pytest.mark.parametrize("seed", range(4))
def test_reservations_are_split_and_joined_as_on_the_chain_in_memory(seed: int) -> None:
    draw, owner = random.Random(seed), Owner()
    outcomes: set[tuple[str, str]] = set()
    owner.reserve(12, 6)
    for _ in range(150):
        before = owner.space()
        keys = sorted(owner.objects)
        key = draw.choice(keys)
        action = draw.choice(
            ("reserve", "size", "size", "period", "period", "merge", "merge", "merge", "merge", "time")
        )
        is_over = owner.contracts.reservations[key].end_period <= owner.period
        if action == "reserve" and len(keys) < 6:
            owner.reserve(draw.randint(1, 8), draw.randint(1, 6))
            continue
        if action == "time" and owner.period < 40 and draw.random() < 0.4:
            owner.next_period()
        elif action == "size" and not is_over:
            outcomes.add((action, owner.split_by_size(key, draw.randint(0, 5))))
        elif action == "period" and not is_over:
            outcomes.add((action, owner.split_by_period(key, owner.first_split_of(key) + draw.randint(0, 5))))
        elif action == "merge" and len(keys) > 1:
            other = draw.choice([one for one in keys if one != key])
            outcomes.add((action, owner.merge(key, other)))
        owner.check()
        assert owner.space() == Counter(
            {period: size for period, size in before.items() if period >= owner.period}
        )
    assert outcomes >= {
        *(("size", ""), ("size", "InvalidSize"), ("period", ""), ("period", "NotWithin")),
        *(("merge", ""), ("merge", "NotAdjoining"), ("merge", "Expired")),
    }


def test_events_tell_all_of_the_reservations() -> None:
    owner = Owner()
    first = owner.reserve(4, 4)
    owner.split_by_size(first, 3)
    owner.split_by_period(first, 2)
    owner.split_by_period(first + 2, 4)
    owner.next_period()
    owner.merge(first + 2, first + 3)
    told: dict[bytes, Any] = {}
    codec = owner.transaction.codec
    for event in owner.transaction.host.events:
        fields = codec.decode(event.type, event.contents)
        if event.type.name == "ReservationChanged":
            told[fields[0][0]] = fields[1:]
        else:
            assert event.type.name == "ReservationMerged"
            del told[fields[0][0]]
    assert told == {one.get()[0][0][0]: one.get()[1:] for one in owner.objects.values()}
    assert len(told) == 3
