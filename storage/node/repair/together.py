"""Rebuild slivers of many small blobs together: a helper is asked for symbols of hundreds of blobs in one request.

All slivers of a batch lie in the same shards, so that the same helping shards serve all its blobs. What goes wrong
concerns single blobs: those of which a symbol did not come, or whose sliver has another root, are given back with all
that came of them, to be finished one by one. So a batch asks for exactly what is needed, and wastes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from committee.membership import Member
from storage.client import wire
from storage.client.errors import NodeError, NodeRefused
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.repair.gathering import Gathering, Rebuilt
from storage.node.repair.helpers import Helpers
from storage.node.repair.reputation import GOOD, Reputation
from storage.node.store import SliverStore
from storage.node.threads import Threads, cancelled
from storage.redstuff import Axis, RedStuff

BLOBS_TOGETHER = 256
"""Blobs in one batch, at most."""
SYMBOLS_TOGETHER = 2**14
"""Symbols in one batch, at most, unless one blob needs more: helpers give them in a fraction of a second."""
ROUNDS = 3
"""Times that helpers are asked: what some did not give is asked of others."""
REQUEST_BYTES = 2**18
"""Bytes of symbols in one request, at most: a slow link carries them before a helper is overtaken."""


@dataclass(eq=False)
class _Request:
    """What one member is asked for: symbols of some of its shards, for some blobs."""

    member: Member
    shards: Sequence[int]
    gatherings: Sequence[Gathering]
    sent_s: float | None = None
    """Loop time at which it went out."""

    def note_sent(self) -> None:
        """Its turn has come."""
        self.sent_s = asyncio.get_running_loop().time()


class Together:
    """Batches of one node."""

    def __init__(
        self,
        store: SliverStore,
        code: RedStuff,
        peers: Peers,
        helpers: Helpers,
        reputation: Reputation,
        threads: Threads,
    ) -> None:
        self._store = store
        self._code = code
        self._peers = peers
        self._helpers = helpers
        self._reputation = reputation
        self._threads = threads

    async def rebuild(
        self, axis: Axis, shards: Sequence[int], gatherings: Sequence[Gathering], avoiding: Collection[int]
    ) -> list[list[Rebuilt] | None]:
        """Rebuild the slivers of `shards` on `axis` of blobs of one symbol size, each verified against its root.

        `avoiding` are node ids not to be asked. None stands for a blob whose gathering has to be finished alone: it is
        left as it was before, with the symbols that came from helpers, if any.
        """
        await self._threads.finished(self._add_own, axis, gatherings)
        for _ in range(ROUNDS):
            requests, has_others = self._requests([one for one in gatherings if one.lacking > 0], avoiding)
            if not requests:
                break
            await self._fetch(axis, shards, requests, has_others)
        return await self._threads.finished(self._recover, axis, gatherings)

    def _add_own(self, axis: Axis, gatherings: Sequence[Gathering]) -> None:
        """Take symbols from slivers this node holds itself; that their roots are right shows when all is together."""
        by_id = {one.metadata.blob_id: one for one in gatherings}
        found = self._store.bulk.find(sorted(self._store.shards()), axis.other, list(by_id))
        needed = self._code.source_symbols(axis)
        for some in self._store.bulk.read(found):
            helping, slivers, targets = [], [], []
            for key, content in some:
                gathering = by_id[key.blob_id]
                if (
                    content is not None
                    and len(content) == self._code.source_symbols(axis.other) * gathering.symbol_bytes
                ):
                    helping.append((gathering, self._code.sliver_index(key.blob_id, key.shard, axis.other)))
                    slivers.append(content)
                    targets.append(list(gathering.targets))
            if not helping:
                continue
            symbols = self._code.crossing_symbols(axis.other, slivers, targets, gatherings[0].symbol_bytes)
            for (gathering, index), wanted, made in zip(helping, targets, symbols, strict=True):
                if len(gathering.symbols) < needed:
                    gathering.symbols[index] = {
                        target: symbol.data for target, symbol in zip(wanted, made, strict=True)
                    }

    def _requests(
        self, gatherings: Sequence[Gathering], avoiding: Collection[int]
    ) -> tuple[list[_Request], bool]:
        """Return what to ask of whom, as much as each of the blobs lacks; nothing if too few helpers are reliable.

        Of blobs that lack more than others the rest is fetched when they are finished alone. The second value tells
        whether there are reliable helpers besides those that are asked.
        """
        if not gatherings:
            return [], False
        count = min(one.lacking for one in gatherings)
        here = {self._shard_of(one, index) for one in gatherings for index in one.symbols}
        first = gatherings[0]
        offers = self._helpers.offers(first, self._peers.holders(avoiding), here)
        reliable = {kind: some for kind, some in offers.items() if kind[0] == GOOD}
        spread = self._helpers.spread(first, reliable, count, len(gatherings))
        if sum(map(len, spread.values())) < count:
            return [], False
        requests = [
            _Request(member, shards, some)
            for member, shards in spread.items()
            for some in _parts(gatherings, shards)
        ]
        return requests, any(one not in spread for some in reliable.values() for one in some)

    def _shard_of(self, gathering: Gathering, index: int) -> int:
        pair = self._code.sliver_of_pair(index, gathering.axis.other)
        return self._code.shard_of_pair(gathering.metadata.blob_id, pair)

    async def _fetch(
        self, axis: Axis, shards: Sequence[int], requests: Sequence[_Request], has_others: bool
    ) -> None:
        """Ask, until all have answered or have kept the others waiting for too long.

        While none answers and there are no others, they are waited for: the link may be slow.
        """
        pending = {asyncio.create_task(self._ask(axis, shards, one)): one for one in requests}
        has_others_or_answers = has_others
        try:
            while pending:
                done, _ = await asyncio.wait(
                    pending, timeout=self._next_look_s(pending.values()), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del pending[task]
                    has_others_or_answers = task.result() or has_others_or_answers
                late = [task for task, one in pending.items() if has_others_or_answers and self._is_late(one)]
                for task in late:
                    self._reputation.kept_waiting(pending.pop(task).member)
                await cancelled(late)
        finally:
            await cancelled(list(pending))

    def _is_late(self, request: _Request) -> bool:
        return self._waited_s(request) >= self._helpers.overtaken_after_s

    def _next_look_s(self, requests: Collection[_Request]) -> float:
        """Return in how many seconds the next of the requests under way counts as late."""
        after_s = self._helpers.overtaken_after_s
        left_s = [after_s - self._waited_s(one) for one in requests]
        return min((one for one in left_s if one > 0), default=after_s)

    @staticmethod
    def _waited_s(request: _Request) -> float:
        now_s = asyncio.get_running_loop().time()
        return 0.0 if request.sent_s is None else now_s - request.sent_s

    async def _ask(self, axis: Axis, shards: Sequence[int], request: _Request) -> bool:
        """Take one member's symbols in; return whether it gave any answer."""
        member, gatherings = request.member, request.gatherings
        question = wire.Question(axis, shards, request.shards, [one.metadata.blob_id for one in gatherings])
        size_bytes = len(gatherings) * len(request.shards) * len(shards) * gatherings[0].symbol_bytes
        fail_point("handover.symbols-wanted")
        try:
            answers = await self._helpers.courier.ask_of_blobs(
                member, question, size_bytes, request.note_sent
            )
        except NodeError as error:
            self._reputation.failed(member, error)
            for gathering in gatherings:
                gathering.note_refusal(member, request.shards, error.why)
            return False
        self._helpers.note_time(self._waited_s(request))
        fail_point("handover.symbols-received")
        for gathering, answer in zip(gatherings, answers, strict=True):
            if isinstance(answer, NodeRefused):
                gathering.note_refusal(member, request.shards, answer.why)
            else:
                self._helpers.take_in(gathering, member, request.shards, answer)
        return True

    def _recover(self, axis: Axis, gatherings: Sequence[Gathering]) -> list[list[Rebuilt] | None]:
        whole = [one for one in gatherings if one.lacking <= 0]
        wanted = [
            (one.metadata, target, {index: by_target[target] for index, by_target in one.symbols.items()})
            for one in whole
            for target in one.targets
        ]
        slivers: Iterator[bytes | Exception] = iter(self._code.recover_each(axis, wanted))
        made: dict[Gathering, list[Rebuilt] | None] = {}
        for one in whole:
            some = [(shard, next(slivers)) for shard in one.targets.values()]
            good = [one.rebuilt(shard, sliver) for shard, sliver in some if isinstance(sliver, bytes)]
            made[one] = good if len(good) == len(some) else None
        for one in gatherings:
            if made.get(one) is None:
                # Own slivers, which may be damaged, are looked at closely then.
                for index in one.symbols.keys() - one.sources.keys():
                    del one.symbols[index]
        return [made.get(one) for one in gatherings]


def _parts(gatherings: Sequence[Gathering], shards: Collection[int]) -> Iterator[Sequence[Gathering]]:
    """Yield the gatherings in parts, each as large as one request for symbols of `shards` may be."""
    first = gatherings[0]
    bytes_each = len(shards) * len(first.targets) * first.symbol_bytes
    most = min(wire.MAX_BLOBS, wire.MAX_HELPING_SLIVERS // len(shards), REQUEST_BYTES // bytes_each)
    for begin in range(0, len(gatherings), max(1, most)):
        yield gatherings[begin : begin + max(1, most)]
