"""What a node lends to requesters, and in which order: memory, turns, bytes a second, places to wait in.

Every limit is shared by *requester*: the node itself, a member of a committee, or the strangers behind one address.
`Pool` lends an amount, `Line` limits those that wait, and a `Budget` limits one direction of a node's bulk traffic, so
that handover and repair never starve reads and writes. The rules, for all of them (PROTOCOL section 6):

- The requester that was lent least comes first (start-time fair queueing); in a pool for members, members do before
  strangers. However many new requesters come, one that was lent something before gets its turn.
- Of what is *divided*, because a requester can keep it for long, one requester may hold at most as much as would then
  still be free. All strangers together may hold at most half of a pool for members, and one of them at most as much
  as would then still be free of that half.
- Small amounts pass large ones: large amounts together never have more than three quarters. A large one that has waited
  for OVERDUE_S is passed by small ones only within the last quarter.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from heapq import merge
from itertools import chain, count

BYTES_PER_S = 2**32
"""More than most lines carry: by default it is the number of requests that leaves room for reads and writes."""
REQUESTS_AT_ONCE = 16
MEMORY_BYTES = 256 * 2**20
BURST_S = 0.25
"""Burst allowance, in seconds of the byte rate: a small handover is not slowed down at all."""
SMALL_SHARE = 16
"""An amount is small up to the capacity divided by this."""
OVERDUE_S = 5.0
"""Wait after which a large amount is passed by no more small ones than the last quarter holds."""
REQUESTERS_REMEMBERED = 4096
"""Requesters whose share of the past a pool knows."""
_KINDS = ((True, True), (True, False), (False, True), (False, False))


class LineFull(Exception):
    """No place is left for the requester to wait in."""


@dataclass(frozen=True, slots=True)
class Requester:
    """The party that a limit is shared by."""

    name: str
    """A member's node id, or a stranger's address."""
    is_member: bool = False


ITSELF = Requester("this node", is_member=True)
"""The node itself, as the requester of its own handover and repair; its share is not limited."""


class _Lent:
    """How much of a capacity is lent, in all and to each requester."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.total = 0
        self.to_strangers = 0
        self._to: dict[Requester, int] = {}

    @property
    def free(self) -> int:
        """What is not lent."""
        return self.capacity - self.total

    def add(self, requester: Requester, amount: int) -> None:
        """Lend an amount, or take it back when it is negative."""
        self.total += amount
        if not requester.is_member:
            self.to_strangers += amount
        now = self._to.get(requester, 0) + amount
        if now:
            self._to[requester] = now
        else:
            del self._to[requester]

    def holds(self, requester: Requester) -> bool:
        """Whether anything is lent to the requester."""
        return requester in self._to

    def is_within_share(self, requester: Requester, amount: int, free: int) -> bool:
        """Whether the requester, lent `amount` of what is `free`, holds at most as much as is still free then.

        True of the first that a requester is lent, and for the node itself.
        """
        held = self._to.get(requester, 0)
        return held == 0 or requester is ITSELF or held + amount <= free - amount


class Line:
    """A limited number of places in which requests wait; no requester has more of them than it leaves free.

    Members have as many places apart, which strangers cannot take from however many addresses.
    """

    def __init__(self, places: int) -> None:
        self._by_members, self._by_strangers = _Lent(places), _Lent(places)

    @contextmanager
    def place(self, requester: Requester = ITSELF) -> Iterator[None]:
        """A place as long as the block lasts. Raises `LineFull`.

        A requester that has none yet gets one also in a full line, up to twice its places: a few requesters, each with
        half of what was free, cannot keep the others out.
        """
        taken = self._by_members if requester.is_member else self._by_strangers
        has_room = taken.free > 0 and taken.is_within_share(requester, 1, taken.free)
        is_first = not taken.holds(requester) and taken.free > -taken.capacity
        if not has_room and not is_first:
            raise LineFull(f"{taken.total} requests wait for their turn already")
        taken.add(requester, 1)
        try:
            yield
        finally:
            taken.add(requester, -1)


@dataclass(eq=False, slots=True)
class _Waiting:
    """A requester that waits for an amount."""

    requester: Requester
    amount: int
    is_large: bool
    weight: int
    number: int
    """Grows with every one that comes."""
    since: float
    turn: asyncio.Future[None]
    due: float = 0.0
    """The virtual time of its start, known once it is the first of its requester that waits."""

    @property
    def place(self) -> tuple[float, bool, int]:
        """Its place in the order among requesters."""
        return self.due, self.is_large, self.number


def _number(one: _Waiting) -> int:
    return one.number


def _place(one: _Waiting) -> tuple[float, bool, int]:
    return one.place


class Pool:
    """Lends up to `capacity` at once: bytes of memory, or turns.

    A turn takes O(log n) steps for n requesters that wait, and as many more as wait in front for an amount that is not
    free, while a smaller one is.
    """

    def __init__(self, capacity: int, *, is_divided: bool = False, for_members: bool = False) -> None:
        """`is_divided` when requesters keep what they are lent for long, `for_members` when members come first."""
        self._lent = _Lent(capacity)
        self._is_divided = is_divided
        self._for_members = for_members
        self._small = max(1, capacity // SMALL_SHARE)
        self._large_ceiling = max(1, capacity * 3 // 4)
        self._large_lent = 0
        self._numbers = count()
        self._waiting: dict[tuple[Requester, bool], deque[_Waiting]] = {}
        """(requester, whether large) → those that wait, in the order in which they came."""
        self._heads: dict[tuple[bool, bool], list[_Waiting]] = {kind: [] for kind in _KINDS}
        """(whether of the first class, whether large) → the first waiting request of each requester, in order."""
        self._large_heads: list[_Waiting] = []
        """The large ones of these, in the order in which they came."""
        self._shares: dict[Requester, float] = {}
        """Requester → the virtual time at which its next request is due; grows by what it is lent."""
        self._virtual_time = 0.0
        """The place of a requester that is new. While requests wait it moves on with what is lent, by a requester's
        equal part of it: if it stood still, ever new requesters would keep one that is not new waiting for ever."""

    @property
    def is_short(self) -> bool:
        """Whether a requester waits."""
        return bool(self._waiting)

    @asynccontextmanager
    async def lent(
        self, amount: int = 1, requester: Requester = ITSELF, *, weight: int | None = None
    ) -> AsyncIterator[None]:
        """Lend an amount as long as the block lasts, when its turn comes; what is more than there is counts as all.

        `weight` is what it counts for in the order among requesters, the amount unless given.
        """
        one = self._asked(amount, requester, weight)
        self._join(one)
        self._let_in()
        try:
            await one.turn
            yield
        finally:
            if one.turn.done() and not one.turn.cancelled():
                self._account(one, -1)
            else:
                self._leave(one)
            self._let_in()

    def _asked(self, amount: int, requester: Requester, weight: int | None) -> _Waiting:
        """The amount asked for, cut down to what the requester may have at most."""
        loop = asyncio.get_running_loop()
        is_large = amount > self._small
        if is_large:
            amount = min(amount, self._large_ceiling)
        amount = min(max(1, amount), self._ceiling(requester.is_member))
        weight = amount if weight is None else weight
        return _Waiting(
            *(requester, amount, is_large, weight),
            *(next(self._numbers), loop.time(), loop.create_future()),
        )

    def _ceiling(self, is_member: bool) -> int:
        """What requesters of this kind may have together."""
        halved = self._for_members and self._is_divided and not is_member
        return max(1, self._lent.capacity // 2) if halved else self._lent.capacity

    def _account(self, one: _Waiting, sign: int) -> None:
        self._lent.add(one.requester, sign * one.amount)
        if one.is_large:
            self._large_lent += sign * one.amount

    # those that wait

    def _join(self, one: _Waiting) -> None:
        queue = self._waiting.setdefault((one.requester, one.is_large), deque())
        queue.append(one)
        if queue[0] is one:
            self._enter(one)

    def _leave(self, one: _Waiting) -> None:
        queue = self._waiting[one.requester, one.is_large]
        if queue[0] is not one:
            queue.remove(one)
            return
        self._withdraw(one)
        queue.popleft()
        if queue:
            self._enter(queue[0])
        else:
            del self._waiting[one.requester, one.is_large]

    def _enter(self, head: _Waiting) -> None:
        """Give a requester's first waiting request its place in the order, by what the requester was lent before."""
        head.due = max(self._virtual_time, self._shares.get(head.requester, 0.0))
        insort(self._heads[self._is_first_class(head), head.is_large], head, key=_place)
        if head.is_large:
            insort(self._large_heads, head, key=_number)

    def _withdraw(self, head: _Waiting) -> None:
        heads = self._heads[self._is_first_class(head), head.is_large]
        del heads[bisect_left(heads, head.place, key=_place)]
        if head.is_large:
            del self._large_heads[bisect_left(self._large_heads, head.number, key=_number)]

    # turns

    def _let_in(self) -> None:
        """Lend to all that can be lent to now, in their order."""
        while (following := self._next()) is not None:
            requester = following.requester
            self._shares.pop(requester, None)
            self._shares[requester] = following.due + following.weight
            if len(self._shares) > REQUESTERS_REMEMBERED:
                del self._shares[next(iter(self._shares))]
            self._leave(following)
            self._virtual_time = max(self._virtual_time, following.due)
            if self._waiting:
                self._virtual_time += following.weight / (1 + len(self._waiting))
            if other := self._waiting.get((requester, not following.is_large)):
                self._withdraw(other[0])
                self._enter(other[0])
            self._account(following, 1)
            following.turn.set_result(None)

    def _next(self) -> _Waiting | None:
        """The first in order that can be lent what it waits for."""
        overdue = self._overdue()
        for is_first_class in (True, False):
            able = [self._heads[is_first_class, large] for large in (False, True)]
            heads = [some for some in able if some and self._may_fit(some[0])]
            for one in merge(*heads, key=_place):
                if not one.turn.cancelled() and self._fits(one, overdue):
                    return one
        return None

    def _may_fit(self, one: _Waiting) -> bool:
        """Whether anything of this one's size and class fits, however little; else none of them need be looked at."""
        ceiling = self._ceiling(one.requester.is_member)
        least = min(self._small + 1, self._large_ceiling, ceiling) if one.is_large else 1
        if one.is_large and self._large_lent + least > self._large_ceiling:
            return False
        if ceiling < self._lent.capacity and self._lent.to_strangers + least > ceiling:
            return False
        return least <= self._lent.free

    def _overdue(self) -> _Waiting | None:
        """The first in order of the large ones that have waited too long."""
        before = asyncio.get_running_loop().time() - OVERDUE_S
        if not self._large_heads or self._large_heads[0].since > before:
            return None
        large = chain(self._heads[True, True], self._heads[False, True])
        return next((one for one in large if one.since <= before and self._is_within_share(one)), None)

    def _is_within_share(self, one: _Waiting) -> bool:
        """Whether a requester waits neither for what it has itself, nor for what all strangers have."""
        if not self._is_divided:
            return True
        free, ceiling = self._lent.free, self._ceiling(one.requester.is_member)
        if ceiling < self._lent.capacity:
            left = ceiling - self._lent.to_strangers
            if one.amount > left:
                return False
            free = min(free, left)
        return self._lent.is_within_share(one.requester, one.amount, free)

    def _fits(self, one: _Waiting, overdue: _Waiting | None) -> bool:
        if one.amount > self._lent.free or not self._is_within_share(one):
            return False
        if one.is_large and self._large_lent + one.amount > self._large_ceiling:
            return False
        if overdue in (None, one) or self._is_first_class(one) > self._is_first_class(overdue):
            return True
        small_lent = self._lent.total - self._large_lent
        return not one.is_large and small_lent + one.amount <= self._lent.capacity - self._large_ceiling

    def _is_first_class(self, one: _Waiting) -> bool:
        return not self._for_members or one.requester.is_member


class Budget:
    """Bytes a second, requests at once, bytes in memory, of one direction of bulk traffic."""

    def __init__(
        self,
        bytes_per_s: int = BYTES_PER_S,
        requests_at_once: int = REQUESTS_AT_ONCE,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        if min(bytes_per_s, requests_at_once, memory_bytes) < 1:
            raise ValueError("a budget without bytes, requests or memory would never let anything through")
        self._bytes_per_s = bytes_per_s
        self._requests = Pool(requests_at_once, is_divided=True, for_members=True)
        self._rate = Pool(1, for_members=True)
        self._memory = Pool(memory_bytes, is_divided=True, for_members=True)
        self._paid_until = 0.0
        """Loop time at which all bytes charged so far have had their time."""

    @asynccontextmanager
    async def request(self, requester: Requester = ITSELF, size_bytes: int = 1) -> AsyncIterator[None]:
        """A turn for one request of about `size_bytes`; it begins when the byte rate has room for them."""
        async with self._requests.lent(1, requester, weight=size_bytes):
            async with self._rate.lent(1, requester, weight=size_bytes):
                owed_s = self._paid_until - asyncio.get_running_loop().time() - BURST_S
                if owed_s > 0:
                    await asyncio.sleep(owed_s)
            yield

    def charge(self, size_bytes: int) -> None:
        """Count bytes that were sent or received; later requests wait for them."""
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + size_bytes / self._bytes_per_s

    def memory(self, size_bytes: int, requester: Requester = ITSELF) -> AbstractAsyncContextManager[None]:
        """A context that holds memory of `size_bytes`, once it is free; all of it for a request above the budget."""
        return self._memory.lent(size_bytes, requester)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether a requester waits for memory."""
        return self._memory.is_short
