"""Blobs over HTTP: metadata, slivers, confirmation and status (PROTOCOL section 6)."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from committee.connections import media_type
from storage.client import wire
from storage.client.batch_wire import Confirmable
from storage.client.bodies import STEADY_BYTES, Bytes, LargeBody
from storage.client.failures import Reason
from storage.node.chain import Registered
from storage.node.face import NodeFace, Refusal
from storage.node.http.admission import Admission
from storage.node.http.checks import UploadChecks
from storage.node.http.parsing import blob_id_of, flag, object_number, sliver_path
from storage.node.http.pending import PendingUploads
from storage.node.http.transfer import IncomingBody
from storage.node.http.turns import REQUESTER
from storage.node.http.uploads import STATE, Key, Uploads, may_break, require_rest, state_headers
from storage.redstuff import Axis, BlobMetadata, SliverData

BASE_58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True)
class _Sliver:
    """A sliver that this node has to store."""

    metadata: BlobMetadata
    pair: int
    shard: int
    axis: Axis
    size_bytes: int
    """Of its BCS."""
    is_pending: bool
    """Whether it may come before its blob's registration."""

    def key(self, request: web.Request) -> Key:
        """Return the key of the requester's upload of it."""
        return request[REQUESTER], self.metadata.blob_id, self.shard, self.axis


class BlobHandlers:
    """The handlers for one node's blobs."""

    def __init__(
        self, node: NodeFace, admission: Admission, checks: UploadChecks, pending: PendingUploads
    ) -> None:
        self._view = node.view
        self._store = node.store
        self._code = node.code
        self._admission = admission
        self._checks = checks
        self._pending = pending
        self._uploads = Uploads()

    def close(self) -> None:
        """Drop what is kept of uploads that broke off. Idempotent."""
        self._uploads.close()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        blob = "/v1/blobs/{blob_id}"
        sliver = blob + "/slivers/{pair}/{axis}"
        return [
            web.get(f"{blob}/metadata", self.get_metadata),
            web.put(f"{blob}/metadata", self.put_metadata),
            web.get(f"{blob}/metadata/status", self.metadata_status),
            web.get(sliver, self.get_sliver),
            web.put(sliver, self.put_sliver),
            web.get(f"{sliver}/status", self.sliver_status),
            web.head(wire.upload_path(sliver), self.get_upload),
            web.patch(wire.upload_path(sliver), self.go_on_with_upload),
            web.get(f"{blob}/confirmation/permanent", self.confirm),
            web.get(f"{blob}/confirmation/deletable/{{object}}", self.confirm),
            web.get(f"{blob}/status", self.blob_status),
        ]

    # metadata

    async def get_metadata(self, request: web.Request) -> web.Response:
        """BCS BlobMetadataWithId."""
        blob_id = blob_id_of(request)
        self._admission.refuse_blocked(request, blob_id)
        metadata = await self._admission.metadata_bytes(request, blob_id)
        await self._admission.reader(request, len(metadata))
        return bcs_answer(blob_id + metadata)

    async def put_metadata(self, request: web.Request) -> web.Response:
        """Take a registered blob's metadata: 201 when it is new, 200 when not; 202 for one not registered yet."""
        blob_id = blob_id_of(request)
        if media_type(request.headers) not in ("", wire.BCS):
            raise Refusal(400, Reason.INVALID_CONTENT_TYPE, f"the metadata must be sent as {wire.BCS}")
        is_pending = await self._require_writable(request, blob_id)
        body = bytes(await self._admission.body(request, wire.MAX_METADATA_BYTES))
        async with self._admission.turn(request):
            metadata = await asyncio.to_thread(self._checks.metadata, blob_id, body)
            if is_pending and not self._view.is_registered(blob_id):
                kept = self._pending.keep_metadata(request[REQUESTER], metadata)
                return json_answer("metadata kept until the blob is registered", 202 if kept else 200)
            new = await asyncio.to_thread(self._store.put_metadata, blob_id, body)
        return json_answer("metadata stored", 201 if new else 200)

    async def _require_writable(self, request: web.Request, blob_id: bytes) -> bool:
        """Return whether what the request sends may come before the blob's registration; else require that."""
        is_pending = flag(request, "pending")
        if is_pending:
            self._admission.require_valid(blob_id)
        else:
            await self._admission.require_registered(request, blob_id)
        await self._pending.stored(blob_id)
        return is_pending

    async def metadata_status(self, request: web.Request) -> web.Response:
        """Whether the metadata is stored, or kept until the blob is registered."""
        blob_id = blob_id_of(request)
        stored = await self._admission.stored_metadata(request, blob_id)
        is_kept = self._pending.metadata(blob_id) is not None
        return json_answer(wire.STORED if stored is not None else "buffered" if is_kept else "nonexistent")

    # slivers

    async def get_sliver(self, request: web.Request) -> web.Response:
        """BCS SliverData, or a range of it; HEAD tells its size without a read."""
        blob_id, pair, axis = sliver_path(request, self._code.n_shards)
        self._admission.refuse_blocked(request, blob_id)
        shard = self._code.shard_of_pair(blob_id, pair)
        symbols = None
        size_bytes = await self._admission.looked_up(request, self._store.sliver_size, blob_id, shard, axis)
        if size_bytes is not None and not self._view.is_invalid(blob_id):
            if request.method == hdrs.METH_HEAD:
                return _head_answer(wire.sliver_bytes(size_bytes))
            await self._admission.reader(request, size_bytes)
            async with self._admission.turn(request):
                symbols = await asyncio.to_thread(self._store.sliver, blob_id, shard, axis)
        if symbols is None:
            self._admission.require_shard(blob_id, pair)
            raise Refusal(404, Reason.SLIVER_NOT_FOUND, f"the {axis.label} sliver of pair {pair} is not here")
        size = len(symbols) // self._code.source_symbols(axis)
        sliver = SliverData(symbols, size, self._code.sliver_of_pair(pair, axis))
        return in_range(request, wire.sliver_to_bcs(sliver))

    async def put_sliver(self, request: web.Request) -> web.Response:
        """Take a sliver of one of this node's shards, if it hashes to its root; statuses as for metadata."""
        sliver = await self._writable_sliver(request)
        body, upload = IncomingBody(request, sliver.size_bytes), None
        is_kept = may_break(request, sliver.size_bytes) and not sliver.is_pending
        if is_kept and not await self._has(request, sliver):
            upload = self._uploads.begin(sliver.key(request), sliver.size_bytes)
        with nullcontext() if upload is None else self._uploads.receiving(upload, body, request.transport):
            content = await self._admission.received(request, body)
        return await self._take(request, sliver, content)

    async def get_upload(self, request: web.Request) -> web.Response:
        """Tell how much is here of a sliver whose upload by this requester broke off."""
        sliver = await self._writable_sliver(request)
        upload, offset = self._uploads.interrupted(sliver.key(request)), sliver.size_bytes
        if upload is not None:
            offset = upload.offset
        elif not await self._has(request, sliver):
            raise _no_part()
        return web.Response(status=204, headers=state_headers(offset, sliver.size_bytes, upload))

    async def go_on_with_upload(self, request: web.Request) -> web.Response:
        """Take the rest of a sliver; answer as if it had been sent whole."""
        sliver = await self._writable_sliver(request)
        upload = self._uploads.interrupted(sliver.key(request))
        if upload is None:
            raise _no_part()
        require_rest(request, upload)
        body = IncomingBody(request, sliver.size_bytes - upload.offset)
        with self._uploads.receiving(upload, body, request.transport):
            rest = await self._admission.received(request, body, upload.offset)
        content, upload.content = upload.content, bytearray()
        content += rest
        request[STATE] = {wire.UPLOAD_COMPLETE: wire.TRUE}
        return await self._take(request, sliver, memoryview(content))

    async def _writable_sliver(self, request: web.Request) -> _Sliver:
        """Return the sliver that the request's path names. Raises `Refusal` unless this node has to store it."""
        blob_id, pair, axis = sliver_path(request, self._code.n_shards)
        is_pending = await self._require_writable(request, blob_id)
        metadata = self._pending.metadata(blob_id) or await self._admission.metadata(request, blob_id, 400)
        shard = self._checks.shard_to_store(blob_id, pair)
        size_bytes = wire.sliver_bytes(self._code.sliver_size(metadata.length, axis))
        return _Sliver(metadata, pair, shard, axis, size_bytes, is_pending)

    async def _has(self, request: web.Request, sliver: _Sliver) -> bool:
        """Return whether the sliver is stored."""
        return await self._admission.looked_up(
            request, self._store.has_sliver, sliver.metadata.blob_id, sliver.shard, sliver.axis
        )

    async def _take(self, request: web.Request, sliver: _Sliver, body: Bytes) -> web.Response:
        """Check and store a sliver that is here."""
        blob_id, shard, axis = sliver.metadata.blob_id, sliver.shard, sliver.axis
        async with self._admission.turn(request):
            symbols = await asyncio.to_thread(
                self._checks.encoded_sliver, sliver.metadata, sliver.pair, axis, body
            )
            if sliver.is_pending and not self._view.is_registered(blob_id):
                kept = self._pending.keep_sliver(request[REQUESTER], blob_id, shard, axis, symbols)
                return json_answer("sliver kept until the blob is registered", 202 if kept else 200)
            await self._pending.stored(blob_id)
            new = await asyncio.to_thread(self._store.put_sliver, blob_id, shard, axis, symbols)
        return json_answer("sliver stored", 201 if new else 200)

    async def sliver_status(self, request: web.Request) -> web.Response:
        """Whether a sliver is stored."""
        blob_id, pair, axis = sliver_path(request, self._code.n_shards)
        shard = self._code.shard_of_pair(blob_id, pair)
        stored = await self._admission.looked_up(request, self._store.has_sliver, blob_id, shard, axis)
        is_kept = self._pending.has_sliver(blob_id, shard, axis)
        if not stored and not is_kept:
            self._admission.require_shard(blob_id, pair)
        if self._view.is_invalid(blob_id):
            stored = False
        return json_answer(wire.STORED if stored else "buffered" if is_kept else "nonexistent")

    # confirmation and status

    async def confirm(self, request: web.Request) -> web.Response:
        """Sign that both slivers of all this node's shards are durable here."""
        blob_id = blob_id_of(request)
        text = request.match_info.get("object")
        object_id = None if text is None else object_number(text)
        await self._admission.require_object(request, blob_id, object_id)
        await self._pending.stored(blob_id)
        async with self._admission.turn(request):
            confirm = self._checks.confirmation(Confirmable(blob_id, object_id))
            signed = await asyncio.to_thread(confirm)
        return json_answer(wire.signed(*signed))

    async def blob_status(self, request: web.Request) -> web.Response:
        """What the chain says of the blob, as this node has followed it."""
        blob_id = blob_id_of(request)
        await self._admission.know(request, blob_id)
        registered = await self._admission.looked_up(request, self._view.registered, blob_id)
        if self._view.is_invalid(blob_id) and registered.first_object_id is not None:
            return json_answer({"invalid": {"event": _event_id(registered.first_object_id)}})
        return json_answer(_status(registered))


def _no_part() -> Refusal:
    return Refusal(404, Reason.SLIVER_NOT_FOUND, "no part of this sliver is kept: send it whole")


def _status(registered: Registered) -> str | dict[str, Any]:
    """Blob status data by the blob's objects that have neither been deleted nor expired."""
    counts = {
        "count_deletable_total": registered.n_deletable,
        "count_deletable_certified": registered.n_deletable_certified,
    }
    first, permanent = registered.first_certified_epoch, registered.permanent
    if permanent is not None:
        status = {
            "endEpoch": permanent.end_period,
            "isCertified": permanent.certified_epoch is not None,
            "initialCertifiedEpoch": first,
            "statusEvent": _event_id(permanent.object_id),
            "deletableCounts": counts,
        }
        return {"permanent": status}
    if registered.n_deletable:
        return {"deletable": {"initialCertifiedEpoch": first, "deletableCounts": counts}}
    return "nonexistent"


def _event_id(object_id: int) -> dict[str, str]:
    """Return an event of a blob object's in the form of Sui's, which Walrus' clients parse.

    There is no transaction of Sui's to name; the digest, 32 bytes in base 58, is the object's id, big-endian.
    """
    digits, rest = "", object_id
    while rest:
        rest, digit = divmod(rest, len(BASE_58))
        digits = BASE_58[digit] + digits
    zeros = 32 - (object_id.bit_length() + 7) // 8
    return {"txDigest": BASE_58[0] * zeros + digits, "eventSeq": "0"}


def bcs_answer(body: Bytes) -> web.Response:
    """Bytes that are BCS."""
    large = len(body) >= STEADY_BYTES
    return web.Response(body=LargeBody(body, wire.BCS) if large else body, content_type=wire.BCS)


def _head_answer(size_bytes: int) -> web.Response:
    """Return what answers HEAD: it must not cost what GET does, as its sender takes no bytes for it."""
    length = {hdrs.CONTENT_LENGTH: str(size_bytes)}
    return web.Response(headers=length, content_type=wire.BCS)


def in_range(request: web.Request, body: Bytes) -> web.Response:
    """Return the bytes of `body`, which is BCS, that the request's Range header asks for (RFC 9110 section 14).

    All of it answers a header that asks for several ranges, for none that is there, or in other units, and one that
    counts only If-Range a validator matches: slivers have none.
    """
    first, end = 0, len(body)
    with suppress(ValueError):
        if hdrs.IF_RANGE not in request.headers:
            first, end, _ = request.http_range.indices(len(body))
    if first >= end or end - first == len(body):
        return bcs_answer(body)
    answer = bcs_answer(memoryview(body)[first:end])
    answer.set_status(206)
    answer.headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
    return answer


def json_answer(data: Any, status: int = 200) -> web.Response:
    """Data as the protocol's JSON."""
    return web.json_response(wire.success(data, status), status=status)
