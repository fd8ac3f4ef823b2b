"""The node's HTTP interface (PROTOCOL section 6): paths, payloads and reasons of a Walrus storage node.

Additions of ours: `helperShards` on the symbol requests, `/v1/handover`, `/v1/members/{node}/ejection`. Handlers decide
what is granted; reading, checking and writing slivers run in threads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from committee import bls, messages
from committee.errors import CommitteeError, LedgerUnavailable
from storage.client import wire
from storage.client.wire import Reason
from storage.node.face import NodeFace, Refusal
from storage.node.metrics import Metrics
from storage.node.openapi import OPENAPI
from storage.node.store import StoreError, StoreFull
from storage.redstuff import (
    Axis,
    BlobMetadata,
    InvalidEncoding,
    RedStuffError,
    SliverData,
    parse_blob_id,
)

log = structlog.get_logger()

WORK_AT_ONCE = 8
"""Requests whose slivers are read, checked or written at once; the others wait."""


def create_app(node: NodeFace) -> web.Application:
    """The application that serves `node`."""
    routes = Routes(node)
    app = web.Application(
        middlewares=[routes.metrics.count, _answer_errors], client_max_size=wire.MAX_SLIVER_BYTES
    )
    blob = "/v1/blobs/{blob_id}"
    sliver = blob + "/slivers/{pair}/{axis}"
    app.add_routes(
        [
            web.get(f"{blob}/metadata", routes.get_metadata),
            web.put(f"{blob}/metadata", routes.put_metadata),
            web.get(f"{blob}/metadata/status", routes.metadata_status),
            web.get(sliver, routes.get_sliver),
            web.put(sliver, routes.put_sliver),
            web.get(f"{sliver}/status", routes.sliver_status),
            web.get(f"{blob}/confirmation/permanent", routes.confirm),
            web.get(f"{blob}/confirmation/deletable/{{object}}", routes.confirm),
            web.get(f"{blob}/decodingSymbols", routes.decoding_symbols),
            web.get(f"{blob}/recoverySymbols", routes.recovery_symbols),
            web.get(f"{blob}/status", routes.blob_status),
            web.post("/v1/migrate/sync_shard", routes.sync_shard),
            web.get("/v1/health", routes.health),
            web.get("/v1/handover", routes.handover),
            web.get("/v1/members/{node_id}/ejection", routes.ejection),
            web.get("/v1/api", routes.api),
            web.get("/metrics", routes.metrics.show),
        ]
    )
    return app


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every failure as the protocol's JSON; what nobody foresaw is logged here and told to nobody."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _error(refusal.status, refusal.reason, str(refusal))
    except InvalidEncoding as error:
        return _error(400, Reason.INVALID_REQUEST, str(error))
    except StoreFull as error:
        return _error(503, Reason.UNAVAILABLE, str(error))
    except web.HTTPRequestEntityTooLarge:
        return _error(413, Reason.INVALID_REQUEST, f"a body of more than {wire.MAX_SLIVER_BYTES} bytes")
    except web.HTTPException as error:
        return _error(error.status, None, error.reason)
    except (StoreError, asyncio.IncompleteReadError) as error:
        log.error("request failed", path=request.path, error=str(error))
        return _error(500, None, "the node's store failed; its operator can read why in its log")
    except Exception:
        log.exception("request failed unexpectedly", path=request.path)
        return _error(500, None, "the node failed; its operator can read why in its log")


class Routes:
    """The handlers for one node."""

    def __init__(self, node: NodeFace) -> None:
        self._node = node
        self._view = node.view
        self._store = node.store
        self._code = node.code
        self._work = asyncio.Semaphore(WORK_AT_ONCE)
        self.metrics = Metrics(node)

    # metadata

    async def get_metadata(self, request: web.Request) -> web.Response:
        """BCS BlobMetadataWithId."""
        blob_id = _blob_id(request)
        return _bcs(blob_id + await self._metadata_bytes(blob_id))

    async def put_metadata(self, request: web.Request) -> web.Response:
        """Take a registered blob's metadata: 201 when it is new, 200 when it is not."""
        blob_id = _blob_id(request)
        await self._require_registered(blob_id)
        body = await request.read()
        try:
            if len(body) > wire.MAX_METADATA_BYTES:
                raise InvalidEncoding(f"metadata of {len(body)} bytes: at most {wire.MAX_METADATA_BYTES}")
            metadata = BlobMetadata.from_bcs(body, blob_id)
            if metadata.n_shards != self._code.n_shards:
                raise InvalidEncoding(
                    f"metadata of {metadata.n_shards} pairs, for {self._code.n_shards} shards"
                )
            self._code.symbol_size(metadata.length)
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_METADATA, str(error)) from error
        new = await asyncio.to_thread(self._store.put_metadata, blob_id, body)
        return _json("metadata stored", 201 if new else 200)

    async def metadata_status(self, request: web.Request) -> web.Response:
        """Whether the metadata is stored."""
        stored = await asyncio.to_thread(self._store.metadata, _blob_id(request))
        return _json("nonexistent" if stored is None else "stored")

    # slivers

    async def get_sliver(self, request: web.Request) -> web.Response:
        """BCS SliverData."""
        blob_id, pair, axis = self._sliver_path(request)
        self._refuse_invalid(blob_id)
        metadata = await self._metadata(blob_id)
        async with self._work:
            shard = self._code.shard_of_pair(blob_id, pair)
            symbols = await asyncio.to_thread(self._store.sliver, blob_id, shard, axis)
        if symbols is None:
            raise Refusal(
                404, Reason.SLIVER_NOT_FOUND, f"the {axis.name.lower()} sliver of pair {pair} is not here"
            )
        size = self._code.symbol_size(metadata.length)
        return _bcs(SliverData(symbols, size, self._code.sliver_of_pair(pair, axis)).to_bcs())

    async def put_sliver(self, request: web.Request) -> web.Response:
        """Take a sliver of one of this node's shards, if it hashes to its root: 201 when new, 200 when not."""
        blob_id, pair, axis = self._sliver_path(request)
        await self._require_registered(blob_id)
        metadata = await self._metadata(blob_id)
        shard = self._code.shard_of_pair(blob_id, pair)
        if shard not in self._view.my_shards():
            raise Refusal(
                400, Reason.SHARD_NOT_ASSIGNED, f"pair {pair} belongs to shard {shard}, which is not here"
            )
        async with self._work:
            try:
                sliver = SliverData.from_bcs(await request.read())
                index = self._code.sliver_of_pair(pair, axis)
                if sliver.index != index:
                    raise Refusal(
                        *(400, Reason.SLIVER_INDEX_MISMATCH),
                        f"sliver {sliver.index} sent for pair {pair}, whose {axis.name.lower()} sliver is {index}",
                    )
                await asyncio.to_thread(self._code.verify_sliver, metadata, axis, index, sliver.symbols)
            except RedStuffError as error:
                raise Refusal(400, Reason.INVALID_SLIVER, str(error)) from error
            new = await asyncio.to_thread(self._store.put_sliver, blob_id, shard, axis, sliver.symbols)
        return _json("sliver stored", 201 if new else 200)

    async def sliver_status(self, request: web.Request) -> web.Response:
        """Whether a sliver is stored."""
        blob_id, pair, axis = self._sliver_path(request)
        shard = self._code.shard_of_pair(blob_id, pair)
        stored = await asyncio.to_thread(self._store.has_sliver, blob_id, shard, axis)
        return _json("stored" if stored else "nonexistent")

    # confirmation and status

    async def confirm(self, request: web.Request) -> web.Response:
        """Sign that both slivers of all this node's shards are durable here."""
        blob_id = _blob_id(request)
        object_id = (
            _number(request.match_info["object"], "object id") if "object" in request.match_info else None
        )
        await self._require_registered(blob_id)
        self._require_object(blob_id, object_id)
        shards = set(self._view.my_shards())
        if not shards:
            raise Refusal(400, Reason.SHARD_NOT_ASSIGNED, "this node is no member of the current committee")
        await self._metadata_bytes(blob_id)
        for axis in Axis:
            missing = shards - await asyncio.to_thread(self._store.shards_with, blob_id, axis)
            if missing:
                raise Refusal(
                    *(400, Reason.MISSING_SLIVERS),
                    f"{len(missing)} {axis.name.lower()} slivers are missing, of shards {sorted(missing)[:10]}",
                )
        body = messages.blob_body(blob_id, object_id)
        domain = self._view.parameters.domain
        message = messages.encode(messages.Intent.BLOB, self._view.state.epoch, body, domain)
        return _json(wire.signed(message, await asyncio.to_thread(self._node.secret.sign, message)))

    async def blob_status(self, request: web.Request) -> web.Response:
        """What the chain says of the blob, as this node has followed it."""
        blob_id = _blob_id(request)
        await self._know(blob_id)
        epoch = self._view.state.epoch
        live = [one for one in self._view.objects(blob_id) if not one.deleted and epoch < one.end_epoch]
        if self._view.is_invalid(blob_id):
            return _json({"invalid": {"event": None}})
        deletable = [one for one in live if one.deletable]
        counts = {
            "count_deletable_total": len(deletable),
            "count_deletable_certified": sum(one.certified_epoch is not None for one in deletable),
        }
        permanent = max(
            (one for one in live if not one.deletable), key=lambda one: one.end_epoch, default=None
        )
        certified = [one.certified_epoch for one in live if one.certified_epoch is not None]
        first = min(certified, default=None)
        if permanent is not None:
            status = {
                "endEpoch": permanent.end_epoch,
                "isCertified": permanent.certified_epoch is not None,
                "initialCertifiedEpoch": first,
                "statusEvent": {"txDigest": "", "eventSeq": str(permanent.object_id)},
                "deletableCounts": counts,
            }
            return _json({"permanent": status})
        if deletable:
            return _json({"deletable": {"initialCertifiedEpoch": first, "deletableCounts": counts}})
        return _json("nonexistent")

    # symbols for repair

    async def decoding_symbols(self, request: web.Request) -> web.Response:
        """Symbols for several slivers to be rebuilt, without proofs."""
        blob_id = _blob_id(request)
        axis = wire.read_axis(request.query.get("targetType", ""))
        targets = self._indices(request.query.get("targetSlivers", ""), "targetSlivers", wire.MAX_TARGETS)
        shards = self._helper_shards(request)
        size = self._code.symbol_size((await self._metadata(blob_id)).length)

        def collect() -> dict[int, dict[int, bytes]]:
            symbols = {}
            for shard in self._stored(blob_id, axis.other, shards):
                sliver = self._store.sliver(blob_id, shard, axis.other)
                if sliver is not None:
                    index = self._code.sliver_index(blob_id, shard, axis.other)
                    symbols[index] = self._code.recovery_symbols(axis.other, sliver, targets, size)
            return symbols

        async with self._work:
            return _bcs(wire.symbols_to_bcs(await asyncio.to_thread(collect)))

    async def recovery_symbols(self, request: web.Request) -> web.Response:
        """Symbols for one sliver to be rebuilt, each proven in the helping sliver's tree."""
        blob_id = _blob_id(request)
        axis = wire.read_axis(request.query.get("targetType", ""))
        target = self._indices(request.query.get("targetSliver", ""), "targetSliver", 1)[0]
        shards = self._helper_shards(request)
        size = self._code.symbol_size((await self._metadata(blob_id)).length)

        def collect() -> bytes:
            proven = []
            for shard in self._stored(blob_id, axis.other, shards):
                sliver = self._store.sliver(blob_id, shard, axis.other)
                if sliver is not None:
                    index = self._code.sliver_index(blob_id, shard, axis.other)
                    proven.append((index, target, *self._code.prove_symbol(axis.other, sliver, target, size)))
            return wire.proven_to_bcs(proven)

        async with self._work:
            return _bcs(await asyncio.to_thread(collect))

    # shards, health and the rest

    async def sync_shard(self, request: web.Request) -> web.Response:
        """A page of a shard, for its new owner alone."""
        try:
            message, signature = wire.read_signed(json.loads(await request.read()))
        except ValueError:
            raise InvalidEncoding("the body is no JSON") from None
        wanted = await self._authorise(message, signature)
        axis = Axis(wanted.axis)
        async with self._work:
            page = await asyncio.to_thread(
                self._store.slivers_from,
                *(wanted.shard, axis, wanted.first_blob_id),
                *(min(wanted.max_count, wire.MAX_PAGE_SLIVERS), wire.PAGE_BYTES),
            )
        slivers = []
        for blob_id, symbols in page.slivers:
            index = self._code.sliver_index(blob_id, wanted.shard, axis)
            slivers.append(
                (blob_id, SliverData(symbols, len(symbols) // self._code.source_symbols(axis), index))
            )
        return _bcs(wire.ShardPage(slivers, page.next_blob_id).to_bcs())

    async def health(self, request: web.Request) -> web.Response:
        """How the node is."""
        return _json(self._node.health())

    async def handover(self, request: web.Request) -> web.Response:
        """What the node did in the handover into the current epoch."""
        return _json(await asyncio.to_thread(self._node.handover_report))

    async def ejection(self, request: web.Request) -> web.Response:
        """Sign the ejection of a member that this node, too, finds silent."""
        return _json(
            wire.signed(*self._node.sign_ejection(_number(request.match_info["node_id"], "node id")))
        )

    async def api(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        return web.json_response(OPENAPI)

    # what handlers share

    def _sliver_path(self, request: web.Request) -> tuple[bytes, int, Axis]:
        pair = self._indices(request.match_info["pair"], "pair", 1)[0]
        return _blob_id(request), pair, wire.read_axis(request.match_info["axis"])

    def _indices(self, text: str, name: str, most: int) -> list[int]:
        """Numbers of pairs, slivers or shards, separated by commas: 1 to `most` of them, each once, below n."""
        numbers = [_number(one, name) for one in text.split(",", most + 1)]
        if len(numbers) > most:
            raise Refusal(400, Reason.SLIVER_COUNT_EXCEEDS_LIMIT, f"{name}: more than {most}")
        if len(set(numbers)) != len(numbers) or max(numbers) >= self._code.n_shards:
            raise InvalidEncoding(f"{name}: each once and below {self._code.n_shards}")
        return numbers

    def _helper_shards(self, request: web.Request) -> set[int] | None:
        text = request.query.get("helperShards")
        return None if text is None else set(self._indices(text, "helperShards", self._code.n_shards))

    def _stored(self, blob_id: bytes, axis: Axis, wanted: set[int] | None) -> list[int]:
        stored = self._store.shards_with(blob_id, axis)
        return sorted(stored if wanted is None else stored & wanted)

    async def _metadata_bytes(self, blob_id: bytes) -> bytes:
        self._refuse_invalid(blob_id)
        stored = await asyncio.to_thread(self._store.metadata, blob_id)
        if stored is None:
            raise Refusal(404, Reason.METADATA_NOT_FOUND, "no metadata of this blob is here")
        return stored

    async def _metadata(self, blob_id: bytes) -> BlobMetadata:
        return BlobMetadata.from_bcs(await self._metadata_bytes(blob_id), blob_id)

    def _refuse_invalid(self, blob_id: bytes) -> None:
        if self._view.is_invalid(blob_id):
            raise Refusal(451, Reason.FORBIDDEN_BLOB, "the blob was proven to be encoded inconsistently")

    async def _know(self, blob_id: bytes) -> None:
        """Catch up with the chain once when it has not told of the blob yet."""
        if not self._view.objects(blob_id):
            try:
                await self._view.refresh()
            except LedgerUnavailable as error:
                raise Refusal(503, Reason.UNAVAILABLE, f"the chain does not answer: {error}") from error

    async def _require_registered(self, blob_id: bytes) -> None:
        await self._know(blob_id)
        self._refuse_invalid(blob_id)
        if not self._view.is_registered(blob_id):
            raise Refusal(400, Reason.NOT_REGISTERED, "the chain knows no such blob that has not expired")

    def _require_object(self, blob_id: bytes, object_id: int | None) -> None:
        """Confirm only what can be certified: a permanent object of this blob, or just that deletable one."""
        for one in self._view.objects(blob_id):
            alive = not one.deleted and self._view.state.epoch < one.end_epoch
            if alive and (
                not one.deletable if object_id is None else one.deletable and one.object_id == object_id
            ):
                return
        what = "permanent object" if object_id is None else f"deletable object {object_id}"
        raise Refusal(400, Reason.NOT_REGISTERED, f"the blob is not registered as {what}")

    async def _authorise(self, message: bytes, signature: bytes) -> messages.ShardTransferRequest:
        """The transfer request, signed by the new owner of a shard that is stored here, in an epoch at hand."""
        unauthorised = Reason.REQUEST_UNAUTHORIZED
        try:
            decoded = messages.decode(message)
            if decoded.intent is not messages.Intent.SHARD_TRANSFER:
                raise Refusal(403, unauthorised, "the message is no shard transfer request")
            if decoded.domain != self._view.parameters.domain:
                raise Refusal(403, unauthorised, "the request is for another chain or deployment")
            wanted = messages.ShardTransferRequest.from_body(decoded.body)
            if not await asyncio.to_thread(bls.verify, wanted.public_key, message, signature):
                raise Refusal(403, unauthorised, "the signature does not hold")
        except CommitteeError as error:
            raise Refusal(403, unauthorised, str(error)) from error
        state = self._view.state
        if decoded.epoch > state.epoch:
            await self._view.refresh()
            state = self._view.state
        committee = {c.epoch: c for c in (state.current, state.next) if c}.get(decoded.epoch)
        if committee is None:
            raise Refusal(
                400, Reason.INVALID_EPOCH, f"a request of epoch {decoded.epoch}; now is {state.epoch}"
            )
        owner = committee.owner_of.get(wanted.shard)
        if owner is None or owner.public_key != wanted.public_key:
            raise Refusal(
                403, unauthorised, f"shard {wanted.shard} is not the requester's in epoch {decoded.epoch}"
            )
        previous = self._view.committee(decoded.epoch - 1)
        if previous is not None and wanted.shard not in previous.shards_of(self._view.node_id):
            raise Refusal(400, Reason.SHARD_NOT_ASSIGNED, f"shard {wanted.shard} was not this node's before")
        return wanted


def _blob_id(request: web.Request) -> bytes:
    return parse_blob_id(request.match_info["blob_id"])


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 78):
        raise InvalidEncoding(f"{name}: {text[:40]!r} is no number")
    return int(text)


def _bcs(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=wire.BCS)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.json_response(wire.success(data, status), status=status)


def _error(status: int, reason: Reason | None, message: str) -> web.Response:
    return web.json_response(wire.failure(status, reason, message), status=status)
