"""What nodes ask of each other: symbols to rebuild slivers, whole shards, signatures against bad blobs and members."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import web

from committee import messages
from storage.client import wire
from storage.client.bodies import Bytes
from storage.client.wire import Reason
from storage.node.admission import Admission, blob_id_of, number
from storage.node.face import NodeFace, Refusal
from storage.node.fail_points import fail_point
from storage.node.handlers import bcs_answer, json_answer
from storage.node.store_records import Symbols
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InconsistencyProof,
    InvalidEncoding,
    InvalidProof,
    RedStuffError,
    SliverData,
)
from storage.redstuff.memory import uninitialised

PROVEN_FRAME_BYTES = 1024
"""Of a proven symbol, what is not the symbol: a proof of 17 nodes at most and some lengths."""


class RepairHandlers:
    """The handlers for one node's peers."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._node = node
        self._view = node.view
        self._store = node.store
        self._code = node.code
        self._admission = admission

    def routes(self) -> list[web.RouteDef]:
        """Paths and what answers them."""
        blob = "/v1/blobs/{blob_id}"
        return [
            web.get(f"{blob}/decodingSymbols", self.decoding_symbols),
            web.get(f"{blob}/recoverySymbols", self.recovery_symbols),
            web.post(f"{blob}/inconsistencyProof/{{axis}}", self.inconsistency_proof),
            web.post("/v1/migrate/sync_shard", self.sync_shard),
            web.get("/v1/handover", self.handover),
            web.get("/v1/members/{node_id}/ejection", self.ejection),
        ]

    # symbols

    async def decoding_symbols(self, request: web.Request) -> web.Response:
        """Symbols for several slivers to be rebuilt, without proofs."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        text = request.query.get("targetSlivers", "")
        targets = self._admission.indices(text, "targetSlivers", wire.MAX_TARGETS)
        fail_point("helper.symbols-asked")
        metadata, shards = await self._helpers(request, axis.other, len(targets))
        size = self._code.symbol_size(metadata.length)

        def collect() -> Bytes:
            room = uninitialised(len(shards) * len(targets) * size).reshape(len(shards), len(targets), size)
            symbols = []
            for out, (index, sliver) in zip(
                room, self._slivers(metadata.blob_id, axis.other, shards), strict=False
            ):
                self._code.recovery_symbols(axis.other, sliver, targets, size, out)
                symbols.append((index, out.data.cast("B")))
            return wire.symbols_to_bcs(targets, size, symbols)

        answer = await self._admission.bulk(len(shards) * len(targets) * size, collect)
        fail_point("helper.symbols-read")
        return bcs_answer(answer)

    async def recovery_symbols(self, request: web.Request) -> web.Response:
        """Symbols for one sliver to be rebuilt, each proven in the helping sliver's tree."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        if request.query.get("proofAxis", axis.other.label) != axis.other.label:
            raise InvalidEncoding(f"proofAxis: {axis.label} slivers are helped, and proven, by the others")
        target = self._admission.indices(request.query.get("targetSliver", ""), "targetSliver", 1)[0]
        metadata, shards = await self._helpers(request, axis.other, 1)

        def collect() -> bytes:
            size = self._code.symbol_size(metadata.length)
            return wire.proven_to_bcs(
                (index, target, *self._code.prove_symbol(axis.other, sliver, target, size))
                for index, sliver in self._slivers(metadata.blob_id, axis.other, shards)
            )

        sliver_bytes = self._code.sliver_size(metadata.length, axis.other)
        return bcs_answer(await self._admission.bulk(sliver_bytes, collect))

    async def _helpers(
        self, request: web.Request, axis: Axis, targets: int
    ) -> tuple[BlobMetadata, list[int]]:
        """The blob's metadata, and the shards that are to help with their slivers of `axis`."""
        metadata = await self._admission.metadata(blob_id_of(request))
        shards = self._admission.helper_shards(request)
        if shards is None:
            shards = sorted(await asyncio.to_thread(self._store.shards_with, metadata.blob_id, axis))
        self._admission.check_amount(shards, targets, self._code.symbol_size(metadata.length))
        return metadata, shards

    def _slivers(self, blob_id: bytes, axis: Axis, shards: list[int]) -> Iterator[tuple[int, Symbols]]:
        """(sliver index, symbols) of those shards' slivers that are here, one in memory at a time; one at least."""
        nothing = True
        for shard in shards:
            symbols = self._store.sliver(blob_id, shard, axis)
            if symbols is not None:
                yield self._code.sliver_index(blob_id, shard, axis), symbols
                nothing = False
        if nothing:
            raise Refusal(404, Reason.SLIVER_NOT_FOUND, f"no {axis.label} sliver that could help is here")

    async def inconsistency_proof(self, request: web.Request) -> web.Response:
        """Sign that a blob was encoded inconsistently, given the proof."""
        axis = wire.read_axis(request.match_info["axis"])
        blob_id = blob_id_of(request)
        await self._admission.require_registered(blob_id)
        state, _ = self._admission.member_state()
        metadata = await self._admission.metadata(blob_id)
        symbol_bytes = self._code.symbol_size(metadata.length) + PROVEN_FRAME_BYTES
        limit = PROVEN_FRAME_BYTES + self._code.source_symbols(axis) * symbol_bytes
        async with self._admission.bodies:
            body = await self._admission.body(request, limit)
            async with self._admission.work:
                await asyncio.to_thread(self._check_proof, metadata, axis, body)
        message = messages.encode(
            messages.Intent.INVALID_BLOB,
            state.epoch,
            messages.invalid_blob_body(blob_id),
            self._view.parameters.domain,
        )
        return json_answer(wire.signed(message, await asyncio.to_thread(self._node.secret.sign, message)))

    def _check_proof(self, metadata: BlobMetadata, axis: Axis, body: bytes) -> None:
        try:
            self._code.verify_inconsistency_proof(metadata, InconsistencyProof.from_bcs(axis, body))
        except InvalidProof as error:
            raise Refusal(400, Reason.INVALID_PROOF, str(error)) from error
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_PROOF, f"no inconsistency proof: {error}") from error

    # shards and members

    async def sync_shard(self, request: web.Request) -> web.Response:
        """A page of a shard, for its new owner alone."""
        body = await self._admission.body(request, wire.MAX_REQUEST_JSON_BYTES)
        fail_point("source.page-asked")
        wanted = await self._admission.new_owner(*wire.read_signed(wire.read_json(body)))
        fail_point("source.page-allowed")
        page = await self._admission.bulk(wire.PAGE_BYTES, lambda: self._page(wanted))
        fail_point("source.page-read")
        return bcs_answer(page)

    def _page(self, wanted: messages.ShardTransferRequest) -> Bytes:
        axis = Axis(wanted.axis)
        count = min(wanted.max_count, wire.MAX_PAGE_SLIVERS)
        page = self._store.slivers_from(wanted.shard, axis, wanted.first_blob_id, count, wire.PAGE_BYTES)
        slivers = []
        for blob_id, symbols in page.slivers:
            size = len(symbols) // self._code.source_symbols(axis)
            index = self._code.sliver_index(blob_id, wanted.shard, axis)
            slivers.append((blob_id, SliverData(symbols, size, index)))
        return wire.ShardPage(slivers, page.next_blob_id).to_bcs()

    async def handover(self, request: web.Request) -> web.Response:
        """What the node did in the handover into the current epoch."""
        return json_answer(await asyncio.to_thread(self._node.handover_report))

    async def ejection(self, request: web.Request) -> web.Response:
        """Sign the ejection of a member that this node, too, finds silent."""
        node_id = number(request.match_info["node_id"], "node id")
        return json_answer(wire.signed(*self._node.sign_ejection(node_id)))
