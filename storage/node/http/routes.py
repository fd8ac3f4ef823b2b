"""The node's HTTP interface (PROTOCOL section 6): paths, payloads and reasons of a Walrus storage node.

Additions of ours: `helperShards` on the symbol requests, POST `/v1/decodingSymbols`, `/v1/handover`,
`/v1/sign_of_life`, `/v1/inventory`, `/v1/openings`, and what is under `/v1/members`. `admission` decides what is
granted; `blobs`, `symbols`, `shards`, `members` and `proofs` do it; `transfer` sends it. Reading, checking and writing
slivers run in threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from committee.logs import Log
from storage.client import wire
from storage.client.failures import Reason, failure
from storage.node.budgets import Budget, LineFull
from storage.node.face import NO_OBJECT_STORE, NodeFace, Refusal
from storage.node.http import cors
from storage.node.http.admission import Admission
from storage.node.http.batches import BatchHandlers
from storage.node.http.blobs import BlobHandlers, json_answer
from storage.node.http.checks import UploadChecks
from storage.node.http.members import MemberHandlers
from storage.node.http.metrics import Metrics
from storage.node.http.openapi import OPENAPI
from storage.node.http.pending import PendingUploads
from storage.node.http.proofs import ProofHandlers
from storage.node.http.shards import ShardHandlers
from storage.node.http.symbols import SymbolHandlers
from storage.node.http.transfer import refuse_chunks, sending
from storage.node.http.uploads import tell_state
from storage.node.store import StoreError, StoreFull, StoreUnavailable
from storage.redstuff import InvalidEncoding

log = Log()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(node: NodeFace, serving: Budget) -> web.Application:
    """Return the application that serves `node`; `serving` limits what peers get for handover and repair."""
    metrics, admission = Metrics(node), Admission(node, serving)

    async def health(request: web.Request) -> web.Response:
        return json_answer(node.health())

    async def api(request: web.Request) -> web.Response:
        return web.json_response(OPENAPI)

    @web.middleware
    async def recognise(request: web.Request, handler: Handler) -> web.StreamResponse:
        await admission.recognise(request)
        return await handler(request)

    app = web.Application(
        middlewares=[
            *(sending(admission.is_sending_crowded), metrics.count, refuse_chunks, _answer_errors),
            *(cors.answer_options, recognise),
        ]
    )
    app.on_response_prepare.append(_say_no_more)
    app.on_response_prepare.append(_keep_nowhere)
    app.on_response_prepare.append(cors.allow_any_origin)
    app.on_response_prepare.append(tell_state)
    checks, pending = UploadChecks(node, admission), PendingUploads(node.view, node.store)

    blobs = BlobHandlers(node, admission, checks, pending)

    async def end_waits(app: web.Application) -> None:
        await admission.close()
        await pending.close()
        blobs.close()

    app.on_shutdown.append(end_waits)
    app.add_routes(blobs.routes())
    app.add_routes(BatchHandlers(node, admission, checks, pending).routes())
    app.add_routes(SymbolHandlers(node, admission).routes())
    app.add_routes(ShardHandlers(node, admission).routes())
    app.add_routes(MemberHandlers(node, admission).routes())
    app.add_routes(ProofHandlers(node, admission).routes())
    app.add_routes(
        [web.get("/v1/health", health), web.get("/v1/api", api), web.get("/metrics", metrics.show)]
    )
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure with the protocol's JSON; the log alone tells of an unforeseen one."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response(refusal.to_json(), status=refusal.status)
    except LineFull as error:
        return _error(503, Reason.UNAVAILABLE, str(error))
    except InvalidEncoding as error:
        return _error(400, Reason.INVALID_REQUEST, str(error))
    except StoreUnavailable as error:
        log.warning("the object store is not available", path=request.path, error=str(error))
        return _error(503, Reason.UNAVAILABLE, NO_OBJECT_STORE)
    except StoreFull as error:
        log.error("the store is full", path=request.path, error=str(error))
        return _error(503, Reason.UNAVAILABLE, "the node's disk is full")
    except web.HTTPException as error:
        return _error(error.status, None, error.reason)
    except (web.RequestPayloadError, ConnectionError):
        return _error(400, Reason.INVALID_REQUEST, "the connection broke off")
    except StoreError as error:
        log.error("request failed", path=request.path, error=str(error))
        return _error(
            500, Reason.INTERNAL_ERROR, "the node's store failed; its operator can read why in its log"
        )
    except Exception:
        log.exception("request failed unexpectedly", path=request.path)
        return _error(500, Reason.INTERNAL_ERROR, "the node failed; its operator can read why in its log")


async def _say_no_more(request: web.Request, response: web.StreamResponse) -> None:
    """Leave out the name of the software: beside small symbols it weighs, and strangers need not know it."""
    response.headers.popall("Server", None)


async def _keep_nowhere(request: web.Request, response: web.StreamResponse) -> None:
    """Have no proxy keep what may be different the next time: all but the bytes of a blob, which are always the same.

    Kept health would outlive the node; a kept "not found" or a confirmation of an earlier epoch stops a store.
    """
    if response.status not in (200, 201) or response.content_type != wire.BCS:
        response.headers["Cache-Control"] = "no-store"


def _error(status: int, reason: Reason | None, message: str) -> web.Response:
    return web.json_response(failure(status, reason, message), status=status)
