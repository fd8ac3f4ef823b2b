"""Symbols from helpers: exactly as many as are needed, spread evenly, with slow ones overtaken and liars left out.

When those of good reputation are too few, the others are asked first: if they do not answer in time again, nothing was
sent in vain. (A lie shows only when all is there.)

Symbols travel without proofs. Only when what is made of them has another root than the metadata says are proofs asked
for (`proofs`), and who cannot prove its symbol is the liar. (PROTOCOL section 1, "Repair of one sliver pair".)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter
from statistics import median

from committee.errors import HauloutError
from committee.membership import Member
from storage.client.errors import NodeError, name_failures
from storage.node.budgets import Budget
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair.courier import Answer, Courier
from storage.node.repair.gathering import Gathering
from storage.node.repair.reputation import GOOD, Reputation
from storage.redstuff import RedStuff, blob_id_text

OVERTAKEN_AFTER_S = 6.0
"""A request that a helper has not answered by then is overtaken: another helper is asked, and once as many symbols are
asked of helpers of good reputation, the request is cancelled, so that its answer does not take the link from theirs.
But not if all helpers need long, as asking more would make it worse."""
TIMES_THE_USUAL = 4.0
"""A helper is overtaken no sooner than after this multiple of the time that answers usually take."""
FIRST_TIMES = 2.0
"""While it is not known how long answers take, a helper is overtaken after this multiple of OVERTAKEN_AFTER_S."""
ANSWERS_REMEMBERED = 32
"""Answers whose median is the usual time: fewer than half of the helpers cannot make it longer."""
LEAST_BYTES = 2**15
"""Bytes of symbols in one request, if the helper has as many: the heads are then a hundredth of the traffic."""


Offers = dict[tuple[int, bool, bool], dict[Member, list[int]]]
"""(reputation, has left, is the shard's new owner) → member → shards; the least kind is the best."""


class RepairError(HauloutError):
    """A sliver could not be rebuilt; the message says what was needed, what was reachable and which helpers failed."""

    wasted_bytes = 0
    """Symbols received in vain, for each of the slivers that were to be rebuilt together."""


@dataclass
class _Request:
    """Symbols asked of one member."""

    member: Member
    shards: list[int]
    since: float
    """Loop time at which it was asked for, and from when it is sent that."""
    is_trial: bool = False
    """Whether those of good reputation wait for what becomes of it: without it they are too few."""
    is_sent: bool = False
    is_overtaken: bool = False

    def send(self) -> None:
        """Its turn has come."""
        self.is_sent, self.since = True, asyncio.get_running_loop().time()

    def seconds(self) -> float:
        """How long it has been under way, or has waited for its turn."""
        return asyncio.get_running_loop().time() - self.since


class LatestAnswers:
    """How long the latest answers of peers have taken."""

    def __init__(self) -> None:
        self._took_s: deque[float] = deque(maxlen=ANSWERS_REMEMBERED)

    def add(self, took_s: float) -> None:
        """Take note of an answer."""
        self._took_s.append(took_s)

    @property
    def long_s(self) -> float | None:
        """TIMES_THE_USUAL of the time that answers usually take; None before the first one."""
        return TIMES_THE_USUAL * median(self._took_s) if self._took_s else None


class Helpers:
    """The peers as givers of symbols."""

    def __init__(self, code: RedStuff, peers: Peers, me: int, reputation: Reputation, budget: Budget) -> None:
        self._code = code
        self._peers = peers
        self._me = me
        self._reputation = reputation
        self._budget = budget
        self.courier = Courier(peers, budget)
        self._latest = LatestAnswers()

    @property
    def overtaken_after_s(self) -> float:
        """After how many seconds a request is overtaken, by how long the latest answers have taken."""
        long_s = self._latest.long_s
        return FIRST_TIMES * OVERTAKEN_AFTER_S if long_s is None else max(OVERTAKEN_AFTER_S, long_s)

    async def fetch(self, gathering: Gathering, avoiding: Collection[int]) -> None:
        """Ask helpers until nothing is lacking; `avoiding` are node ids not to be asked.

        Raises `RepairError` as soon as the helpers that may still answer are too few, naming those that failed.
        """
        holders = self._peers.holders(avoiding)
        pending: dict[asyncio.Task[None], _Request] = {}
        cancelled: list[asyncio.Task[None]] = []
        try:
            while gathering.lacking > 0:
                self._ask_more(gathering, holders, pending)
                cancelled += _cancel_overtaken(gathering, pending)
                await asyncio.wait(
                    pending, timeout=self._next_look_s(pending), return_when=asyncio.FIRST_COMPLETED
                )
                for task in [task for task in pending if task.done()]:
                    del pending[task]
                    task.result()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, *cancelled, return_exceptions=True)

    def _ask_more(
        self,
        gathering: Gathering,
        holders: Mapping[int, list[Member]],
        pending: dict[asyncio.Task[None], _Request],
    ) -> None:
        """Send requests for what neither is here nor can be expected soon."""
        after_s = self.overtaken_after_s
        for request in pending.values():
            if request.seconds() < after_s or request.is_overtaken:
                continue
            if request.is_sent:
                self._reputation.kept_waiting(request.member)
            # What waits for its turn is overtaken only if it waits behind what keeps others waiting.
            request.is_overtaken = self._reputation.rank(request.member) != GOOD
        asked = {shard for request in pending.values() for shard in request.shards}
        expected = sum(len(one.shards) for one in pending.values() if not one.is_overtaken)
        if expected >= gathering.lacking:
            return
        count, offers = gathering.lacking - expected, self.offers(gathering, holders, asked)
        reachable = len(gathering.symbols) + len(asked) + _amount(offers)
        if reachable < gathering.needed:
            raise RepairError(
                f"needed {gathering.needed} of {self._code.n_shards} shards to rebuild slivers of blob "
                f"{blob_id_text(gathering.metadata.blob_id)}, reachable {reachable}: "
                f"{name_failures(gathering.failures)}"
            )
        doubtful = {kind: some for kind, some in offers.items() if kind[0] != GOOD}
        short = count - (_amount(offers) - _amount(doubtful))
        is_trial = short > 0 and bool(doubtful)
        if is_trial:
            # What the others sent would be in vain unless some of these answer now.
            count, offers = short, doubtful
        elif any(one.is_trial and not one.is_overtaken for one in pending.values()):
            return
        for member, shards in self.spread(gathering, offers, count).items():
            request = _Request(member, shards, asyncio.get_running_loop().time(), is_trial)
            pending[asyncio.create_task(self._ask(gathering, request))] = request

    def _next_look_s(self, pending: Mapping[asyncio.Task[None], _Request]) -> float | None:
        """In how many seconds a request must be overtaken, if none is answered before."""
        after_s = self.overtaken_after_s
        waits = [
            after_s - one.seconds() if one.seconds() < after_s else after_s
            for one in pending.values()
            if not one.is_overtaken
        ]
        return min(waits, default=None)

    def offers(
        self, gathering: Gathering, holders: Mapping[int, list[Member]], asked: Collection[int]
    ) -> Offers:
        """Return the helpers to ask for symbols, for each shard the best of its holders."""
        offers: Offers = defaultdict(lambda: defaultdict(list))
        for shard, members in holders.items():
            index = self._code.sliver_index(gathering.metadata.blob_id, shard, gathering.axis.other)
            willing = [one for one in members if (one.node_id, shard) not in gathering.refused]
            if willing and shard not in asked and index not in gathering.symbols:
                kind, member = min(((self._kind(one, shard), one) for one in willing), key=itemgetter(0))
                offers[kind][member].append(shard)
        return offers

    def spread(
        self, gathering: Gathering, offers: Offers, count: int, n_blobs: int = 1
    ) -> dict[Member, list[int]]:
        """member → shards to ask it for: `count` shards where there are as many, evenly over the members.

        Members of good reputation come first, and shards they have had for long; those that have left, last. When
        little is needed of all `n_blobs`, no more members are asked than give LEAST_BYTES each. The round begins at a
        place of its own for each blob and rebuilding node, so that they do not all lean on the same ones.
        """
        blob_id = gathering.metadata.blob_id
        size_bytes = n_blobs * len(gathering.targets) * gathering.symbol_bytes
        at_once = max(1, count * size_bytes // LEAST_BYTES)
        requests: dict[Member, list[int]] = defaultdict(list)
        for _, by_member in sorted(offers.items(), key=itemgetter(0)):
            round_ = sorted(by_member, key=lambda member: member.node_id)
            first = (self._me + int.from_bytes(blob_id[:4], "big")) % len(round_)
            round_ = round_[first:] + round_[:first]
            for begin in range(0, len(round_), at_once):
                count -= _deal(
                    {one: by_member[one] for one in round_[begin : begin + at_once]}, count, requests
                )
        return requests

    def _kind(self, member: Member, shard: int) -> tuple[int, bool, bool]:
        return (
            self._reputation.rank(member),
            self._peers.has_left(member),
            self._peers.is_new_owner(member, shard),
        )

    async def _ask(self, gathering: Gathering, request: _Request) -> None:
        """Take one member's symbols in; what it does not give is not asked of it again."""
        member, shards = request.member, request.shards
        targets, blob_id = list(gathering.targets), gathering.metadata.blob_id
        size_bytes = len(shards) * len(targets) * gathering.symbol_bytes
        fail_point("handover.symbols-wanted")
        try:
            answer = await self.courier.ask(
                member, blob_id, gathering.axis, targets, shards, size_bytes, request.send
            )
        except NodeError as error:
            gathering.note_refusal(member, shards, error.why)
            self._reputation.failed(member, error)
            return
        self.note_time(request.seconds())
        fail_point("handover.symbols-received")
        self.take_in(gathering, member, shards, answer)

    def note_time(self, seconds: float) -> None:
        """Note how long an answer has taken."""
        self._latest.add(seconds)

    def take_in(self, gathering: Gathering, member: Member, shards: Sequence[int], answer: Answer) -> None:
        """Add a member's symbols of these shards to the gathering, unless they are none of the blob's."""
        blob_id, helping = gathering.metadata.blob_id, gathering.axis.other
        targets, sizes = gathering.targets.keys(), {gathering.symbol_bytes}
        for shard, index in zip(shards, self._code.sliver_indices(blob_id, shards, helping), strict=True):
            symbols = answer.get(index)
            if symbols is None:
                gathering.note_refusal(member, [shard], f"has no sliver of shard {shard}")
            elif symbols.keys() != targets or set(map(len, symbols.values())) != sizes:
                self._reputation.lied(member, f"symbols of shard {shard} that are none of the blob's")
                gathering.wasted += 1
                gathering.note_refusal(
                    member, range(self._code.n_shards), f"sent no good symbols of shard {shard}"
                )
            elif gathering.lacking > 0:
                gathering.symbols[index] = symbols
                gathering.sources[index] = (member, shard)
            else:
                gathering.wasted += 1  # it was overtaken, and came all the same


def _cancel_overtaken(
    gathering: Gathering, pending: dict[asyncio.Task[None], _Request]
) -> list[asyncio.Task[None]]:
    """Cancel the overtaken requests if requests for all that is lacking are under way besides; each once."""
    expected = sum(len(one.shards) for one in pending.values() if not one.is_overtaken)
    if expected < gathering.lacking or any(one.is_trial for one in pending.values()):
        return []
    tasks = []
    for task, request in list(pending.items()):
        asked = {(request.member.node_id, shard) for shard in request.shards}
        if request.is_overtaken and not asked & gathering.cancelled:
            gathering.cancelled |= asked
            task.cancel()
            del pending[task]
            tasks.append(task)
    return tasks


def _amount(offers: Offers) -> int:
    """Return how many shards are offered, by all members together."""
    return sum(len(shards) for by_member in offers.values() for shards in by_member.values())


def _deal(offers: Mapping[Member, list[int]], count: int, requests: dict[Member, list[int]]) -> int:
    """Add up to `count` of the shards offered to the requests, one from each member by turns; how many."""
    dealt = 0
    for some in zip_longest(*offers.values()):
        for member, shard in zip(offers, some, strict=True):
            if shard is not None and dealt < count:
                requests[member].append(shard)
                dealt += 1
    return dealt
