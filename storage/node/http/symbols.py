"""Symbols for peers that rebuild slivers: without proofs, of one blob or of several, and with them.

What GET answers about one blob (PROTOCOL section 6), POST answers about many at once, an answer or a refusal each: it
asks the disk for all of them together, and computes no symbol that is not wanted.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from storage.client import wire
from storage.client.bodies import Bytes
from storage.client.failures import Reason
from storage.client.wire import Question
from storage.node.face import NodeFace, Refusal
from storage.node.fail_points import fail_point
from storage.node.http.admission import Admission
from storage.node.http.blobs import bcs_answer
from storage.node.http.parsing import blob_id_of, helper_shards, indices
from storage.node.store.records import Place, SliverKey, Symbols
from storage.redstuff import Axis, BlobMetadata, InvalidEncoding
from storage.redstuff.memory import uninitialised

MAX_READ_BYTES = 2**27
"""Slivers read for one answer about many blobs: twice what this node itself asks others for."""
SLIVER_WORK_BYTES = 2**14
"""A sliver counts for as many bytes at least: to find and fetch a small one takes as long."""


@dataclass
class _Answer:
    """What is answered about one blob."""

    targets: Sequence[int]
    size: int = 0
    """Bytes of a symbol."""
    count: int = 0
    """Helping slivers."""
    rows: list[Bytes] = field(default_factory=list)
    """Their symbols for all targets, as `wire.symbol_rows` makes them."""


class SymbolHandlers:
    """The handlers for one node's peers."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._store = node.store
        self._view = node.view
        self._code = node.code
        self._admission = admission

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        return [
            # HEAD would cost as much work, and its sender nothing.
            web.get("/v1/blobs/{blob_id}/decodingSymbols", self.decoding_symbols, allow_head=False),
            web.get("/v1/blobs/{blob_id}/recoverySymbols", self.recovery_symbols, allow_head=False),
            web.post("/v1/decodingSymbols", self.symbols_of_blobs),
        ]

    async def decoding_symbols(self, request: web.Request) -> web.Response:
        """Symbols for several slivers of a blob to be rebuilt, without proofs."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        text = request.query.get("targetSlivers", "")
        targets = indices(text, "targetSlivers", wire.MAX_TARGETS, self._code.n_shards)
        fail_point("helper.symbols-asked")
        metadata, shards = await self._helpers(request, axis.other)
        size = self._code.symbol_size(metadata.length)
        size_bytes = len(shards) * len(targets) * size
        _check_amount(size_bytes)

        def collect() -> Bytes:
            return self._symbols(metadata.blob_id, axis, targets, shards, size)

        answer = await self._admission.bulk(request, size_bytes, collect)
        fail_point("helper.symbols-read")
        return bcs_answer(answer)

    async def symbols_of_blobs(self, request: web.Request) -> web.Response:
        """Answer a question for symbols of several blobs; a blob that is refused holds up no other."""
        body = await self._admission.question(request, wire.MAX_QUESTION_BYTES)
        question = Question.from_bcs(body, self._code.n_shards)
        fail_point("helper.symbols-asked")
        refused: dict[bytes, Refusal] = {}
        for blob_id in question.blob_ids:
            try:
                self._admission.refuse_blocked(request, blob_id)
            except Refusal as refusal:
                refused[blob_id] = refusal
        found = await self._admission.looked_up(request, self._find, question, refused)
        times, needed = Counter(question.blob_ids), self._code.source_symbols(question.axis.other)
        sizes = (times[key.blob_id] * place.size_bytes // needed for key, place in found)
        size_bytes = len(question.targets) * sum(sizes)
        _check_amount(size_bytes)
        read_bytes = sum(place.size_bytes for _, place in found)
        if read_bytes > MAX_READ_BYTES:
            raise Refusal(
                *(400, Reason.SLIVER_COUNT_EXCEEDS_LIMIT),
                f"{read_bytes} bytes of slivers to be read at once: at most {MAX_READ_BYTES}",
            )

        def collect() -> Bytes:
            return self._answers(question, refused, found)

        work = max(size_bytes, read_bytes, len(found) * SLIVER_WORK_BYTES)
        answer = await self._admission.bulk(request, size_bytes, collect, work)
        fail_point("helper.symbols-read")
        return bcs_answer(answer)

    def _find(self, question: Question, refused: dict[bytes, Refusal]) -> list[tuple[SliverKey, Place]]:
        """Find the slivers that help with blobs that are not refused; what cannot be helped is added to those."""
        asked = [blob_id for blob_id in dict.fromkeys(question.blob_ids) if blob_id not in refused]
        for blob_id in self._view.those_invalid(asked):
            refused[blob_id] = Refusal(404, Reason.METADATA_NOT_FOUND, "the blob is invalid")
        asked = [blob_id for blob_id in asked if blob_id not in refused]
        found = self._store.bulk.find(question.shards, question.axis.other, asked)
        for blob_id in set(asked).difference(key.blob_id for key, _ in found):
            refused[blob_id] = _nothing_here(question.axis.other)
        return found

    def _answers(
        self,
        question: Question,
        refused: Mapping[bytes, Refusal],
        found: Sequence[tuple[SliverKey, Place]],
    ) -> Bytes:
        """Return the answers about all blobs, as they travel. Raises `StoreError`."""
        answers = {blob_id: _Answer(self._targets(question, blob_id)) for blob_id in question.blob_ids}
        for some in self._store.bulk.read(found):
            by_size: dict[int, list[tuple[SliverKey, Symbols]]] = defaultdict(list)
            for key, content in some:
                if content is not None:
                    size = len(content) // self._code.source_symbols(key.axis)
                    by_size[size].append((key, content))
            for size, slivers in by_size.items():
                targets = [answers[key.blob_id].targets for key, _ in slivers]
                contents = [content for _, content in slivers]
                symbols = self._code.crossing_symbols(question.axis.other, contents, targets, size)
                self._add(answers, [key for key, _ in slivers], symbols)
        return wire.answers_to_bcs(
            [
                _refused(refused.get(blob_id) or _nothing_here(question.axis.other))
                if blob_id in refused or not answer.rows
                else wire.rows_to_bcs(answer.targets, answer.size, answer.count, answer.rows)
                for blob_id, answer in ((one, answers[one]) for one in question.blob_ids)
            ]
        )

    def _add(
        self, answers: Mapping[bytes, _Answer], keys: Sequence[SliverKey], symbols: NDArray[np.uint8]
    ) -> None:
        """Add to the answers the symbols, `(slivers, targets, size)`, of slivers of one size."""
        first = 0
        for blob_id, some in groupby(keys, key=itemgetter(0)):
            answer, shards = answers[blob_id], [key.shard for key in some]
            last = first + len(shards)
            indices = self._code.sliver_indices(blob_id, shards, keys[0].axis)
            answer.size, answer.count = symbols.shape[2], answer.count + len(shards)
            answer.rows.append(wire.symbol_rows(indices, symbols[first:last].reshape(len(shards), -1)))
            first = last

    def _targets(self, question: Question, blob_id: bytes) -> list[int]:
        """Return the indices of the blob's slivers that are to be rebuilt."""
        return [self._code.sliver_index(blob_id, shard, question.axis) for shard in question.targets]

    async def recovery_symbols(self, request: web.Request) -> web.Response:
        """Symbols for one sliver to be rebuilt, each proven in the helping sliver's tree."""
        axis = wire.read_axis(request.query.get("targetType", ""))
        if request.query.get("proofAxis", axis.other.label) != axis.other.label:
            raise InvalidEncoding(f"proofAxis: {axis.label} slivers are helped, and proven, by the others")
        target = indices(request.query.get("targetSliver", ""), "targetSliver", 1, self._code.n_shards)[0]
        metadata, shards = await self._helpers(request, axis.other)
        size = self._code.symbol_size(metadata.length)
        _check_amount(len(shards) * size)

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
        shards = helper_shards(request, self._code.n_shards)
        if shards is None:
            shards = sorted(await self._admission.looked_up(request, self._store.shards_with, blob_id, axis))
        return metadata, shards

    def _symbols(
        self, blob_id: bytes, axis: Axis, targets: Sequence[int], shards: Sequence[int], size: int
    ) -> Bytes:
        """The symbols of one blob, one sliver after the other. Raises `Refusal`."""
        room = uninitialised(len(shards) * len(targets) * size).reshape(len(shards), len(targets), size)
        symbols = []
        for out, (index, sliver) in zip(room, self._slivers(blob_id, axis.other, shards), strict=False):
            self._code.recovery_symbols(axis.other, sliver, targets, size, out)
            symbols.append((index, out.data.cast("B")))
        return wire.symbols_to_bcs(targets, size, symbols)

    def _slivers(self, blob_id: bytes, axis: Axis, shards: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """(sliver index, symbols) of those shards' slivers that are here, one in memory at a time; one at least."""
        nothing = True
        for shard in shards:
            symbols = self._store.sliver(blob_id, shard, axis)
            if symbols is not None:
                yield self._code.sliver_index(blob_id, shard, axis), symbols
                nothing = False
        if nothing:
            raise _nothing_here(axis)


def _nothing_here(axis: Axis) -> Refusal:
    return Refusal(404, Reason.SLIVER_NOT_FOUND, f"no {axis.label} sliver that could help is here")


def _refused(refusal: Refusal) -> wire.Refused:
    return refusal.status, json.dumps(refusal.to_json()).encode()


def _check_amount(size_bytes: int) -> None:
    """Refuse a question for more bytes of symbols than one answer may have."""
    if size_bytes > wire.MAX_SYMBOLS_BYTES:
        raise Refusal(
            *(400, Reason.SLIVER_COUNT_EXCEEDS_LIMIT),
            f"{size_bytes} bytes of symbols asked for at once: at most {wire.MAX_SYMBOLS_BYTES}",
        )
