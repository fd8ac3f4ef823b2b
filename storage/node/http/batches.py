"""Many blobs in one request: their uploads, stored in one group commit, and their confirmations.

What PUT and GET do for one sliver or blob (PROTOCOL section 6), by the same checks (`checks`), POST does here for up to
64 blobs, with an outcome each. A blob counts for as many turns as its single requests would, and takes its turn after
those of other requesters; one that the chain does not know costs no more than a look at its head.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

from storage.client import batch_wire
from storage.client.batch_wire import Confirmable, Head, Signed
from storage.client.bodies import Bytes
from storage.client.failures import Reason
from storage.client.wire import Refused
from storage.node.face import NodeFace, Refusal
from storage.node.http.admission import Admission
from storage.node.http.blobs import bcs_answer
from storage.node.http.checks import UploadChecks
from storage.node.http.pending import PendingUploads
from storage.node.store import NewSliver
from storage.redstuff import InvalidEncoding

Asked = TypeVar("Asked", Head, Confirmable)
Checked = tuple[bytes, Sequence[NewSliver]]
"""A blob's BCS metadata and slivers, ready to be stored."""


class BatchHandlers:
    """The handlers for requests that name many blobs."""

    def __init__(
        self, node: NodeFace, admission: Admission, checks: UploadChecks, pending: PendingUploads
    ) -> None:
        self._store = node.store
        self._admission = admission
        self._checks = checks
        self._pending = pending

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        return [web.post("/v1/uploads", self.upload), web.post("/v1/confirmations", self.confirm)]

    # uploads

    async def upload(self, request: web.Request) -> web.Response:
        """Store metadata and slivers of many blobs; of each blob all that is sent, or nothing.

        When no blob can be stored whatever its part is, the parts are not read.
        """
        body = await self._admission.beginning(request, batch_wire.MAX_UPLOADS_BYTES)
        heads, begin = batch_wire.heads_from_bcs(body.content(), body.most_bytes)
        await self._admission.know_registered(request, [one.blob_id for one in heads])
        refusals = await self._refusals(
            request, lambda one: self._admission.require_known_registered(request, one.blob_id), heads
        )
        if all(refusals):
            return _answered(refusals)
        content = memoryview(await self._admission.whole(request, body))
        if len(content) != body.most_bytes:
            raise InvalidEncoding(f"a body of {len(content)} bytes, where {body.most_bytes} were announced")
        stored: list[tuple[bytes, Checked]] = []
        outcomes: list[Refused | None] = []
        for head, refusal in zip(heads, refusals, strict=True):
            part, begin = content[begin : begin + head.size_bytes], begin + head.size_bytes
            if refusal is None:
                try:
                    stored.append((head.blob_id, await self._checked(request, head, part)))
                except Refusal as refused:
                    refusal = _refused(refused)
            outcomes.append(refusal)
        await self._keep(request, stored)
        return _answered(outcomes)

    async def _checked(self, request: web.Request, head: Head, part: memoryview) -> Checked:
        """Return what is to be stored of a blob, in a turn of its own. Raises `Refusal`."""
        async with self._admission.turn(request, 1 + head.n_slivers):
            return await asyncio.to_thread(self._check, head, part)

    def _check(self, head: Head, part: memoryview) -> Checked:
        try:
            sent = batch_wire.part_from_bcs(part, head.n_slivers)
        except InvalidEncoding as error:
            raise Refusal(400, Reason.INVALID_CONTENT_TYPE, f"not BCS of a blob's part: {error}") from error
        metadata = self._checks.metadata(head.blob_id, sent.metadata)
        slivers = []
        for one in sent.slivers:
            self._checks.require_pair(one.pair)
            shard = self._checks.shard_to_store(head.blob_id, one.pair)
            slivers.append(NewSliver(head.blob_id, shard, one.axis, one.sliver.symbols))
        self._checks.require_slivers(metadata, sent.slivers)
        return sent.metadata, slivers

    async def _keep(self, request: web.Request, checked: Sequence[tuple[bytes, Checked]]) -> None:
        """Store what was checked, in one group commit."""
        if not checked:
            return
        for blob_id, _ in checked:
            await self._pending.stored(blob_id)
        metadata = {blob_id: bcs for blob_id, (bcs, _) in checked}
        slivers = [sliver for _, (_, some) in checked for sliver in some]
        async with self._admission.turn(request):
            await asyncio.to_thread(self._store.put_blobs, metadata, slivers)

    # confirmations

    async def confirm(self, request: web.Request) -> web.Response:
        """Sign, for each of many blobs, that both slivers of all this node's shards are durable here."""
        body = await self._admission.body(request, batch_wire.MAX_CONFIRMATIONS_BYTES)
        asked = batch_wire.confirmations_from_bcs(body)
        await self._admission.know_objects(request, [(one.blob_id, one.object_id) for one in asked])
        refusals = await self._refusals(
            request,
            lambda one: self._admission.require_known_object(request, one.blob_id, one.object_id),
            asked,
        )
        outcomes: list[Signed | Refused] = []
        for one, refusal in zip(asked, refusals, strict=True):
            try:
                outcomes.append(refusal or await self._confirmed(request, one))
            except Refusal as refused:
                outcomes.append(_refused(refused))
        return _answered(outcomes)

    async def _confirmed(self, request: web.Request, asked: Confirmable) -> Signed:
        """Return the signed confirmation of a blob, made in a turn of its own. Raises `Refusal`."""
        self._admission.require_known_object(request, asked.blob_id, asked.object_id)
        await self._pending.stored(asked.blob_id)
        async with self._admission.turn(request):
            return await asyncio.to_thread(self._checks.confirmation(asked))

    async def _refusals(
        self, request: web.Request, require: Callable[[Asked], None], asked: Sequence[Asked]
    ) -> list[Refused | None]:
        """Return why what is asked for is refused, as `require` tells by what the chain has told; None where it is not.

        All are looked at in one thread and turn: on the event loop those of many requests would take seconds.
        """

        def refusal(one: Asked) -> Refused | None:
            try:
                require(one)
            except Refusal as refused:
                return _refused(refused)
            return None

        async with self._admission.turn(request, len(asked)):
            return await asyncio.to_thread(lambda: list(map(refusal, asked)))


def _refused(refusal: Refusal) -> Refused:
    return refusal.status, json.dumps(refusal.to_json()).encode()


def _answered(outcomes: Sequence[Signed | Refused | None]) -> web.Response:
    body: Bytes = batch_wire.outcomes_to_bcs(outcomes)
    return bcs_answer(body)
