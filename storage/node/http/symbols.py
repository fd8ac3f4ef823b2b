"""Symbols for peers that rebuild slivers: without proofs, of one blob or of several, and with them.

What GET answers about one blob (PROTOCOL section 6), POST answers about several at once, an answer or a refusal each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from aiohttp import web

from storage.client import wire
from storage.client.bodies import Bytes
from storage.client.failures import Reason, failure
from storage.client.wire import Question
from storage.node.face import NO_OBJECT_STORE, NodeFace, Refusal
from storage.node.fail_points import fail_point
from storage.node.http.admission import Admission, blob_id_of
from storage.node.http.blobs import bcs_answer
from storage.node.store import StoreError, StoreUnavailable
from storage.node.store.records import Symbols
from storage.redstuff import Axis, BlobMetadata, InvalidEncoding
from storage.redstuff.memory import uninitialised

Asked = tuple[Question, int | Refusal]
"""A question, and the length of its blob: metadata take more memory than symbols may."""


class SymbolHandlers:
    """The handlers for one node's peers."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._store = node.store
        self._code = node.code
        self._admission = admission

    def routes(self) -> list[web.RouteDef]:
        """Paths and what answers them."""
        return [
            web.get("/v1/blobs/{blob_id}/decodingSymbols", self.decoding_symbols),
            web.get("/v1/blobs/{blob_id}/recoverySymbols", self.recovery_symbols),
            web.post("/v1/decodingSymbols", self.symbols_of_blobs),
        ]

    async def decoding_symbols(self, request: web.Request) -> web.Response:
        """Symbols for several slivers of a blob to be rebuilt, without proofs."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        text = request.query.get("targetSlivers", "")
        targets = self._admission.indices(text, "targetSlivers", wire.MAX_TARGETS)
        fail_point("helper.symbols-asked")
        metadata, shards = await self._helpers(request, axis.other)
        question = Question(metadata.blob_id, axis, targets, shards)
        size_bytes = self._amount(question, metadata.length)
        self._admission.check_amount(size_bytes)
        answer = await self._admission.bulk(
            request, size_bytes, lambda: self._symbols(question, metadata.length)
        )
        fail_point("helper.symbols-read")
        return bcs_answer(answer)

    async def symbols_of_blobs(self, request: web.Request) -> web.Response:
        """The same of several blobs; one that is refused holds up no other."""
        body = await self._admission.body(request, wire.MAX_QUESTIONS_BYTES)
        questions = wire.questions_from_bcs(body, self._code.n_shards)
        fail_point("helper.symbols-asked")
        asked: list[Asked] = []
        for question in questions:
            try:
                self._admission.refuse_blocked(request, question.blob_id)
                metadata = await self._admission.metadata(request, question.blob_id)
                asked.append((question, metadata.length))
            except Refusal as refusal:
                asked.append((question, refusal))
        size_bytes = sum(
            self._amount(question, length) for question, length in asked if not isinstance(length, Refusal)
        )
        self._admission.check_amount(size_bytes)

        def collect() -> Bytes:
            return wire.answers_to_bcs([self._symbols_or_refusal(*one) for one in asked])

        answer = await self._admission.bulk(request, size_bytes, collect)
        fail_point("helper.symbols-read")
        return bcs_answer(answer)

    async def recovery_symbols(self, request: web.Request) -> web.Response:
        """Symbols for one sliver to be rebuilt, each proven in the helping sliver's tree."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        if request.query.get("proofAxis", axis.other.label) != axis.other.label:
            raise InvalidEncoding(f"proofAxis: {axis.label} slivers are helped, and proven, by the others")
        target = self._admission.indices(request.query.get("targetSliver", ""), "targetSliver", 1)[0]
        metadata, shards = await self._helpers(request, axis.other)
        size = self._code.symbol_size(metadata.length)
        self._admission.check_amount(len(shards) * size)

        def collect() -> bytes:
            return wire.proven_to_bcs(
                (index, target, *self._code.prove_symbol(axis.other, sliver, target, size))
                for index, sliver in self._slivers(metadata.blob_id, axis.other, shards)
            )

        size_bytes = self._code.sliver_size(metadata.length, axis.other) + len(shards) * (
            size + wire.PROVEN_FRAME_BYTES
        )
        return bcs_answer(await self._admission.bulk(request, size_bytes, collect))

    async def _helpers(self, request: web.Request, axis: Axis) -> tuple[BlobMetadata, list[int]]:
        """The blob's metadata, and the shards that are to help with their slivers of `axis`."""
        blob_id = blob_id_of(request)
        self._admission.refuse_blocked(request, blob_id)
        metadata = await self._admission.metadata(request, blob_id)
        shards = self._admission.helper_shards(request)
        if shards is None:
            shards = sorted(await self._admission.looked_up(request, self._store.shards_with, blob_id, axis))
        return metadata, shards

    def _amount(self, question: Question, length: int) -> int:
        """Bytes of the symbols asked for, of a blob of that length."""
        return len(question.shards) * len(question.targets) * self._code.symbol_size(length)

    def _symbols(self, question: Question, length: int) -> Bytes:
        """The answer to a question about a blob of that length. Raises `Refusal`."""
        size = self._code.symbol_size(length)
        targets, helping = question.targets, question.axis.other
        shape = (len(question.shards), len(targets), size)
        room = uninitialised(self._amount(question, length)).reshape(shape)
        symbols = []
        for out, (index, sliver) in zip(
            room, self._slivers(question.blob_id, helping, question.shards), strict=False
        ):
            self._code.recovery_symbols(helping, sliver, targets, size, out)
            symbols.append((index, out.data.cast("B")))
        return wire.symbols_to_bcs(targets, size, symbols)

    def _symbols_or_refusal(self, question: Question, length: int | Refusal) -> Bytes | wire.Refused:
        try:
            if isinstance(length, Refusal):
                raise length
            return self._symbols(question, length)
        except Refusal as refusal:
            return refusal.status, json.dumps(refusal.to_json()).encode()
        except StoreUnavailable:
            return 503, json.dumps(failure(503, Reason.UNAVAILABLE, NO_OBJECT_STORE)).encode()
        except StoreError:
            return 500, json.dumps(failure(500, Reason.INTERNAL_ERROR, "the node's store failed")).encode()

    def _slivers(self, blob_id: bytes, axis: Axis, shards: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """(sliver index, symbols) of those shards' slivers that are here, one in memory at a time; one at least."""
        nothing = True
        for shard in shards:
            symbols = self._store.sliver(blob_id, shard, axis)
            if symbols is not None:
                yield self._code.sliver_index(blob_id, shard, axis), symbols
                nothing = False
        if nothing:
            raise Refusal(404, Reason.SLIVER_NOT_FOUND, f"no {axis.label} sliver that could help is here")
