"""Many blobs in one request: their uploads, stored in one group commit, and their confirmations.

What PUT and GET do for one sliver or blob (PROTOCOL section 6), by the same checks (`checks`), POST does here for up to
64 blobs, with an outcome each. A blob counts for as many turns as its single requests would, and takes its turn after
those of other requesters; one that the chain does not know costs no more than a look at its head.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

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
        refusals = [self._refusal_of(request, one) for one in heads]
        if all(refusals):
            return _answered(list(map(_refused, filter(None, refusals))))
        content = memoryview(await self._admission.whole(request, body))
        if len(content) != body.most_bytes:
            raise InvalidEncoding(f"a body of {len(content)} bytes, where {body.most_bytes} were announced")
        stored: list[tuple[bytes, Checked]] = []
        outcomes: list[Refused | None] = []
        for head, refusal in zip(heads, refusals, strict=True):
            part, begin = content[begin : begin + head.size_bytes], begin + head.size_bytes
            try:
                if refusal is not None:
                    raise refusal
                stored.append((head.blob_id, await self._checked(request, head, part)))
                outcomes.append(None)
            except Refusal as refused:
                outcomes.append(_refused(refused))
        await self._keep(request, stored)
        return _answered(outcomes)

    def _refusal_of(self, request: web.Request, head: Head) -> Refusal | None:
        """Return why nothing is stored of a blob, as the chain has told of it; None when its part decides."""
        try:
            self._admission.require_known_registered(request, head.blob_id)
        except Refusal as refusal:
            return refusal
        return None

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
        outcomes: list[Signed | Refused] = []
        for one in asked:
            try:
                outcomes.append(await self._confirmed(request, one))
            except Refusal as refusal:
                outcomes.append(_refused(refusal))
        return _answered(outcomes)

    async def _confirmed(self, request: web.Request, asked: Confirmable) -> Signed:
        """Return the signed confirmation of a blob, made in a turn of its own. Raises `Refusal`."""
        self._admission.require_known_object(request, asked.blob_id, asked.object_id)
        await self._pending.stored(asked.blob_id)
        async with self._admission.turn(request):
            return await asyncio.to_thread(self._checks.confirmation(asked))


def _refused(refusal: Refusal) -> Refused:
    return refusal.status, json.dumps(refusal.to_json()).encode()


def _answered(outcomes: Sequence[Signed | Refused | None]) -> web.Response:
    body: Bytes = batch_wire.outcomes_to_bcs(outcomes)
    return bcs_answer(body)
