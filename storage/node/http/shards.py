"""What nodes ask of each other: whole shards, signatures against bad blobs, and what a handover came to."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from committee import messages
from storage.client import wire
from storage.client.bodies import Bytes
from storage.client.failures import Reason
from storage.node.budgets import Pool
from storage.node.face import NodeFace, Refusal
from storage.node.fail_points import fail_point
from storage.node.http.admission import IN_LINE, Admission
from storage.node.http.blobs import bcs_answer, json_answer
from storage.node.http.parsing import blob_id_of, flag
from storage.node.http.turns import Turns
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    InvalidProof,
    RedStuffError,
    SliverData,
)


class ShardHandlers:
    """Handlers of a node's requests to another: pages of a shard, inconsistency proofs, the handover's report."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._node = node
        self._view = node.view
        self._store = node.store
        self._code = node.code
        self._admission = admission
        self._reporting = Turns(Pool(1), IN_LINE)
        self._report = b""
        """The answer that tells it, made once for all that ask."""
        self._report_of: tuple[int, int] | None = None
        """The epoch of the report, and the state of the store's record that it is made from."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        blob = "/v1/blobs/{blob_id}"
        return [
            web.post(f"{blob}/inconsistencyProof/{{axis}}", self.inconsistency_proof),
            web.post("/v1/migrate/sync_shard", self.sync_shard),
            web.get("/v1/handover", self.handover),
        ]

    async def inconsistency_proof(self, request: web.Request) -> web.Response:
        """Sign that a blob was encoded inconsistently, given the proof."""
        axis = wire.read_axis(request.match_info["axis"])
        blob_id = blob_id_of(request)
        await self._admission.require_registered(request, blob_id)
        state, _ = self._admission.member_state()
        metadata = await self._admission.metadata(request, blob_id, 400)
        symbol_bytes = self._code.symbol_size(metadata.length) + wire.PROVEN_FRAME_BYTES
        limit = wire.PROVEN_FRAME_BYTES + self._code.source_symbols(axis) * symbol_bytes
        proof = await self._admission.question(request, limit)
        async with self._admission.turn(request):
            await asyncio.to_thread(self._check_proof, metadata, axis, proof)
            body = messages.invalid_blob_body(blob_id)
            domain = self._view.parameters.domain
            message = messages.encode(messages.Intent.INVALID_BLOB, state.epoch, body, domain)
            signature = await asyncio.to_thread(self._node.secret.sign, message)
        return json_answer(wire.signed(message, signature))

    def _check_proof(self, metadata: BlobMetadata, axis: Axis, body: Bytes) -> None:
        try:
            self._code.verify_inconsistency_proof(metadata, InconsistencyProof.from_bcs(axis, body))
        except InvalidProof as error:
            raise Refusal(400, Reason.INVALID_PROOF, str(error)) from error
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_PROOF, f"no inconsistency proof: {error}") from error

    # shards

    async def sync_shard(self, request: web.Request) -> web.Response:
        """A page of a shard, for its new owner alone."""
        body = await self._admission.question(request, wire.MAX_REQUEST_JSON_BYTES)
        fail_point("source.page-asked")
        message, signature = wire.read_signed(wire.read_json(bytes(body)))
        with_metadata = flag(request, "metadata")
        wanted = await self._admission.new_owners.request_of(request, message, signature)
        fail_point("source.page-allowed")
        with self._admission.new_owners.answering(message):
            first_bytes = await self._admission.looked_up(
                request, self._store.bulk.first_size, wanted.shard, Axis(wanted.axis), wanted.first_blob_id
            )
            size_bytes = max(wire.PAGE_BYTES, first_bytes)
            page = await self._admission.bulk(request, size_bytes, lambda: self._page(wanted, with_metadata))
        fail_point("source.page-read")
        return bcs_answer(page)

    def _page(self, wanted: messages.ShardTransferRequest, with_metadata: bool) -> Bytes:
        axis = Axis(wanted.axis)
        count = min(wanted.max_count, wire.MAX_PAGE_SLIVERS)
        page = self._store.slivers_from(
            *(wanted.shard, axis, wanted.first_blob_id, count, wire.PAGE_BYTES), with_metadata=with_metadata
        )
        invalid = self._view.those_invalid([blob_id for blob_id, _ in page.slivers])
        slivers = []
        for blob_id, symbols in page.slivers:
            if blob_id in invalid:
                continue  # no node serves it
            size = len(symbols) // self._code.source_symbols(axis)
            index = self._code.sliver_index(blob_id, wanted.shard, axis)
            slivers.append((blob_id, SliverData(symbols, size, index)))
        metadata = {one: bcs for one, bcs in page.metadata.items() if one not in invalid}
        return wire.ShardPage(slivers, page.next_blob_id, metadata if with_metadata else None).to_bcs()

    async def handover(self, request: web.Request) -> web.Response:
        """What the node did in the handover into the current epoch."""
        async with self._reporting.turn(request):
            # Making one reads all that the handover has recorded.
            now = (self._view.state.epoch, self._store.tallies.added)
            if now != self._report_of:
                report = await asyncio.to_thread(self._node.handover_report)
                self._report, self._report_of = json.dumps(wire.success(report)).encode(), now
        answer = self._report
        await self._admission.reader(request, len(answer))
        return web.Response(body=answer, content_type="application/json", charset="utf-8")
