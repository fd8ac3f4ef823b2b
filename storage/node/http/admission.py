"""What a request must fulfil before a node serves it; each check raises a `Refusal` with the protocol's reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import ParamSpec, TypeVar

from aiohttp import web

from committee.ledger import EpochState
from storage.client.bodies import Bytes
from storage.client.failures import Reason
from storage.node.budgets import Budget, Line, Pool
from storage.node.credentials import Credentials
from storage.node.face import NodeFace, Refusal
from storage.node.http.begins import Begins
from storage.node.http.catching_up import CatchUp
from storage.node.http.new_owners import NewOwners
from storage.node.http.parsing import flag, number
from storage.node.http.transfer import IncomingBody
from storage.node.http.turns import HELD, REQUESTER, Turns, hold, require_there, stranger
from storage.node.rules import is_registered_as, require_shard
from storage.redstuff import BlobMetadata

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")
Name = TypeVar("Name")

WORK_AT_ONCE = 8
"""Requests whose slivers or metadata are looked up, read, checked or written at once; the others wait."""
BULK_WORK_AT_ONCE = 3
"""Pages and symbols for peers made at once: fewer than there are threads, so that readers and writers find one."""
IN_LINE = 1024
"""Requests that wait for such work, or for memory for a body."""
BULK_IN_LINE = 256
"""Requests of peers that wait for pages and symbols."""
STRANGERS_WAIT_S = 2.0
"""For pages and symbols, and with a body that asks for them, before they are refused: members come first, and a member
that was refused shows itself."""
READING_BYTES = 64 * 2**20
"""Slivers read or sent; those being read, WORK_AT_ONCE, take as much again."""
RECEIVING_BYTES = 64 * 2**20
"""Bodies that arrive, or wait for work."""
SMALL_BYTES = 2**14
"""Up to this size an answer needs no memory of those: the kernel takes as much of one (`server.UNSENT_BYTES`)."""
SMALL_BODY_BYTES = 2**14
"""Up to this size a body needs none of those, so that questions do not wait behind slivers."""
BEGINNINGS_BYTES = 16 * 2**20
"""Such bodies, and as much of larger ones that wait for memory: thousands of connections may send one."""
MAX_REGISTRATION_WAIT_S = 30.0
"""Longest time for which a request waits, if it asks to, until the node has seen the blob's registration."""
METADATA_KEPT = 64
"""Blobs whose metadata is kept at hand: a blob's slivers come one after the other."""


class Admission:
    """The checks for one node, and the limits on what it does at once."""

    def __init__(self, node: NodeFace, serving: Budget) -> None:
        """`serving` limits what peers get for handover and repair."""
        self._view = node.view
        self._store = node.store
        self._serving = serving
        self._credentials = Credentials(node.view, node.secret)
        self._bulk_work = Pool(BULK_WORK_AT_ONCE, for_members=True)
        self._strangers_work = Pool(BULK_WORK_AT_ONCE - 1)
        self._bulk_line = Line(BULK_IN_LINE)
        self._work = Turns(Pool(WORK_AT_ONCE), IN_LINE)
        self._reading, self._read_line = Pool(READING_BYTES, is_divided=True), Line(IN_LINE)
        self._receiving, self._body_line = Pool(RECEIVING_BYTES, is_divided=True), Line(IN_LINE)
        self._beginnings = Pool(BEGINNINGS_BYTES, is_divided=True, for_members=True)
        self._beginning_line = Line(IN_LINE)
        self._goes_on = Begins()
        self._code = node.code
        self._block_list = node.block_list
        self._catch_up = CatchUp(node.view)
        self.new_owners = NewOwners(node.view, self._catch_up, self._work)
        self._kept: dict[bytes, BlobMetadata] = {}

    async def close(self) -> None:
        """End what waits for the chain, as the node stops. Idempotent."""
        await self._catch_up.close()

    async def recognise(self, request: web.Request) -> None:
        """Set the request's `REQUESTER`: the member that its credential shows, else the strangers of its address."""
        nobody = stranger(request.remote)
        request[REQUESTER] = await self._credentials.member(request.headers.get("Authorization"), nobody)

    # turns; these raise `ConnectionError` when the client has hung up, and `LineFull` when too many requests wait

    async def bulk(
        self, request: web.Request, size_bytes: int, make: Callable[[], Bytes], work_bytes: int = 0
    ) -> Bytes:
        """Return what `make` makes in a thread, about `size_bytes`, when the budget for peers allows it.

        It counts for `work_bytes` in the order among requesters, where these are more. Strangers together leave one
        place to members. Its memory is the request's until the answer is sent. Raises `Refusal` when strangers wait
        too long.
        """
        requester = request[REQUESTER]
        with self._bulk_line.place(requester):
            async with AsyncExitStack() as turn:
                try:
                    async with asyncio.timeout(None if requester.is_member else STRANGERS_WAIT_S):
                        memory = self._serving.memory(2 * size_bytes, requester)
                        await request[HELD].enter_async_context(memory)
                        require_there(request)
                        await turn.enter_async_context(self._serving.request(requester, size_bytes))
                        weight = max(size_bytes, work_bytes)
                        if not requester.is_member:
                            stranger_turn = self._strangers_work.lent(1, requester, weight=weight)
                            await turn.enter_async_context(stranger_turn)
                        await turn.enter_async_context(self._bulk_work.lent(1, requester, weight=weight))
                except TimeoutError:
                    raise _members_first() from None
                require_there(request)
                made = await asyncio.to_thread(make)
        self._serving.charge(len(made))
        return made

    def turn(self, request: web.Request, weight: int = 1) -> AbstractAsyncContextManager[None]:
        """Hold the request's turn to read, check or write what is stored; a request that has one asks for no other.

        `weight` is how many turns it counts for in the order among requesters.
        """
        return self._work.turn(request, weight)

    async def looked_up(
        self,
        request: web.Request,
        look: Callable[Arguments, Found],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Found:
        """Return what `look` finds in a thread, in a turn of the request's own."""
        async with self.turn(request):
            return await asyncio.to_thread(look, *args, **kwargs)

    async def reader(self, request: web.Request, size_bytes: int) -> None:
        """Hold memory for a sliver or metadata of `size_bytes` until the request is answered."""
        if size_bytes > SMALL_BYTES:
            await hold(request, self._read_line, self._reading.lent(size_bytes, request[REQUESTER]))

    def is_sending_crowded(self) -> bool:
        """Whether a request waits for memory that answers hold."""
        return self._reading.is_short or self._serving.is_short_of_memory

    # bodies

    async def body(self, request: web.Request, limit: int) -> Bytes:
        """The request's body; one that is too long is not read to its end.

        A large one waits for memory behind its first SMALL_BODY_BYTES, and has it until the request is answered.
        """
        return await self.received(request, IncomingBody(request, limit))

    async def question(self, request: web.Request, limit: int) -> Bytes:
        """Return the body of a request that members make of each other, `limit` bytes at most.

        Raises `Refusal` when strangers wait too long for its memory.
        """
        body = IncomingBody(request, limit)
        await self._begin(request, body, None if request[REQUESTER].is_member else STRANGERS_WAIT_S)
        return await self.whole(request, body)

    async def received(self, request: web.Request, body: IncomingBody, kept_bytes: int = 0) -> Bytes:
        """Return the content of a body of which nothing has been read, as `body` does.

        `kept_bytes` are here already and are to be put before it: the request holds memory for them, too.
        """
        await self._begin(request, body)
        return await self.whole(request, body, kept_bytes)

    async def beginning(self, request: web.Request, limit: int) -> IncomingBody:
        """Return the body, of which SMALL_BODY_BYTES or all have arrived."""
        body = IncomingBody(request, limit)
        await self._begin(request, body)
        return body

    async def _begin(self, request: web.Request, body: IncomingBody, wait_s: float | None = None) -> None:
        """Read the first SMALL_BODY_BYTES of a body, or all, once there is memory for them; wait for it `wait_s`."""
        memory = self._beginnings.lent(min(body.most_bytes, SMALL_BODY_BYTES), request[REQUESTER])
        try:
            async with asyncio.timeout(wait_s):
                await hold(request, self._beginning_line, memory)
        except TimeoutError:
            raise _members_first() from None
        await body.read(SMALL_BODY_BYTES, lambda: self._beginnings.is_short)

    async def whole(self, request: web.Request, body: IncomingBody, kept_bytes: int = 0) -> Bytes:
        """Return all of a body that has begun to arrive; a large one waits for memory first, as `body` says."""
        if kept_bytes or not body.is_over:
            memory = self._receiving.lent(kept_bytes + body.most_bytes, request[REQUESTER])
            await hold(request, self._body_line, memory)
        if not body.is_over:
            await body.read_all(lambda: self._receiving.is_short)
        await self._goes_on.turn(request[REQUESTER])
        return body.content()

    # what the chain says of a blob

    def refuse_blocked(self, request: web.Request, blob_id: bytes) -> None:
        """Refuse what is on the operator's block list to all but members, which must repair and attest it."""
        if blob_id in self._block_list and not request[REQUESTER].is_member:
            raise Refusal(451, Reason.FORBIDDEN_BLOB, "this node's operator does not serve the blob")

    async def know(self, request: web.Request, blob_id: bytes) -> None:
        """Catch up with the chain once when it has not told of the blob yet."""
        await self._settle(request, self._view.is_known, (blob_id,))

    async def require_registered(self, request: web.Request, blob_id: bytes) -> None:
        """Refuse a blob that is invalid, or all objects of which have been deleted or have expired."""
        await self.know_registered(request, (blob_id,))
        self.require_known_registered(request, blob_id)

    async def know_registered(self, request: web.Request, blob_ids: Sequence[bytes]) -> None:
        """Catch up with the chain once for all blobs, when it has not told yet that each is registered or invalid."""
        is_known, is_invalid = self._view.is_registered, self._view.is_invalid
        await self._settle(request, lambda one: is_known(one) or is_invalid(one), blob_ids)

    def require_known_registered(self, request: web.Request, blob_id: bytes) -> None:
        """Refuse as `require_registered` does, but by what is known already: without asking the chain."""
        self.require_valid(blob_id)
        if not self._view.is_registered(blob_id):
            raise self._not_registered(request, "the chain knows no such blob that has not expired")

    def require_valid(self, blob_id: bytes) -> None:
        """Refuse to take something of a blob that is invalid."""
        if self._view.is_invalid(blob_id):
            raise Refusal(400, Reason.INVALID_BLOB, "the blob was proven to be encoded inconsistently")

    async def require_object(self, request: web.Request, blob_id: bytes, object_id: int | None) -> None:
        """Refuse a blob that is not registered as what is to be certified: permanent, or that deletable object."""
        await self.know_objects(request, [(blob_id, object_id)])
        self.require_known_object(request, blob_id, object_id)

    async def know_objects(self, request: web.Request, asked: Sequence[tuple[bytes, int | None]]) -> None:
        """Catch up with the chain once for all blobs, when it has not told of each one's registration as asked."""
        await self._settle(request, lambda one: self._is_registered_as(*one), asked)

    def require_known_object(self, request: web.Request, blob_id: bytes, object_id: int | None) -> None:
        """Refuse as `require_object` does, but by what is known already: without asking the chain."""
        if self._is_registered_as(blob_id, object_id):
            return
        what = "permanent object" if object_id is None else f"deletable object {object_id}"
        raise self._not_registered(request, f"the blob is not registered as {what}, or is invalid")

    async def _settle(
        self, request: web.Request, is_there: Callable[[Name], bool], names: Sequence[Name]
    ) -> None:
        """Catch up with the chain when what the request names is not there yet, and again as long as it asks for.

        `wait_for_registration=true&wait_millis=N` in the query asks for N ms, MAX_REGISTRATION_WAIT_S at most. Each
        name is looked at until it is there; several are looked at in a thread, in a turn of the request's own.
        """
        left = list(names)

        def are_there() -> bool:
            while left and is_there(left[-1]):
                left.pop()
            return not left

        async def look() -> bool:
            if len(names) == 1:
                return are_there()
            async with self.turn(request, len(left)):
                return await asyncio.to_thread(are_there)

        if not await look():
            await self._catch_up.until(request, look, _registration_wait_s(request))

    def _not_registered(self, request: web.Request, why: str) -> Refusal:
        """Return the refusal for what is not registered: "not yet" if the request names a block ahead of this node."""
        block, registered = self._view.block.number, request.query.get("registeredInBlock")
        if registered is not None and block < number(registered, "registeredInBlock"):
            told = f"not yet: this node stands at block {block} of the chain, and not at {registered} yet; try again"
            return Refusal(425, Reason.NOT_YET_REGISTERED, told, block=block)
        return Refusal(400, Reason.NOT_REGISTERED, f"{why}, up to block {block}", block=block)

    def _is_registered_as(self, blob_id: bytes, object_id: int | None) -> bool:
        deletable = None if object_id is None else self._view.object(blob_id, object_id)
        until = self._view.summary(blob_id).permanent_until
        return is_registered_as(object_id, until, deletable, self._view.state.period)

    def require_shard(self, blob_id: bytes, pair: int) -> None:
        """Refuse a pair of a blob whose shard does not concern this node, by `rules.require_shard`."""
        shard = self._code.shard_of_pair(blob_id, pair)
        require_shard(self._view.state, self._view.node_id, shard, pair, self._store.shards())

    def member_state(self) -> tuple[EpochState, frozenset[int]]:
        """The epoch's state and this node's shards in it, which must be some.

        Read together and once: the epoch may change while a handler waits.
        """
        state = self._view.state
        shards = state.current.shards_of(self._view.node_id) if state.current else ()
        if not shards:
            raise Refusal(400, Reason.SHARD_NOT_ASSIGNED, "this node is no member of the current committee")
        return state, frozenset(shards)

    # what is stored; each look takes a turn

    async def stored_metadata(self, request: web.Request, blob_id: bytes) -> bytes | None:
        """Return the BCS BlobMetadata of a blob; None when the node has none, or the blob is invalid."""
        if self._view.is_invalid(blob_id):
            return None
        return await self.looked_up(request, self._store.metadata, blob_id)

    async def metadata_bytes(self, request: web.Request, blob_id: bytes) -> bytes:
        """Return a blob's stored metadata as BCS. Raises `Refusal`, with status 404, when there is none."""
        stored = await self.stored_metadata(request, blob_id)
        if stored is None:
            raise _no_metadata(404)
        return stored

    async def metadata(self, request: web.Request, blob_id: bytes, status: int = 404) -> BlobMetadata:
        """Return a blob's metadata, kept in memory if used lately. Raises `Refusal` with `status` if there is none.

        To read it takes milliseconds at 1000 shards, and a requester that names ever other blobs has it read each time.
        """
        if self._view.is_invalid(blob_id):
            raise _no_metadata(status)
        if blob_id in self._kept:
            metadata = self._kept.pop(blob_id)
        else:
            metadata = await self.looked_up(request, self._read_metadata, blob_id, status)
        self._kept[blob_id] = metadata
        if len(self._kept) > METADATA_KEPT:
            del self._kept[next(iter(self._kept))]
        return metadata

    def _read_metadata(self, blob_id: bytes, status: int) -> BlobMetadata:
        stored = self._store.metadata(blob_id)
        if stored is None:
            raise _no_metadata(status)
        return BlobMetadata.from_bcs(stored, blob_id)


def _members_first() -> Refusal:
    return Refusal(
        *(503, Reason.UNAVAILABLE),
        "members come first, and this request shows none; try again, with a credential if you have one",
    )


def _no_metadata(status: int) -> Refusal:
    return Refusal(status, Reason.METADATA_NOT_FOUND, "no metadata of this blob is here")


def _registration_wait_s(request: web.Request) -> float:
    """Return for how many seconds the request asks to wait for the blob's registration."""
    if not flag(request, "wait_for_registration"):
        return 0.0
    text = request.query.get("wait_millis")
    return (
        MAX_REGISTRATION_WAIT_S
        if text is None
        else min(number(text, "wait_millis") / 1000, MAX_REGISTRATION_WAIT_S)
    )
