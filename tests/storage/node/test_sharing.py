"""How a pool is shared by requesters: none takes the others' part, members come first, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

from storage.node import budgets
from storage.node.budgets import Line, LineFull, Pool, Requester

MEMBERS = [Requester(str(number), is_member=True) for number in range(1, 5)]
STRANGERS = [Requester(f"192.0.2.{number}") for number in range(1, 9)]


class Borrower:
    """Borrows an amount, and keeps it until it is told to give it back."""

    def __init__(self, pool: Pool, amount: int, requester: Requester) -> None:
        self.amount, self.requester = amount, requester
        self.has_it, self.may_end = False, asyncio.Event()
        self.task = asyncio.create_task(self._run(pool))

    async def _run(self, pool: Pool) -> None:
        async with pool.lent(self.amount, self.requester):
            self.has_it = True
            await self.may_end.wait()
            self.has_it = False

    async def end(self) -> None:
        self.may_end.set()
        await self.task


async def settled() -> None:
    """All that can happen has."""
    for _ in range(6):
        await asyncio.sleep(0)


async def give_all_back(borrowers: list[Borrower]) -> None:
    for one in borrowers:
        one.may_end.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*(one.task for one in borrowers))


async def order_of_turns(pool: Pool, borrowers: list[Borrower]) -> list[str]:
    """The requesters' names in the order in which a pool of one turn serves them."""
    names = []
    while waiting := [one for one in borrowers if not one.task.done()]:
        await settled()
        (served,) = (one for one in waiting if one.has_it)
        names.append(served.requester.name)
        await served.end()
    return names


async def test_turns_go_round_by_requester() -> None:
    pool = Pool(1)
    many = [Borrower(pool, 1, STRANGERS[0]) for _ in range(4)]
    few = [Borrower(pool, 1, one) for one in STRANGERS[1:3]]
    a, b, c = (one.name for one in STRANGERS[:3])
    assert await order_of_turns(pool, many + few) == [a, b, c, a, a, a]


async def test_ever_new_requesters_do_not_keep_one_waiting_that_had_a_turn_before() -> None:
    """A stranger that has 65 536 networks of IPv6 addresses is a new one each time."""
    pool = Pool(1)
    await give_all_back([Borrower(pool, 1, MEMBERS[0])])
    waiting = [Borrower(pool, 1, Requester(f"2001:db8:0:{number:x}::/64")) for number in range(9)]
    known = Borrower(pool, 1, MEMBERS[0])
    for number in range(9, 50):
        await settled()
        if known.has_it:
            break
        (served,) = (one for one in waiting if one.has_it)
        await served.end()
        waiting.remove(served)
        waiting.append(Borrower(pool, 1, Requester(f"2001:db8:0:{number:x}::/64")))
    assert known.has_it
    await give_all_back([known, *waiting])


async def test_members_come_before_strangers() -> None:
    pool = Pool(1, for_members=True)
    borrowers = [Borrower(pool, 1, one) for one in (*STRANGERS[:3], *MEMBERS[:2])]
    await settled()
    names = [one.name for one in (STRANGERS[0], *MEMBERS[:2], *STRANGERS[1:3])]
    assert await order_of_turns(pool, borrowers) == names, "the first stranger had its turn already"


async def test_a_requester_of_large_amounts_lets_those_of_small_ones_go_first() -> None:
    """What each was lent counts in bytes, not in requests."""
    pool = Pool(100)
    await give_all_back([Borrower(pool, 70, MEMBERS[0])])
    held = Borrower(pool, 70, budgets.ITSELF)
    await settled()
    greedy, modest = (Borrower(pool, 70, one) for one in MEMBERS[:2])
    await settled()
    await held.end()
    await settled()
    assert (greedy.has_it, modest.has_it) == (False, True)
    await give_all_back([greedy, modest])


async def test_a_requester_has_no_more_than_it_leaves_free() -> None:
    pool = Pool(1600, is_divided=True)
    borrowers = [Borrower(pool, 100, STRANGERS[0]) for _ in range(16)]
    await settled()
    assert sum(one.has_it for one in borrowers) == 8
    borrowers += [Borrower(pool, 100, STRANGERS[1]) for _ in range(16)]
    await settled()
    assert sum(one.has_it for one in borrowers) == 12
    await give_all_back(borrowers)


async def test_all_strangers_leave_half_to_members() -> None:
    pool = Pool(1600, is_divided=True, for_members=True)
    borrowers = [Borrower(pool, 1600, one) for one in STRANGERS for _ in range(3)]
    await settled()
    assert sum(one.has_it for one in borrowers) == 1
    member = Borrower(pool, 800, MEMBERS[0])
    await settled()
    assert not member.has_it, "large amounts leave a quarter to small ones"
    small = Borrower(pool, 400, MEMBERS[1])
    await settled()
    assert small.has_it
    await give_all_back([*borrowers, member, small])


async def test_a_stranger_has_no_more_than_it_leaves_of_the_strangers_half() -> None:
    pool = Pool(1600, is_divided=True, for_members=True)
    borrowers = [Borrower(pool, 100, STRANGERS[0]) for _ in range(16)]
    await settled()
    assert sum(one.has_it for one in borrowers) == 4
    borrowers.append(Borrower(pool, 100, STRANGERS[1]))
    await settled()
    assert borrowers[-1].has_it
    await give_all_back(borrowers)


async def test_small_amounts_pass_a_large_one_until_it_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1600)
    small = [Borrower(pool, 100, STRANGERS[0]) for _ in range(8)]
    large = Borrower(pool, 1200, STRANGERS[1])
    small.append(Borrower(pool, 100, STRANGERS[2]))
    await settled()
    assert ([one.has_it for one in small], large.has_it) == ([True] * 9, False)
    monkeypatch.setattr(budgets, "OVERDUE_S", 0.0)
    passing = Borrower(pool, 100, STRANGERS[2])
    for one in small[:5]:
        await settled()
        assert not (passing.has_it or large.has_it)
        await one.end()
    await settled()
    assert (passing.has_it, large.has_it) == (False, True)
    await give_all_back([large, passing, *small])


async def test_few_requesters_cannot_fill_a_line_for_the_others() -> None:
    """Each takes half of what is left, until nothing is."""
    line = Line(64)
    with ExitStack() as places:
        for stranger in STRANGERS:
            with suppress(LineFull):
                for _ in range(64):
                    places.enter_context(line.place(stranger))
        places.enter_context(line.place(MEMBERS[0]))
        places.enter_context(line.place(Requester("203.0.113.1")))
        with pytest.raises(LineFull):
            places.enter_context(line.place(STRANGERS[0]))
        for number in range(64):
            with suppress(LineFull):
                places.enter_context(line.place(Requester(f"198.51.100.{number}")))
        with pytest.raises(LineFull):
            places.enter_context(line.place(Requester("203.0.113.2")))


async def test_strangers_from_many_addresses_take_no_place_of_members() -> None:
    line = Line(16)
    with ExitStack() as places:
        with pytest.raises(LineFull):
            for number in range(1000):
                places.enter_context(line.place(Requester(f"2001:db8:0:{number:x}::/64")))
        for member in MEMBERS:
            places.enter_context(line.place(member))


async def test_a_line_leaves_places_to_those_that_have_none() -> None:
    line = Line(16)
    taken = []
    for one in STRANGERS[:4]:
        count = 0
        while True:
            place = line.place(one)
            try:
                place.__enter__()
            except LineFull:
                break
            taken.append(place)
            count += 1
        assert count >= 1
    assert len(taken) <= 16
    for place in taken:
        place.__exit__(None, None, None)
    with line.place(STRANGERS[0]):
        pass


@pytest.mark.parametrize("amount", [1, 100], ids=["small", "large"])
@pytest.mark.parametrize("is_divided", [False, True])
async def test_a_turn_takes_few_looks_however_many_requesters_wait(
    amount: int, is_divided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 strangers, each of which waits for a turn: a look at all of them every time holds up the whole node."""
    looks = 0

    def place(one: budgets._Waiting) -> tuple[float, bool, int]:
        nonlocal looks
        looks += 1
        return one.place

    def fits(pool: Pool, one: budgets._Waiting, overdue: budgets._Waiting | None) -> bool:
        nonlocal looks
        looks += 1
        return fits_now(pool, one, overdue)

    fits_now = Pool._fits
    monkeypatch.setattr(budgets, "_place", place)
    monkeypatch.setattr(Pool, "_fits", fits)
    pool = Pool(100, is_divided=is_divided, for_members=True)
    strangers = [Requester(f"198.51.{number // 250}.{number % 250}") for number in range(1000)]
    await asyncio.gather(*(borrow(pool, amount, one, 1) for one in strangers))
    assert 2 * 1000 <= looks <= 50 * 1000


class Audited(Pool):
    """A pool that checks every limit at the moment it lends."""

    def __init__(self, capacity: int, is_divided: bool, for_members: bool) -> None:
        super().__init__(capacity, is_divided=is_divided, for_members=for_members)
        self.capacity, self.is_divided, self.for_members = capacity, is_divided, for_members
        self.held: Counter[Requester] = Counter()

    def _account(self, one: budgets._Waiting, sign: int) -> None:
        super()._account(one, sign)
        before = self.held[one.requester]
        self.held[one.requester] += sign * one.amount
        total, now = self.held.total(), self.held[one.requester]
        assert 0 <= now <= total <= self.capacity
        if sign < 0 or not self.is_divided:
            return
        if before:
            assert now <= self.capacity - total
        if self.for_members and not one.requester.is_member:
            strangers = sum(amount for holder, amount in self.held.items() if not holder.is_member)
            assert strangers <= max(1, self.capacity // 2)


async def borrow(pool: Pool, amount: int, requester: Requester, turns: int) -> None:
    async with pool.lent(amount, requester):
        for _ in range(turns):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "seed", [*range(60), *(pytest.param(one, marks=pytest.mark.slow) for one in range(60, 2000))]
)
async def test_whatever_is_asked_for_every_limit_holds_and_all_are_served(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr(budgets, "OVERDUE_S", choose.choice([0.0, 5.0]))
    pool = Audited(choose.choice([1, 3, 16, 1000]), choose.random() < 0.7, choose.random() < 0.5)
    tasks = []
    for _ in range(choose.randrange(1, 120)):
        amount = choose.choice([1, choose.randrange(1, 50), choose.randrange(1, 3000)])
        requester = choose.choice([*MEMBERS, *STRANGERS])
        tasks.append(asyncio.create_task(borrow(pool, amount, requester, choose.randrange(4))))
        if choose.random() < 0.3:
            await asyncio.sleep(0)
        if choose.random() < 0.1:
            choose.choice(tasks).cancel()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [one for one in results if isinstance(one, Exception)]
    assert not pool.is_short
    assert pool.held.total() == 0
