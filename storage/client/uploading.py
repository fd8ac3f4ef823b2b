"""Upload encoded blobs to one member, and ask it to confirm them.

Small blobs travel many to a request, with all their slivers (`Uploading._in_batches`); a node that does not know such
requests, as Walrus' own, is sent one for each sliver. Large slivers are sent one by one in any case: a transfer of one
is gone on with where its connection breaks, and judged by its own progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter

from committee import bls, messages
from committee.certificate import MemberSignature
from committee.errors import InvalidMessage
from committee.membership import Member
from storage.client import batch_wire
from storage.client.batch_wire import Confirmable, PairSliver, Signed, Upload
from storage.client.errors import NodeError, NodeLied, NodeRefused
from storage.client.failures import Reason
from storage.client.link import SMALL_BYTES
from storage.client.node_client import NodeClient
from storage.client.settling import Settling
from storage.redstuff import Axis, EncodedBlob, LargeBlob, RedStuff, SliverData
from storage.redstuff.large import LargeSliver

UPLOADS_AT_ONCE = 8
"""Concurrent requests to each node while a blob is stored."""
BATCH_BYTES = 2**20
"""Blobs are sent together up to this size; a larger one is sent alone. Over the slowest link it takes some seconds, and
is sent again as a whole if its connection breaks."""
UNKNOWN_REQUEST = (404, 405)
"""Statuses by which a node answers requests that it does not know."""


@dataclass(frozen=True, eq=False)
class Item:
    """A blob that a member is to store and confirm."""

    blob: EncodedBlob | LargeBlob = field(repr=False)
    object_id: int | None
    """The id of a deletable object, which the message then names; None for a permanent one."""
    message: bytes
    """The message that the member is to sign."""

    @property
    def confirmable(self) -> Confirmable:
        """The blob as a request for its confirmation names it."""
        return Confirmable(self.blob.blob_id, self.object_id)


class Uploading:
    """Uploads encoded blobs to one member, and gets its confirmations."""

    def __init__(
        self, node: NodeClient, member: Member, code: RedStuff, settling: Settling, *, is_resumed: bool
    ) -> None:
        """`is_resumed` says that the node may have some of the slivers from an earlier upload."""
        self._node = node
        self._member = member
        self._code = code
        self._settling = settling
        self._is_resumed = is_resumed
        self._at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._pairs: dict[bytes, list[int]] = {}

    async def confirmations(self, items: Sequence[Item]) -> dict[Item, MemberSignature | NodeError]:
        """Upload the member's pairs of each blob; return for each the verified confirmation, or why there is none.

        A blob that fails holds up no other one. Slivers that the node drops before it confirms them are uploaded once
        more: the node had them for an earlier object of the blob, whose end it has seen only meanwhile.
        """
        outcomes = await self._uploaded(items)
        dropped = [one for one, outcome in outcomes.items() if _is_dropped(outcome)]
        if dropped:
            outcomes |= await self._uploaded(dropped)
        return outcomes

    async def _uploaded(self, items: Sequence[Item]) -> dict[Item, MemberSignature | NodeError]:
        failed = await self._upload(items)
        outcomes: dict[Item, MemberSignature | NodeError] = {**failed}
        outcomes |= await self._confirmed([one for one in items if one not in failed])
        return outcomes

    # uploading

    async def _upload(self, items: Sequence[Item]) -> dict[Item, NodeError]:
        """Upload all blobs; return those that failed."""
        batches: list[list[tuple[Item, Upload]]] = []
        alone = [*items]
        if self._node.takes_batches:
            batches, alone = await asyncio.to_thread(self._in_batches, items)
        told = [await self._send(batch) for batch in batches]
        failed: dict[Item, NodeError] = {}
        for batch, outcomes in zip(batches, told, strict=True):
            if outcomes is None:
                alone += [one for one, _ in batch]
            else:
                failed |= outcomes
        singly = await asyncio.gather(*(self._one_by_one(one) for one in alone))
        return failed | {one: error for one, error in zip(alone, singly, strict=True) if error is not None}

    def _in_batches(self, items: Sequence[Item]) -> tuple[list[list[tuple[Item, Upload]]], list[Item]]:
        """Return the small blobs as they are sent together, and the others."""
        batches: list[list[tuple[Item, Upload]]] = []
        alone: list[Item] = []
        room_bytes = 0
        for one in items:
            upload = self._as_upload(one.blob)
            if upload is None or upload.most_bytes > batch_wire.MAX_UPLOADS_BYTES - 2:
                alone.append(one)
                continue
            room_bytes -= upload.most_bytes
            if not batches or room_bytes < 0 or len(batches[-1]) == batch_wire.MAX_BLOBS:
                batches.append([])
                room_bytes = BATCH_BYTES - upload.most_bytes
            batches[-1].append((one, upload))
        return batches, alone

    def _as_upload(self, blob: EncodedBlob | LargeBlob) -> Upload | None:
        """Return what the member is sent of a blob; None when a sliver is large."""
        slivers, size = [], self._code.symbol_size(blob.length)
        for pair, axis in self._places(blob):
            index = self._code.sliver_of_pair(pair, axis)
            symbols = blob.sliver(axis, index)
            if isinstance(symbols, LargeSliver) or len(symbols) > SMALL_BYTES:
                return None
            data = SliverData(symbols, size, index)
            slivers.append(PairSliver(pair, axis, data))
        return Upload(blob.metadata, slivers)

    def _places(self, blob: EncodedBlob | LargeBlob) -> Iterator[tuple[int, Axis]]:
        """(pair, axis) of each sliver that the member is sent of a blob."""
        for shard in self._member.shards:
            for axis in Axis:
                yield self._code.pair_of_shard(blob.blob_id, shard), axis

    async def _send(self, batch: Sequence[tuple[Item, Upload]]) -> dict[Item, NodeError] | None:
        """Send several blobs in one request; return each that failed with its error.

        Return None when the node does not know requests for several blobs; then nothing was sent.
        """

        async def put(some: Sequence[tuple[Item, Upload]]) -> Sequence[NodeRefused | None]:
            return await self._node.put_blobs([upload for _, upload in some], self._settling.block)

        try:
            outcomes = await self._settling.each_patiently(self._node, batch, put)
        except NodeRefused as refused:
            if refused.status in UNKNOWN_REQUEST:
                self._node.takes_batches = False
                return None
            return {one: refused for one, _ in batch}
        except NodeError as error:
            return {one: error for one, _ in batch}
        if None in outcomes:
            self._settling.note_ready()
        told = zip(batch, outcomes, strict=True)
        return {one: outcome for (one, _), outcome in told if outcome is not None}

    async def _one_by_one(self, item: Item) -> NodeError | None:
        """Send a blob's metadata and then each sliver; return why that failed, if it did."""
        node, settling, blob = self._node, self._settling, item.blob
        error: NodeError | None = None
        places = sorted(self._places(blob), key=itemgetter(1))
        if isinstance(
            blob, LargeBlob
        ):  # before the first request, so that all members' slivers are known then
            for axis in Axis:
                pairs = (pair for pair, of_axis in places if of_axis is axis)
                blob.expect(axis, (self._code.sliver_of_pair(pair, axis) for pair in pairs))
        try:
            may_have = self._is_resumed and await self._has(lambda: node.has_metadata(blob.blob_id))
            await settling.patiently(node, lambda: node.put_metadata(blob.metadata, settling.block))
            settling.note_ready()
            async with asyncio.TaskGroup() as group:
                for pair, axis in places:
                    group.create_task(self._put(blob, pair, axis, may_have))
        except* NodeError as failed:
            error = _first(failed)
        return error

    async def _put(self, blob: EncodedBlob | LargeBlob, pair: int, axis: Axis, may_have: bool) -> None:
        node = self._node
        async with self._at_once:
            sliver = blob.sliver(axis, self._code.sliver_of_pair(pair, axis))
            is_large = len(sliver) > SMALL_BYTES  # to ask for a small one costs as much as to send it
            if may_have and is_large and await self._has(lambda: node.has_sliver(blob.blob_id, pair, axis)):
                return
            tries = count(may_have)
            await self._settling.patiently(
                node, lambda: node.put_sliver(blob.metadata, pair, axis, sliver, is_begun=next(tries) > 0)
            )

    async def _has(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Return what the node answers; what it does not tell it may lack."""
        try:
            return await self._settling.patiently(self._node, ask)
        except (NodeRefused, NodeLied):
            return False

    # confirming

    async def _confirmed(self, items: Sequence[Item]) -> dict[Item, MemberSignature | NodeError]:
        """Return the member's confirmation of each blob; it is waited for if it has not seen the epoch's start."""
        signed = await self._signed(items)
        behind = [one for one, told in signed.items() if _is_of_earlier_epoch(told, one.message)]
        if behind:
            lie = self._behind(signed[behind[0]], behind[0].message)
            try:
                await self._settling.until_settled(self._node, lie)
                signed |= await self._signed(behind)
            except NodeError as error:
                signed |= dict.fromkeys(behind, error)
        outcomes: dict[Item, MemberSignature | NodeError] = {}
        good: dict[Item, bytes] = {}
        for one, told in signed.items():
            if isinstance(told, NodeError):
                outcomes[one] = told
            elif told[0] == one.message:
                good[one] = told[1]
            elif _is_of_earlier_epoch(told, one.message):
                outcomes[one] = self._behind(told, one.message)
            else:
                epoch = messages.decode(one.message).epoch
                outcomes[one] = self._lied(f"confirmed another message than this blob's of epoch {epoch}")
        holding = await asyncio.to_thread(self._holding, good)
        for one, signature in good.items():
            if one in holding:
                outcomes[one] = MemberSignature(self._member.node_id, signature)
            else:
                outcomes[one] = self._lied("its signature does not hold")
        return outcomes

    async def _signed(self, items: Sequence[Item]) -> dict[Item, Signed | NodeError]:
        """Return what the node signs for each blob, not checked, or its refusal."""
        if self._node.takes_batches and len(items) > 1:

            async def ask(some: Sequence[Item]) -> Sequence[Signed | NodeRefused]:
                asked = [one.confirmable for one in some]
                return await self._node.confirmations(asked, self._settling.block)

            told: dict[Item, Signed | NodeError] = {}
            for first in range(0, len(items), batch_wire.MAX_BLOBS):
                some = items[first : first + batch_wire.MAX_BLOBS]
                try:
                    answers = await self._settling.each_patiently(self._node, some, ask)
                    told |= dict(zip(some, answers, strict=True))
                except NodeError as error:
                    told |= dict.fromkeys(some, error)
            return told
        return dict(zip(items, await asyncio.gather(*map(self._signed_alone, items)), strict=True))

    async def _signed_alone(self, item: Item) -> Signed | NodeError:
        node, block = self._node, self._settling.block
        try:
            async with self._at_once:
                return await self._settling.patiently(
                    node, lambda: node.confirmation(item.blob.blob_id, item.object_id, block)
                )
        except NodeError as error:
            return error

    def _holding(self, signed: dict[Item, bytes]) -> set[Item]:
        """Return the blobs whose signatures hold; all are checked together, and one by one if that fails."""
        key, items = self._member.public_key, list(signed)
        if len(items) > 1 and bls.verify_each(key, [one.message for one in items], list(signed.values())):
            return set(items)
        return {one for one, signature in signed.items() if bls.verify(key, one.message, signature)}

    def _behind(self, told: Signed | NodeError, message: bytes) -> NodeError:
        if isinstance(told, NodeError):
            return told
        epoch, old = messages.decode(message).epoch, messages.decode(told[0]).epoch
        return self._lied(f"still confirms for epoch {old}; it is behind epoch {epoch} of the chain")

    def _lied(self, why: str) -> NodeLied:
        return NodeLied(self._member.name, self._member.address, why)


def _first(failed: BaseExceptionGroup[NodeError]) -> NodeError:
    """Return the first error of a group that has no others than these."""
    first = failed.exceptions[0]
    return first if isinstance(first, NodeError) else _first(first)


def _is_dropped(outcome: MemberSignature | NodeError) -> bool:
    return isinstance(outcome, NodeRefused) and outcome.reason == Reason.MISSING_SLIVERS


def _is_of_earlier_epoch(told: Signed | NodeError, message: bytes) -> bool:
    """Whether what is signed is a message of an epoch before that of `message`; False for bytes that are no message."""
    try:
        return (
            not isinstance(told, NodeError)
            and messages.decode(told[0]).epoch < messages.decode(message).epoch
        )
    except InvalidMessage:
        return False
