"""The OpenAPI document of the node's interface, `/v1/api`."""

from __future__ import annotations

from typing import Any

from committee.version import VERSION

_BLOB = "/v1/blobs/{blob_id}"
_SLIVER = _BLOB + "/slivers/{pair}/{axis}"
_PATHS: dict[str, dict[str, str]] = {
    f"{_BLOB}/metadata": {
        "get": "BCS BlobMetadataWithId",
        "put": "Store BCS BlobMetadata: 201 new, 200 known; with pending=true 202 before the registration",
    },
    f"{_BLOB}/metadata/status": {"get": "nonexistent, buffered or stored"},
    _SLIVER: {
        "get": "BCS SliverData",
        "put": "Store BCS SliverData: 201 new, 200 known; with pending=true 202 before the registration",
    },
    f"{_SLIVER}/upload": {
        "head": "How much is kept of an upload that broke off: Upload-Offset, Upload-Complete",
        "patch": "Store the rest of it, application/partial-upload from Upload-Offset on",
    },
    f"{_SLIVER}/status": {"get": "nonexistent, buffered or stored"},
    f"{_BLOB}/confirmation/permanent": {
        "get": "Signed confirmation of a permanent blob; wait_for_registration, wait_millis"
    },
    f"{_BLOB}/confirmation/deletable/{{object}}": {
        "get": "Signed confirmation of a deletable blob object; wait_for_registration, wait_millis"
    },
    "/v1/uploads": {"post": "Store metadata and slivers of several blobs: BCS uploads, BCS outcomes"},
    "/v1/confirmations": {"post": "Signed confirmations of several blobs: BCS, BCS outcomes"},
    f"{_BLOB}/decodingSymbols": {"get": "Symbols without proofs; targetSlivers, targetType, helperShards"},
    "/v1/decodingSymbols": {"post": "The same about several blobs: a BCS question, BCS answers"},
    f"{_BLOB}/recoverySymbols": {"get": "Symbols with proofs; targetSliver, targetType, helperShards"},
    f"{_BLOB}/inconsistencyProof/{{axis}}": {
        "post": "Signed finding that the blob is encoded inconsistently"
    },
    f"{_BLOB}/status": {"get": "nonexistent, deletable, permanent or invalid"},
    "/v1/migrate/sync_shard": {"post": "A page of a shard for its new owner's signed request"},
    "/v1/sign_of_life/{nonce}": {"get": "The nonce, signed by this node"},
    "/v1/members/{node_id}/sign_of_life/{nonce}": {
        "get": "The same by a fellow member, fetched by this node"
    },
    "/v1/members/{node_id}/ejection/{deadline}": {"get": "Signed ejection of a silent member"},
    "/v1/inventory": {"get": "Signed inventory of the current epoch"},
    "/v1/inventory/{blob_id}": {"get": "The blob's place in that inventory, and the path to its root"},
    "/v1/openings/at/{position}": {"get": "The opening of one position of this node's line, for a demand"},
    "/v1/openings/{draw}/{page}": {"get": "What this node shows of a draw to its fellows"},
    "/v1/members/{node_id}/proof/{draw}": {"get": "Signed proof of a fellow whose openings are right"},
    "/v1/handover": {"get": "This node's part of the last handover"},
    "/v1/health": {"get": "Version, epoch, chain and shards"},
    "/v1/api": {"get": "This document"},
    "/metrics": {"get": "Prometheus metrics"},
}


def _operation(path: str, summary: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    return {"summary": summary, "parameters": parameters, "responses": {"default": {"description": summary}}}


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Haulout storage node", "version": VERSION},
    "paths": {
        path: {method: _operation(path, summary) for method, summary in methods.items()}
        for path, methods in _PATHS.items()
    },
}
