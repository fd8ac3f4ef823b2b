"""One read of a blob: its metadata from any member, then `p` primary slivers from the members that answer first.

In a handover both committees are asked: the new one may not have the blob yet, and the old one may not know what was
certified since. Afterwards the members of the previous one come last, and the former holders of unattested shards.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from committee.ledger import ClientLedger, EpochState
from committee.membership import Committee, Member
from storage.client.bodies import Bytes
from storage.client.errors import (
    BlobUnavailable,
    InvalidBlob,
    NodeError,
    NodeFailure,
    NodeLied,
    NodeRefused,
    NodeUnreachable,
    UnknownBlob,
)
from storage.client.failures import Reason
from storage.client.link import Transfer
from storage.client.node_client import NodeClient
from storage.client.outages import Outages
from storage.client.overtaking import Requests
from storage.redstuff import Axis, BlobMetadata, Decoding, RedStuff, RedStuffError, blob_id_text

QUESTIONS_AT_ONCE = 4
"""Members asked for metadata at once, when the first of them had none."""
UNDER_WAY_BYTES = 2**24
"""Slivers that are waited for at once, in bytes: what has come of each takes memory beside the blob's own."""
LEAST_AT_ONCE = 4
"""Slivers that are waited for at once, however large."""

Offer = tuple[int, Member]
"""A pair, and a member that should hold its slivers."""


class Reading:
    """The members as the givers of one blob, at one state of the chain."""

    def __init__(
        self,
        ledger: ClientLedger,
        node: Callable[[Member], NodeClient],
        state: EpochState,
        current: Committee,
        blob_id: bytes,
        outages: Outages,
    ) -> None:
        self._ledger = ledger
        self._node = node
        self._state = state
        self._current = current
        self._blob_id = blob_id
        self._name = blob_id_text(blob_id)
        self._outages = outages
        self._slow: set[int] = set()
        """Node ids of members that were overtaken: asked for the rest only when no other member has it."""

    # metadata

    async def metadata(self) -> BlobMetadata:
        """The blob's metadata, checked against its id.

        Raises `UnknownBlob`, `InvalidBlob`, or `BlobUnavailable` naming the members that failed.
        """
        failures: dict[int, NodeFailure] = {}
        unknown_to: set[int] = set()
        silent: dict[int, NodeUnreachable] = {}
        untried = deque(self._who_may_know())
        async with Requests[Member, BlobMetadata]() as asked:
            while untried or asked:
                at_once = QUESTIONS_AT_ONCE if failures else 1
                while untried and len(asked.expected) < at_once:
                    member = untried.popleft()
                    asked.send(member, self._node(member).metadata(self._blob_id))
                answered = await asked.answered()
                self._slow.update(member.node_id for member in asked.overtaken)
                for member, answer in answered:
                    try:
                        return answer.result()
                    except NodeRefused as error:
                        failures[member.node_id] = NodeFailure(member.name, error.why)
                        if error.reason == Reason.METADATA_NOT_FOUND:
                            unknown_to.add(member.node_id)
                    except NodeError as error:
                        failures[member.node_id] = NodeFailure(member.name, error.why)
                        if isinstance(error, NodeUnreachable):
                            silent[member.node_id] = error
                await self._require_some_that_may_know(unknown_to)
                if not (untried or asked):
                    untried.extend(await self._returned(silent))
        await self._require_valid(unknown_to)
        raise BlobUnavailable(f"metadata of blob {self._name}", 1, self._current.n_shards, 0, failures)

    async def _returned(self, silent: dict[int, NodeUnreachable]) -> list[Member]:
        """Return the silent members that answer now, after an outage of the link or without; they are removed."""
        members = self._state.members()
        returned = await self._outages.returned(silent)
        for node_id in returned:
            del silent[node_id]
        return [members[node_id] for node_id in returned]

    def _who_may_know(self) -> list[Member]:
        """The current members, and the nodes that may have what they lack, in the order in which to ask them."""
        current = list(self._current.members)
        others = [one for one in self._state.members().values() if one.node_id not in self._current.by_id]
        if not self._state.handover_done:
            return random.sample(current + others, len(current) + len(others))
        return random.sample(current, len(current)) + random.sample(others, len(others))

    async def _require_some_that_may_know(self, unknown_to: set[int]) -> None:
        """Raise `UnknownBlob` when too many do not know the blob for it to be certified.

        It takes a quorum: f may lie, and f more need not have been in the quorum that certified it. Shards that their
        owners had not before and have not attested yet tell nothing, even when the handover was closed without them.
        """
        current = self._current
        weight = current.weight_of(unknown_to)
        if not (self._state.handover_done and current.is_quorum(weight)):
            return
        missing = await self._ledger.missing_shards(current.epoch)
        weight -= sum(current.owner_of[shard].node_id in unknown_to for shard in missing)
        if current.is_quorum(weight):
            await self._require_valid(unknown_to)
            raise UnknownBlob(self._name, weight, current.n_shards)

    async def _require_valid(self, unknown_to: Collection[int]) -> None:
        """Raise `InvalidBlob` when of the members without metadata a correct one calls the blob invalid.

        A node has no metadata to give of an invalid blob, as of one it does not know; the blob's status tells which.
        """
        invalid_to: set[int] = set()
        async with Requests[Member, Any]() as asked:
            for member in self._current.members:
                if member.node_id in unknown_to:
                    asked.send(member, self._node(member).blob_status(self._blob_id))
            while asked.expected:
                for member, answer in await asked.answered():
                    with suppress(NodeError):
                        status = answer.result()
                        if isinstance(status, dict) and "invalid" in status:
                            invalid_to.add(member.node_id)
                if self._current.has_one_correct(self._current.weight_of(invalid_to)):
                    raise InvalidBlob(self._name)

    # slivers

    async def slivers(
        self,
        code: RedStuff,
        metadata: BlobMetadata,
        decoding: Decoding,
        progress: Callable[[int], None],
    ) -> None:
        """Add `p` verified primary slivers to `decoding`: the source rows first, which need no decoding.

        Exactly `p` are asked for, and another one only in place of one that fails or is overtaken. Of those under way,
        LEAST_AT_ONCE or UNDER_WAY_BYTES are waited for. `progress` is told how many there are. Raises
        `BlobUnavailable` naming the members that failed.
        """
        failures: dict[int, NodeFailure] = {}
        silent: dict[int, NodeUnreachable] = {}
        offers = _Offers(spread({pair: self._holders(code, pair) for pair in range(code.n_shards)}, code.p))
        size_bytes = code.sliver_size(metadata.length, Axis.PRIMARY)
        most_at_once = max(LEAST_AT_ONCE, UNDER_WAY_BYTES // size_bytes)
        async with Requests[Offer, Bytes]() as asked:
            while (here := len(decoding.indices)) < code.p:
                while len(asked.expected) < min(most_at_once, code.p - here):
                    settled = decoding.indices | {pair for pair, _ in asked.expected}
                    offer = offers.take(settled, silent, self._slow)
                    if offer is None:
                        break
                    transfer = Transfer()
                    asked.send(offer, self._sliver(code, metadata, offer, size_bytes, transfer), transfer)
                    if offer[1].node_id not in self._slow:
                        offers.put_back(asked.cancel_overtaken(offers.is_first_try, most=1))
                if not asked:
                    if await self._returned(silent):
                        continue
                    raise BlobUnavailable(f"blob {self._name}", code.p, code.n_shards, here, failures)
                answered = await asked.answered()
                self._slow.update(member.node_id for _, member in asked.overtaken)
                asked.overtake(lambda offer: offer[1].node_id in self._slow)
                for (pair, member), answer in answered:
                    try:
                        if len(decoding.indices) < code.p:
                            decoding.add(pair, answer.result())
                            self._outages.note_grant()
                            progress(len(decoding.indices))
                    except NodeError as error:
                        failures[member.node_id] = NodeFailure(member.name, error.why)
                        if isinstance(error, NodeUnreachable):
                            silent[member.node_id] = error
                            offers.keep((pair, member))

    def _holders(self, code: RedStuff, pair: int) -> list[Member]:
        """Return the members that may hold a pair: the owner of its shard, then the owner before."""
        return list(self._state.holders(code.shard_of_pair(self._blob_id, pair)))

    async def _sliver(
        self, code: RedStuff, metadata: BlobMetadata, offer: Offer, size_bytes: int, transfer: Transfer
    ) -> Bytes:
        """A primary sliver from one member, verified. Raises `NodeError`."""
        pair, member = offer
        node = self._node(member)
        symbols = await node.sliver(self._blob_id, pair, Axis.PRIMARY, size_bytes, transfer)
        try:
            await asyncio.to_thread(code.verify_sliver, metadata, Axis.PRIMARY, pair, symbols)
        except RedStuffError as error:
            raise NodeLied(member.name, member.address, f"sent a wrong sliver: {error}") from error
        return symbols


def spread(holders: Mapping[int, list[Member]], p: int) -> dict[int, list[Member]]:
    """Return pairs with their holders in the order in which to ask for them: the source rows, below `p`, first.

    A member's shards follow each other, and so do their pairs. Among the first pairs are as many members as possible,
    so that the link and not one member makes the pace.
    """
    asked: Counter[int] = Counter()
    places: list[tuple[bool, int, int]] = []
    for pair, members in sorted(holders.items()):
        owner = members[0].node_id if members else 0
        places.append((pair >= p, asked[owner], pair))
        asked[owner] += 1
    return {pair: holders[pair] for _, _, pair in sorted(places)}


class _Offers:
    """The slivers that can be asked for, and of which members."""

    def __init__(self, holders: Mapping[int, list[Member]]) -> None:
        self._holders = holders
        self._given_back: set[tuple[int, int]] = set()
        """(pair, node id) of requests that were cancelled."""

    def take(self, settled: Collection[int], silent: Collection[int], slow: Collection[int]) -> Offer | None:
        """Return what to ask for next: the first pair not settled, of a member neither silent nor slow.

        If there is none, of a slow member. Both are node ids. The offer is not made again unless it is put back.
        """
        fallback: Offer | None = None
        for pair, members in self._holders.items():
            for member in members if pair not in settled else ():
                if member.node_id in silent:
                    continue
                if member.node_id not in slow:
                    members.remove(member)
                    return pair, member
                fallback = fallback or (pair, member)
        if fallback is not None:
            self._holders[fallback[0]].remove(fallback[1])
        return fallback

    def is_first_try(self, offer: Offer) -> bool:
        """Whether the offer may be put back: once each, so that asking comes to an end."""
        return (offer[0], offer[1].node_id) not in self._given_back

    def keep(self, offer: Offer) -> None:
        """Take back the offer of a member that did not answer: it counts again when the member is silent no more."""
        self._holders[offer[0]].append(offer[1])

    def put_back(self, offers: Collection[Offer]) -> None:
        """Take back offers whose requests were cancelled: they may be needed when no other member is left."""
        for pair, member in offers:
            self._given_back.add((pair, member.node_id))
            self._holders[pair].append(member)
